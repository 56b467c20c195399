"""Forty patches as synthesizers are sold with, and forty single notes of one subtractive synthesizer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iminet_viz.datasets._demo import signals as s


def midi(note: float) -> float:
    """Frequency of a MIDI note."""
    return 440 * 2 ** ((note - 69) / 12)


def fm(hz: s.Curve, samples: int, ratio: float, index: s.Curve, feedback: float = 0.0) -> np.ndarray:
    """Chowning's frequency modulation (1973): one carrier, one modulator."""
    inner = s.sine(hz * ratio, samples)
    if feedback:
        inner = np.sin(2 * np.pi * s.turns(hz * ratio, samples) + feedback * inner)
    return np.sin(2 * np.pi * s.turns(hz, samples) + index * inner)


def unison(rng: np.random.Generator, hz: s.Curve, samples: int, voices: int, cents: float) -> np.ndarray:
    """Detuned sawtooths of random phase."""
    shifts = np.linspace(-cents, cents, voices) if voices > 1 else [0.0]
    return sum(s.saw(hz * 2 ** (c / 1200), samples, rng.random()) for c in shifts) / voices**0.5


def sync(hz: s.Curve, samples: int, ratio: s.Curve) -> np.ndarray:
    """A sawtooth that a slower one restarts; four times oversampled, since the restarts alias."""
    from scipy.signal import resample_poly

    dense = np.repeat(np.broadcast_to(np.asarray(hz, float), samples), 4)
    master = (np.cumsum(dense) / (4 * s.RATE)) % 1
    slave = (master * np.repeat(np.broadcast_to(np.asarray(ratio, float), samples), 4)) % 1
    return resample_poly(2 * slave - 1, 1, 4)[:samples]


def square_lfo(hz: float, samples: int, share: float = 0.5) -> np.ndarray:
    """On and off, with edges of 3 ms."""
    gate = ((np.arange(samples) * hz / s.RATE) % 1 < share).astype(float)
    return np.convolve(gate, np.hanning(132) / np.hanning(132).sum(), "same")


def held(rng: np.random.Generator, samples: int, hz: float) -> np.ndarray:
    """Sample and hold: a new random value in [-1, 1] so many times a second."""
    steps = rng.uniform(-1, 1, int(samples / s.RATE * hz) + 2)
    return steps[(np.arange(samples) * hz / s.RATE).astype(int)]


def phased(x: np.ndarray, rate: float, depth: float = 0.9) -> np.ndarray:
    """A flanger: the sound and itself, delayed by a swinging 1 to 6 ms."""
    at = np.arange(len(x))
    delay = s.RATE * (0.0035 + 0.0025 * np.sin(2 * np.pi * rate * at / s.RATE))
    return x + depth * np.interp(at - delay, at, x)


# --- patches --------------------------------------------------------------------------------------------------------


def fm_keys(
    rng: np.random.Generator,
    notes: Sequence[tuple[float, float]],
    seconds: float,
    ratio: float,
    index: float,
    t60: float,
    tine: float = 0.0,
    index_t60: float = 0.0,
    feedback: float = 0.0,
) -> np.ndarray:
    """Struck FM notes whose index falls with the level: bells, electric pianos, mallets."""
    out = np.zeros(s.count(seconds))
    for start, note in notes:
        first = round(start * s.RATE)
        n = len(out) - first
        depth = index * s.fall(n, index_t60 or 0.7 * t60)
        y = fm(midi(note), n, ratio, depth, feedback) * s.fall(n, t60, 0.002)
        if tine:
            y += tine * s.sine(midi(note) * 14, n) * s.fall(n, 0.15) if midi(note) < 1300 else 0
        out[first:] += y
    return s.room(rng, out, 0.6, 0.15)


def acid(
    rng: np.random.Generator, line: Sequence[float], step: float, sweep: tuple[float, float], q: float
) -> np.ndarray:
    """A bass line of sawtooth notes; each opens a resonant filter, the whole opens it further."""
    n = s.count(step)
    track = np.repeat([midi(note) for note in line], n)
    track = np.exp(s.low(np.log(track / track[0]), 25, 1)) * track[0]
    each = np.tile(s.fall(n, 3 * step, 0.003), len(line))
    total = np.linspace(np.log(sweep[0]), np.log(sweep[1]), len(track))
    x = s.saw(track, len(track))
    y = s.swept(x, np.exp(total) * (1 + 5 * each), q, stages=2)
    return s.saturate(y * np.tile(s.adsr(n, 0.002, step, 0.5, 0.03), len(line)), 1.8)


