"""What sounds are made of: curves, oscillators, noise, filters, modes, events, and the finish of every sound.

All waveforms are ``(samples,)`` float64 at :data:`RATE`; a curve is such an array too, one value a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import fft, signal

RATE = 44_100
PEAK = 0.89  # -1 dB of full scale
Curve = float | np.ndarray


def count(seconds: float) -> int:
    """Samples of a duration, at least one."""
    return max(1, round(seconds * RATE))


# --- curves ---------------------------------------------------------------------------------------------------------


def line(*points: tuple[float, float]) -> np.ndarray:
    """Straight lines through (second, value); the last second is the duration."""
    times, values = np.transpose(points)
    return np.interp(np.arange(count(times[-1])) / RATE, times, values)


def glide(*points: tuple[float, float]) -> np.ndarray:
    """As :func:`line`, straight on a logarithmic scale: what the ear calls an even glide."""
    return np.exp(line(*((time, np.log(value)) for time, value in points)))


def fall(samples: int, t60: float, attack: float = 0.001) -> np.ndarray:
    """Rise in ``attack`` seconds, then lose 60 dB in ``t60`` seconds."""
    at = np.arange(samples) / RATE
    return np.minimum(at / max(attack, 1e-4), 1) * np.exp(-6.91 * at / t60)


def adsr(samples: int, attack: float, decay: float, sustain: float, release: float) -> np.ndarray:
    """Attack, decay to ``sustain``, release at the end; decay and release fall exponentially."""
    at = np.arange(samples) / RATE
    curve = sustain + (1 - sustain) * np.exp(-3 * np.maximum(at - attack, 0) / max(decay, 1e-3))
    curve *= np.minimum(at / max(attack, 5e-4), 1)
    left = samples / RATE - at
    return curve * np.where(left < release, (np.expm1(3 * left / max(release, 1e-3)) / np.expm1(3)).clip(0, 1), 1)


def wander(rng: np.random.Generator, samples: int, hz: float) -> np.ndarray:
    """A smooth random curve of mean 0 and deviation about 1 that changes about ``hz`` times a second."""
    knots = max(4, int(samples / RATE * hz) + 4)
    curve = np.interp(np.linspace(0, knots - 1, samples), np.arange(knots), rng.standard_normal(knots))
    width = max(3, min(samples, int(RATE / hz / 2)))
    smooth = signal.oaconvolve(np.pad(curve, width, mode="edge"), np.hanning(width + 2)[1:-1], "same")[width:-width]
    return smooth * (1.4 / np.hanning(width + 2).sum())


def spread(*parts: tuple[float, float, float]) -> tuple[float, ...]:
    """Event times: ``(start, stop, every)`` for each part, one after the other."""
    return tuple(float(t) for start, stop, every in parts for t in np.arange(start, stop, every))


def jittered(rng: np.random.Generator, times: Iterable[float], by: float) -> np.ndarray:
    """Times moved by up to ``by`` seconds, never before 0."""
    times = np.asarray(list(times), float)
    return np.maximum(times + by * rng.uniform(-1, 1, len(times)), 0)


# --- sources --------------------------------------------------------------------------------------------------------


def noise(rng: np.random.Generator, samples: int, tilt: float = 0.0) -> np.ndarray:
    """Gaussian noise of deviation 1 whose spectrum tilts by so many dB an octave (-3 pink, -6 brown) above 20 Hz."""
    white = rng.standard_normal(samples)
    if not tilt:
        return white
    size = fft.next_fast_len(samples, real=True)
    spectrum = fft.rfft(white, size)
    hz = np.maximum(fft.rfftfreq(size, 1 / RATE), 20)
    coloured = fft.irfft(spectrum * hz ** (tilt / 6.02), size)[:samples]
    return coloured / max(coloured.std(), 1e-12)


def turns(hz: Curve, samples: int) -> np.ndarray:
    """Phase in turns of an oscillator at a frequency curve; starts at 0."""
    if isinstance(hz, np.ndarray):
        return np.cumsum(hz) / RATE - hz[0] / RATE
    return np.arange(samples) * (hz / RATE)


def sine(hz: Curve, samples: int, start: float = 0.0) -> np.ndarray:
    """A sine; ``start`` in turns."""
    return np.sin(2 * np.pi * (turns(hz, samples) + start))


def saw(hz: Curve, samples: int, start: float = 0.5) -> np.ndarray:
    """A rising sawtooth whose jumps are rounded over two samples (PolyBLEP), so that it hardly aliases."""
    phase = (turns(hz, samples) + start) % 1
    step = np.maximum(hz / RATE, 1e-9)
    before = np.where(phase > 1 - step, (phase - 1) / step, 0)  # -1 ... 0 just before the jump
    after = np.where(phase < step, phase / step, 1)  # 0 ... 1 just after it
    rounded = np.where(phase > 1 - step, (before + 1) ** 2, 0) + np.where(phase < step, -((1 - after) ** 2), 0)
    return 2 * phase - 1 - rounded


def pulse(hz: Curve, samples: int, width: Curve = 0.5) -> np.ndarray:
    """A pulse wave as the difference of two sawtooths; ``width`` is the share of the period that is high."""
    step = np.asarray(hz) / RATE
    phase = (turns(hz, samples) + 0.25) % 1
    shifted = (phase + width) % 1

    def rounded(p: np.ndarray) -> np.ndarray:
        late = np.where(p > 1 - step, ((p - 1) / step + 1) ** 2, 0)
        return 2 * p - 1 - late + np.where(p < step, (1 - p / step) ** 2, 0)

    return (rounded(shifted) - rounded(phase)) / 2


def triangle(hz: Curve, samples: int) -> np.ndarray:
    """A triangle wave."""
    return 1 - 2 * np.abs(2 * ((turns(hz, samples) + 0.25) % 1) - 1)


def harmonics(hz: Curve, samples: int, gains: Sequence[Curve], start: np.ndarray | None = None) -> np.ndarray:
    """Sum of sines at multiples of ``hz``; what would lie above 18 kHz is left out. ``start`` in turns, one each."""
    phase = turns(hz, samples)
    top = float(np.max(hz))
    out = np.zeros(samples)
    for number, gain in enumerate(gains, start=1):
        if number * top > 18_000:
            break
        out += gain * np.sin(2 * np.pi * (number * phase + (0 if start is None else start[number - 1])))
    return out


def glottis(hz: np.ndarray, open_share: float = 0.6) -> np.ndarray:
    """Derivative of Rosenberg's pulses of air through vocal folds, the source of Klatt's synthesizer."""
    phase = turns(hz, len(hz)) % 1
    rise = 0.66 * open_share
    flow = np.where(
        phase < rise,
        0.5 - 0.5 * np.cos(np.pi * phase / rise),
        np.where(phase < open_share, np.cos(np.pi / 2 * (phase - rise) / (open_share - rise)), 0),
    )
    return np.diff(flow, prepend=flow[0]) * RATE / hz / 6


# --- filters --------------------------------------------------------------------------------------------------------


def low(x: np.ndarray, hz: float, order: int = 2) -> np.ndarray:
    """Butterworth low-pass."""
    return signal.sosfilt(signal.butter(order, min(hz, 0.49 * RATE), "low", fs=RATE, output="sos"), x)


def high(x: np.ndarray, hz: float, order: int = 2) -> np.ndarray:
    """Butterworth high-pass."""
    return signal.sosfilt(signal.butter(order, hz, "high", fs=RATE, output="sos"), x)


def band(x: np.ndarray, lowest: float, highest: float, order: int = 2) -> np.ndarray:
    """Butterworth band-pass."""
    edges = (lowest, min(highest, 0.49 * RATE))
    return signal.sosfilt(signal.butter(order, edges, "band", fs=RATE, output="sos"), x)


def resonate(x: np.ndarray, hz: float, bandwidth: float) -> np.ndarray:
    """Two poles, gain 1 at the resonance."""
    b, a = signal.iirpeak(hz, hz / bandwidth, fs=RATE)
    return signal.lfilter(b, a, x)


def body(x: np.ndarray, resonances: Iterable[tuple[float, float, float]], direct: float = 1.0) -> np.ndarray:
    """The sound and its resonances ``(hz, bandwidth, gain)`` in parallel."""
    return direct * x + sum(gain * resonate(x, hz, bandwidth) for hz, bandwidth, gain in resonances)


def swept(x: np.ndarray, hz: Curve, q: Curve = 0.7, kind: str = "low", stages: int = 1, block: int = 64) -> np.ndarray:
    """A second-order filter whose frequency (and Q) moves: low, band (gain 1 at the centre) or high.

    Coefficients hold for ``block`` samples, the state is carried on. ``stages`` filters follow each other.
    """
    samples = len(x)
    starts = np.arange(0, samples, block)
    centre = np.broadcast_to(np.asarray(hz, float), samples)[starts].clip(20, 0.45 * RATE)
    quality = np.broadcast_to(np.asarray(q, float), samples)[starts]
    w = 2 * np.pi * centre / RATE
    alpha = np.sin(w) / (2 * quality)
    cosine = np.cos(w)
    zero = np.zeros_like(w)
    if kind == "low":
        b = np.stack([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2], 1)
    elif kind == "high":
        b = np.stack([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2], 1)
    else:
        b = np.stack([alpha, zero, -alpha], 1)
    a = np.stack([1 + alpha, -2 * cosine, 1 - alpha], 1)
    sections = np.concatenate([b, a], 1) / a[:, :1]  # (blocks, 6)
    out = np.empty(samples)
    state = np.zeros((stages, 2))
    for start, section in zip(starts, sections, strict=True):
        out[start : start + block], state = signal.sosfilt(
            np.tile(section, (stages, 1)), x[start : start + block], zi=state
        )
    return out


def formants(x: np.ndarray, tracks: Iterable[tuple[Curve, float, float]]) -> np.ndarray:
    """Parallel formants (Klatt 1980): ``(hz or curve, bandwidth, gain)``; neighbours alternate in sign, no zeros."""
    out = np.zeros(len(x))
    for number, (hz, bandwidth, gain) in enumerate(tracks):
        y = swept(x, hz, hz / bandwidth, "band") if isinstance(hz, np.ndarray) else resonate(x, hz, bandwidth)
        out += (-1) ** number * gain * y
    return out


def saturate(x: np.ndarray, drive: float) -> np.ndarray:
    """Soft clipping of a sound brought to peak ``drive`` first; the result has peak below 1."""
    return np.tanh(drive * x / max(np.abs(x).max(), 1e-9))


# --- modes, grains, rooms -------------------------------------------------------------------------------------------


def modes(samples: int, hz: Sequence[float] | np.ndarray, t60: Curve, gains: Curve = 1.0) -> np.ndarray:
    """Sum of damped sines (modal synthesis): one frequency, time of decay and gain a mode."""
    hz = np.asarray(hz, float)
    decays = np.broadcast_to(np.asarray(t60, float), hz.shape)
    gains = np.broadcast_to(np.asarray(gains, float), hz.shape)
    out = np.zeros(samples)
    for frequency, decay, gain in zip(hz, decays, gains, strict=True):
        if frequency > 19_000 or gain == 0:
            continue
        length = min(samples, count(1.2 * decay))  # -72 dB
        at = np.arange(length) / RATE
        out[:length] += gain * np.sin(2 * np.pi * frequency * at) * np.exp(-6.91 * at / decay)
    return out


def struck(
    rng: np.random.Generator,
    seconds: float,
    hz: float,
    friction: float,
    number: int = 14,
    hardness: float = 4000.0,
    click: float = 0.3,
    ratios: Sequence[float] = (),
) -> np.ndarray:
    """A thing struck once (van den Doel and Pai 1998): modes that decay in proportion to their frequency.

    Args:
        rng: draws the place of the blow, and the modes where no ``ratios`` are given.
        seconds: length.
        hz: lowest mode.
        friction: inner friction of the material; wood 0.02, glass 0.003, metal 0.0005.
        number: modes.
        hardness: the blow's spectrum falls above this frequency.
        click: level of the contact itself.
        ratios: of the modes, for things of a known shape.
    """
    samples = count(seconds)
    if len(ratios):
        frequencies = hz * np.asarray(ratios)
    else:
        frequencies = hz * (1 + np.cumsum(np.r_[0, rng.uniform(0.12, 0.9, number - 1)]))
    gains = rng.uniform(0.3, 1, len(frequencies)) / (1 + (frequencies / hardness) ** 2)
    t60 = (6.91 / (np.pi * frequencies * friction)).clip(0.004, 8)
    out = modes(samples, frequencies, t60, gains)
    width = count(0.004)
    contact = low(rng.standard_normal(width) * np.hanning(width), hardness, 1)
    out[:width] += click * contact[: len(out)] * np.sqrt((gains**2).sum())
    return out / np.sqrt((gains**2).sum())


def bubble(radius_mm: float, rise: float = 0.1, gain: float = 1.0) -> np.ndarray:
    """One bubble of air in water (van den Doel 2005): a sine at 3 / radius that rises while it decays."""
    radius = radius_mm / 1000
    damping = 0.13 / radius + 0.0072 * radius**-1.5
    samples = min(count(6.0 / damping), count(0.4))
    at = np.arange(samples) / RATE
    phase = 3 / radius * (at + 0.5 * rise * damping * at**2)
    return gain * np.minimum(at / 0.001, 1) * np.exp(-damping * at) * np.sin(2 * np.pi * phase)


def scatter(
    seconds: float, times: Iterable[float], grains: Sequence[np.ndarray], gains: Curve | Sequence[float] = 1.0
) -> np.ndarray:
    """Lay grains at times, one after the other in turn; what lies outside is cut."""
    out = np.zeros(count(seconds))
    starts = [round(time * RATE) for time in times]
    levels = np.broadcast_to(np.asarray(gains, float), len(starts))
    for number, (start, level) in enumerate(zip(starts, levels, strict=True)):
        grain = grains[number % len(grains)][: max(0, len(out) - start)]
        out[start : start + len(grain)] += level * grain
    return out


def crackle(rng: np.random.Generator, samples: int, rate: Curve, low_gain: float = 0.1) -> np.ndarray:
    """Random clicks, ``rate`` a second, of very different strength, each one sample: excitation for filters."""
    hits = rng.random(samples) < np.asarray(rate) / RATE
    return hits * np.exp(rng.uniform(np.log(low_gain), 0, samples)) * rng.choice([-1.0, 1.0], samples)


def join(*parts: np.ndarray) -> np.ndarray:
    """Parts one after the other; a number of zeros is ``np.zeros(n)``."""
    return np.concatenate(parts)


def mix(*parts: np.ndarray) -> np.ndarray:
    """Sum of parts of different length, all from the start."""
    out = np.zeros(max(len(part) for part in parts))
    for part in parts:
        out[: len(part)] += part
    return out


def unit(x: np.ndarray) -> np.ndarray:
    """The same at a deviation of 1."""
    return x / max(float(x.std()), 1e-12)


def echo(x: np.ndarray, delay: float, feedback: float, repeats: int) -> np.ndarray:
    """Repeats, each ``feedback`` times the one before; the result is longer."""
    step = count(delay)
    out = np.zeros(len(x) + repeats * step)
    for number in range(repeats + 1):
        out[number * step : number * step + len(x)] += feedback**number * x
    return out


def room(rng: np.random.Generator, x: np.ndarray, t60: float, share: float) -> np.ndarray:
    """Add a room: decaying noise that darkens, convolved; longer by ``t60``. ``share`` of the sound's own level."""
    samples = count(t60)
    tail = low(rng.standard_normal(samples), 5000, 1) * np.exp(-6.91 * np.arange(samples) / samples)
    tail[: count(0.005)] = 0
    wet = signal.oaconvolve(x, tail / np.sqrt((tail**2).sum()))
    out = np.pad(x, (0, len(wet) - len(x)))
    return out + share * wet * (x.std() / max(wet[: len(x)].std(), 1e-9))


def finish(x: np.ndarray, longest: float = 6.0) -> np.ndarray:
    """Make a sound ready: no offset, no silence at the ends (-60 dB), no clicks there, peak :data:`PEAK`; float32."""
    x = high(np.asarray(x, float), 18, 1)
    x = x - x.mean()
    size = np.abs(x)
    loud = np.flatnonzero(size > 1e-3 * size.max())
    x = x[max(0, loud[0] - count(0.002)) : min(len(x), loud[-1] + count(0.02))][: count(longest)].copy()
    rise, end = min(count(0.002), len(x) // 4), min(count(0.025), len(x) // 4)
    x[:rise] *= np.sin(np.linspace(0, np.pi / 2, rise)) ** 2
    x[-end:] *= np.cos(np.linspace(0, np.pi / 2, end)) ** 2
    x -= x.mean() * np.minimum(1, np.minimum(np.arange(len(x)), np.arange(len(x))[::-1]) / rise)
    return (PEAK * x / np.abs(x).max()).astype(np.float32)
