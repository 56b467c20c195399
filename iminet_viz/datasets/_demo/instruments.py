"""Forty acoustic instruments: strings by Karplus and Strong, winds by additive synthesis, the rest by their modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import signal

from iminet_viz.datasets._demo import signals as s

Notes = Sequence[tuple[float, float]]  # (second, hz)

MEMBRANE = (1, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 4.06, 4.15, 4.6)  # ideal, Bessel's zeros
KETTLE = (1, 1.5, 1.98, 2.44, 2.9, 3.36)  # the air's load makes them nearly harmonic
FREE_BAR = (1, 2.756, 5.404, 8.933, 13.34)
MARIMBA = (1, 3.98, 9.9, 16.8)  # cut from below to two octaves
XYLOPHONE = (1, 3.0, 6.1, 9.8, 14.2)  # cut to a twelfth


def string(
    rng: np.random.Generator, hz: float, samples: int, t60: float, bright: float, pick: float, hard: float = 9000.0
) -> np.ndarray:
    """One plucked string (Karplus and Strong 1983): a loop of one period with loss, tuned between samples.

    ``bright`` 0 is their average of two samples, 1 loses nothing with frequency; ``pick`` is the place as a share of
    the string, ``hard`` the cut-off of the pluck in Hz.
    """
    loss = (1 - bright) / 2
    period = s.RATE / hz - loss
    whole, part = int(period), period % 1
    gain = 10 ** (-3 / (hz * t60))
    a = np.zeros(whole + 3)
    a[0] = 1
    a[whole:] = -gain * np.convolve([1 - loss, loss], [1 - part, part])
    pluck = s.low(rng.uniform(-1, 1, whole), hard, 1)
    shift = max(1, round(pick * whole))
    x = np.zeros(samples)
    x[:whole] += pluck[:samples]
    x[shift : shift + whole] -= pluck[: max(0, samples - shift)]
    return signal.lfilter([1.0], a, x)


def plucked(
    rng: np.random.Generator,
    notes: Notes,
    seconds: float,
    t60: float,
    bright: float = 0.5,
    pick: float = 0.15,
    hard: float = 9000.0,
    wood: Sequence[tuple[float, float, float]] = (),
    courses: float = 0.0,
    buzz: float = 0.0,
    length: float = 9.0,
    snap: float = 0.0,
) -> np.ndarray:
    """Strings with a body; ``courses`` cents between double strings, ``buzz`` on a bridge, ``length`` of a note."""
    out = np.zeros(s.count(seconds))
    for start, hz in notes:
        first = round(start * s.RATE)
        samples = min(len(out) - first, s.count(length))
        decay = t60 * (220 / hz) ** 0.5
        y = string(rng, hz, samples, decay, bright, pick, hard)
        if courses:
            y = y + string(rng, hz * 2 ** (courses / 1200), samples, decay, bright, pick, hard)
        if buzz:  # the string slaps a curved bridge while it swings wide
            y = s.unit(y)
            y = y + buzz * s.high(np.maximum(y - 0.6 * np.abs(y).max() * s.fall(samples, decay), 0) ** 0.7, 1500)
        if snap:
            width = s.count(0.006)
            y[:width] += snap * s.band(rng.standard_normal(width), 1500, 7000)
        y[-s.count(0.02) :] *= np.linspace(1, 0, s.count(0.02))
        out[first : first + samples] += y * rng.uniform(0.8, 1)
    return s.body(out, wood)


def bowed(
    rng: np.random.Generator,
    notes: Notes,
    seconds: float,
    wood: Sequence[tuple[float, float, float]],
    cutoff: float,
    attack: float = 0.12,
    vibrato: tuple[float, float] = (5.6, 0.006),
    scrape: float = 0.05,
) -> np.ndarray:
    """A bowed string: Helmholtz's sawtooth, a bow that brightens as it presses, noise at each slip, a body."""
    samples = s.count(seconds)
    at = np.arange(samples) / s.RATE
    starts = [start for start, _ in notes]
    hz = np.array([hz for _, hz in notes])[np.searchsorted(starts, at, side="right") - 1]
    hz = np.exp(s.low(np.log(hz / hz[0]), 14, 1)) * hz[0]
    rate, depth = vibrato
    late = np.clip((at - starts[-1] - 0.15) / 0.4, 0, 1) if len(notes) == 1 else 0.7
    hz = hz * (1 + depth * late * np.sin(2 * np.pi * rate * at) + 0.0015 * s.wander(rng, samples, 12))
    level = s.adsr(samples, attack, 0.5, 0.8, 0.18) * (1 + 0.08 * s.wander(rng, samples, 6))
    for start in starts[1:]:
        level *= 1 - 0.55 * np.exp(-(((at - start) / 0.03) ** 2))
    x = s.saw(hz, samples)
    slip = s.high(rng.standard_normal(samples), 1200) * (0.4 + np.abs(x) ** 6)
    x = s.swept(x + scrape * slip, cutoff * (0.25 + 0.75 * np.clip(level, 0, 1)), 0.7)
    return s.body(s.high(x * level, 0.7 * hz.min()), wood, 0.4)