def chord_pad(
    rng: np.random.Generator,
    chord: Sequence[float],
    seconds: float,
    cutoff: Sequence[tuple[float, float]],
    voices: int = 5,
    cents: float = 12.0,
    attack: float = 0.8,
    release: float = 1.0,
    q: float = 0.8,
    gate: tuple[float, float] = (0.0, 1.0),
    phaser: float = 0.0,
    vowel: Sequence[tuple[float, float, float]] = (),
    air: float = 0.0,
    stages: int = 2,
    slide: float = 0.0,
) -> np.ndarray:
    """A chord of detuned sawtooths under a moving filter; with a gate, a phaser or a vowel."""
    n = s.count(seconds)
    bend = 2 ** (slide / 12 * (1 - np.exp(-np.arange(n) / s.RATE / 0.25)) - slide / 12)
    x = air * s.noise(rng, n, -3) + sum(unison(rng, midi(note) * bend, n, voices, cents) for note in chord)
    x = s.swept(x, s.glide(*cutoff)[:n], q, stages=stages)
    if vowel:
        x = s.formants(x, vowel)
    if phaser:
        x = phased(x, phaser)
    if gate[0]:
        x = x * square_lfo(gate[0], n, gate[1])
    return s.room(rng, x * s.adsr(n, attack, 1, 0.9, release), 0.8, 0.3)


def wobble(
    rng: np.random.Generator, note: float, rates: Sequence[float], each: float, wave: str, q: float, top: float
) -> np.ndarray:
    """A bass whose filter an LFO opens and shuts, at one rate after the other."""
    n = s.count(each * len(rates))
    rate = np.repeat(rates, s.count(each))[:n]
    rate = np.pad(rate, (0, n - len(rate)), mode="edge")
    lfo = 0.5 - 0.5 * np.cos(2 * np.pi * np.cumsum(rate) / s.RATE)
    x = (
        unison(rng, midi(note), n, 3, 14)
        if wave == "saw"
        else s.pulse(midi(note), n, 0.35) + s.pulse(midi(note) * 1.007, n, 0.5)
    )
    y = s.swept(x, 90 * (top / 90) ** lfo, q, stages=2)
    return s.saturate(y, 2.5) + 0.4 * s.sine(midi(note) / (2 if note > 40 else 1), n)


def sync_lead(
    rng: np.random.Generator,
    notes: Sequence[tuple[float, float]],
    ratio: Sequence[tuple[float, float]],
    vibrato: float = 0.0,
) -> np.ndarray:
    """A hard-synchronised lead: the slave's ratio glides, which the ear hears as a tearing formant."""
    track = s.glide(*((time, midi(note)) for time, note in notes))
    n = len(track)
    track = track * (1 + vibrato * np.sin(2 * np.pi * 5.5 * np.arange(n) / s.RATE))
    curve = np.interp(np.arange(n) / s.RATE, *np.transpose(ratio))
    return s.echo(s.low(sync(track, n, curve), 9000) * s.adsr(n, 0.005, 0.6, 0.7, 0.15), 0.19, 0.3, 2)


def ring(
    rng: np.random.Generator,
    track: Sequence[tuple[float, float]],
    by: Sequence[tuple[float, float]],
    beat: float,
    t60: float,
) -> np.ndarray:
    """A ring modulator between two gliding oscillators, struck ``beat`` times a second (0: held)."""
    hz, other = s.glide(*track), s.glide(*by)
    n = min(len(hz), len(other))
    y = s.triangle(hz[:n], n) * s.sine(other[:n], n)
    if beat:
        y *= np.exp(-6.91 / t60 * ((np.arange(n) / s.RATE * beat) % 1) / beat)
    return s.echo(y * s.adsr(n, 0.004, 1, 0.9, 0.1), 0.11, 0.35, 3)


def arpeggio(
    rng: np.random.Generator,
    notes: Sequence[float],
    step: float,
    wave: str,
    cutoff: tuple[float, float],
    t60: float,
    q: float = 1.0,
    delay: float = 0.0,
    width: float = 0.25,
) -> np.ndarray:
    """Notes one after the other, each plucked by the filter; ``cutoff`` of the first and the last."""
    seconds = step * len(notes) + t60
    out = np.zeros(s.count(seconds))
    for number, note in enumerate(notes):
        first = s.count(number * step) if number else 0
        n = min(len(out) - first, s.count(t60))
        hz = midi(note)
        x = (
            {"saw": s.saw, "square": s.pulse, "triangle": s.triangle, "sine": s.sine}[wave](hz, n)
            if wave != "pulse"
            else s.pulse(hz, n, width)
        )
        place = number / max(1, len(notes) - 1)
        top = cutoff[0] * (cutoff[1] / cutoff[0]) ** place
        out[first : first + n] += s.swept(x, 120 + top * s.fall(n, t60), q) * s.fall(n, t60, 0.002)
    return s.echo(out, delay, 0.45, 4) if delay else out


def riser(
    rng: np.random.Generator,
    seconds: float,
    hz: Sequence[tuple[float, float]],
    q: float,
    noisy: float,
    tone: str = "saw",
    level: Sequence[tuple[float, float]] = ((0, 0.2), (1, 1)),
    lfo: tuple[float, float] = (0.0, 0.0),
    q_stages: int = 1,
) -> np.ndarray:
    """A sweep: noise and a tone through a band that glides; the level along the way; an LFO on the frequency."""
    curve = s.glide(*hz)
    n = len(curve)
    at = np.arange(n) / s.RATE
    curve = curve * 2 ** (lfo[1] / 12 * np.sin(2 * np.pi * lfo[0] * at))
    x = noisy * s.swept(s.noise(rng, n), curve, q, "band", q_stages)
    if tone == "saw":
        x = x + (1 - noisy) * s.low(unison(rng, curve / 4, n, 4, 18), 9000)
    elif tone == "sine":
        x = x + (1 - noisy) * s.sine(curve, n)
    return s.room(rng, x * np.interp(at / at[-1], *np.transpose(level)), 0.5, 0.2)


