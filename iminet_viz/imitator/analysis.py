"""What a listener takes from a sound: level, pitch, how noisy it is, its spectral shape, its events.

All tracks share one frame rate, so that the voice can follow them frame by frame.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from iminet_viz.errors import ImitationError

SAMPLE_RATE = 16_000  # Hz
HOP = 64  # samples, 4 ms
FRAME_RATE = SAMPLE_RATE / HOP  # Hz
N_FFT = 512  # samples, 32 ms
LONGEST_S = 5.0  # what people imitate in one breath
SILENCE = 1e-5  # peak below which a sound is silent (one step of 16 bits is 3e-5)
BAND_EDGES_HZ = (60.0, 8_000.0)
N_BANDS = 48
LOWEST_HZ = 30.0
PITCH_RANGE_HZ = (50.0, 4_000.0)


@dataclasses.dataclass(frozen=True)
class Features:
    """A sound as tracks of ``frames`` at :data:`FRAME_RATE`."""

    level_db: np.ndarray  # (frames,) relative to the loudest frame
    bands_db: np.ndarray  # (frames, N_BANDS) relative to each frame's strongest band, at least -40
    centroid_hz: np.ndarray  # (frames,)
    pitch_hz: np.ndarray  # (frames,) continued through unpitched stretches
    periodicity: np.ndarray  # (frames,) 0 noise .. 1 periodic
    onsets: np.ndarray  # (events,) frame of each event's start, the first is 0
    sharpness: np.ndarray  # (events,) 0 slow .. 1 sudden
    flutter_hz: float  # rate of a regular modulation too fast to articulate, 0 if there is none
    start_s: float = 0.0  # of the imitated part within the sound
    stop_s: float = 0.0

    @property
    def tonality(self) -> float:
        """Mean periodicity, weighted by power: near 0 for noise, near 1 for a flute."""
        weight = 10 ** (self.level_db / 10)
        return float((weight * self.periodicity).sum() / weight.sum())

    @property
    def brightness_hz(self) -> float:
        """Centroid of the whole sound, weighted by level."""
        weight = 10 ** (self.level_db / 20)
        return float(np.exp((weight * np.log(self.centroid_hz)).sum() / weight.sum()))


@cache
def _band_edges() -> np.ndarray:
    """Edges of the bands' triangles, ``(N_BANDS + 2,)`` in Hz, evenly spaced in mel (O'Shaughnessy, 1987)."""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in BAND_EDGES_HZ)
    return 700 * (10 ** (np.linspace(low, high, N_BANDS + 2) / 2595) - 1)


def band_frequencies() -> np.ndarray:
    """Centres of the bands, ``(N_BANDS,)`` in Hz."""
    return _band_edges()[1:-1]


@cache
def _band_weights() -> np.ndarray:
    """Triangles that share a frame's power between bands, ``(N_FFT // 2 + 1, N_BANDS)``; each band averages."""
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    edges = _band_edges()
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    weights[np.abs(bins[:, None] - edges[1:-1]).argmin(axis=0), np.arange(N_BANDS)] += 1e-3  # no band is empty
    return weights / weights.sum(axis=0)


@cache
def audibility_db() -> np.ndarray:
    """What the ear makes of each band, ``(N_BANDS,)``: the A-weighting of IEC 61672."""
    square = band_frequencies() ** 2
    gain = 12_194**2 * square**2 / (square + 20.6**2) / (square + 12_194**2)
    return 20 * np.log10(gain / np.sqrt((square + 107.7**2) * (square + 737.9**2))) + 2.0


