"""Log-mel pattern to sound: an activation-maximisation pattern or a real clip made audible, with its numbers.

The front ends do not overlap their windows, so phase cannot be recovered from their frames: a sound made at that
hop matches the picture and clicks at the frame rate. Here the frames are inverted to linear frequency,
interpolated in time to 75 % overlap, and given a phase by fast Griffin-Lim. Synthesis keeps the front end's own
window: longer ones resolve more frequencies and blur what the front end sees (512 samples at 16 kHz: error 4.5 dB
instead of 1.3)::

    z -to_mel_power-> mel power -mel_to_linear-> power -interpolate_frames-> power, 4x frames -griffin_lim-> sound

A pattern's contrast in dB is free: the front end takes the deviation of a clip away, so a picture drawn in 6 dB is to
the network the picture drawn in 16 dB, and of all sounds with the same picture the flat ones are easiest to make: what
a window and a mel band leak into their neighbours drowns less, and no cell is a lonely peak. See :data:`SHORTLIST`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iminet_viz.audio import crest_db, frame_rate_buzz_db, quantize, spectral_flatness
from iminet_viz.checkpoint import TrainedModel
from iminet_viz.errors import PatternError
from iminet_viz.frontends import FrontEndConfig, LogMelConfig, frontend_of, to_mel_power
from iminet_viz.patterns import engine
from iminet_viz.patterns.engine import Pattern

# Keeps quotients finite; far below the quietest cell (1e-8 of the maximum).
TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class SonifySettings:
    """How a pattern becomes a sound; the defaults were chosen by the numbers below.

    Medians over 36 real clips (telephone imitations, ESC-10, Dirt-Samples) and over two Gaussian-smoothed noise
    patterns of 16 dB deviation; "crest" is that of the sound less that of the clip itself, for noise the sound's
    own; time is for one sound on one core. The clips themselves have crest 19 dB and buzz -0.2 dB. On the 12 clips
    of the last rows overlap 4 has 1.2 dB, -0.3, 1.2 dB (imitation) and 0.7 dB, -0.2, 2.7 dB (recording).

    ======================  =========  =======  ========  ============  ===========  ======
    imitation               error      crest    buzz      noise: error  noise:crest  time
    ======================  =========  =======  ========  ============  ===========  ======
    overlap 1 (the trap)    5.9 dB     +14.5    16.9 dB   8.9 dB        36.2 dB      0.09 s
    overlap 2               1.9 dB     +0.7     2.4 dB    3.1 dB        27.1 dB      0.16 s
    **overlap 4**           1.4 dB     +0.2     1.4 dB    2.3 dB        24.4 dB      0.30 s
    overlap 6, 12 clips     1.2 dB     -0.1     2.2 dB    2.2 dB        25.3 dB      0.5 s
    ======================  =========  =======  ========  ============  ===========  ======

    ======================  =========  =======  ========  ============  ===========  ======
    recording               error      crest    buzz      noise: error  noise:crest  time
    ======================  =========  =======  ========  ============  ===========  ======
    overlap 1 (the trap)    4.4 dB     +18.4    16.4 dB   6.7 dB        38.2 dB      0.09 s
    overlap 2               0.3 dB     +0.8     4.4 dB    1.1 dB        21.2 dB      0.14 s
    **overlap 4**           0.7 dB     +0.1     2.6 dB    1.2 dB        21.5 dB      0.30 s
    overlap 8, 12 clips     0.8 dB     +0.3     2.0 dB    1.3 dB        21.3 dB      0.6 s
    ======================  =========  =======  ========  ============  ===========  ======
    """

    overlap: int = 4  # synthesis frames per analysis frame; 2 buzzes more, more than 4 costs time for 0.1 dB or less
    mel_iterations: int = 100  # 20 ms at most; 300 change the mel residual of real clips by 0.001 dB
    griffin_lim_iterations: int = 64  # 32: 0.06 dB more error, half the time; 128: 0.01 dB less, twice
    momentum: float = 0.99  # imitation, overlap 6: 0.5 has 0.1 dB more error, 1.3 has 0.2 dB more
    # 10 ms silence a whole frame at each end: an outlier whose share of the clip's deviation costs up to 5 % of an
    # activation.
    fade_s: float = 0.003
    peak: float = 0.5  # patterns are shrill; head room for players that resample
    contrast: float = 1.0  # factor of the pattern's deviation in dB, see SHORTLIST

    def __post_init__(self) -> None:
        if self.overlap < 1 or self.mel_iterations < 0 or self.griffin_lim_iterations < 0:
            raise PatternError(f"{self}: overlap must be at least 1, iterations at least 0")
        if not 0 < self.peak <= 1 or self.fade_s < 0 or self.momentum < 0 or not 0 < self.contrast <= 1:
            raise PatternError(f"{self}: peak and contrast must be in (0, 1], fade_s and momentum at least 0")


# What a pattern's sound is chosen from. At the full contrast of the training clips the sounds of 52 patterns kept a
# median of 0.37 to 0.98 of the activation by layer; at these, of the same pictures, 0.51 to 0.97, with 1 to 9 dB less
# crest.
SHORTLIST = tuple(SonifySettings(griffin_lim_iterations=32, contrast=contrast) for contrast in (0.4, 0.25))


@dataclasses.dataclass(frozen=True, eq=False)
class Sonification:
    """A sound made from a pattern, and what it is worth.

    Attributes:
        waveform: ``(config.n_samples,)`` float32, largest magnitude ``settings.peak``.
        sample_rate: in Hz.
        gain: factor of the peak normalisation: ``waveform / gain`` has the level of a pattern whose largest mel
            power is 1. It is 1 for a silent waveform.
        log_mel_error_db: see :func:`log_mel_error_db`; per ``settings.contrast``, so in dB of the pattern.
        crest_db: peak over root mean square, see :func:`iminet_viz.audio.crest_db`.
        buzz_db: see :func:`iminet_viz.audio.frame_rate_buzz_db`.
    """

    waveform: np.ndarray
    sample_rate: int
    gain: float
    log_mel_error_db: float
    crest_db: float
    buzz_db: float


def sonify(
    pattern: np.ndarray,
    config: LogMelConfig,
    mean_db: float,
    std_db: float,
    settings: SonifySettings | None = None,
    seed: int = 0,
) -> Sonification:
    """Make a sound whose log-mel, seen by the front end ``config``, is the pattern.

    The same arguments give the same bytes. A constant pattern becomes stationary noise of flat mel spectrum.

    Args:
        pattern: ``(bands, frames)`` of mean 0 and deviation 1, as the front end gives it.
        config: the front end that the pattern belongs to.
        mean_db: mean of the log-mel in dB that standardisation took away.
        std_db: its deviation in dB, at least 0.
        settings: how; the defaults if ``None``.
        seed: of the phases that Griffin-Lim starts from.

    Raises:
        FrontEndError: the pattern has another shape or is not finite, or the level is not.
    """
    settings = settings or SonifySettings()
    waveform, gain, mel_power = _synthesize(pattern, config, mean_db, std_db, settings, seed)
    return Sonification(
        waveform=waveform,
        sample_rate=config.sample_rate,
        gain=gain,
        log_mel_error_db=log_mel_error_db(waveform, mel_power, config) / settings.contrast,
        crest_db=crest_db(waveform),
        buzz_db=frame_rate_buzz_db(waveform, config.sample_rate, config.sample_rate / config.hop_length),
    )


def _synthesize(
    pattern: np.ndarray, config: LogMelConfig, mean_db: float, std_db: float, settings: SonifySettings, seed: int
) -> tuple[np.ndarray, float, np.ndarray]:
    """The waveform, the gain of its peak normalisation, and the mel power that was wanted of it."""
    mel_power = torch.from_numpy(to_mel_power(pattern, config, mean_db, std_db * settings.contrast)).float()
    hop = max(1, config.hop_length // settings.overlap)  # 33 samples for 133: positions need not be whole frames
    n_fft = config.n_fft
    power = mel_to_linear(mel_power, frontend_of(config).mel_basis, settings.mel_iterations)
    n_frames = math.ceil(config.n_samples / hop) + 1
    power = interpolate_frames(power, np.arange(n_frames) * (hop / config.hop_length))
    generator = torch.Generator().manual_seed(seed)
    raw = griffin_lim(
        power.sqrt(), n_fft, hop, settings.griffin_lim_iterations, settings.momentum, generator, config.n_samples
    )
    waveform = _fade(_cut_above(raw.double().numpy(), config), round(settings.fade_s * config.sample_rate))
    largest = float(np.abs(waveform).max())
    gain = settings.peak / largest if largest > TINY else 1.0
    return (waveform * gain).astype(np.float32), gain, mel_power.numpy()


def sonify_pattern(
    pattern: Pattern, role: str | None = None, settings: SonifySettings | None = None
) -> tuple[np.ndarray, int]:
    """Make one side of a pattern audible: ``(samples,)`` float32 and the rate in Hz, ready for ``save_audio``.

    Args:
        pattern: of a tower's neuron, or of an fc1 unit.
        role: the side to hear, "imitation" or "recording"; only a pair needs it.
        settings: how; the first of :data:`SHORTLIST` if ``None``.

    Raises:
        PatternError: a pair without a role, a role that the pattern does not have, or no log-mel.
    """
    roles = list(pattern.inputs)
    if role is None and len(roles) == 1:
        role = roles[0]
    if role not in roles:
        raise PatternError(f"the pattern of {pattern.objective} has the sides {' and '.join(roles)}: choose a role")
    waveform = _sonify_side(pattern, role, SHORTLIST[0] if settings is None else settings)
    return waveform, pattern.frontends[role].sample_rate


@dataclasses.dataclass(frozen=True, eq=False)
class PatternSound:
    """What a pattern sounds like and what that is worth: both sides of an fc1 unit together.

    Attributes:
        method: "griffin-lim", or "direct" (see :mod:`iminet_viz.direct`).
        settings: of the method, as JSON values.
        waveforms: by role, ``(config.n_samples,)`` float32 in the steps of the 16 bits that are saved.
        sample_rate: by role, in Hz.
        gain: by role, see :class:`Sonification`.
        crest_db: by role.
        buzz_db: by role, see :func:`iminet_viz.audio.frame_rate_buzz_db`.
        flatness: by role, see :func:`iminet_viz.audio.spectral_flatness`.
        log_mel_error_db: by role, from the pattern; the contrast that it was made to sound with is divided out, since
            the front end takes it away, so figures of different contrasts compare.
        activation: of the pattern's objective on the original ReLU network, of what is in ``waveforms``.
        activation_kept: per activation of the pattern; None where that is not positive.
    """

    method: str
    settings: Mapping[str, Any]
    waveforms: Mapping[str, np.ndarray]
    sample_rate: Mapping[str, int]
    gain: Mapping[str, float]
    crest_db: Mapping[str, float]
    buzz_db: Mapping[str, float]
    flatness: Mapping[str, float]
    log_mel_error_db: Mapping[str, float]
    activation: float
    activation_kept: float | None


def choose_griffin_lim(
    model: TrainedModel, pattern: Pattern, shortlist: Sequence[SonifySettings] = SHORTLIST
) -> PatternSound:
    """Make a pattern audible with the settings that serve it best.

    Of the settings whose sound keeps at least 95 % of what the best one keeps, the one of the lowest crest (both sides
    of a pair together).

    Args:
        model: of the pattern.
        pattern: of a tower's neuron, or of an fc1 unit.
        shortlist: at least one.

    Raises:
        PatternError: no settings, or a side that is no log-mel.
    """
    if not shortlist:
        raise PatternError("no synthesis settings to choose from")
    made = [{role: _sonify_side(pattern, role, settings) for role in pattern.inputs} for settings in shortlist]
    activations = [activation_of(model, pattern, sides) for sides in made]
    enough = 0.95 * max(activations) if max(activations) > 0 else -math.inf
    crests = [
        sum(map(crest_db, sides.values())) if activation >= enough else math.inf
        for sides, activation in zip(made, activations, strict=True)
    ]
    best = int(np.argmin(crests))
    settings = shortlist[best]
    return measure(model, pattern, made[best], "griffin-lim", dataclasses.asdict(settings), settings.contrast)


def measure(
    model: TrainedModel,
    pattern: Pattern,
    waveforms: Mapping[str, np.ndarray],
    method: str,
    settings: Mapping[str, Any],
    contrast: float,
) -> PatternSound:
    """Take the measures of a pattern's sound: ``{role: (config.n_samples,)}``, rounded to 16 bits first."""
    waveforms = {role: quantize(x) for role, x in waveforms.items()}
    gain, crest, buzz, flatness, error = {}, {}, {}, {}, {}
    for role, x in waveforms.items():
        config, level = log_mel_of(pattern, role), pattern.db_statistics[role]
        wanted = to_mel_power(pattern.inputs[role], config, level.mean_db, level.std_db * contrast)
        largest = float(frontend_of(config).spectrogram(torch.from_numpy(x)[None]).max())
        gain[role] = math.sqrt(largest) if largest > TINY else 1.0
        crest[role] = crest_db(x)
        buzz[role] = frame_rate_buzz_db(x, config.sample_rate, config.sample_rate / config.hop_length)
        flatness[role] = spectral_flatness(x, config.sample_rate, config.fmax)
        error[role] = log_mel_error_db(x, wanted, config) / contrast
    activation = activation_of(model, pattern, waveforms)
    return PatternSound(
        method=method,
        settings=settings,
        waveforms=waveforms,
        sample_rate={role: log_mel_of(pattern, role).sample_rate for role in waveforms},
        gain=gain,
        crest_db=crest,
        buzz_db=buzz,
        flatness=flatness,
        log_mel_error_db=error,
        activation=activation,
        activation_kept=activation / pattern.activation if pattern.activation > 0 else None,
    )