def computer(
    rng: np.random.Generator, seconds: float, rate: float, centre: float, octaves: float, wave: str
) -> np.ndarray:
    """Sample and hold: a random pitch (or filter, for ``noise``) so many times a second."""
    n = s.count(seconds)
    track = centre * 2 ** (octaves * held(rng, n, rate))
    gate = square_lfo(rate, n, 0.7)
    if wave == "noise":
        return s.swept(unison(rng, 65.4, n, 3, 10), track, 9, "low", 2) * s.adsr(n, 0.05, 1, 1, 0.3)
    return gate * s.low(s.pulse(track, n, 0.5) if wave == "square" else s.sine(track, n), 8000)


def lfo_tone(
    rng: np.random.Generator,
    seconds: float,
    hz: Sequence[tuple[float, float]],
    wave: str,
    vibrato: tuple[float, float, str],
    tremolo: tuple[float, float] = (0.0, 0.0),
    cutoff: float = 12_000.0,
    attack: float = 0.03,
    release: float = 0.2,
    rate_to: float = 1.0,
) -> np.ndarray:
    """A tone with a wide LFO on its pitch (``hz``, semitones, ``sine`` or ``saw`` or ``square``): sirens, theremins."""
    track = s.glide(*hz)
    n = len(track)
    at = np.arange(n) / s.RATE
    phase = np.cumsum(vibrato[0] * rate_to ** (at / at[-1])) / s.RATE
    swing = {
        "sine": np.sin(2 * np.pi * phase),
        "saw": 2 * (phase % 1) - 1,
        "square": np.sign(np.sin(2 * np.pi * phase)),
    }[vibrato[2]]
    track = track * 2 ** (vibrato[1] / 12 * swing)
    x = {"saw": s.saw, "square": s.pulse, "triangle": s.triangle, "sine": s.sine}[wave](track, n)
    x = s.low(x, cutoff) * (1 - tremolo[1] * (0.5 + 0.5 * np.sin(2 * np.pi * tremolo[0] * at)))
    return s.room(rng, x * s.adsr(n, attack, 1, 1, release), 0.4, 0.15)


def organ(
    rng: np.random.Generator,
    chord: Sequence[float],
    seconds: float,
    bars: Sequence[float],
    rotor: Sequence[tuple[float, float]],
) -> np.ndarray:
    """Drawbars, key click, and a rotating loudspeaker whose speed changes."""
    n = s.count(seconds)
    speed = np.interp(np.arange(n) / s.RATE, *np.transpose(rotor))
    turn = np.sin(2 * np.pi * np.cumsum(speed) / s.RATE)
    x = sum(
        g * s.sine(midi(note) * ratio * (1 + 0.006 * turn), n, rng.random())
        for note in chord
        for g, ratio in zip(bars, (0.5, 1.5, 1, 2, 3, 4, 5, 6, 8), strict=True)
    )
    click = s.high(rng.standard_normal(n), 2000) * s.fall(n, 0.01)
    return s.saturate(x + 0.5 * click, 1.4) * (1 + 0.35 * turn) * s.adsr(n, 0.004, 1, 1, 0.03)


def cloud(
    rng: np.random.Generator,
    seconds: float,
    chord: Sequence[float],
    density: float,
    grain: float,
    reverse: bool,
    ratio: float,
    scale: float = 0.0,
) -> np.ndarray:
    """Grains of FM at random times and octaves; ``reverse`` turns each round."""
    times = np.sort(rng.uniform(0, seconds - grain, int(density * seconds)))
    grains = []
    for _ in range(min(len(times), 60)):
        n = s.count(grain * rng.uniform(0.6, 1))
        hz = midi(rng.choice(chord) + 12 * rng.integers(-1, 2)) * 2 ** (scale * rng.uniform(-1, 1) / 12)
        y = fm(hz, n, ratio, 2.5 * s.fall(n, grain)) * s.fall(n, 1.3 * grain, 0.01)
        grains.append(y[::-1] * np.linspace(0, 1, n) ** 0.2 if reverse else y)
    out = s.scatter(seconds, times, grains, rng.uniform(0.3, 1, len(times)))
    return s.room(rng, out, 1.2, 0.5) * 1.0