def smooth(track: np.ndarray, duration_s: float) -> np.ndarray:
    """Average a track with a Hann window of this duration; ends are held."""
    width = int(duration_s * FRAME_RATE) | 1
    if width < 3:
        return track
    window = np.hanning(width + 2)[1:-1]
    padded = np.concatenate([np.full(width // 2, track[0]), track, np.full(width // 2, track[-1])])
    return np.convolve(padded, window / window.sum(), "valid")


def frames_of(waveform: np.ndarray, width: int, hop: int = HOP) -> np.ndarray:
    """Centred frames, ``(samples,)`` to ``(1 + samples // hop, width)``, zeros beyond the ends."""
    padded = np.pad(waveform, (width // 2, width // 2 + hop))
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::hop][: 1 + len(waveform) // hop]


def audible_part(waveform: np.ndarray, sample_rate: int) -> tuple[int, int]:
    """First and last sample of what somebody would imitate: silence cut, at most :data:`LONGEST_S`.

    Raises:
        ImitationError: the sound is empty, silent, or not finite.
    """
    if waveform.ndim != 1 or not len(waveform):
        raise ImitationError(f"a sound of shape {waveform.shape} was given, expected (samples,)")
    if not np.isfinite(waveform).all():
        raise ImitationError("the sound holds NaN or infinite samples")
    if np.abs(waveform).max() < SILENCE:
        raise ImitationError(f"the sound is silent (peak {np.abs(waveform).max():.1e})")
    step = max(1, sample_rate // 100)
    blocks = np.pad(waveform, (0, -len(waveform) % step)).reshape(-1, step)
    level = 20 * np.log10(np.sqrt(np.mean(np.square(blocks, dtype=np.float64), axis=1)) + 1e-12)
    audible = np.flatnonzero(level > level.max() - 35)
    start = max(0, audible[0] - 1) * step
    stop = min(len(waveform), (audible[-1] + 4) * step, start + int(LONGEST_S * sample_rate))
    return start, stop


def analyse(waveform: np.ndarray, sample_rate: int) -> Features:
    """Follow a sound.

    Args:
        waveform: ``(samples,)``, full scale 1.0.
        sample_rate: in Hz.

    Raises:
        ImitationError: the sound is empty, silent, not finite, or its rate is below 1,000 Hz.
    """
    import soxr

    if sample_rate < 1_000:
        raise ImitationError(f"the sound has a rate of {sample_rate} Hz, expected at least 1,000")
    waveform = np.asarray(waveform, np.float64)
    start, stop = audible_part(waveform, sample_rate)
    part = waveform[start:stop]
    if len(part) > 1:
        part = part - part.mean()  # else the resampler makes a click of where an offset begins
    sound = soxr.resample(part, sample_rate, SAMPLE_RATE)
    sound = np.pad(sound, (0, max(0, N_FFT - len(sound))))  # a click is a sound too
    spectrum = np.fft.rfft(sound)
    spectrum[: int(LOWEST_HZ * len(sound) / SAMPLE_RATE) + 1] = 0  # an offset or rumble would count as periodic
    sound = np.fft.irfft(spectrum, len(sound))
    # Clicks at the edges of a tone of 9 kHz are 45 dB below it; the least of 878 recordings was at 24 dB.
    if sound.std() <= max(1e-2 * part.std(), 1e-2 * SILENCE):
        raise ImitationError(f"the sound has nothing between {LOWEST_HZ:.0f} Hz and 8 kHz")
    sound = sound / np.abs(sound).max()

    window = np.hanning(N_FFT)
    power = np.abs(np.fft.rfft(frames_of(sound, N_FFT) * window)) ** 2  # (frames, bins)
    bands = power @ _band_weights()
    bands_db = 10 * np.log10(bands + 1e-9 * bands.max())
    relative_db = np.maximum(bands_db - bands_db.max(axis=1, keepdims=True), -40)

    audibility = 10 ** (audibility_db() / 10)
    fine = np.sqrt(np.mean(np.square(frames_of(sound, 160)), axis=1))  # 10 ms: keeps attacks sharp
    heard = np.sqrt((bands * audibility).sum(axis=1) / (bands.sum(axis=1) + 1e-12))
    level = fine * heard
    level_db = np.maximum(20 * np.log10(level / level.max() + 1e-9), -80)

    weight = bands * audibility + 1e-12
    centroid = np.exp((weight * np.log(band_frequencies())).sum(axis=1) / weight.sum(axis=1))
    pitch, periodicity = _follow_pitch(sound, len(level_db))
    onsets, sharpness = _find_events(bands_db, level_db)
    low = np.median(pitch) < 100 and np.median(periodicity) > 0.5  # its periods are not a modulation
    return Features(
        level_db,
        relative_db,
        smooth(centroid, 0.03),
        pitch,
        periodicity,
        onsets,
        sharpness,
        0.0 if low else _find_flutter(level_db),
        start / sample_rate,
        stop / sample_rate,
    )


def _follow_pitch(sound: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz and periodicity per frame: autocorrelation, then the cheapest path (after Boersma, 1993)."""
    width, hop, n_fft, finer = 1_024, 2 * HOP, 2_048, 4
    frames = frames_of(sound, width, hop)
    window = np.hanning(width)
    spectrum = np.abs(np.fft.rfft(frames * window, n_fft)) ** 2
    # zeros beyond the spectrum interpolate the autocorrelation: at 4 kHz a lag is only four samples
    correlation = np.fft.irfft(spectrum, finer * n_fft)[:, : finer * 400]
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2, finer * n_fft)[: finer * 400]
    energy = correlation[:, :1]
    correlation = correlation / (energy + 1e-9 * energy.max()) / (of_window / of_window[0])
    low, high = (int(finer * SAMPLE_RATE / rate) for rate in reversed(PITCH_RANGE_HZ))
    inner = correlation[:, low:high]
    peaks = np.zeros_like(inner)
    is_peak = (inner > correlation[:, low - 1 : high - 1]) & (inner >= correlation[:, low + 1 : high + 1])
    # a short lag wins over its multiples: a small price a doubling
    price = 0.04 * np.log2(np.arange(low, high) / low)
    peaks[is_peak] = (inner - price)[is_peak]
    n_candidates = 6
    best = np.argpartition(-peaks, n_candidates, axis=1)[:, :n_candidates]
    rows = np.arange(len(peaks))[:, None]
    strength = peaks[rows, best]  # (frames, candidates)
    log_pitch = np.log2(finer * SAMPLE_RATE / (best + low))
    cost = -strength[0]
    back = np.zeros(best.shape, int)
    for frame in range(1, len(best)):
        jump = np.abs(log_pitch[frame][:, None] - log_pitch[frame - 1])  # (now, before) in octaves
        total = cost + np.minimum(jump, 1.5) * 0.6
        back[frame] = total.argmin(axis=1)
        cost = total.min(axis=1) - strength[frame]
    path = np.empty(len(best), int)
    path[-1] = cost.argmin()
    for frame in range(len(best) - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    rows = rows[:, 0]
    pitch, periodicity = log_pitch[rows, path], np.clip(inner[rows, best[rows, path]], 0, 1)
    # A band of noise also repeats, but not for long: what is periodic still is so after 4 to 8 ms.
    later = correlation[:, 64 * finer : 128 * finer].max(axis=1).clip(min=0)
    periodicity = np.where(pitch > np.log2(SAMPLE_RATE / 64), np.minimum(periodicity, later), periodicity)
    loud = energy[:, 0] > 1e-4 * energy.max()
    sure = (periodicity > 0.5) & loud
    if sure.any():  # where there is none, the pitch before and after is continued
        pitch = np.interp(rows, rows[sure], pitch[sure])
    # what leaps an octave and back within 30 ms is an error of this tracker, or nothing that a voice can follow
    pitch = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(pitch, 4, mode="edge"), 9), axis=1)
    at = np.arange(n_frames) / 2
    return 2 ** np.interp(at, rows, pitch), np.interp(at, rows, np.where(loud, periodicity, 0))


def _find_events(bands_db: np.ndarray, level_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames where something begins, and how suddenly: rises of the spectrum in dB (spectral flux)."""
    floored = np.maximum(bands_db, bands_db.max() - 50)
    step = int(0.02 * FRAME_RATE)  # a rise over 20 ms
    rise = np.zeros(len(level_db))
    rise[step:] = np.clip(floored[step:] - floored[:-step], 0, None).mean(axis=1)
    rise = smooth(rise, 0.02)
    ahead = int(0.05 * FRAME_RATE)
    onsets, sharpness = [0], [float(np.clip((level_db[:ahead].max() - level_db[0]) / 20, 0.2, 1))]
    threshold = max(3.0, 0.25 * rise.max())  # dB in the mean over all bands
    for frame in np.argsort(-rise):
        if rise[frame] < threshold:
            break
        near = level_db[frame : frame + ahead].max() if frame < len(level_db) else -80
        if near > -30 and np.abs(np.array(onsets) - frame).min() > 0.03 * FRAME_RATE:
            onsets.append(int(frame))
            sharpness.append(float(np.clip(rise[frame] / 12, 0, 1)))
    order = np.argsort(onsets)
    return np.array(onsets)[order], np.array(sharpness)[order]


def _find_flutter(level_db: np.ndarray) -> float:
    """Rate in Hz of a regular modulation of the level between 12 and 45 Hz, 0 without one."""
    if len(level_db) < FRAME_RATE / 4:
        return 0.0
    level = np.maximum(level_db, -30)
    level = (level - smooth(level, 0.15)) * np.hanning(len(level))
    power = np.abs(np.fft.rfft(level, 2_048)) ** 2
    rates = np.arange(len(power)) * FRAME_RATE / 2_048
    fast = (rates > 12) & (rates < 45)
    # of all modulation, the share of one line, which the window spreads over 1.5 of its bins
    share = 1.5 * power[fast].max() * (2_048 / len(level)) / (power[rates < 60].sum() + 1e-9)
    strong = np.sqrt(np.mean(level**2)) > 1.0  # dB
    return float(rates[fast][power[fast].argmax()]) if strong and share > 0.4 else 0.0
