"""Direct sounds: a waveform is raised until it excites the neuron, through the differentiable front end.

Griffin-Lim's sound of a pattern keeps a part of its activation, because a pattern may ask for what no sound has. Here
that sound is the start of a gradient ascent of the neuron's activation; no picture stands between::

    pattern -choose_griffin_lim-> waveform -STFT-> bins -inverse STFT-> even -> front end -> network -> activation
                                                    +<------------------- gradient --------------------+

The network sees dB, so steps are in dB: each bin of a short-time spectrum at 75 % overlap has a log-gain and a phase,
and the quiet ones move as fast as the loud ones. ``even`` divides the waveform by what its envelope has at the frame
rate: frames do not overlap, so the front end hears their middles only, and without it the energy gathers there and the
sound buzzes.

Medians over all 372 neurons and pairs of ``tl-iminet-conv123`` (``gallery build --all``); crest is that of the direct
sound less that of Griffin-Lim's, at most 0.74 dB in any of them::

    layer            n    kept: Griffin-Lim  direct  least  crest    buzz: G-L  direct
    imitation.conv1  48   0.92               1.00    0.84   +0.5 dB  0.6        -18.5 dB
    imitation.conv2  48   0.81               0.99    0.81   +0.5     1.7        -17.3
    imitation.conv3  48   0.80               0.98    0.89   +0.6     1.0        -19.3
    recording.conv1  24   0.98               1.02    1.00   +0.5     4.0        -3.5
    recording.conv2  48   0.88               1.04    0.93   +0.7     5.2        -5.2
    recording.conv3  48   0.84               1.02    0.97   +0.7     5.5        -5.1
    fc1              108  0.79               1.02    0.99   +0.7     3.6        -10.6

The most buzz of any side of these is 0.7 dB. ``even`` evens more than real clips are (their buzz is about -0.3 dB): it
takes away what is measured.

Of pictures by pixels, many of which no sound has, imitation.conv2 and conv3 stop at 0.90 and 0.88, whatever the steps.
What did not help: Adam on the samples themselves (0.34 and 0.67 on conv2 and conv3 after 60 steps, buzz up to 13 dB),
random shifts against the buzz (they take the gain away too), rates above 0.3 (crest up to 9 dB more).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from iminet_viz.audio import crest_db
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import PatternError
from iminet_viz.frontends import LogMelConfig
from iminet_viz.patterns.engine import (
    EngineConfig,
    Pattern,
    _local,
    _resolve_precision,
    _single_channels,
    frozen,
    objective_values,
)
from iminet_viz.patterns.leaky import leaky
from iminet_viz.patterns.quick import quick
from iminet_viz.sonification import TINY, PatternSound, _overlap_add, choose_griffin_lim, log_mel_of, measure

CHUNK = 8  # sounds raised together; about 40 MB each

# Called after each step with steps done, steps in all and the activations of the sounds at work, ``(sounds,)``, on the
# slightly leaky network; True stops the ascent.
Report = Callable[[int, int, Tensor], bool | None]


@dataclasses.dataclass(frozen=True)
class DirectSettings:
    """How a waveform is raised."""

    steps: int = 32
    learning_rate: float = 0.3  # nepers of gain and radians of phase a step; falls to a twentieth along a cosine
    momentum: float = 0.3  # a bin's gradient turns within a few steps: Adam's usual 0.9 and 0.999 remember too long
    decay: float = 0.8  # of the mean square that a bin's step is divided by
    slope: float = 0.01  # of the leaky ReLU: a start at which the neuron is silent still has a gradient
    overlap: int = 4  # spectra per frame of the front end
    even_frames: int = 12  # either side: what is at the frame rate for so long is buzz; shorter is rhythm
    even_harmonics: int = 6
    fade_s: float = 0.003
    crest_db: float = 0.7  # how much more of it than the start a sound may have
    precision: str = "auto"  # of the network, see EngineConfig; what is reported is always float32

    def __post_init__(self) -> None:
        if self.steps < 0 or self.even_frames < 0 or self.even_harmonics < 0 or self.overlap < 2:
            raise PatternError(f"{self}: overlap must be at least 2, steps and even_... at least 0")
        if not (
            0 < self.learning_rate <= 1 and 0 <= self.momentum < 1 and 0 <= self.decay < 1 and 0 <= self.slope <= 1
        ):
            raise PatternError(
                f"{self}: learning_rate must be in (0, 1], momentum and decay in [0, 1), slope in [0, 1]"
            )
        if not (self.fade_s >= 0 and self.crest_db >= 0):
            raise PatternError(f"{self}: fade_s and crest_db must be at least 0")


def make_direct(
    model: TrainedModel,
    pattern: Pattern,
    start: PatternSound | None = None,
    settings: DirectSettings | None = None,
    report: Report | None = None,
) -> PatternSound:
    """Make the direct sound of one pattern; see :func:`make_direct_many`.

    Raises:
        PatternError: also where no sound was found that excites the neuron at all.
    """
    start = start or choose_griffin_lim(model, pattern)
    made = make_direct_many(model, [pattern], [start], settings, report)[0]
    if made.activation == 0:
        raise PatternError(f"{pattern.objective} of {model.name}: no sound was found that excites it, it may be dead")
    return made


def make_direct_many(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    starts: Sequence[PatternSound],
    settings: DirectSettings | None = None,
    report: Report | None = None,
) -> list[PatternSound]:
    """Raise the activation of each pattern's objective on waveforms, a few at a time.

    What comes out is as long and as loud as the start, within the band that the front end sees, and never excites less
    than its start: where the ascent fails (a dead neuron) it is the start. It does not depend on the batch.

    Args:
        model: of the patterns; its network stays as it is.
        patterns: all on the same inputs: a layer of a tower, or fc1.
        starts: of each pattern.
        settings: how.
        report: follows and stops the ascent; sounds that it did not reach stay their starts.

    Raises:
        PatternError: inputs that differ or are no log-mel, or starts of another number or length.
    """
    settings = settings or DirectSettings()
    if len(patterns) != len(starts):
        raise PatternError(f"{len(patterns)} patterns and {len(starts)} starts, expected as many")
    for pattern, start in zip(patterns, starts, strict=True):
        if list(pattern.inputs) != list(patterns[0].inputs):
            raise PatternError("the patterns of one batch must have the same inputs")
        for role in pattern.inputs:
            config = log_mel_of(pattern, role)
            if start.waveforms[role].shape != (config.n_samples,) or not np.isfinite(start.waveforms[role]).all():
                raise PatternError(f"the {role} start of {pattern.objective} is not {config.n_samples} finite samples")
    chunks = [slice(first, first + CHUNK) for first in range(0, len(patterns), CHUNK)]
    made: list[PatternSound] = []
    stopped = False
    with frozen(model.network):
        for number, chunk in enumerate(chunks):

            def follow(step: int, activations: Tensor, before: int = number * settings.steps) -> bool:
                nonlocal stopped
                stopped = bool(report and report(before + step, len(chunks) * settings.steps, activations))
                return stopped

            if stopped:
                raised: list[Mapping[str, np.ndarray]] = [start.waveforms for start in starts[chunk]]
            else:
                raised = _raise(model, patterns[chunk], starts[chunk], settings, follow)
            for pattern, start, waveforms in zip(patterns[chunk], starts[chunk], raised, strict=True):
                contrast = float(start.settings.get("contrast", 1.0))
                arguments = ("direct", dataclasses.asdict(settings), contrast)
                sound = measure(model, pattern, waveforms, *arguments)
                if not sound.activation >= start.activation:
                    sound = measure(model, pattern, start.waveforms, *arguments)
                made.append(sound)
    return made


def _raise(
    model: TrainedModel,
    patterns: Sequence[Pattern],
    starts: Sequence[PatternSound],
    settings: DirectSettings,
    follow: Callable[[int, Tensor], bool],
) -> list[Mapping[str, np.ndarray]]:
    """Run the ascent: the waveforms of each pattern by role."""
    objectives = [pattern.objective for pattern in patterns]
    channels = _single_channels(model.network, objectives)
    local = [_local(objective, False, channels is not None) for objective in objectives]
    precision = _resolve_precision(EngineConfig(precision=settings.precision), model.device).precision
    sides = {
        role: _Side(log_mel_of(patterns[0], role), [start.waveforms[role] for start in starts], settings, model.device)
        for role in patterns[0].inputs
    }
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with leaky(model.network, settings.slope), quick(model.network, dtype):
        for step in range(settings.steps):
            inputs = {role: model.frontends[role](side.waveforms())[:, 0] for role, side in sides.items()}
            activations = objective_values(model, local, inputs, channels, precision)
            gradients = torch.autograd.grad(activations.sum(), [side.bins for side in sides.values()])
            share = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
            for side, gradient in zip(sides.values(), gradients, strict=True):
                side.step(gradient, settings.learning_rate * (0.05 + 0.95 * share))
            if follow(step + 1, activations.detach().cpu()):
                break
    finished = {role: side.finish() for role, side in sides.items()}
    return [{role: x[index] for role, x in finished.items()} for index in range(len(patterns))]


class _Side:
    """The waveforms of one role as bins of their short-time spectra, ``(sounds, spectra, freqs)``."""

    def __init__(
        self, config: LogMelConfig, starts: Sequence[np.ndarray], settings: DirectSettings, device: torch.device
    ) -> None:
        self.config, self.settings = config, settings
        self.starts = torch.from_numpy(np.stack(starts)).to(device)
        crests = [10 ** ((crest_db(start) + settings.crest_db) / 20) for start in starts]
        self.crest = torch.tensor(crests, device=device)[:, None].float()
        self.hop = max(1, config.hop_length // settings.overlap)
        spectra = math.ceil(config.n_samples / self.hop) + 1
        self.window = torch.hann_window(config.n_fft, device=device)
        before = config.n_fft // 2
        self.kept = slice(before, before + config.n_samples)
        after = (spectra - 1) * self.hop + config.n_fft - before - config.n_samples
        self.overlap = _overlap_add(self.window.square().expand(spectra, config.n_fft), self.hop)[self.kept]
        frames = F.pad(self.starts, (before, after)).unfold(-1, config.n_fft, self.hop)
        heard = math.floor(config.fmax * config.n_fft / config.sample_rate) + 1
        self.bins = torch.fft.rfft(frames * self.window)[..., :heard].contiguous().requires_grad_()
        self.mean = torch.zeros_like(self.bins)
        self.square = torch.zeros(self.bins.shape, device=device)
        self.steps = 0
        angle = torch.arange(config.hop_length, device=device) * (2 * math.pi / config.hop_length)
        waves = [f(k * angle) for k in range(1, settings.even_harmonics + 1) for f in (torch.cos, torch.sin)]
        self.periodic = torch.stack([torch.full_like(angle, math.sqrt(0.5)), *waves]) * math.sqrt(
            2 / config.hop_length
        )  # (1 + 2 * harmonics, hop), orthonormal

    def waveforms(self) -> Tensor:
        """``(sounds, config.n_samples)``, limited, even and faded."""
        frames = torch.fft.irfft(self.bins, n=self.config.n_fft) * self.window
        x = _overlap_add(frames, self.hop)[..., self.kept] / self.overlap
        return self._fade(self._even(self._limit(x)))  # in this order: the limiter's gain may follow the frames

    @torch.no_grad()
    def step(self, gradient: Tensor, size: float) -> None:
        """Move log-gain (real part) and phase (imaginary part) of every bin up, by about ``size``."""
        settings, self.steps = self.settings, self.steps + 1
        gradient = gradient * self.bins.conj()
        self.mean.lerp_(gradient, 1 - settings.momentum)
        self.square.lerp_(torch.view_as_real(gradient).square().sum(dim=-1), 1 - settings.decay)
        scale = (self.square / (2 * (1 - settings.decay**self.steps))).sqrt()
        # a thousandth of the clip's mean: what the neuron hardly sees stands still
        scale = scale + 1e-3 * scale.mean(dim=(1, 2), keepdim=True) + TINY
        move = self.mean * (size / (1 - settings.momentum**self.steps)) / scale
        self.bins.mul_(torch.polar(move.real.exp(), move.imag))

    @torch.no_grad()
    def finish(self) -> np.ndarray:
        """Waveforms in band, as loud as their starts, hardly spikier: ``(sounds, config.n_samples)`` float32."""
        x = self.waveforms()
        level, wanted = _level(self.starts), self.crest
        frequencies = torch.fft.rfftfreq(self.config.n_samples, 1 / self.config.sample_rate, device=x.device)
        limit = wanted
        for _ in range(12):  # the band brings back a part of the peaks: a lower limit for that part
            x = x * (level / _level(x).clamp_min(TINY))
            x = torch.maximum(torch.minimum(x, limit * level), -limit * level)
            x = torch.fft.irfft(torch.fft.rfft(x) * (frequencies <= self.config.fmax), self.config.n_samples)
            over = x.abs().amax(dim=1, keepdim=True) / _level(x).clamp_min(TINY) / wanted
            if over.max() <= 1.005:
                break
            limit = torch.where(over > 1.005, limit * over.clamp_min(1).rsqrt(), limit)
        x = self._fade(x)
        return (x * (level / _level(x).clamp_min(TINY))).float().cpu().numpy()

    def _even(self, x: Tensor) -> Tensor:
        """Divide by what the envelope has at the frame rate and its multiples, the mean of some frames.

        Twice in the second half of the ascent, as the envelope of the quotient is not quite the quotient of the
        envelopes: once left up to 7 dB of buzz.
        """
        samples, radius = x.shape[1], self.settings.even_frames
        with torch.no_grad():  # a gradient through the gain finds ways around it: 6 to 9 dB more buzz
            size = 1 << (samples - 1).bit_length()
            total = torch.ones_like(x)
            for _ in range(1 if 2 * self.steps < self.settings.steps else 2):
                spectrum = torch.fft.rfft(x / total, n=size)
                spectrum[:, 1 : size // 2] *= 2
                envelope = torch.fft.ifft(F.pad(spectrum, (0, size - spectrum.shape[1]))).abs()[:, :samples]
                frames = envelope.unflatten(1, (-1, self.config.hop_length))
                parts = (frames @ self.periodic.T).transpose(1, 2)  # (sounds, 1 + 2 * harmonics, frames)
                parts = F.avg_pool1d(parts, 2 * radius + 1, 1, radius, count_include_pad=False)
                gain = (parts / parts[:, :1].clamp_min(TINY)).transpose(1, 2) @ self.periodic
                total *= (gain * math.sqrt(self.config.hop_length)).clamp_min(0.2).flatten(1)
        return x / total

    def _limit(self, x: Tensor) -> Tensor:
        """Turn down what sticks out, by a gain that runs from hop to hop: clipping at the end would cost activation."""
        with torch.no_grad():
            blocks = F.pad(x, (0, -x.shape[1] % self.hop)).unflatten(1, (-1, self.hop))  # (sounds, blocks, hop)
            peak, energy = blocks.abs().amax(dim=2), blocks.square().mean(dim=2)
            gain = torch.ones_like(peak)
            for _ in range(16):  # turned down peaks lower the level that they are compared with
                level = (energy * gain.square()).mean(dim=1, keepdim=True).sqrt()
                over = peak * gain / (0.97 * self.crest * level).clamp_min(TINY)
                gain = gain / F.max_pool1d(over, 3, 1, 1).clamp_min(1)
            smooth = F.interpolate(gain[:, None], scale_factor=self.hop, mode="linear")[:, 0, : x.shape[1]]
        return x * smooth

    def _fade(self, x: Tensor) -> Tensor:
        samples = min(round(self.settings.fade_s * self.config.sample_rate), x.shape[1] // 2)
        ramp = 0.5 - 0.5 * torch.cos(math.pi * (torch.arange(samples, device=x.device) + 0.5) / max(samples, 1))
        return x * torch.cat([ramp, x.new_ones(x.shape[1] - 2 * samples), ramp.flip(0)])


def _level(x: Tensor) -> Tensor:
    """Root mean square of each waveform, ``(sounds, 1)``."""
    return x.square().mean(dim=1, keepdim=True).sqrt()


__all__ = ["CHUNK", "DirectSettings", "make_direct", "make_direct_many"]