def beat_box(rng: np.random.Generator, pattern: Sequence[str], step: float) -> np.ndarray:
    """A drum machine: k kick, s snare, h hat, o open hat, c clap, t tom, b bell."""
    at = np.arange(s.count(0.5)) / s.RATE
    sounds = {
        "k": np.sin(2 * np.pi * (48 * at + 8 * (1 - np.exp(-at / 0.03)))) * np.exp(-at / 0.14) * 1.4,
        "s": 0.5 * np.sin(2 * np.pi * 190 * at) * np.exp(-at / 0.05)
        + 0.5 * s.high(s.noise(rng, len(at)), 1500) * np.exp(-at / 0.06),
        "h": 0.35 * s.high(s.noise(rng, len(at)), 8000) * np.exp(-at / 0.02),
        "o": 0.35 * s.high(s.noise(rng, len(at)), 7000) * np.exp(-at / 0.13),
        "c": 0.8
        * s.band(s.noise(rng, len(at)), 900, 3000)
        * (np.exp(-at / 0.09) * (np.sin(2 * np.pi * 45 * at) > 0) + np.exp(-at / 0.15) * 0.3),
        "t": np.sin(2 * np.pi * (110 * at + 5 * (1 - np.exp(-at / 0.05)))) * np.exp(-at / 0.18),
        "b": 0.4 * (s.pulse(540, len(at)) + s.pulse(800, len(at))) * np.exp(-at / 0.08),
    }
    out = np.zeros(s.count(step * len(pattern) + 0.5))
    for number, keys in enumerate(pattern):
        for key in keys.replace(".", ""):
            first = round(number * step * s.RATE)
            out[first : first + len(at)] += sounds[key][: len(out) - first]
    return s.saturate(out, 1.5)


def feedback(rng: np.random.Generator, note: float, seconds: float) -> np.ndarray:
    """A howling loop: a distorted tone that gives way to its third harmonic, then a higher one."""
    n = s.count(seconds)
    share = np.linspace(0, 1, n)
    hz = midi(note) * (1 + 0.004 * np.sin(2 * np.pi * 5 * np.arange(n) / s.RATE) * share)
    x = s.saturate(unison(rng, hz, n, 2, 4), 6) * (1 - share) ** 1.5
    x += 0.9 * s.sine(3 * hz, n) * np.clip(3 * share - 0.6, 0, 1) * np.clip(2.4 - 2.4 * share, 0, 1)
    x += 0.8 * s.sine(7 * hz, n) * np.clip(3 * share - 1.7, 0, 1)
    return s.saturate(x + 0.03 * s.noise(rng, n, -3), 3) * s.adsr(n, 0.01, 1, 1, 0.3)


def slowed(rng: np.random.Generator, chord: Sequence[float], seconds: float, stop_at: float) -> np.ndarray:
    """A chord with a beat on a tape that is stopped."""
    n = s.count(seconds)
    at = np.arange(n) / s.RATE
    speed = np.clip(1 - np.maximum(at - stop_at, 0) / (seconds - stop_at), 0.02, 1) ** 1.3
    x = np.sum([s.saw(midi(note) * speed, n, rng.random()) for note in chord], axis=0)
    pump = 1 - 0.8 * np.exp(-8 * (np.cumsum(speed) / s.RATE * 4 % 1))
    return s.swept(x, 6000 * speed, 0.8) * pump * np.minimum(1, 3 * speed)


def bounce(
    rng: np.random.Generator, hz: float, first: float, shrink: float, hits: int, ratio: float, up: float
) -> np.ndarray:
    """FM blips that come ever faster, as of a ball; each ``up`` semitones higher than the one before."""
    times = np.r_[0, np.cumsum(first * shrink ** np.arange(hits - 1))]
    grains = []
    for number in range(hits):
        n = s.count(0.25)
        grains.append(fm(hz * 2 ** (up * number / 12), n, ratio, 4 * s.fall(n, 0.12)) * s.fall(n, 0.25, 0.002))
    return s.room(rng, s.scatter(times[-1] + 0.4, times, grains, 0.97 ** np.arange(hits)), 0.6, 0.25)


def laser(
    rng: np.random.Generator, shots: Sequence[float], high: float, low: float, length: float, wave: str, seconds: float
) -> np.ndarray:
    """Tones that fall from ``high`` to ``low`` hz within ``length`` seconds, shot at times."""
    n = s.count(length)
    hz = low + (high - low) * s.fall(n, 1.2 * length, 0)
    x = {"saw": s.saw, "square": s.pulse, "sine": s.sine}[wave](hz, n) * s.fall(n, 1.5 * length, 0.002)
    return s.echo(s.scatter(seconds, shots, [s.low(x, 10_000)]), 0.13, 0.4, 4)


MINOR, MAJOR, FIFTHS = (0, 3, 7, 12), (0, 4, 7, 12), (0, 7, 12, 19)
AH = ((730, 90, 1.0), (1090, 110, 0.8), (2440, 160, 0.5), (3400, 250, 0.3))


def chord(root: float, steps: Sequence[float]) -> list[float]:
    """Notes of a chord."""
    return [root + step for step in steps]