def blown(
    rng: np.random.Generator,
    notes: Notes,
    seconds: float,
    gains: Sequence[float],
    peaks: Sequence[tuple[float, float, float]] = (),
    breath: float = 0.05,
    attack: float = 0.06,
    follow: float = 0.5,
    vibrato: tuple[float, float] = (5.0, 0.0),
    tremor: float = 0.0,
    bend: float = 0.0,
    tongue: float = 0.4,
    flutter: float = 0.0,
    beat: float = 0.0,
    staccato: float = 0.0,
    swell: tuple[tuple[float, float], ...] = (),
) -> np.ndarray:
    """A wind instrument: harmonics of which the higher follow the level more, and breath.

    Args:
        rng: draws breath and unsteadiness.
        notes: tongued one after the other; the last lasts to the end.
        seconds: length.
        gains: of the harmonics at full level.
        peaks: formants ``(hz, width, gain)`` that weigh the harmonics.
        breath: level of noise.
        attack: seconds.
        follow: how fast the k-th harmonic grows with the level: level ** (1 + follow (k - 1) / 4).
        vibrato: hz, and depth as a share of the frequency.
        tremor: depth of the level's vibrato.
        bend: semitones below from which each note slides up.
        tongue: share of the level that is left between two notes.
        flutter: depth of a flutter at 25 Hz.
        beat: hz between two reeds.
        staccato: seconds of silence before the next note.
        swell: a curve (share of the length, level) over the whole.
    """
    samples = s.count(seconds)
    out = np.zeros(samples)
    stops = [start for start, _ in notes[1:]] + [seconds]
    for (start, hz), stop in zip(notes, stops, strict=True):
        first = round(start * s.RATE)
        length = min(samples - first, s.count(stop - start - staccato + 0.03))
        at = np.arange(length) / s.RATE
        level = s.adsr(length, attack, 0.3, 0.85, 0.07) * (1 + 0.03 * s.wander(rng, length, 8))
        if swell:
            places, levels = np.transpose(swell)
            level *= np.interp((at + start) / seconds, places, levels)
        rate, depth = vibrato
        swing = np.clip((at - 0.2) / 0.4, 0, 1) * np.sin(2 * np.pi * rate * at)
        level = np.clip(level * (1 + tremor * swing) * (1 + flutter * np.sin(2 * np.pi * 25 * at)), 0, 1.2)
        track = hz * (1 + depth * swing + 0.001 * s.wander(rng, length, 9))
        track *= 2 ** (-bend / 12 * np.exp(-at / 0.05))
        weights = []
        for number, gain in enumerate(gains, start=1):
            place = number * hz
            formant = 1 + sum(g * np.exp(-(((place - f) / w) ** 2)) for f, w, g in peaks)
            weights.append(gain * formant * level ** (1 + follow * (number - 1) / 4))
        phases = rng.random(len(gains))
        y = s.harmonics(track, length, weights, phases)
        if beat:
            y = y + s.harmonics(track + beat, length, weights, phases[::-1])
        air = s.body(s.noise(rng, length, -3), [(min(2 * hz, 9000), hz, 2.0), (hz, 0.3 * hz, 2.0)], 0.5)
        onset = 1 + 3 * np.exp(-at / 0.04)
        y = s.unit(y) + breath * onset * air * level
        edge = min(length, s.count(0.03))
        y[-edge:] *= np.linspace(1, 0, edge)
        out[first : first + length] += y * (1 if stop == seconds else 1 - 0.2 * tongue)
    return out


