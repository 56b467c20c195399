"""Waveform to standardised log spectrogram: the inputs of the towers, as differentiable torch modules.

Three settings make the paper's inputs (sections IV-A, V-A, V-B): ``IMITATION`` (39 x 482 log-mel, 16 kHz),
``RECORDING`` (128 x 128 log-mel, 44.1 kHz) and ``CONSTANT_Q`` (72 x 129, 16 kHz). Each ends alike: dB relative
to the clip's own maximum, floor 80 dB below it, then zero mean and unit deviation per clip. ``MEL_FRAMES`` (64 x 64
log-mel, 16 kHz) is the aligned net's: a clip of any length, trimmed and stretched.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iminet_viz.audio import fit_length
from iminet_viz.errors import FrontEndError

# Power below this is silence; librosa.power_to_db has the same.
AMIN = 1e-10


class _Length:
    """Length of the waveform that a front end sees, from its frames."""

    sample_rate: int
    hop_length: int
    n_frames: int

    @property
    def n_samples(self) -> int:
        """Length of the waveform that the front end sees."""
        return self.n_frames * self.hop_length

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


@dataclasses.dataclass(frozen=True)
class LogMelConfig(_Length):
    """Settings of a mel power spectrogram in dB; the windows do not overlap when ``n_fft == hop_length``."""

    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int
    n_frames: int
    fmin: float
    fmax: float
    top_db: float = 80.0
    pad_mode: str = "constant"  # librosa changed its default from "reflect": pinned, and stored with the model

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames of the output."""
        return self.n_mels, self.n_frames


@dataclasses.dataclass(frozen=True)
class ConstantQConfig(_Length):
    """Settings of a constant-Q magnitude spectrogram in dB."""

    sample_rate: int = 16_000
    hop_length: int = 420  # 26.25 ms
    n_bins: int = 72
    bins_per_octave: int = 12
    n_frames: int = 129
    fmin: float = 50.0
    top_db: float = 80.0

    @property
    def shape(self) -> tuple[int, int]:
        """Bins and frames of the output."""
        return self.n_bins, self.n_frames


@dataclasses.dataclass(frozen=True)
class MelFramesConfig(_Length):
    """Settings of log-mel frames that follow a clip's own length, for comparison by alignment.

    They decide more than the comparison does. The mean is half taken off because all of it is the colour of a room
    and a microphone and some of it is the sound; none of it, and all of it, are worse.
    """

    sample_rate: int = 16_000
    n_fft: int = 512
    hop_length: int = 160  # 10 ms
    n_mels: int = 64
    fmin: float = 50.0
    fmax: float = 8_000.0
    top_db: float = 80.0
    trim_db: float = 17.0  # below the loudest frame: what is cut at both ends
    mean_share: float = 0.5  # of the clip's own mean per band that is taken off
    pool: int = 4  # frames averaged to one: 40 ms
    n_frames: int = 64  # that a network sees; frames are compared untrained at their own number

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames of a network's input."""
        return self.n_mels, self.n_frames

    @property
    def n_samples(self) -> int:
        """Length of the clip that is not stretched: any other is stretched to its number of frames."""
        return self.n_frames * self.pool * self.hop_length


FrontEndConfig = LogMelConfig | ConstantQConfig | MelFramesConfig

IMITATION = LogMelConfig(sample_rate=16_000, n_fft=133, hop_length=133, n_mels=39, n_frames=482, fmin=0.0, fmax=5_000.0)
RECORDING = LogMelConfig(
    sample_rate=44_100, n_fft=1_024, hop_length=1_024, n_mels=128, n_frames=128, fmin=0.0, fmax=22_050.0
)
CONSTANT_Q = ConstantQConfig()
MEL_FRAMES = MelFramesConfig()

_KINDS: dict[str, type[FrontEndConfig]] = {
    "log-mel": LogMelConfig,
    "constant-q": ConstantQConfig,
    "mel-frames": MelFramesConfig,
}


