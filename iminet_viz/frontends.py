"""Waveform to standardised log spectrogram: the inputs of the towers, as differentiable torch modules.

Three settings make the paper's inputs (sections IV-A, V-A, V-B): ``IMITATION`` (39 x 482 log-mel, 16 kHz),
``RECORDING`` (128 x 128 log-mel, 44.1 kHz) and ``CONSTANT_Q`` (72 x 129, 16 kHz). Each ends alike: dB relative
to the clip's own maximum, floor 80 dB below it, then zero mean and unit deviation per clip. ``StretchedMel`` (64 x 64
log-mel, 16 kHz) is the aligned net's: a clip of any length, trimmed and stretched, see :mod:`iminet_viz.frames`.
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
from iminet_viz.frames import (
    AMIN,
    Length,
    MelFrames,
    MelFramesConfig,
    mel_basis,
    mel_frames,
    mel_frequencies,
    resample_frames,
)


@dataclasses.dataclass(frozen=True)
class LogMelConfig(Length):
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
class ConstantQConfig(Length):
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


FrontEndConfig = LogMelConfig | ConstantQConfig | MelFramesConfig

IMITATION = LogMelConfig(sample_rate=16_000, n_fft=133, hop_length=133, n_mels=39, n_frames=482, fmin=0.0, fmax=5_000.0)
RECORDING = LogMelConfig(
    sample_rate=44_100, n_fft=1_024, hop_length=1_024, n_mels=128, n_frames=128, fmin=0.0, fmax=22_050.0
)
CONSTANT_Q = ConstantQConfig()

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
