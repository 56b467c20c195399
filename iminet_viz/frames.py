"""Log-mel frames of a clip of any length: the aligned net's input, without torch.

Worker processes that fill a library import this, one for each core: torch would take each a second and 300 MB.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from iminet_viz.errors import FrontEndError

# Power below this is silence; librosa.power_to_db has the same.
AMIN = 1e-10
# Nobody knows where a sound begins and ends: breath, room and the tail are in an imitation or not. So each clip is cut
# at several levels below its loudest frame, and the two cuts that fit each other best count. MRR on people (mean of six
# nets): .361 with one cut of each clip, .375 with three of the query at 14, 17 and 20 dB, .386 with these. Every cut of
# a recording is one more vector in an index; with five on both sides it is not higher (.381).
TRIMS_DB = {"imitation": (12.0, 17.0, 25.0), "recording": (14.0, 25.0)}


class Length:
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
class MelFramesConfig(Length):
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


MEL_FRAMES = MelFramesConfig()


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
def _hann_and_basis(config: MelFramesConfig) -> tuple[np.ndarray, np.ndarray]:
    """Periodic window ``(n_fft,)`` and bands ``(n_mels, 1 + n_fft // 2)``."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    basis = mel_basis(config.sample_rate, config.n_fft, config.n_mels, config.fmin, config.fmax)
    return window.astype(np.float32), basis


def mel_decibels(waveform: np.ndarray, config: MelFramesConfig = MEL_FRAMES) -> np.ndarray:
    """Log-mel of a whole clip, before trimming: that of :class:`~iminet_viz.frontends.LogMel`, of any length.

    Shape:
        ``(samples,)`` at ``config.sample_rate`` to ``(n_mels, frames)`` float32, dB relative to the clip's maximum.

    Raises:
        FrontEndError: the waveform has another shape, or no samples.
    """
    from scipy.fft import rfft

    if waveform.ndim != 1 or not len(waveform):
        raise FrontEndError(f"waveform of shape {waveform.shape}, expected (samples,), one sample or more")
    window, basis = _hann_and_basis(config)
    padded = np.pad(np.asarray(waveform, np.float32), config.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop_length]
    spectrum = rfft(frames * window)  # six times as fast as that of numpy
    db = 10 * np.log10(np.maximum(basis @ (spectrum.real**2 + spectrum.imag**2).T, AMIN), dtype=np.float32)
    return np.maximum(db - db.max(), -config.top_db)


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


def stretched_cuts(waveform: np.ndarray, role: str) -> np.ndarray:
    """Inputs of the aligned net for each cut of a clip, and the log of its duration: to ``(cuts, 64 * 64 + 1)``."""
    db = mel_decibels(waveform)
    frames = [condition_frames(trim_frames(db, trim_db), MEL_FRAMES) for trim_db in TRIMS_DB[role]]
    inputs = [np.append(resample_frames(cut.values, MEL_FRAMES.n_frames), np.log(cut.duration_s)) for cut in frames]
    return np.stack(inputs).astype(np.float32)