def fade_gains(number: int, db: float, even: float = 1.0) -> list[float]:
    """Harmonics that fall by so many dB an octave; even ones are weighed."""
    return [(even if k % 2 == 0 else 1) * 10 ** (-db * np.log2(k) / 20) for k in range(1, number + 1)]


def bars(
    rng: np.random.Generator,
    notes: Notes,
    seconds: float,
    ratios: Sequence[float],
    t60: float,
    steep: float = 1.0,
    hard: float = 4000.0,
    click: float = 0.2,
    tremolo: float = 0.0,
    split: float = 0.0,
) -> np.ndarray:
    """Bars, bells and plates with known ratios of modes; ``steep``: how much faster the higher decay."""
    out = np.zeros(s.count(seconds))
    for start, hz in notes:
        first = round(start * s.RATE)
        frequencies = hz * np.asarray(ratios, float)
        gains = rng.uniform(0.6, 1, len(frequencies)) / (1 + (frequencies / hard) ** 1.5)
        t60s = t60 * (frequencies / frequencies[0]) ** -steep
        y = s.modes(len(out) - first, frequencies, t60s, gains)
        if split:  # no bell is quite round
            y = y + s.modes(len(out) - first, frequencies * (1 + split), t60s, gains)
        width = min(len(y), s.count(0.008))
        y[:width] += click * s.low(rng.standard_normal(width), hard, 1) * np.hanning(width)
        out[first:] += y * rng.uniform(0.75, 1)
    if tremolo:
        out *= 1 - 0.4 * (1 - np.cos(2 * np.pi * tremolo * np.arange(len(out)) / s.RATE)) / 2
    return out


def drum(
    rng: np.random.Generator,
    notes: Notes,
    seconds: float,
    ratios: Sequence[float],
    t60: float,
    drop: float = 0.15,
    hiss: float = 0.0,
    hiss_t60: float = 0.2,
    slap: float = 0.3,
    hard: float = 1500.0,
) -> np.ndarray:
    """A membrane whose tension falls as it calms (``drop``), a slap, and wires that rattle (``hiss``)."""
    out = np.zeros(s.count(seconds))
    for start, hz in notes:
        first = round(start * s.RATE)
        samples = len(out) - first
        at = np.arange(samples) / s.RATE
        y = np.zeros(samples)
        for ratio in ratios:
            phase = hz * ratio * (at + drop * 0.05 * (1 - np.exp(-at / 0.05)))
            gain = rng.uniform(0.5, 1) / (1 + (hz * ratio / hard) ** 2) / ratio**0.5
            y += gain * np.sin(2 * np.pi * phase) * np.exp(-6.91 * at / (t60 * ratio**-0.8))
        y += slap * s.low(s.noise(rng, samples), 3 * hard) * s.fall(samples, 0.03)
        if hiss:
            y += hiss * s.band(s.noise(rng, samples), 900, 11_000) * s.fall(samples, hiss_t60)
        out[first:] += y * rng.uniform(0.8, 1)
    return out


