"""From patterns to patterns with sounds and all evidence, also that which needs sounds or further patterns.

::

    pattern -+-> sounds -> front end -> network            activation kept (E4)
             +-> the same objective, another random start  stability (E5)
             +-> the same layer of a random net            control (E5)
             +-> stored activations of real clips          percentile, headroom (E2), importance (E8)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from iminet_viz.audio import crest_db, quantize
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.direct import DirectSettings, raise_waveforms
from iminet_viz.errors import PatternError
from iminet_viz.frontends import LogMelConfig, to_mel_power
from iminet_viz.patterns import evidence, stability
from iminet_viz.patterns.engine import Pattern, layer_values, maximize_many
from iminet_viz.patterns.objectives import Objective
from iminet_viz.sonification import (
    SonifySettings,
    frame_rate_buzz_db,
    log_mel_error_db,
    sonify_best,
    spectral_flatness,
)

METHODS = GRIFFIN_LIM, DIRECT = "griffin-lim", "direct"
Report = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class AssessSettings:
    """Which sounds are made, and whether further patterns are."""

    sound: SonifySettings = dataclasses.field(default_factory=SonifySettings)
    direct: DirectSettings | None = dataclasses.field(default_factory=DirectSettings)  # None: no direct sounds
    stability: bool = True  # a second pattern of each neuron, and some of a random net: as long again, and a third

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> AssessSettings:
        """Read settings back; raises TypeError or KeyError where they do not fit."""
        direct = values["direct"]
        return AssessSettings(
            sound=SonifySettings(**values["sound"]),
            direct=None if direct is None else DirectSettings(**direct),
            stability=values["stability"],
        )


@dataclasses.dataclass(frozen=True)
class SideNumbers:
    """What a side of a sound is worth; all but ``gain`` are of the sound as it is stored, 16 bits."""

    gain: float  # of the peak normalisation
    crest_db: float
    buzz_db: float
    flatness: float  # of the spectrum, 0 (a tone) to 1 (white noise)
    log_mel_error_db: float  # against the picture


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
    """A pattern made audible by one method, and what the network makes of it.

    Attributes:
        method: one of :data:`METHODS`.
        waveforms: by role, ``(samples,)`` float32.
        sample_rates: by role, in Hz.
        activation: on the original ReLU network, of all sides together.
        activation_kept: ``activation`` over the pattern's; None where that is not above 0.
        numbers: by role.
        settings: of the method, as JSON values.
    """

    method: str
    waveforms: Mapping[str, np.ndarray]
    sample_rates: Mapping[str, int]
    activation: float
    activation_kept: float | None
    numbers: Mapping[str, SideNumbers]
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    """A pattern with all its evidence, and its sounds by method; without log-mel there are none."""

    pattern: Pattern
    sounds: Mapping[str, Sound]


def assess(
    model: TrainedModel,
    pattern: Pattern,
    settings: AssessSettings | None = None,
    references: evidence.References | None = None,
) -> Assessment:
    """Make a pattern's sounds and gather its evidence; see :func:`assess_many`."""
    settings = settings or AssessSettings()
    control: Sequence[stability.Textures] = ()
    (term, *others) = pattern.objective.terms
    if settings.stability and not others and term.direction is None:  # a random net has no such sum or direction
        control = stability.make_control(model, term, pattern.config)
    return assess_many(model, [pattern], settings, references, control)[0]


def assess_many(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    settings: AssessSettings | None = None,
    references: evidence.References | None = None,
    control: Sequence[stability.Textures] = (),
    report: Report | None = None,
) -> list[Assessment]:
    """Make the sounds of patterns of one layer and gather their evidence.

    Args:
        model: of the patterns.
        patterns: of one layer, one seed and one configuration.
        settings: what to make.
        references: real clips; those stored with the model if ``None``.
        control: textures of a random net, see :func:`iminet_viz.patterns.stability.make_control`.
        report: called with what is being made, how much of it is done, and how much there is.

    Raises:
        PatternError: the patterns do not belong together, or are of other weights.
    """
    settings = settings or AssessSettings()
    if any(pattern.fingerprint != model.fingerprint for pattern in patterns):
        raise PatternError(f"{model.name}: the patterns are of other weights")
    references = references or evidence.stored_references(model)
    sounds = make_sounds(model, patterns, settings, report)
    seconds: list[Pattern] = []
    if settings.stability:
        first = patterns[0]
        again = [pattern.objective for pattern in patterns]
        seconds = maximize_many(model, again, first.config, first.seed + 1, _steps(report, first.config.steps))
    found = []
    for index, (pattern, made) in enumerate(zip(patterns, sounds, strict=True)):
        pattern = dataclasses.replace(pattern, evidence=evidence.measure(pattern, references))
        if settings.stability:
            pattern = stability.judge_stability(pattern, seconds[index], control)
        if GRIFFIN_LIM in made:
            sides = made[GRIFFIN_LIM].numbers.values()
            heard = dataclasses.replace(
                pattern.evidence,
                activation_kept=made[GRIFFIN_LIM].activation_kept,
                log_mel_error_db=max(side.log_mel_error_db for side in sides),
                crest_db=max(side.crest_db for side in sides),
                direct_kept=made[DIRECT].activation_kept if DIRECT in made else None,
            )
            pattern = dataclasses.replace(pattern, evidence=heard)
        found.append(Assessment(pattern, made))
    return found