def config_to_dict(config: FrontEndConfig) -> dict[str, Any]:
    """Give the settings as JSON values, with their ``kind``."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(config, cls))
    return {"kind": kind, **dataclasses.asdict(config)}


def config_from_dict(values: dict[str, Any]) -> FrontEndConfig:
    """Read settings back; unknown kinds and keys are refused.

    Raises:
        FrontEndError: the kind or a key is unknown, or a key is missing.
    """
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise FrontEndError(f"front end of unknown kind {kind!r}, expected one of {', '.join(_KINDS)}")
    cls = _KINDS[kind]
    names = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - names):
        raise FrontEndError(f"front end {kind} has unknown settings {', '.join(unknown)}")
    try:
        return cls(**values)
    except TypeError as error:
        raise FrontEndError(f"front end {kind}: {error}") from None


def make_frontend(config: FrontEndConfig) -> FrontEnd:
    """Build the module that the settings describe."""
    if isinstance(config, LogMelConfig):
        return LogMel(config)
    return ConstantQ(config) if isinstance(config, ConstantQConfig) else StretchedMel(config)


def power_to_db(power: Tensor, top_db: float) -> Tensor:
    """dB relative to each clip's maximum, nothing lower than ``-top_db``.

    Shape:
        ``(batch, bands, frames)`` power to the same shape in dB, maximum 0. A silent clip is 0 everywhere.
    """
    db = 10 * torch.log10(power.clamp_min(AMIN))
    db = db - db.amax(dim=(-2, -1), keepdim=True)
    return db.clamp_min(-top_db)


def standardize(values: Tensor) -> Tensor:
    """Zero mean, unit deviation over bands and frames of each clip; a constant clip gives zeros.

    Shape:
        ``(..., bands, frames)`` to the same.
    """
    centred = values - values.mean(dim=(-2, -1), keepdim=True)
    centred = centred - centred.mean(dim=(-2, -1), keepdim=True)  # what rounding left of a large mean
    variance = centred.square().mean(dim=(-2, -1), keepdim=True)
    return centred * variance.clamp_min(1e-8).rsqrt()


class FrontEnd(nn.Module):
    """What the front ends share: the length check, dB, the floor, standardisation; abstract."""

    config: FrontEndConfig

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Power per band and frame: ``(batch, samples)`` to ``(batch, bands, frames)``."""
        raise NotImplementedError  # final in LogMel and ConstantQ

    def band_frequencies(self) -> np.ndarray:
        """Centre of each band, ``(bands,)`` in Hz."""
        raise NotImplementedError

    def fit(self, waveform: np.ndarray) -> np.ndarray:
        """What is seen of a clip of any length, ``(samples,)``: padded with zeros or cut at the end."""
        return fit_length(waveform, self.config.n_samples)

    def normalize(self, db: Tensor) -> Tensor:
        """From :meth:`decibels` to a tower's input, ``(batch, bands, frames)`` both: mean 0, deviation 1."""
        return standardize(db)

    def decibels(self, waveform: Tensor) -> Tensor:
        """Log spectrogram before standardisation.

        Shape:
            ``(batch, config.n_samples)`` to ``(batch, bands, frames)``, dB relative to each clip's maximum.

        Raises:
            FrontEndError: the waveform has another shape.
        """
        if waveform.ndim != 2 or waveform.shape[1] != self.config.n_samples:
            raise FrontEndError(
                f"waveform of shape {tuple(waveform.shape)}, expected (batch, {self.config.n_samples}): "
                f"{self.config.duration_s:.2f} s at {self.config.sample_rate} Hz"
            )
        return power_to_db(self.spectrogram(waveform), self.config.top_db)

    def forward(self, waveform: Tensor) -> Tensor:
        """Input of a tower: ``(batch, config.n_samples)`` to ``(batch, 1, bands, frames)``, mean 0, deviation 1."""
        return self.normalize(self.decibels(waveform))[:, None]


def mel_frequencies(n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Frequencies evenly spaced on Slaney's mel scale, both ends included: ``(n_mels,)`` in Hz.

    To the bit those of ``librosa.mel_frequencies``, whose import takes longer than a search.
    """
    hz_per_mel, log_from, log_step = 200 / 3, 1000.0, np.log(6.4) / 27.0  # straight below 1 kHz, logarithmic above

    def to_mel(hz: float) -> float:
        return hz / hz_per_mel if hz < log_from else log_from / hz_per_mel + np.log(hz / log_from) / log_step

    mel = np.linspace(to_mel(fmin), to_mel(fmax), n_mels)
    above = mel >= log_from / hz_per_mel
    return np.where(above, log_from * np.exp(log_step * (mel - log_from / hz_per_mel)), hz_per_mel * mel)


def mel_basis(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangular bands of equal area: ``(n_mels, 1 + n_fft // 2)`` float32, to the bit ``librosa.filters.mel``."""
    edges = mel_frequencies(n_mels + 2, fmin, fmax)
    apart = np.diff(edges)
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1 / sample_rate))
    rising, falling = -ramps[:-2] / apart[:-1, None], ramps[2:] / apart[1:, None]
    basis = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    basis *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return basis