@torch.no_grad()
def activation_of(model: TrainedModel, pattern: Pattern, waveforms: Mapping[str, np.ndarray]) -> float:
    """Activation of a pattern's objective on the model's own ReLU network; ``{role: (config.n_samples,)}``."""
    heard = {
        role: model.frontends[role](torch.from_numpy(np.asarray(x, np.float32))[None].to(model.device))[0, 0]
        for role, x in waveforms.items()
    }
    return engine.activation_of(model, pattern.objective, {role: x.cpu().numpy() for role, x in heard.items()})


def log_mel_of(pattern: Pattern, role: str) -> LogMelConfig:
    """Front end of a pattern's side.

    Raises:
        PatternError: it is no log-mel.
    """
    config: FrontEndConfig = pattern.frontends[role]
    if not isinstance(config, LogMelConfig):
        raise PatternError(f"the {role} side of {pattern.objective} is no log-mel: only those can be made to sound")
    return config


def _sonify_side(pattern: Pattern, role: str, settings: SonifySettings) -> np.ndarray:
    level, config = pattern.db_statistics[role], log_mel_of(pattern, role)
    return _synthesize(pattern.inputs[role], config, level.mean_db, level.std_db, settings, pattern.seed)[0]


def mel_to_linear(mel_power: Tensor, mel_basis: Tensor, iterations: int) -> Tensor:
    """Find the non-negative power spectrum whose mel bands are given, by multiplicative updates.

    Each update lowers the Kullback-Leibler divergence (Lee and Seung, 2001). It weighs relative, not absolute,
    error: least squares would give up the quiet cells, which a network that sees dB sees as well as the loud ones.

    Shape:
        ``(..., bands, frames)`` mel power and ``(bands, freqs)`` basis to ``(..., freqs, frames)`` power. Where no
        band looks (0 Hz, above ``fmax``) the power is exactly 0.

    Raises:
        PatternError: the bands of the two differ.
    """
    if mel_power.shape[-2] != mel_basis.shape[0]:
        raise PatternError(f"{mel_power.shape[-2]} mel bands and a basis of {mel_basis.shape[0]}, expected as many")
    weight = mel_basis.sum(0)  # (freqs,)
    back = (mel_basis / weight.clamp_min(TINY)).T.contiguous()  # (freqs, bands); each row sums to 1 or 0
    power = back @ mel_power / weight.clamp_min(1e-6)[:, None]
    for _ in range(iterations):
        power = power * (back @ (mel_power / (mel_basis @ power).clamp_min(TINY)))
    return power