def cymbal(
    rng: np.random.Generator,
    times: Sequence[float],
    seconds: float,
    lowest: float,
    highest: float,
    t60: float,
    number: int = 90,
    wash: float = 0.5,
    bloom: float = 0.0,
    choke: float = 0.0,
    steep: float = 0.3,
) -> np.ndarray:
    """A plate of bronze: a crowd of modes and a wash; ``bloom`` seconds until the high ones have been fed."""
    samples = s.count(seconds)
    hz = np.exp(rng.uniform(np.log(lowest), np.log(highest), number))
    t60s = t60 * (hz / lowest) ** -steep
    hit = s.modes(samples, hz, t60s, rng.uniform(0.2, 1, number) * (hz / lowest) ** -0.25)
    hit = s.unit(hit) + wash * s.high(s.noise(rng, samples, -1.5), 1.5 * lowest) * s.fall(samples, 0.6 * t60)
    if bloom:
        at = np.arange(samples) / s.RATE
        slow = s.low(hit, 5 * lowest) + s.high(hit, 5 * lowest) * (1 - np.exp(-at / bloom))
        hit = slow
    out = s.scatter(seconds, times, [hit], rng.uniform(0.7, 1, len(times)))
    if choke:
        out *= np.interp(np.arange(samples) / s.RATE, [0, choke, choke + 0.06], [1, 1, 0])
    return out


def shaken(
    rng: np.random.Generator,
    times: Sequence[float],
    seconds: float,
    peaks: Sequence[tuple[float, float, float]],
    length: float,
    density: float,
) -> np.ndarray:
    """Beans or jingles (Cook 1997): collisions whose number falls after each shake, through resonances."""
    samples = s.count(seconds)
    rate = np.zeros(samples)
    for time in times:
        first = round(time * s.RATE)
        rate[first:] += density * s.fall(samples - first, length, 0.015) * rng.uniform(0.7, 1)
    hits = s.crackle(rng, samples, rate) * np.sqrt(rate / density)
    return s.body(s.high(hits, 500), peaks, 0.15)


def scraped(
    rng: np.random.Generator, strokes: Sequence[tuple[float, float, float, float]], seconds: float
) -> np.ndarray:
    """A stick over notches: strokes ``(start, stop, ticks a second at the start, at the stop)``."""
    times: list[float] = []
    for start, stop, slow, fast in strokes:
        time = start
        while time < stop:
            times.append(time)
            time += 1 / (slow + (fast - slow) * (time - start) / (stop - start))
    ticks = [s.struck(rng, 0.05, 2300 * rng.uniform(0.97, 1.03), 0.018, 5, 8000, 0.8) for _ in range(9)]
    out = s.scatter(seconds, times, ticks, rng.uniform(0.5, 1, len(times)))
    return s.body(out, [(1800, 300, 1.0), (3900, 500, 0.6)], 0.4)


VIOLIN = ((280, 60, 2.0), (460, 90, 2.0), (720, 150, 1.2), (1100, 200, 0.8), (2600, 900, 1.8))
VIOLA = ((220, 50, 2.0), (360, 80, 2.0), (600, 130, 1.4), (1000, 250, 0.8), (2000, 700, 1.0))
CELLO = ((105, 30, 2.0), (180, 45, 2.4), (300, 80, 1.6), (600, 160, 1.0), (1500, 600, 0.8))
BASS = ((62, 20, 2.0), (100, 30, 2.4), (180, 60, 1.6), (400, 160, 0.8))
GUITAR = ((102, 18, 1.6), (205, 35, 1.2), (390, 70, 0.6))
BANJO = ((300, 60, 1.0), (540, 80, 1.4), (860, 140, 1.2), (1600, 400, 0.8))