# fmt: off
PATCHES = [
    ("crystal bells", fm_keys, {"notes": [(0, 84), (0.25, 91), (0.5, 88), (0.75, 96), (1.0, 93)], "seconds": 3.6,
     "ratio": 3.5, "index": 3.0, "t60": 2.6}),
    ("electric piano ballad", fm_keys, {"notes": [(0, 53), (0.03, 60), (0.05, 64), (0.07, 69)], "seconds": 3.4,
     "ratio": 1.0, "index": 1.6, "t60": 3.5, "tine": 0.15}),
    ("metal mallet", fm_keys, {"notes": [(0.16 * i, 55 + n) for i, n in enumerate((0, 7, 3, 10, 0, 12))],
     "seconds": 1.8, "ratio": 1.41, "index": 6.0, "t60": 0.6}),
    ("fm slap bass", fm_keys, {"notes": [(0, 33), (0.3, 33), (0.45, 45), (0.75, 31), (1.05, 36)], "seconds": 1.6,
     "ratio": 1.0, "index": 7.0, "t60": 0.6, "index_t60": 0.15, "feedback": 0.8}),
    ("acid line", acid, {"line": [33, 33, 45, 33, 36, 48, 33, 31, 33, 45, 40, 33], "step": 0.15,
     "sweep": (140, 1400), "q": 3.2}),
    ("rubber bass", acid, {"line": [29, 29, 41, 32, 34, 29, 41, 36], "step": 0.22, "sweep": (260, 120), "q": 1.8}),
    ("supersaw anthem", chord_pad, {"chord": chord(57, (0, 3, 7, 10, 12)), "seconds": 2.8,
     "cutoff": ((0, 2500), (1.2, 14000), (2.8, 9000)), "voices": 7, "cents": 22, "attack": 0.02, "release": 0.3}),
    ("trance gate", chord_pad, {"chord": chord(55, MINOR), "seconds": 3.0, "cutoff": ((0, 900), (3.0, 9000)),
     "voices": 5, "cents": 18, "attack": 0.01, "release": 0.1, "gate": (7.2, 0.5)}),
    ("warm evening pad", chord_pad, {"chord": chord(48, (0, 7, 11, 16)), "seconds": 5.5,
     "cutoff": ((0, 250), (2.5, 1300), (5.5, 300)), "voices": 3, "attack": 1.5, "release": 1.8}),
    ("dark choir", chord_pad, {"chord": chord(41, (0, 3, 7, 12)), "seconds": 4.6,
     "cutoff": ((0, 2500), (4.6, 3500)), "voices": 4, "cents": 16, "attack": 0.7, "release": 1.2, "vowel": AH,
     "air": 0.5}),
    ("string machine", chord_pad, {"chord": chord(60, (0, 4, 9, 14)), "seconds": 4.0,
     "cutoff": ((0, 7000), (4.0, 6000)), "voices": 3, "cents": 9, "attack": 0.35, "release": 0.8, "phaser": 0.7,
     "stages": 1}),
    ("brass swell", chord_pad, {"chord": chord(46, (0, 7, 12, 16)), "seconds": 2.6,
     "cutoff": ((0, 200), (1.6, 5500), (2.2, 2500), (2.6, 600)), "voices": 3, "cents": 8, "attack": 1.2,
     "release": 0.3, "q": 1.1}),
    ("rave hoover", chord_pad, {"chord": (45, 57, 33), "seconds": 1.8, "cutoff": ((0, 6000), (1.8, 2500)),
     "voices": 5, "cents": 30, "attack": 0.01, "release": 0.2, "slide": 9, "phaser": 2.5}),
    ("orchestra stab", chord_pad, {"chord": chord(50, (-12, 0, 3, 7, 12, 15)), "seconds": 0.7,
     "cutoff": ((0, 12000), (0.7, 700)), "voices": 4, "cents": 12, "attack": 0.004, "release": 0.3}),
    ("wobble bass", wobble, {"note": 33, "rates": (2, 4, 4, 8, 6, 3), "each": 0.5, "wave": "saw", "q": 2.6,
     "top": 3500}),
    ("growling reese", wobble, {"note": 28, "rates": (0.7, 0.7, 0.9), "each": 1.1, "wave": "saw", "q": 0.8,
     "top": 1100}),
    ("talking yoy bass", wobble, {"note": 38, "rates": (1.5, 1.5, 3, 3), "each": 0.66, "wave": "pulse", "q": 6.0,
     "top": 2200}),
    ("sync scream lead", sync_lead, {"notes": ((0, 57), (0.9, 57), (1.0, 60), (1.7, 64)),
     "ratio": ((0, 1.2), (0.8, 5.0), (1.7, 2.0)), "vibrato": 0.006}),
    ("tearing sync drop", sync_lead, {"notes": ((0, 50), (1.2, 38)), "ratio": ((0, 8.0), (1.2, 1.1))}),
    ("robot ring", ring, {"track": ((0, 180), (0.5, 320), (1.0, 150), (2.0, 260)), "by": ((0, 57), (2.0, 61)),
     "beat": 6, "t60": 0.25}),
    ("broken radio bell", ring, {"track": ((0, 900), (2.4, 870)), "by": ((0, 1330), (1.2, 1660), (2.4, 1190)),
     "beat": 2.5, "t60": 0.7}),
    ("chip arpeggio", arpeggio, {"notes": chord(60, (0, 4, 7, 12, 16, 12, 7, 4) * 3), "step": 0.06,
     "wave": "square", "cutoff": (9000, 9000), "t60": 0.12}),
    ("plucked delay", arpeggio, {"notes": chord(57, (0, 12, 7, 15)), "step": 0.3, "wave": "saw",
     "cutoff": (4500, 4500), "t60": 0.35, "q": 2, "delay": 0.225}),
    ("sequencer climb", arpeggio, {"notes": chord(45, (0, 3, 7, 10, 12, 15, 19, 22, 24, 27, 31, 34)), "step": 0.16,
     "wave": "pulse", "cutoff": (700, 7000), "t60": 0.22, "q": 3}),
    ("toy music box", arpeggio, {"notes": (88, 84, 86, 79, 79, 86, 88, 84), "step": 0.28, "wave": "triangle",
     "cutoff": (9000, 9000), "t60": 0.7}),
    ("noise riser", riser, {"seconds": 3.5, "hz": ((0, 250), (3.5, 11000)), "q": 2.5, "noisy": 0.8}),
    ("long down sweep", riser, {"seconds": 3.0, "hz": ((0, 9000), (3.0, 80)), "q": 1.2, "noisy": 0.5,
     "level": ((0, 1), (0.2, 0.8), (1, 0.05))}),
    ("frozen wind", riser, {"seconds": 4.5, "hz": ((0, 700), (1.5, 1500), (3, 600), (4.5, 1900)), "q": 22,
     "noisy": 1.0, "level": ((0, 0.1), (0.3, 1), (1, 0.2)), "lfo": (0.6, 3), "q_stages": 2}),
    ("panicking computer", computer, {"seconds": 2.2, "rate": 13, "centre": 800, "octaves": 1.4, "wave": "square"}),
    ("bubbling filter", computer, {"seconds": 2.8, "rate": 9, "centre": 600, "octaves": 1.8, "wave": "noise"}),
    ("theremin", lfo_tone, {"seconds": 3.2, "hz": ((0, 260), (0.6, 420), (1.2, 420), (1.9, 700), (2.5, 560),
     (3.2, 390)), "wave": "sine", "vibrato": (6.0, 0.5, "sine"), "attack": 0.15, "release": 0.4}),
    ("alien siren", lfo_tone, {"seconds": 2.8, "hz": ((0, 900), (2.8, 900)), "wave": "square", "vibrato": (2.5, 9,
     "sine"), "cutoff": 4000, "rate_to": 6.0}),
    ("space engine", lfo_tone, {"seconds": 3.8, "hz": ((0, 38), (3.8, 62)), "wave": "saw", "vibrato": (11, 1.5,
     "square"), "cutoff": 900, "tremolo": (5.5, 0.7), "attack": 0.8, "release": 1.0, "rate_to": 2.0}),
    ("rotor organ", organ, {"chord": (48, 55, 60, 64), "seconds": 3.4,
     "bars": (0.8, 0.4, 1, 0.6, 0.4, 0.3, 0.1, 0.1, 0.3), "rotor": ((0, 0.8), (1.2, 0.8), (2.2, 6.6), (3.4, 6.6))}),
    ("shimmer cloud", cloud, {"seconds": 3.8, "chord": chord(76, (0, 2, 7, 9, 14)), "density": 26, "grain": 0.5,
     "reverse": False, "ratio": 2.0}),
    ("reversed bells", cloud, {"seconds": 3.2, "chord": chord(64, (0, 5, 7, 12)), "density": 3.5, "grain": 1.1,
     "reverse": True, "ratio": 1.4}),
    ("drum machine loop", beat_box, {"pattern": ("kh", "h", "sh", "h", "kh", "kh", "sch", "o", "kh", "h", "sh",
     "kb", "kh", "t", "sc", "t"), "step": 0.14}),
    ("feedback howl", feedback, {"note": 45, "seconds": 3.6}),
    ("tape stop", slowed, {"chord": chord(52, (0, 4, 7, 11)), "seconds": 2.0, "stop_at": 0.8}),
    ("bouncing fm ball", bounce, {"hz": 330, "first": 0.36, "shrink": 0.84, "hits": 16, "ratio": 2.7, "up": 0.6}),
]
# fmt: on