def interpolate_frames(power: Tensor, positions: np.ndarray, range_db: float = 100.0) -> Tensor:
    """Read a spectrogram between its frames: in dB, by monotone cubics, which never overshoot an onset.

    Monotone cubics rather than straight lines: a corner at every frame is itself a buzz at the frame rate.

    Args:
        power: ``(freqs, frames)``, not negative.
        positions: ``(new_frames,)`` in frames, fractions allowed; outside the first and last frame they are held.
        range_db: what lies further below the maximum is raised to it, since zeros have no logarithm.

    Returns:
        ``(freqs, new_frames)``; rows of zeros stay zero.
    """
    from scipy.interpolate import PchipInterpolator

    frames = power.shape[-1]
    values = power.double().numpy()
    if frames == 1:
        return power.expand(-1, len(positions)).clone()
    floor = max(float(values.max()) * 10 ** (-range_db / 10), TINY)
    log_power = PchipInterpolator(np.arange(frames), np.log(np.maximum(values, floor)), axis=-1)(
        np.clip(positions, 0, frames - 1)
    )
    sounding = values.max(axis=-1, keepdims=True) > 0
    return torch.from_numpy(np.where(sounding, np.exp(log_power), 0.0)).to(power.dtype)


def griffin_lim(
    magnitude: Tensor,
    n_fft: int,
    hop: int,
    iterations: int,
    momentum: float = 0.99,
    generator: torch.Generator | None = None,
    length: int | None = None,
) -> Tensor:
    """Find a waveform with the given magnitudes, by fast Griffin-Lim (Perraudin, Balazs, Sondergaard, 2013).

    Frames are centred at multiples of ``hop``, the window is a periodic Hann of ``n_fft``. All sounds of a batch
    start from the same phases, so that each is what it would be alone.

    Args:
        magnitude: ``(..., freqs, frames)`` with ``freqs = n_fft // 2 + 1``, float32 or float64.
        n_fft: window length in samples.
        hop: samples between frames, at most ``n_fft``.
        iterations: of projection and acceleration.
        momentum: 0 is plain Griffin-Lim.
        generator: of the starting phases; seed 0 if ``None``.
        length: samples wanted; ``(frames - 1) * hop`` if ``None``.

    Returns:
        ``(..., length)`` waveform.

    Raises:
        PatternError: frequencies, hop or length do not fit.
    """
    freqs, frames = magnitude.shape[-2:]
    if freqs != n_fft // 2 + 1 or not 1 <= hop <= n_fft:
        raise PatternError(f"{freqs} frequencies for n_fft = {n_fft} and hop = {hop}: expected {n_fft // 2 + 1}")
    length = (frames - 1) * hop if length is None else length
    if not 0 < length <= (frames - 1) * hop + n_fft - n_fft // 2:
        raise PatternError(f"{frames} frames every {hop} samples do not cover {length} samples")
    target = magnitude.transpose(-2, -1).contiguous()  # (..., frames, freqs)
    window = torch.hann_window(n_fft, dtype=magnitude.dtype)
    # Where nothing overlaps the window's ends are all there is to divide by: only overlap 1 meets the clamp.
    envelope = _overlap_add(window.square().expand(frames, n_fft), hop).clamp_min(1e-8)
    envelope[: n_fft // 2] = envelope[n_fft // 2 + length :] = math.inf  # silence around the sound, as analysis has it

    def to_waveform(spectrum: Tensor) -> Tensor:
        return _overlap_add(torch.fft.irfft(spectrum, n=n_fft) * window, hop) / envelope

    generator = generator or torch.Generator().manual_seed(0)
    phase = 2 * math.pi * torch.rand(frames, freqs, generator=generator, dtype=magnitude.dtype)
    spectrum = target * torch.polar(torch.ones_like(phase), phase)
    previous = torch.zeros_like(spectrum)
    step = momentum / (1 + momentum)  # the accelerated point, up to a factor that the magnitude takes away
    for _ in range(iterations):
        consistent = torch.fft.rfft(to_waveform(spectrum).unfold(-1, n_fft, hop) * window)
        ahead = consistent - step * previous
        previous = consistent
        spectrum = ahead * (target / ahead.abs().clamp_min(TINY))
    return to_waveform(spectrum)[..., n_fft // 2 : n_fft // 2 + length]


def log_mel_error_db(waveform: np.ndarray, mel_power: np.ndarray, config: LogMelConfig) -> float:
    """Mean absolute difference in dB between a mel power spectrogram and what the front end sees of a waveform.

    Both are in dB relative to their own maximum, at most ``config.top_db`` below it; the mean difference over all
    cells is removed first, because the network does not see it either.

    Shape:
        ``(config.n_samples,)`` waveform and ``(bands, frames)`` mel power.
    """
    wanted = 10 * np.log10(np.maximum(mel_power, TINY))
    wanted = np.maximum(wanted - wanted.max(), -config.top_db)
    heard = frontend_of(config).decibels(torch.from_numpy(np.asarray(waveform, np.float32))[None])[0].double().numpy()
    difference = heard - wanted
    return float(np.abs(difference - difference.mean()).mean())


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Add up ``(..., frames, n_fft)`` every ``hop`` samples to ``(..., (frames - 1) * hop + n_fft)``."""
    *batch, n_frames, n_fft = frames.shape
    blocks = -(-n_fft // hop)
    frames = torch.nn.functional.pad(frames, (0, blocks * hop - n_fft)).unflatten(-1, (blocks, hop))
    total = frames.new_zeros(*batch, n_frames + blocks - 1, hop)
    for block in range(blocks):
        total[..., block : block + n_frames, :] += frames[..., block, :]
    return total.flatten(-2)[..., : (n_frames - 1) * hop + n_fft]


def _cut_above(waveform: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """Remove what the window's side lobes put above the highest band."""
    if config.fmax >= config.sample_rate / 2:
        return waveform
    spectrum = np.fft.rfft(waveform)
    spectrum[np.fft.rfftfreq(len(waveform), 1 / config.sample_rate) > config.fmax] = 0
    return np.fft.irfft(spectrum, len(waveform))


def _fade(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Fade in and out over ``samples`` each, by a raised cosine, so that players do not click."""
    samples = min(samples, len(waveform) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(samples) + 0.5) / max(samples, 1))
    envelope = np.ones(len(waveform))
    envelope[:samples] = ramp
    envelope[len(waveform) - samples :] = ramp[::-1]
    return waveform * envelope