def make_sounds(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    settings: AssessSettings | None = None,
    report: Report | None = None,
) -> list[dict[str, Sound]]:
    """Make the sounds of patterns of one layer, by method; none where a side has no log-mel.

    Args:
        model: of the patterns.
        patterns: all on the same sides.
        settings: which sounds, and how.
        report: called with what is being made, how much of it is done, and how much there is.
    """
    settings = settings or AssessSettings()
    if not all(isinstance(config, LogMelConfig) for pattern in patterns for config in pattern.frontends.values()):
        return [{} for _ in patterns]
    sounds: list[dict[str, Sound]] = []
    for done, pattern in enumerate(patterns):
        if report:
            report("sounds", done, len(patterns))
        made, chosen = sonify_best(model, pattern, settings.sound)
        waveforms = {role: side.waveform for role, side in made.items()}
        gains = {role: side.gain for role, side in made.items()}
        sounds.append({GRIFFIN_LIM: _listen(model, pattern, GRIFFIN_LIM, waveforms, gains, dataclasses.asdict(chosen))})
    if settings.direct is None:
        return sounds
    starts = [made[GRIFFIN_LIM].waveforms for made in sounds]
    raised = raise_waveforms(model, patterns, starts, settings.direct)
    for pattern, made, direct in zip(patterns, sounds, raised, strict=True):
        facts = dataclasses.asdict(settings.direct)
        made[DIRECT] = _listen(model, pattern, DIRECT, direct.waveforms, direct.gains, facts)
    return sounds


def _listen(
    model: TrainedModel,
    pattern: Pattern,
    method: str,
    waveforms: Mapping[str, np.ndarray],
    gains: Mapping[str, float],
    settings: Mapping[str, Any],
) -> Sound:
    """Let the network hear a sound, as it is stored."""
    stored = {role: quantize(waveform) for role, waveform in waveforms.items()}
    heard, numbers = {}, {}
    for role, waveform in stored.items():
        config, level = pattern.frontends[role], pattern.db_statistics[role]
        assert isinstance(config, LogMelConfig)
        with torch.no_grad():
            seen = model.frontends[role](torch.from_numpy(waveform)[None].to(model.device))
        heard[role] = seen[0, 0].cpu().numpy()
        wanted = to_mel_power(pattern.inputs[role], config, level.mean_db, level.std_db)
        numbers[role] = SideNumbers(
            gain=gains[role],
            crest_db=crest_db(waveform),
            buzz_db=frame_rate_buzz_db(waveform, config.sample_rate, config.sample_rate / config.hop_length),
            flatness=spectral_flatness(waveform),
            log_mel_error_db=log_mel_error_db(waveform, wanted, config),
        )
    activation = activation_of(model, pattern.objective, heard)
    return Sound(
        method=method,
        waveforms=stored,
        sample_rates={role: pattern.frontends[role].sample_rate for role in stored},
        activation=activation,
        activation_kept=activation / pattern.activation if pattern.activation > 0 else None,
        numbers=numbers,
        settings=settings,
    )


@torch.no_grad()
def activation_of(model: TrainedModel, objective: Objective, inputs: Mapping[str, np.ndarray]) -> float:
    """Activation of an objective on the model's own ReLU network; inputs ``{role: (bands, frames)}``."""
    tensors = {role: torch.from_numpy(values)[None].to(model.device) for role, values in inputs.items()}
    values = layer_values(model.network, [objective], tensors)
    return float(objective({layer: value[0] for layer, value in values.items()}))


def _steps(report: Report | None, steps: int) -> Callable[..., None] | None:
    """Report the steps of the second patterns."""
    if report is None:
        return None
    return lambda step, values, inputs: report("another random start", step + 1, steps)