# fmt: off
SOUNDS = [
    ("acoustic guitar", plucked, {"notes": [(0.02 * i, hz) for i, hz in enumerate((82.4, 123.5, 164.8, 207.7, 246.9,
     329.6))], "seconds": 4.0, "t60": 3.6, "bright": 0.45, "wood": GUITAR}),
    ("banjo", plucked, {"notes": [(0.14 * i, hz) for i, hz in enumerate((392, 294, 247, 392, 294, 494, 392, 587, 294,
     392))], "seconds": 2.2, "t60": 0.8, "bright": 0.75, "pick": 0.06, "hard": 14000, "wood": BANJO, "snap": 0.4}),
    ("harp", plucked, {"notes": [(0.11 * i, 130.8 * 2 ** (n / 12)) for i, n in enumerate((0, 4, 7, 12, 16, 19, 24,
     28, 31, 36))], "seconds": 4.5, "t60": 3.0, "bright": 0.3, "pick": 0.45, "hard": 3000,
     "wood": ((220, 60, 0.6),)}),
    ("mandolin", plucked, {"notes": [(t, 659.3) for t in s.spread((0, 1.9, 0.085))], "seconds": 2.6, "t60": 1.6,
     "bright": 0.6, "pick": 0.12, "hard": 12000, "courses": 7, "wood": ((420, 90, 1.0), (900, 200, 0.6))}),
    ("double bass (plucked)", plucked, {"notes": [(0, 41.2), (0.75, 55.0), (1.5, 61.7)], "seconds": 3.2, "t60": 0.9,
     "bright": 0.12, "pick": 0.3, "hard": 900, "wood": BASS, "length": 0.78}),
    ("violin (plucked)", plucked, {"notes": [(0, 440.0), (0.4, 523.3), (0.8, 659.3)], "seconds": 1.5, "t60": 0.45,
     "bright": 0.1, "pick": 0.25, "hard": 4000, "wood": VIOLIN}),
    ("harpsichord", plucked, {"notes": [(0, 196.0), (0.15, 293.7), (0.3, 392.0), (0.45, 493.9), (0.6, 587.3),
     (0.75, 784.0)], "seconds": 3.0, "t60": 2.4, "bright": 0.93, "pick": 0.08, "hard": 16000, "courses": 1.5,
     "snap": 0.5}),
    ("sitar", plucked, {"notes": [(0, 138.6), (0.9, 207.7), (1.4, 277.2)], "seconds": 4.6, "t60": 4.0,
     "bright": 0.9, "pick": 0.07, "hard": 12000, "buzz": 1.8, "courses": 3, "wood": ((240, 60, 0.8),)}),
    ("piano", plucked, {"notes": [(0, 130.8), (0, 261.6), (0, 329.6), (0, 392.0)], "seconds": 4.2, "t60": 3.2,
     "bright": 0.35, "pick": 0.12, "hard": 2600, "courses": 1.2, "wood": ((95, 40, 0.8), (180, 80, 0.6)),
     "snap": 0.05}),
    ("violin (bowed)", bowed, {"notes": [(0, 659.3)], "seconds": 2.6, "wood": VIOLIN, "cutoff": 7000}),
    ("viola (bowed)", bowed, {"notes": [(0, 220.0), (0.8, 246.9), (1.5, 261.6)], "seconds": 2.8, "wood": VIOLA,
     "cutoff": 4200}),
    ("cello (bowed)", bowed, {"notes": [(0, 98.0)], "seconds": 3.4, "wood": CELLO, "cutoff": 3000, "attack": 0.2,
     "vibrato": (5.0, 0.008)}),
    ("double bass (bowed)", bowed, {"notes": [(0, 41.2), (1.4, 36.7)], "seconds": 3.0, "wood": BASS, "cutoff": 1300,
     "attack": 0.3, "scrape": 0.12, "vibrato": (4.2, 0.004)}),
    ("flute", blown, {"notes": [(0, 587.3)], "seconds": 2.4, "gains": fade_gains(8, 11), "breath": 0.14,
     "attack": 0.09, "vibrato": (5.2, 0.004), "tremor": 0.16}),
    ("piccolo", blown, {"notes": [(0.11 * i, 1174.7 * 2 ** (n / 12)) for i, n in enumerate((0, 2, 4, 5, 7, 9, 11, 12,
     14, 12))], "seconds": 1.8, "gains": fade_gains(5, 13), "breath": 0.08, "attack": 0.02, "vibrato": (6, 0.004)}),
    ("pan flute", blown, {"notes": [(0, 392.0), (0.8, 523.3)], "seconds": 2.0, "gains": fade_gains(9, 16, 0.3),
     "breath": 0.42, "attack": 0.05, "bend": 1.2, "staccato": 0.12}),
    ("clarinet", blown, {"notes": [(0, 233.1), (0.7, 349.2)], "seconds": 2.1, "gains": fade_gains(60, 6, 0.06),
     "breath": 0.02, "peaks": ((1500, 500, 0.8),)}),
    ("oboe", blown, {"notes": [(0, 440.0), (0.35, 493.9), (0.7, 440.0), (1.05, 415.3)], "seconds": 2.0,
     "gains": fade_gains(60, 4.5, 1.1), "peaks": ((1150, 350, 4.0), (3000, 600, 1.5)), "breath": 0.015,
     "vibrato": (5.8, 0.005), "follow": 0.3}),
    ("bassoon", blown, {"notes": [(0.24 * i, hz) for i, hz in enumerate((116.5, 87.3, 116.5, 146.8, 116.5, 58.3))],
     "seconds": 2.1, "gains": fade_gains(90, 6), "peaks": ((480, 140, 5.0), (1200, 250, 1.5)), "breath": 0.02,
     "attack": 0.03, "staccato": 0.06}),
    ("alto saxophone", blown, {"notes": [(0, 207.7), (0.5, 311.1), (0.8, 277.2)], "seconds": 2.4,
     "gains": fade_gains(70, 6), "peaks": ((650, 250, 2.5), (1450, 400, 2.0)), "breath": 0.07,
     "vibrato": (5.2, 0.011), "bend": 1.0, "tremor": 0.1}),
    ("accordion", blown, {"notes": [(0, 261.6), (0.45, 329.6), (0.9, 392.0), (1.35, 523.3)], "seconds": 2.6,
     "gains": fade_gains(60, 5.5), "peaks": ((900, 400, 1.0),), "breath": 0.01, "beat": 5.5, "follow": 0.1,
     "attack": 0.05}),
    ("trumpet", blown, {"notes": [(0, 466.2), (0.22, 466.2), (0.44, 466.2), (0.66, 698.5)], "seconds": 1.9,
     "gains": fade_gains(45, 3.5), "peaks": ((1300, 500, 1.5),), "follow": 2.6, "attack": 0.035, "breath": 0.02,
     "vibrato": (5.5, 0.005), "staccato": 0.06}),
    ("muted trumpet", blown, {"notes": [(0, 392.0), (0.5, 466.2)], "seconds": 1.7, "gains": fade_gains(50, 2.5),
     "peaks": ((2300, 600, 7.0),), "follow": 1.2, "attack": 0.03, "breath": 0.05, "bend": 0.8, "tremor": 0.35,
     "vibrato": (6.2, 0.006)}),
    ("trombone", blown, {"notes": [(0, 174.6)], "seconds": 2.2, "gains": fade_gains(70, 4),
     "peaks": ((520, 200, 1.5),), "follow": 2.8, "attack": 0.07, "bend": 5.0, "breath": 0.02,
     "swell": ((0, 0.5), (0.6, 1.0), (1, 0.8))}),
    ("french horn", blown, {"notes": [(0, 174.6), (0.7, 261.6)], "seconds": 2.8, "gains": fade_gains(50, 8),
     "peaks": ((380, 150, 2.0),), "follow": 1.8, "attack": 0.09, "breath": 0.03,
     "swell": ((0, 0.7), (0.7, 1.0), (1, 0.6))}),
    ("tuba", blown, {"notes": [(0, 58.3), (0.5, 43.7), (1.0, 58.3)], "seconds": 1.9, "gains": fade_gains(80, 7),
     "peaks": ((230, 90, 1.5),), "follow": 1.6, "attack": 0.06, "breath": 0.04, "staccato": 0.1}),
    ("marimba", bars, {"notes": [(0.13 * i, hz) for i, hz in enumerate((220.0, 277.2, 329.6, 440.0, 329.6, 277.2,
     220.0))], "seconds": 2.0, "ratios": MARIMBA, "t60": 0.7, "hard": 1500, "click": 0.1}),
    ("xylophone", bars, {"notes": [(0.09 * i, 1046.5 * 2 ** (n / 12)) for i, n in enumerate((12, 10, 9, 7, 5, 4, 2,
     0, 0))], "seconds": 1.2, "ratios": XYLOPHONE, "t60": 0.28, "hard": 9000, "click": 0.6}),
    ("vibraphone", bars, {"notes": [(0, 349.2), (0.02, 440.0), (0.04, 523.3), (0.06, 659.3)], "seconds": 4.6,
     "ratios": MARIMBA[:2], "t60": 5.0, "tremolo": 5.2, "hard": 1500, "click": 0.05}),
    ("glockenspiel", bars, {"notes": [(0, 2093.0), (0.3, 2637.0), (0.6, 3136.0)], "seconds": 3.0,
     "ratios": FREE_BAR, "t60": 2.4, "hard": 12000, "steep": 0.8}),
    ("triangle", bars, {"notes": [(0, 1320.0)], "seconds": 4.5,
     "ratios": (1, 1.32, 1.71, 2.26, 2.9, 3.7, 4.55, 5.6, 6.6, 7.9, 9.1), "t60": 4.5, "steep": 0.15, "hard": 14000,
     "split": 0.0012}),
    ("crash cymbal", cymbal, {"times": [0], "seconds": 3.6, "lowest": 380, "highest": 15000, "t60": 3.2,
     "bloom": 0.03}),
    ("gong", cymbal, {"times": [0], "seconds": 5.8, "lowest": 90, "highest": 6000, "t60": 7.0, "number": 120,
     "wash": 0.25, "bloom": 0.4, "steep": 0.25}),
    ("hi-hat", cymbal, {"times": [0, 0.25, 0.5, 0.75], "seconds": 1.1, "lowest": 3500, "highest": 16000,
     "t60": 0.16, "wash": 1.0, "steep": 0.0}),
    ("timpani", drum, {"notes": [(0.0, 87.3), (1.0, 65.4)], "seconds": 3.0, "ratios": KETTLE, "t60": 1.8,
     "drop": 0.02, "slap": 0.6, "hard": 1300}),
    ("snare drum", drum, {"notes": [(t, 185) for t in s.spread((0, 0.6, 0.055))] + [(0.62, 190)], "seconds": 1.1,
     "ratios": MEMBRANE, "t60": 0.2, "hiss": 0.9, "hiss_t60": 0.2}),
    ("bongos", drum, {"notes": [(0, 410), (0.16, 410), (0.32, 290), (0.48, 410), (0.64, 290), (0.8, 410),
     (0.96, 290)], "seconds": 1.4, "ratios": MEMBRANE[:7], "t60": 0.25, "drop": 0.5, "slap": 0.5, "hard": 2500}),
    ("guiro", scraped, {"strokes": [(0, 0.5, 45, 110), (0.62, 0.74, 90, 120), (0.84, 0.96, 90, 120)],
     "seconds": 1.1}),
    ("tambourine", shaken, {"times": [0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0], "seconds": 1.5, "length": 0.3,
     "density": 2500, "peaks": ((5200, 120, 1.0), (6400, 110, 1.0), (7700, 140, 1.0), (9100, 200, 0.8),
     (11500, 300, 0.7))}),
    ("castanets", bars, {"notes": [(t, 1150) for t in (0, 0.09, 0.18, 0.36, 0.54, 0.63, 0.72, 0.9)],
     "seconds": 1.15, "ratios": (1, 1.62, 2.4, 3.3), "t60": 0.06, "hard": 5000, "click": 1.2}),
]
# fmt: on