class LogMel(FrontEnd):
    """Mel power spectrogram in dB (Slaney's mel scale and area normalisation, periodic Hann window, centred frames).

    The reference is ``librosa.power_to_db(librosa.feature.melspectrogram(...), ref=np.max, top_db=80)``.

    Shape:
        ``(batch, config.n_samples)`` to ``(batch, 1, n_mels, n_frames)``.
    """

    window: Tensor
    mel_basis: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config: LogMelConfig = config
        basis = mel_basis(config.sample_rate, config.n_fft, config.n_mels, config.fmin, config.fmax)
        self.register_buffer("window", torch.hann_window(config.n_fft, periodic=True), persistent=False)
        self.register_buffer("mel_basis", torch.from_numpy(basis), persistent=False)  # (n_mels, 1 + n_fft // 2)

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Mel power: ``(batch, samples)`` to ``(batch, n_mels, n_frames)``."""
        config = self.config
        stft = torch.stft(
            waveform,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            window=self.window,
            center=True,
            pad_mode=config.pad_mode,
            return_complex=True,
        )
        power = stft.real.square() + stft.imag.square()
        return self.mel_basis @ power[..., : config.n_frames]

    def band_frequencies(self) -> np.ndarray:
        """Centre of each mel band, ``(n_mels,)`` in Hz."""
        config = self.config
        return mel_frequencies(config.n_mels + 2, config.fmin, config.fmax)[1:-1]


@functools.lru_cache(maxsize=8)
def frontend_of(config: LogMelConfig) -> LogMel:
    """Build a log-mel once, on the CPU: its basis costs more than its use."""
    return LogMel(config)


def to_mel_power(pattern: np.ndarray, config: FrontEndConfig, mean_db: float, std_db: float) -> np.ndarray:
    """Undo standardisation and decibels: ``10 ** (dB / 10)`` of ``dB = pattern * std_db + mean_db``.

    The largest value is made 1 (the front end knows no absolute level either, so ``mean_db`` cancels), and nothing
    is lower than ``config.top_db`` below it.

    Shape:
        ``(bands, frames)`` to the same, float64 in ``[10 ** (-top_db / 10), 1]``.

    Raises:
        FrontEndError: the pattern has another shape or is not finite, or the level is not.
    """
    pattern = np.asarray(pattern, np.float64)
    if pattern.shape != config.shape:
        raise FrontEndError(f"pattern of shape {pattern.shape}, the front end expects (bands, frames) = {config.shape}")
    if not (math.isfinite(mean_db) and math.isfinite(std_db) and std_db >= 0):
        raise FrontEndError(f"level of {mean_db} +- {std_db} dB, expected finite numbers and a deviation of at least 0")
    with np.errstate(over="ignore"):  # overflow gives infinity, refused here; what falls below the floor may
        db = pattern * std_db
        if not np.isfinite(db).all():
            raise FrontEndError("the pattern holds NaN, infinite or absurdly large values")
        return 10 ** (np.maximum(db - db.max(), -config.top_db) / 10)


class ConstantQ(FrontEnd):
    """Constant-Q magnitude in dB, by one FFT per frame and kernels in the frequency domain (Brown and Puckette, 1992).

    All frames share one FFT length, so nothing is resampled between octaves: a direct reading of the definition
    that runs on the GPU and differentiates. The reference is ``librosa.cqt`` where it does not decimate either (an odd
    hop, ``sparsity=0``): within 0.2 dB on bins within 40 dB of the maximum. At an even hop librosa decimates octave by
    octave, and a few bins at cancellations differ by more than 1 dB.

    Shape:
        ``(batch, config.n_samples)`` to ``(batch, 1, n_bins, n_frames)``.
    """

    kernels: Tensor

    def __init__(self, config: ConstantQConfig) -> None:
        super().__init__()
        self.config: ConstantQConfig = config
        frequencies = self.band_frequencies()
        # Relative bandwidth of the bins; librosa.filters.wavelet_lengths has the same.
        alpha = (2 ** (2 / config.bins_per_octave) - 1) / (2 ** (2 / config.bins_per_octave) + 1)
        lengths = config.sample_rate / (alpha * frequencies)  # samples
        self.n_fft = 1 << math.ceil(math.log2(lengths.max()))
        kernels = np.zeros((config.n_bins, self.n_fft), np.complex128)
        for row, frequency, length in zip(kernels, frequencies, lengths, strict=True):
            time = np.arange(-length // 2, length // 2)  # samples, as in librosa.filters.wavelet
            window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(time)) / len(time))  # periodic Hann
            kernel = window / window.sum() * np.exp(2j * np.pi * frequency * time / config.sample_rate)
            start = (self.n_fft - len(time)) // 2
            row[start : start + len(time)] = kernel * math.sqrt(length)  # the scale of librosa's scale=True
        # not conjugated: the kernels run backwards, as librosa's do; it tells where their length is odd
        spectrum = np.fft.fft(kernels, axis=1)[:, : self.n_fft // 2 + 1] / self.n_fft
        self.register_buffer("kernels", torch.from_numpy(spectrum.astype(np.complex64)), persistent=False)

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Constant-Q power: ``(batch, samples)`` to ``(batch, n_bins, n_frames)``."""
        config = self.config
        stft = torch.stft(
            waveform,
            n_fft=self.n_fft,
            hop_length=config.hop_length,
            window=waveform.new_ones(self.n_fft),
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        response = self.kernels.to(stft.dtype) @ stft[..., : config.n_frames]
        return response.real.square() + response.imag.square()

    def band_frequencies(self) -> np.ndarray:
        """Centre of each bin, ``(n_bins,)`` in Hz."""
        config = self.config
        return config.fmin * 2 ** (np.arange(config.n_bins) / config.bins_per_octave)


@dataclasses.dataclass(frozen=True)
class MelFrames:
    """Frames of one clip, as long as the clip is.

    ``values`` are ``(frames, n_mels)`` float32, (dB + 20) / 20; ``level_db`` is ``(frames,)`` below the loudest frame;
    ``duration_s`` is what trimming left.
    """

    values: np.ndarray
    level_db: np.ndarray
    duration_s: float


@functools.cache
def log_mel_of_frames(config: MelFramesConfig) -> LogMel:
    """The log-mel that frames are made of, of clips of any length."""
    return LogMel(
        LogMelConfig(
            sample_rate=config.sample_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            n_frames=1 << 30,  # all there are
            fmin=config.fmin,
            fmax=config.fmax,
            top_db=config.top_db,
        )
    )


@torch.no_grad()
def mel_decibels(waveform: np.ndarray, config: MelFramesConfig = MEL_FRAMES) -> np.ndarray:
    """Log-mel of a whole clip, before trimming.

    Shape:
        ``(samples,)`` at ``config.sample_rate`` to ``(n_mels, frames)`` float32, dB relative to the clip's maximum.

    Raises:
        FrontEndError: the waveform has another shape, or no samples.
    """
    if waveform.ndim != 1 or not len(waveform):
        raise FrontEndError(f"waveform of shape {waveform.shape}, expected (samples,), one sample or more")
    power = log_mel_of_frames(config).spectrogram(torch.from_numpy(np.ascontiguousarray(waveform, np.float32))[None])
    return power_to_db(power, config.top_db)[0].numpy()


def level_decibels(db: np.ndarray) -> np.ndarray:
    """Level of each frame in dB below the loudest: ``(bands, frames)`` in dB to ``(frames,)``."""
    level = 10 * np.log10(np.sum(10 ** (db / 10), axis=0))
    return level - level.max()


def loud_span(db: np.ndarray, trim_db: float) -> slice:
    """Frames from the first to the last that is within ``trim_db`` of the loudest."""
    loud = np.flatnonzero(level_decibels(db) >= -trim_db)
    return slice(int(loud[0]), int(loud[-1]) + 1)


def trim_frames(db: np.ndarray, trim_db: float) -> np.ndarray:
    """Cut the frames before the first and after the last that is within ``trim_db`` of the loudest."""
    return db[:, loud_span(db, trim_db)]


def condition_frames(db: np.ndarray, config: MelFramesConfig = MEL_FRAMES) -> MelFrames:
    """Take off the share of each band's mean, average to the long frames, scale.

    Shape:
        ``(n_mels, frames)`` in dB, trimmed, to ``ceil(frames / config.pool)`` frames.
    """
    starts = np.arange(0, db.shape[1], config.pool)
    counts = np.diff(np.append(starts, db.shape[1]))
    centred = db - config.mean_share * db.mean(axis=1, keepdims=True)
    values = np.add.reduceat(centred, starts, axis=1) / counts
    level = 10 * np.log10(np.add.reduceat(10 ** (level_decibels(db) / 10), starts) / counts)
    return MelFrames(
        np.ascontiguousarray((values.T + 20) / 20, np.float32),
        (level - level.max()).astype(np.float32),
        db.shape[1] * config.hop_length / config.sample_rate,
    )


def mel_frames(waveform: np.ndarray, config: MelFramesConfig = MEL_FRAMES) -> MelFrames:
    """Frames of a clip: ``(samples,)`` at ``config.sample_rate`` to :class:`MelFrames`.

    Raises:
        FrontEndError: as for :func:`mel_decibels`.
    """
    return condition_frames(trim_frames(mel_decibels(waveform, config), config.trim_db), config)


def resample_frames(values: np.ndarray, n_frames: int) -> np.ndarray:
    """Stretch frames to a fixed number by straight lines: ``(frames, bands)`` to ``(bands, n_frames)`` float32."""
    position = np.linspace(0, len(values) - 1, n_frames)
    below = np.minimum(position.astype(int), max(len(values) - 2, 0))
    above = np.minimum(below + 1, len(values) - 1)
    share = (position - below)[:, None]
    return np.ascontiguousarray((values[below] * (1 - share) + values[above] * share).T, np.float32)


class StretchedMel(FrontEnd):
    """Log-mel of the trimmed clip, conditioned as :func:`mel_frames` and stretched to a fixed number of frames.

    The stretch depends on the clip's length, so waveforms get no gradient here; patterns do, by :meth:`normalize`.

    Shape:
        ``(batch, samples)``, one or more, to ``(batch, 1, n_mels, n_frames)``.
    """

    def __init__(self, config: MelFramesConfig) -> None:
        super().__init__()
        self.config: MelFramesConfig = config

    def fit(self, waveform: np.ndarray) -> np.ndarray:
        """The whole clip: ``(samples,)`` to the same."""
        return waveform

    def decibels(self, waveform: Tensor) -> Tensor:
        """Stretched frames in dB below the clip's maximum, the mean left on: ``(batch, n_mels, n_frames)``."""
        return 20 * self._stretched(waveform, dataclasses.replace(self.config, mean_share=0.0)) - 20

    def normalize(self, db: Tensor) -> Tensor:
        """Take off the share of each band's mean and scale: :func:`condition_frames` of frames already pooled."""
        return (db - self.config.mean_share * db.mean(dim=-1, keepdim=True) + 20) / 20

    def forward(self, waveform: Tensor) -> Tensor:
        """Input of the aligned net; the mean is that of the frames before pooling and stretching."""
        return self._stretched(waveform, self.config)[:, None]

    def durations(self, waveform: Tensor) -> Tensor:
        """Seconds that trimming leaves of each clip, which stretching hides: ``(batch, samples)`` to ``(batch,)``."""
        return waveform.new_tensor([clip.duration_s for clip in self._clips(waveform, self.config)])

    def _clips(self, waveform: Tensor, config: MelFramesConfig) -> list[MelFrames]:
        return [mel_frames(clip, config) for clip in waveform.detach().cpu().numpy()]

    def _stretched(self, waveform: Tensor, config: MelFramesConfig) -> Tensor:
        frames = [resample_frames(clip.values, config.n_frames) for clip in self._clips(waveform, config)]
        return torch.from_numpy(np.stack(frames)).to(waveform.device)

    def band_frequencies(self) -> np.ndarray:
        """Centre of each mel band, ``(n_mels,)`` in Hz."""
        return log_mel_of_frames(self.config).band_frequencies()


def trim_silence(waveform: np.ndarray, sample_rate: int, trim_db: float) -> np.ndarray:
    """Cut both ends of a waveform where 10 ms are more than ``trim_db`` below the loudest 10 ms.

    Shape:
        ``(samples,)`` to fewer; silence comes back whole.
    """
    hop = max(sample_rate // 100, 1)
    blocks = np.add.reduceat(np.square(waveform, dtype=np.float64), np.arange(0, len(waveform), hop))
    if not blocks.max() > 0:
        return waveform
    loud = np.flatnonzero(blocks >= blocks.max() * 10 ** (-trim_db / 10))
    return waveform[loud[0] * hop : (loud[-1] + 1) * hop]
