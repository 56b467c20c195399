"""Would the same picture have come out anyway? Another seed, and a network of random weights (interpretability: E5).

A pattern is a texture: two of one neuron agree in what they are made of, not in where it lies. So what is compared is
the modulation spectrum, the two-dimensional power spectrum of the picture less each band's mean.

Twelve neurons of each of four layers of ``tl-iminet-conv123``, two seeds: the pattern most like a neuron's own is that
of its other seed for every neuron (12 of 12 in each layer), likeness .94 to .99 in the median, against -.00 to .79 with
the other neurons' and .04 to .44 with the most alike of 12 patterns of a random net. Other descriptions fail on the
recording tower's conv3: the bands' mean level finds 8 of 12, their covariance 7.

All 372 neurons of that model (``benchmarks/likeness.py``; brackets are 95 % intervals): a likeness of 0.9 is reached by
the own second picture of 367 (.987 [.969, .994]), and by another neuron's of the same layer in .025 [.020, .030] of the
pairs within the towers. A random net reaches it at 12 neurons, all of a conv1: their pictures are no proof of learning,
and :meth:`~iminet_viz.patterns.evidence.Evidence.warnings` says so. (At least one of three random nets reaches it at
20 of the 72; with 16 pictures instead of all of conv1 this net finds 7; in conv2 it finds none with all 48.) It is no
threshold between units of fc1, whose pictures are alike: .828 [.796, .858] of their pairs reach it, but no random net
does (at most .59).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from iminet_viz.checkpoint import TrainedModel, untrained_like
from iminet_viz.patterns.engine import EngineConfig, Pattern, Report, maximize_many
from iminet_viz.patterns.objectives import Objective, Term

Textures = Mapping[str, np.ndarray]  # by role, (values,) of unit length

CONTROLS = 16  # pictures of a random net for a layer; a first layer's cost little and are alike, so there it is all
RANDOM_SEED = 1_000  # of the weights of the random net; no training starts from it
WIDTH = (1.0, 4.0)  # over which the spectrum is averaged, in bins: cycles per height and per width of the picture


def texture(values: np.ndarray) -> np.ndarray:
    """Square root of the smoothed modulation spectrum, mean 0, unit length; zeros for a picture without modulation.

    Shape:
        ``(bands, frames)`` to ``(bands * (frames // 2 + 1),)`` float32.
    """
    from scipy.ndimage import gaussian_filter

    values = np.asarray(values, np.float64)
    power = np.square(np.abs(np.fft.rfft2(values - values.mean(axis=1, keepdims=True))))
    root = np.sqrt(gaussian_filter(power, WIDTH, mode=("wrap", "nearest"))).ravel()
    root -= root.mean()
    length = np.linalg.norm(root)
    return (root / length if length > 1e-9 * max(np.abs(values).max(initial=0), 1e-30) else 0 * root).astype(np.float32)


def textures(pattern: Pattern) -> dict[str, np.ndarray]:
    """Texture of each side."""
    return {role: texture(values) for role, values in pattern.inputs.items()}


def likeness(a: Textures, b: Textures) -> float:
    """Correlation of two patterns' modulation spectra, -1 to 1, of a pair the mean of its sides."""
    return float(np.mean([np.clip(a[role] @ b[role], -1, 1) for role in a]))


def make_control(
    model: TrainedModel,
    term: Term,
    config: EngineConfig | None = None,
    neurons: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> list[dict[str, np.ndarray]]:
    """Textures of patterns of some neurons of the same layer of a net of random weights, made in the same way.

    Args:
        model: the trained one; the random one has its kind, architecture and levels.
        term: what was raised; its layer, position and weight hold for the random net too.
        config: of the engine.
        neurons: how many, evenly over the layer; by default ``CONTROLS``, and all of a tower's first layer.
        seed: of the patterns.
        report: called after each step, as by the engine; an error that it raises ends the work.

    Raises:
        PatternError: no such layer.
    """
    blank = untrained_like(model, RANDOM_SEED)
    channels = blank.network.n_channels(term.layer)
    if neurons is None:
        tower = term.layer.partition(".")[0]
        first = next(layer for layer in blank.network.layers if layer.partition(".")[0] == tower)
        neurons = channels if term.layer == first and first != "fc1" else CONTROLS
    picked = np.unique(np.linspace(0, channels - 1, min(neurons, channels)).round().astype(int))
    objectives = [Objective((dataclasses.replace(term, channel=int(channel)),)) for channel in picked]
    return [textures(pattern) for pattern in maximize_many(blank, objectives, config, seed, report)]


def judge_stability(pattern: Pattern, second: Pattern | None, control: Sequence[Textures] = ()) -> Pattern:
    """Add to a pattern's evidence its likeness to that of another seed, and the largest to one of a random net.

    Args:
        pattern: to judge.
        second: of the same objective, another seed; None if there is none.
        control: see :func:`make_control`.
    """
    own = textures(pattern)
    return dataclasses.replace(
        pattern,
        evidence=dataclasses.replace(
            pattern.evidence,
            stability=None if second is None else likeness(own, textures(second)),
            control=max((likeness(own, other) for other in control), default=None),
        ),
    )