# --- single notes ---------------------------------------------------------------------------------------------------


def note(
    rng: np.random.Generator,
    pitch: float,
    seconds: float,
    wave: str = "saw",
    amp: tuple[float, float, float, float] = (0.01, 0.3, 0.7, 0.2),
    cutoff: tuple[float, float, float] = (8000, 8000, 8000),
    times: tuple[float, float] = (0.01, 0.5),
    q: float = 0.8,
    kind: str = "low",
    detune: float = 0.0,
    voices: int = 1,
    width: float = 0.5,
    pwm: tuple[float, float] = (0.0, 0.0),
    sub: float = 0.0,
    hiss: float = 0.0,
    pitch_env: tuple[float, float] = (0.0, 0.1),
    vibrato: tuple[float, float] = (5.0, 0.0),
    tremolo: tuple[float, float] = (5.0, 0.0),
    filter_lfo: tuple[float, float] = (0.0, 0.0),
    ring_hz: float = 0.0,
    fm_depth: tuple[float, float] = (1.0, 0.0),
    sync_ratio: tuple[float, float] = (0.0, 0.0),
    drive: float = 0.0,
    crush: int = 0,
) -> np.ndarray:
    """One note of a subtractive synthesizer: oscillators, filter with envelope, amplifier, LFOs.

    ``cutoff`` at the start, at the attack's top and where it settles (``times``: attack and decay in seconds);
    ``pitch_env`` semitones and seconds; every LFO is (hz, depth), in semitones, shares or octaves.
    """
    n = s.count(seconds)
    at = np.arange(n) / s.RATE
    semitones = pitch_env[0] * np.exp(-3 * at / pitch_env[1]) + vibrato[1] * np.sin(2 * np.pi * vibrato[0] * at)
    hz = midi(pitch) * 2 ** (semitones / 12)
    x = np.zeros(n)
    for cents in np.linspace(-detune, detune, voices) if voices > 1 else [0.0]:
        track = hz * 2 ** (cents / 1200)
        if sync_ratio[0]:
            x += sync(track, n, np.linspace(*sync_ratio, n))
        elif wave == "pulse":
            x += s.pulse(track, n, width + pwm[1] * np.sin(2 * np.pi * pwm[0] * at))
        elif wave == "fm":
            x += fm(track, n, fm_depth[0], fm_depth[1] * s.adsr(n, *amp))
        elif wave == "noise":
            x += s.noise(rng, n)
        else:
            x += {"saw": s.saw, "triangle": s.triangle, "sine": s.sine}[wave](track, n)
    x += sub * s.pulse(hz / 2, n) + hiss * s.noise(rng, n)
    if ring_hz:
        x = x * s.sine(ring_hz, n)
    start, top, stay = np.log(cutoff)
    rise = np.clip(at / times[0], 0, 1)
    curve = np.where(
        at < times[0], start + (top - start) * rise, stay + (top - stay) * np.exp(-3 * (at - times[0]) / times[1])
    )
    curve = np.exp(curve) * 2 ** (filter_lfo[1] * np.sin(2 * np.pi * filter_lfo[0] * at))
    x = s.swept(x, curve, q, kind, 1 if kind == "band" else 2)
    if drive:
        x = s.saturate(x, drive)
    if crush:  # every so many samples is held
        x = x[(np.arange(n) // crush) * crush]
    return x * s.adsr(n, *amp) * (1 - tremolo[1] * (0.5 + 0.5 * np.sin(2 * np.pi * tremolo[0] * at)))


FLAT = (16_000, 16_000, 16_000)
# fmt: off
NOTES = [
    ("plain saw note", {"pitch": 48, "seconds": 1.2, "cutoff": FLAT}),
    ("saw note with closing filter", {"pitch": 41, "seconds": 1.6, "cutoff": (9000, 9000, 250),
     "times": (0.005, 0.9), "q": 2.0}),
    ("saw note with opening filter", {"pitch": 45, "seconds": 2.0, "cutoff": (150, 8000, 8000), "times": (1.7, 0.3),
     "q": 3.0}),
    ("resonant squelch note", {"pitch": 36, "seconds": 0.7, "cutoff": (200, 4200, 160), "times": (0.04, 0.3),
     "q": 9.0, "amp": (0.003, 0.4, 0.4, 0.1)}),
    ("short saw pluck", {"pitch": 62, "seconds": 0.45, "cutoff": (9000, 9000, 300), "times": (0.002, 0.18),
     "amp": (0.002, 0.18, 0.0, 0.05)}),
    ("hollow square note", {"pitch": 55, "seconds": 1.4, "wave": "pulse", "cutoff": (5000, 5000, 3500)}),
    ("thin pulse note", {"pitch": 60, "seconds": 1.1, "wave": "pulse", "width": 0.07, "cutoff": FLAT}),
    ("pulse note with width swing", {"pitch": 43, "seconds": 2.6, "wave": "pulse", "pwm": (1.1, 0.4),
     "cutoff": (9000, 9000, 9000)}),
    ("square bass thump", {"pitch": 29, "seconds": 0.6, "wave": "pulse", "cutoff": (1800, 1800, 120),
     "times": (0.002, 0.25), "amp": (0.002, 0.4, 0.0, 0.1), "q": 1.5}),
    ("soft triangle note", {"pitch": 67, "seconds": 1.8, "wave": "triangle", "amp": (0.15, 0.8, 0.6, 0.6)}),
    ("sine beep", {"pitch": 81, "seconds": 0.35, "wave": "sine", "amp": (0.004, 0.2, 1.0, 0.02)}),
    ("sine drop", {"pitch": 40, "seconds": 0.9, "wave": "sine", "pitch_env": (36, 0.25),
     "amp": (0.002, 0.7, 0.0, 0.2)}),
    ("sine rise", {"pitch": 88, "seconds": 0.8, "wave": "sine", "pitch_env": (-30, 1.3), "amp": (0.02, 1, 1, 0.1)}),
    ("sub bass note", {"pitch": 26, "seconds": 2.0, "wave": "sine", "drive": 1.6, "amp": (0.02, 1.0, 0.7, 0.4)}),
    ("vibrato saw note", {"pitch": 64, "seconds": 2.2, "vibrato": (6.0, 0.6), "cutoff": (3000, 3000, 3000),
     "amp": (0.08, 1, 0.9, 0.3)}),
    ("tremolo square note", {"pitch": 57, "seconds": 2.0, "wave": "pulse", "tremolo": (9.0, 0.95),
     "cutoff": (6000, 6000, 6000)}),
    ("slow wah note", {"pitch": 38, "seconds": 3.2, "filter_lfo": (0.9, 1.8), "cutoff": (900, 900, 900), "q": 5.0}),
    ("fast wah note", {"pitch": 46, "seconds": 1.8, "filter_lfo": (7.5, 1.5), "cutoff": (1400, 1400, 1400),
     "q": 4.0}),
    ("detuned pair note", {"pitch": 50, "seconds": 2.4, "voices": 2, "detune": 18, "cutoff": (5000, 5000, 5000)}),
    ("seven saw note", {"pitch": 59, "seconds": 2.0, "voices": 7, "detune": 28, "cutoff": FLAT,
     "amp": (0.02, 1, 0.9, 0.3)}),
    ("detuned pulse swell", {"pitch": 52, "seconds": 3.4, "wave": "pulse", "voices": 3, "detune": 12, "width": 0.3,
     "amp": (1.8, 1, 0.9, 1.0), "cutoff": (400, 4000, 1500), "times": (1.9, 1.0)}),
    ("saw and sub note", {"pitch": 36, "seconds": 1.5, "sub": 1.0, "cutoff": (2500, 2500, 900), "drive": 2.0}),
    ("breathy triangle note", {"pitch": 72, "seconds": 1.9, "wave": "triangle", "hiss": 0.25,
     "cutoff": (4500, 4500, 3000), "amp": (0.12, 1, 0.8, 0.5)}),
    ("noise snare note", {"pitch": 60, "seconds": 0.5, "wave": "noise", "cutoff": (9000, 9000, 1200),
     "times": (0.002, 0.25), "amp": (0.001, 0.2, 0.0, 0.05)}),
    ("noise wind note", {"pitch": 60, "seconds": 3.4, "wave": "noise", "kind": "band", "cutoff": (400, 1600, 500),
     "times": (1.5, 1.6), "q": 9.0, "amp": (1.0, 2, 0.8, 1.2)}),
    ("tuned noise note", {"pitch": 60, "seconds": 1.3, "wave": "noise", "kind": "band", "cutoff": (880, 880, 880),
     "q": 90.0, "amp": (0.02, 1, 0.8, 0.3)}),
    ("noise burst with high pass", {"pitch": 60, "seconds": 0.9, "wave": "noise", "kind": "high",
     "cutoff": (300, 7000, 9000), "times": (0.6, 0.4), "q": 3.0, "amp": (0.01, 0.6, 0.5, 0.3)}),
    ("ring modulated note", {"pitch": 53, "seconds": 1.5, "wave": "triangle", "ring_hz": 523.0, "cutoff": FLAT,
     "amp": (0.005, 0.8, 0.3, 0.3)}),
    ("ring modulated growl", {"pitch": 33, "seconds": 1.7, "ring_hz": 31.0, "cutoff": (1600, 1600, 700),
     "amp": (0.05, 1, 0.9, 0.3)}),
    ("glassy fm note", {"pitch": 79, "seconds": 2.2, "wave": "fm", "fm_depth": (3.0, 2.2),
     "amp": (0.002, 1.3, 0.0, 0.3), "cutoff": FLAT}),
    ("woody fm note", {"pitch": 57, "seconds": 0.6, "wave": "fm", "fm_depth": (1.5, 4.0),
     "amp": (0.002, 0.25, 0.0, 0.1), "cutoff": FLAT}),
    ("brassy fm note", {"pitch": 51, "seconds": 1.4, "wave": "fm", "fm_depth": (1.0, 5.0),
     "amp": (0.09, 0.4, 0.8, 0.2), "cutoff": FLAT}),
    ("clangorous fm note", {"pitch": 44, "seconds": 2.8, "wave": "fm", "fm_depth": (1.414, 8.0),
     "amp": (0.002, 2.2, 0.0, 0.4), "cutoff": FLAT}),
    ("sync sweep note", {"pitch": 45, "seconds": 1.6, "sync_ratio": (1.3, 6.0), "cutoff": FLAT}),
    ("sync fall note", {"pitch": 57, "seconds": 1.0, "sync_ratio": (7.0, 1.0), "cutoff": FLAT,
     "amp": (0.003, 0.6, 0.3, 0.2)}),
    ("overdriven saw note", {"pitch": 40, "seconds": 1.8, "drive": 12.0, "voices": 2, "detune": 7,
     "cutoff": (3500, 3500, 2500), "q": 2.0}),
    ("crushed square note", {"pitch": 65, "seconds": 1.0, "wave": "pulse", "crush": 22, "cutoff": FLAT,
     "amp": (0.002, 0.5, 0.4, 0.1)}),
    ("reversed saw note", {"pitch": 54, "seconds": 1.7, "amp": (1.6, 0.1, 1.0, 0.04), "cutoff": (300, 9000, 9000),
     "times": (1.6, 0.1)}),
    ("falling saw zap", {"pitch": 45, "seconds": 0.5, "pitch_env": (40, 0.3), "cutoff": FLAT,
     "amp": (0.001, 0.5, 0.2, 0.1)}),
    ("trilling square note", {"pitch": 69, "seconds": 1.6, "wave": "pulse", "width": 0.25, "vibrato": (12.0, 1.6),
     "cutoff": (7000, 7000, 5000)}),
]
# fmt: on

SINGLE = [(label, note, parameters) for label, parameters in NOTES]
