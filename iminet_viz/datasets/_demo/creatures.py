"""Animals and people: a source (folds, syrinx, wings, bones) and what it sounds through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iminet_viz.datasets._demo import signals as s

Points = Sequence[tuple[float, float]]
Track = tuple[float | Points, float, float]


def call(
    rng: np.random.Generator,
    pitch: Points,
    level: Points,
    tracks: Sequence[Track],
    breath: float = 0.1,
    rough: tuple[float, float] = (0.0, 0.0),
    jitter: float = 0.01,
    open_share: float = 0.6,
    vibrato: tuple[float, float] = (0.0, 0.0),
    chaos: float = 0.0,
    crack: float = 0.0,
) -> np.ndarray:
    """One call of a throat: pulses at a gliding pitch and breath, through gliding formants (Klatt 1980).

    Args:
        rng: draws unsteadiness.
        pitch: (second, hz); its last second is the length.
        level: (share of the length, level).
        tracks: formants ``(hz or (share, hz) points, bandwidth, gain)``.
        breath: noise against voice.
        rough: hz and depth of a beat in the level.
        jitter: random share of the pitch.
        open_share: of each period; small is pressed and bright.
        vibrato: hz and semitones.
        chaos: level of a random amplitude from period to period, as in a roar.
        crack: share of subharmonic, every other pulse weaker.
    """
    hz = s.glide(*pitch)
    n = len(hz)
    at = np.arange(n) / s.RATE
    share = at / at[-1]
    hz = hz * (1 + jitter * s.wander(rng, n, 35)) * 2 ** (vibrato[1] / 12 * np.sin(2 * np.pi * vibrato[0] * at))
    x = s.glottis(np.maximum(hz, 8), open_share)
    phase = s.turns(hz, n)
    if crack:
        x *= 1 - crack * (np.floor(phase) % 2)
    if chaos:
        draws = rng.uniform(1 - chaos, 1 + chaos, int(phase[-1]) + 2)
        x *= draws[phase.astype(int)]
    if rough[1]:
        x *= 1 - rough[1] * (0.5 + 0.5 * np.sin(2 * np.pi * rough[0] * at + 2 * s.wander(rng, n, 10)))
    x = s.unit(x) * (1 - min(breath, 0.9)) + breath * s.high(rng.standard_normal(n), 300) * (0.6 + 0.4 * (phase % 1))
    level_curve = np.interp(share, *np.transpose(level))
    moving = [
        (
            np.exp(np.interp(share, [p for p, _ in f], np.log([v for _, v in f])))
            if not isinstance(f, int | float)
            else f,
            b,
            g,
        )
        for f, b, g in tracks
    ]
    edge = min(n, s.count(0.012))
    x[-edge:] *= np.linspace(1, 0, edge)
    return s.unit(s.formants(x, moving)) * level_curve * np.minimum(1, at / 0.004)


def calls(
    rng: np.random.Generator,
    events: Sequence[tuple[float, float, float]],
    voice: dict,
    seconds: float,
    air: float = 0.0,
) -> np.ndarray:
    """A call repeated: events ``(second, factor of pitch, factor of length)``; a little room."""
    out = np.zeros(s.count(seconds))
    for start, higher, longer in events:
        pitch = [(time * longer, hz * higher * rng.uniform(0.98, 1.02)) for time, hz in voice["pitch"]]
        y = call(rng, **{**voice, "pitch": pitch})
        first = round(start * s.RATE)
        out[first : first + len(y)] += y[: len(out) - first] * rng.uniform(0.8, 1)
    return s.room(rng, out, 0.35, 0.12 + air)


def sequence(rng: np.random.Generator, parts: Sequence[tuple[float, dict]], seconds: float) -> np.ndarray:
    """Different calls: ``(second, voice)``."""
    out = np.zeros(s.count(seconds))
    for start, voice in parts:
        y = call(rng, **voice)
        first = round(start * s.RATE)
        out[first : first + len(y)] += y[: len(out) - first]
    return s.room(rng, out, 0.35, 0.12)


def song(
    rng: np.random.Generator,
    syllables: Sequence[tuple[float, Points, float]],
    seconds: float,
    second_harmonic: float = 0.08,
    buzz: tuple[float, float] = (0.0, 0.0),
    warble: tuple[float, float] = (0.0, 0.0),
    far: float = 0.2,
) -> np.ndarray:
    """Birds, whistles: syllables ``(second, (second, hz) points, level)`` of nearly pure tone."""
    out = np.zeros(s.count(seconds))
    for start, points, level in syllables:
        hz = s.glide(*points)
        n = len(hz)
        at = np.arange(n) / s.RATE
        hz = hz * 2 ** (warble[1] / 12 * np.sin(2 * np.pi * warble[0] * at)) * (1 + 0.003 * s.wander(rng, n, 30))
        y = s.sine(hz, n) + second_harmonic * s.sine(2 * hz, n) + 0.02 * s.noise(rng, n)
        y *= 1 - buzz[1] * (0.5 + 0.5 * np.sin(2 * np.pi * buzz[0] * at))
        first = round(start * s.RATE)
        y *= np.sin(np.pi * np.minimum(1, (at + 1e-4) / at[-1])) ** 0.6
        out[first : first + n] += level * y[: len(out) - first]
    return s.room(rng, out, 0.7, far)


def trills(
    rng: np.random.Generator, seconds: float, groups: Sequence[tuple[float, float, float, float, float]]
) -> list[tuple[float, Points, float]]:
    """Repeated syllables: groups ``(start, stop, a second, from hz, to hz)``."""
    out: list[tuple[float, Points, float]] = []
    for start, stop, rate, lower, upper in groups:
        for time in np.arange(start, stop, 1 / rate):
            length = 0.75 / rate
            shift = rng.uniform(0.97, 1.03)
            out.append((float(time), ((0, lower * shift), (length, upper * shift)), float(rng.uniform(0.7, 1))))
    return out


def bird(
    rng: np.random.Generator,
    groups: Sequence[tuple[float, float, float, float, float]],
    seconds: float,
    **manner: object,
) -> np.ndarray:
    """A song of trills."""
    return song(rng, trills(rng, seconds, groups), seconds, **manner)  # type: ignore[arg-type]


def stridulation(
    rng: np.random.Generator, seconds: float, hz: float, chirps: Points, pulses: float, bandwidth: float
) -> np.ndarray:
    """Insects that rub: a carrier in pulses, within chirps ``(start, stop)``; ``bandwidth`` 0 is a pure tone."""
    n = s.count(seconds)
    at = np.arange(n) / s.RATE
    gate = np.zeros(n)
    for start, stop in chirps:
        place = np.clip((at - start) / (stop - start), 0, 1)
        gate += np.sin(np.pi * place) ** 0.5
    rub = np.maximum(0, np.sin(2 * np.pi * pulses * at)) ** 2
    tone = (
        s.sine(hz * (1 + 0.004 * s.wander(rng, n, 20)), n)
        if not bandwidth
        else s.band(s.noise(rng, n), hz - bandwidth, hz + bandwidth)
    )
    return s.room(rng, s.unit(tone) * gate * rub, 0.3, 0.1)


def wings(
    rng: np.random.Generator, seconds: float, hz: Points, number: int, spread: float, harmonics: int, passing: Points
) -> np.ndarray:
    """Insects that fly: as many buzzing wing beats, swelling as they pass."""
    track = s.glide(*hz)
    n = len(track)
    out = np.zeros(n)
    for _ in range(number):
        own = track * (1 + spread * rng.standard_normal()) * (1 + 0.02 * s.wander(rng, n, 3))
        gains = [rng.uniform(0.4, 1) / k**0.8 for k in range(1, harmonics + 1)]
        near = 1 if number == 1 else 0.3 + 0.7 * np.abs(s.wander(rng, n, 1.5))
        out += near * s.harmonics(own, n, gains, rng.random(harmonics))
    return out * np.interp(np.arange(n) / n, *np.transpose(passing))


def snore(rng: np.random.Generator, breaths: Sequence[tuple[float, float, bool]], seconds: float) -> np.ndarray:
    """Breaths ``(start, stop, inwards)``: inwards the palate flaps, outwards air whistles."""
    out = np.zeros(s.count(seconds))
    for start, stop, inwards in breaths:
        n = s.count(stop - start)
        share = np.linspace(0, 1, n)
        air = s.noise(rng, n, -3)
        if inwards:
            flap = s.glottis(34 * (1 + 0.2 * share) * (1 + 0.05 * s.wander(rng, n, 12)), 0.35)
            y = s.formants(s.unit(flap) + 0.8 * air * np.abs(flap), [(280, 90, 1.0), (620, 150, 0.7), (1900, 400, 0.4)])
        else:
            y = 0.35 * s.body(s.high(air, 400), [(900, 300, 1.0), (2400, 500, 1.0)], 0.3)
        first = round(start * s.RATE)
        out[first : first + n] += s.unit(y) * np.sin(np.pi * share) ** 0.7 * (1 if inwards else 0.35)
    return out


def blast(
    rng: np.random.Generator,
    puffs: Sequence[tuple[float, float, float, float]],
    seconds: float,
    voice: Sequence[tuple[float, dict]] = (),
) -> np.ndarray:
    """Bursts of breath ``(start, length, hz, width)``, and voices between them: sneezes, coughs, a nose."""
    out = np.zeros(s.count(seconds))
    for start, length, hz, width in puffs:
        n = s.count(length)
        y = s.body(s.noise(rng, n), [(hz, width, 1.0), (2.2 * hz, 1.5 * width, 0.6)], 0.08)
        first = round(start * s.RATE)
        y = s.unit(y) * s.fall(n, 1.1 * length, 0.012)
        out[first : first + n] += y[: len(out) - first]
    for start, one in voice:
        y = call(rng, **one)
        first = round(start * s.RATE)
        out[first : first + len(y)] += 0.7 * y[: len(out) - first]
    return s.room(rng, out, 0.3, 0.1)


def gargle(rng: np.random.Generator, seconds: float, hz: float) -> np.ndarray:
    """A voice that bubbles rise through."""
    n = s.count(seconds)
    at = np.arange(n) / s.RATE
    flutter = 0.5 + 0.5 * np.sin(2 * np.pi * np.cumsum(19 + 4 * s.wander(rng, n, 5)) / s.RATE)
    voice = call(
        rng,
        [(0, hz), (seconds, 1.1 * hz)],
        [(0, 0.3), (0.1, 1), (0.9, 1), (1, 0.2)],
        [(620, 90, 1.0), (1150, 140, 0.6), (2600, 250, 0.2)],
        0.15,
    )
    times = np.sort(rng.uniform(0, seconds - 0.1, int(55 * seconds)))
    water = s.scatter(
        seconds, times, [s.bubble(r, 0.2) for r in rng.uniform(1.5, 4, 30)], rng.uniform(0.2, 1, len(times))
    )
    return voice * (0.2 + 0.8 * flutter[: len(voice)] ** 2) + 1.2 * s.unit(water)[: len(voice)] * np.minimum(
        1, at[: len(voice)] / 0.1
    )


def bones(
    rng: np.random.Generator,
    times: Sequence[float],
    seconds: float,
    hz: float,
    friction: float,
    hard: float,
    soft: float = 0.0,
) -> np.ndarray:
    """Hooves, beaks: one small hard thing that hits another; ``soft`` adds the ground's thud."""
    grains = []
    for _ in range(5):
        y = s.struck(rng, 0.2, hz * rng.uniform(0.94, 1.06), friction, 7, hard, 0.6)
        if soft:
            y += soft * s.unit(s.low(rng.standard_normal(len(y)), 180)) * s.fall(len(y), 0.09)
        grains.append(y)
    return s.room(rng, s.scatter(seconds, times, grains, rng.uniform(0.6, 1, len(times))), 0.4, 0.12)


def heart(rng: np.random.Generator, beats: int, every: float) -> np.ndarray:
    """Two dull thuds a beat."""
    n = s.count(0.18)
    at = np.arange(n) / s.RATE
    first = s.saturate(np.sin(2 * np.pi * (58 * at + 0.35 * np.exp(-at / 0.02))) * np.sin(np.pi * at / at[-1]) ** 2, 2)
    second = 0.7 * s.saturate(np.sin(2 * np.pi * 86 * at) * np.sin(np.pi * (at / at[-1]) ** 0.7) ** 3, 2)
    times = [t for beat in range(beats) for t in (beat * every, beat * every + 0.31)]
    thuds = s.scatter(beats * every, times, [first, second])
    return thuds + 0.01 * s.low(s.noise(rng, len(thuds)), 300)


def crunch(rng: np.random.Generator, bites: Sequence[float], seconds: float) -> np.ndarray:
    """Crisps between teeth: each bite many small fractures (Cook 1997), the mouth shutting on them."""
    n = s.count(seconds)
    rate = np.zeros(n)
    for time in bites:
        first = round(time * s.RATE)
        rate[first:] += 900 * s.fall(n - first, 0.25, 0.02)
    hits = s.crackle(rng, n, rate, 0.02)
    return s.swept(
        s.body(hits, [(1200, 500, 2.0), (2700, 900, 1.5), (5200, 1500, 1.0)], 0.2),
        700 + 6000 * (rate / rate.max()) ** 0.5,
        0.7,
    )


UP_DOWN = ((0, 0.1), (0.15, 1), (0.75, 0.9), (1, 0.0))
SHARP = ((0, 0.5), (0.08, 1), (0.6, 0.5), (1, 0.0))
HELD = ((0, 0.0), (0.08, 1), (0.85, 0.9), (1, 0.0))

# fmt: off
BARK = {"pitch": ((0, 330), (0.04, 560), (0.17, 300)), "level": SHARP, "breath": 0.3, "jitter": 0.04, "chaos": 0.5,
    "tracks": ((((0, 700), (0.3, 1050), (1, 600)), 180, 1.0), (((0, 1500), (0.3, 1900), (1, 1300)), 250, 0.8),
    (3100, 400, 0.4))}
MEOW = {"pitch": ((0, 520), (0.25, 760), (0.7, 690), (0.95, 430)), "level": UP_DOWN, "breath": 0.05,
    "jitter": 0.006, "open_share": 0.45, "tracks": ((((0, 500), (0.35, 1150), (0.7, 1000), (1, 450)), 120, 1.0),
    (((0, 2600), (0.35, 2000), (1, 1200)), 250, 0.8), (4200, 500, 0.4))}
CAW = {"pitch": ((0, 400), (0.06, 520), (0.34, 430)), "level": HELD, "breath": 0.35, "jitter": 0.05, "chaos": 0.8,
    "rough": (70, 0.8), "tracks": ((1350, 300, 1.0), (1800, 350, 0.9), (3600, 700, 0.5)), "open_share": 0.35}
CLUCK = {"pitch": ((0, 420), (0.03, 560), (0.1, 380)), "level": SHARP, "breath": 0.15, "jitter": 0.03,
    "open_share": 0.4, "tracks": ((900, 180, 1.0), (1700, 300, 0.7), (3200, 600, 0.4))}
QUACK = {"pitch": ((0, 280), (0.05, 330), (0.22, 210)), "level": ((0, 0.3), (0.1, 1), (0.6, 0.8), (1, 0)),
    "breath": 0.1, "open_share": 0.25, "jitter": 0.02, "tracks": ((((0, 900), (0.4, 1250), (1, 850)), 150, 1.0),
    (2350, 250, 1.0), (3500, 400, 0.5)), "crack": 0.3}
GOBBLE = {"pitch": ((0, 95), (0.28, 80)), "level": HELD, "breath": 0.05, "open_share": 0.3, "rough": (31, 1.0),
    "tracks": ((420, 90, 0.7), (1350, 180, 1.0), (2500, 350, 0.3)), "jitter": 0.03}
BAA = {"pitch": ((0, 250), (0.2, 290), (1.0, 240)), "level": UP_DOWN, "breath": 0.12, "vibrato": (8.5, 1.1),
    "rough": (8.5, 0.6), "open_share": 0.4, "tracks": ((850, 130, 1.0), (1750, 200, 0.9), (2800, 350, 0.5))}
MOO = {"pitch": ((0, 95), (0.6, 150), (1.5, 160), (2.1, 105)), "level": ((0, 0.1), (0.3, 0.6), (0.6, 1), (1, 0)),
    "breath": 0.06, "open_share": 0.55, "tracks": ((((0, 240), (0.35, 320), (0.6, 620), (1, 420)), 80, 1.0),
    (((0, 650), (0.6, 1150), (1, 800)), 140, 0.6), (2300, 350, 0.2)), "jitter": 0.01}
OINK = {"pitch": ((0, 70), (0.3, 95)), "level": SHARP, "breath": 0.55, "chaos": 0.9, "jitter": 0.1,
    "rough": (28, 0.8), "open_share": 0.3, "tracks": ((((0, 500), (0.5, 750), (1, 520)), 160, 1.0),
    (1500, 300, 0.7), (2600, 500, 0.5))}
NEIGH = {"pitch": ((0, 600), (0.25, 1250), (0.8, 950), (1.5, 520), (1.9, 330)),
    "level": ((0, 0.2), (0.15, 1), (0.7, 0.7), (1, 0)), "breath": 0.15, "vibrato": (10.5, 1.8),
    "rough": (10.5, 0.5), "tracks": ((1000, 250, 1.0), (1900, 300, 0.9), (3300, 600, 0.6)), "open_share": 0.4,
    "jitter": 0.02}
HEE = {"pitch": ((0, 650), (0.4, 900)), "level": HELD, "breath": 0.5,
    "tracks": ((1200, 250, 1.0), (2600, 400, 0.8)), "jitter": 0.04, "chaos": 0.6}
HAW = {"pitch": ((0, 240), (0.5, 170)), "level": HELD, "breath": 0.15, "tracks": ((650, 150, 1.0), (1100, 200, 0.8),
    (2500, 400, 0.3)), "chaos": 0.8, "rough": (33, 0.6), "open_share": 0.35}
HOWL = {"pitch": ((0, 290), (0.5, 520), (1.6, 560), (2.6, 480), (3.0, 330)),
    "level": ((0, 0.1), (0.2, 0.9), (0.8, 1), (1, 0)), "breath": 0.04, "vibrato": (4.0, 0.25), "open_share": 0.8,
    "tracks": ((560, 90, 1.0), (1100, 200, 0.25), (2400, 400, 0.06)), "jitter": 0.004}
ROAR = {"pitch": ((0, 75), (0.5, 120), (1.6, 85), (2.1, 60)), "level": ((0, 0.1), (0.25, 1), (0.7, 0.8), (1, 0)),
    "breath": 0.45, "chaos": 1.0, "jitter": 0.12, "rough": (24, 0.6),
    "tracks": ((((0, 350), (0.3, 620), (1, 300)), 160, 1.0), (((0, 800), (0.3, 1200), (1, 800)), 250, 0.7),
    (2400, 600, 0.25)), "open_share": 0.4}
TRUMPETING = {"pitch": ((0, 380), (0.15, 720), (0.9, 780), (1.25, 500)), "level": UP_DOWN, "breath": 0.2,
    "chaos": 0.5, "rough": (60, 0.5), "open_share": 0.3, "jitter": 0.03,
    "tracks": ((900, 250, 0.8), (1600, 300, 1.0), (2900, 500, 0.8), (5000, 900, 0.5))}
GULL = {"pitch": ((0, 800), (0.08, 1350), (0.3, 1000)), "level": UP_DOWN, "breath": 0.08, "open_share": 0.4,
    "jitter": 0.01, "crack": 0.25, "tracks": ((1500, 300, 1.0), (2700, 400, 1.0), (4300, 700, 0.4))}
SCREECH = {"pitch": ((0, 700), (0.12, 1400), (0.25, 900)), "level": UP_DOWN, "breath": 0.1, "open_share": 0.5,
    "jitter": 0.02, "tracks": ((1100, 250, 1.0), (2400, 400, 0.6))}
CRY = {"pitch": ((0, 390), (0.15, 520), (0.7, 480), (0.95, 330)), "level": UP_DOWN, "breath": 0.08,
    "open_share": 0.45, "jitter": 0.012, "vibrato": (7, 0.3),
    "tracks": ((((0, 800), (0.3, 1150), (1, 850)), 130, 1.0), (((0, 1500), (0.3, 1900), (1, 1600)), 180, 0.8),
    (3600, 350, 0.6))}
HA = {"pitch": ((0, 230), (0.05, 260), (0.14, 180)), "level": ((0, 0.2), (0.2, 1), (0.6, 0.6), (1, 0)),
    "breath": 0.3, "open_share": 0.6, "tracks": ((760, 110, 1.0), (1250, 130, 0.7), (2600, 250, 0.3))}
YAWN = {"pitch": ((0, 140), (0.5, 210), (1.5, 150), (2.3, 85)), "level": ((0, 0), (0.25, 0.8), (0.5, 1), (1, 0)),
    "breath": 0.35, "open_share": 0.75, "tracks": ((((0, 400), (0.35, 800), (0.7, 600), (1, 350)), 110, 1.0),
    (((0, 1900), (0.35, 1250), (1, 800)), 150, 0.6), (2500, 300, 0.25))}
SHRIEK = {"pitch": ((0, 800), (0.12, 1500), (1.0, 1350), (1.3, 900)), "level": HELD, "breath": 0.12, "chaos": 0.3,
    "rough": (85, 0.4), "open_share": 0.4, "jitter": 0.015,
    "tracks": ((1350, 250, 1.0), (2800, 350, 0.8), (4100, 500, 0.5))}
AH_CHOO = {"pitch": ((0, 210), (0.35, 330)), "level": ((0, 0.1), (0.9, 0.6), (1, 0)), "breath": 0.5,
    "tracks": ((700, 120, 1.0), (1250, 160, 0.7), (2600, 300, 0.4))}
COUGH = {"pitch": ((0, 180), (0.09, 130)), "level": SHARP, "breath": 0.6, "chaos": 0.7, "tracks": ((700, 180, 1.0),
    (1300, 250, 0.7))}
CROW_UP = {"pitch": ((0, 520), (0.13, 640)), "level": HELD, "breath": 0.08, "open_share": 0.4,
    "tracks": ((900, 200, 1.0), (1800, 300, 1.0), (3300, 500, 0.6)), "jitter": 0.015}
CROW_END = {"pitch": ((0, 620), (0.15, 880), (0.8, 830), (1.1, 480)), "level": UP_DOWN, "breath": 0.12,
    "open_share": 0.4, "chaos": 0.3, "tracks": ((1050, 200, 1.0), (2000, 300, 1.0), (3500, 500, 0.6)),
    "jitter": 0.015}
# fmt: on

# fmt: off
SOUNDS = [
    ("dog barking", calls, {"events": [(0, 1, 1), (0.38, 1.05, 0.9), (1.1, 0.95, 1.1)], "voice": BARK,
     "seconds": 1.5}),
    ("cat meowing", calls, {"events": [(0, 1, 1)], "voice": MEOW, "seconds": 1.1}),
    ("crow cawing", calls, {"events": [(0, 1, 1), (0.55, 1, 1), (1.1, 0.96, 1.2)], "voice": CAW, "seconds": 1.7,
     "air": 0.15}),
    ("rooster crowing", sequence, {"parts": [(0, CROW_UP), (0.2, CROW_UP), (0.42, CROW_UP), (0.62, CROW_END)],
     "seconds": 1.85}),
    ("hen clucking", calls, {"events": [(0, 1, 1), (0.22, 1, 1), (0.45, 1.05, 1), (0.63, 0.95, 0.9), (0.95, 1, 1),
     (1.15, 1.5, 3.2)], "voice": CLUCK, "seconds": 1.6}),
    ("duck quacking", calls, {"events": [(0, 1.1, 1.2), (0.36, 1.03, 1), (0.68, 1, 1), (0.98, 0.95, 0.9)],
     "voice": QUACK, "seconds": 1.3}),
    ("frog croaking", calls, {"events": [(0, 1, 1), (0.5, 1.05, 0.9), (0.95, 1, 1.1)], "voice": GOBBLE,
     "seconds": 1.4}),
    ("crickets chirping", stridulation, {"seconds": 3.0, "hz": 4300,
     "chirps": [(0.15 + 0.55 * i, 0.42 + 0.55 * i) for i in range(5)], "pulses": 32, "bandwidth": 0}),
    ("cicada buzzing", stridulation, {"seconds": 3.6, "hz": 6200, "chirps": [(0, 3.5)], "pulses": 105,
     "bandwidth": 1400}),
    ("bees swarming", wings, {"seconds": 3.2, "hz": ((0, 215), (1.2, 245), (3.2, 220)), "number": 9, "spread": 0.07,
     "harmonics": 30, "passing": ((0, 0.1), (0.3, 0.8), (0.7, 1), (1, 0.1))}),
    ("mosquito flying", wings, {"seconds": 2.6, "hz": ((0, 560), (0.8, 620), (1.4, 590), (1.5, 510), (2.6, 540)),
     "number": 1, "spread": 0.0, "harmonics": 16, "passing": ((0, 0.02), (0.45, 1), (0.58, 0.8), (1, 0.02))}),
    ("sheep bleating", calls, {"events": [(0, 1, 1)], "voice": BAA, "seconds": 1.2}),
    ("cow mooing", calls, {"events": [(0, 1, 1)], "voice": MOO, "seconds": 2.3}),
    ("pig grunting", calls, {"events": [(0, 1, 1), (0.4, 1.1, 0.8), (0.7, 1, 0.8), (1.1, 1.2, 1.2)], "voice": OINK,
     "seconds": 1.6}),
    ("horse neighing", calls, {"events": [(0, 1, 1)], "voice": NEIGH, "seconds": 2.2}),
    ("horse galloping", bones, {"times": [t + 0.46 * i for i in range(7) for t in (0, 0.1, 0.21)], "seconds": 3.1,
     "hz": 620, "friction": 0.05, "hard": 1800, "soft": 1.6}),
    ("donkey braying", sequence, {"parts": [(0, HEE), (0.5, HAW), (1.1, HEE), (1.6, HAW), (2.2, HAW)],
     "seconds": 2.8}),
    ("wolf howling", calls, {"events": [(0, 1, 1)], "voice": HOWL, "seconds": 3.4, "air": 0.35}),
    ("lion roaring", calls, {"events": [(0, 1, 1)], "voice": ROAR, "seconds": 2.5, "air": 0.1}),
    ("elephant trumpeting", calls, {"events": [(0, 1, 1)], "voice": TRUMPETING, "seconds": 1.6}),
    ("owl hooting", song, {"syllables": [(0, ((0, 330), (0.1, 350), (0.35, 335)), 0.7), (0.75, ((0, 340),
     (0.07, 350), (0.16, 330)), 0.6), (0.95, ((0, 340), (0.2, 365), (0.9, 320)), 1)], "seconds": 2.0,
     "warble": (11, 0.25), "far": 0.4}),
    ("blackbird singing", bird, {"groups": [(0, 0.5, 4, 1900, 2300), (0.5, 0.8, 7, 2600, 1800),
     (0.8, 1.2, 3, 2000, 2900), (1.2, 1.6, 22, 4200, 6200), (2.2, 2.6, 4, 2400, 1700), (2.6, 3.0, 5, 1600, 2500),
     (3.0, 3.3, 25, 5000, 3600)], "seconds": 3.4, "far": 0.3}),
    ("sparrows chirping", bird, {"groups": [(0, 0.4, 5, 4200, 2900), (0.3, 0.7, 5, 3300, 4800),
     (0.8, 1.3, 4, 5200, 3000), (1.2, 1.4, 6, 3900, 3300), (1.6, 2.2, 5, 4400, 2800)], "seconds": 2.3,
     "second_harmonic": 0.4, "buzz": (95, 0.6)}),
    ("seagull crying", calls, {"events": [(0, 1, 2.2), (0.75, 1.1, 1), (1.1, 1.1, 0.9), (1.42, 1.08, 0.9),
     (1.73, 1.05, 0.9), (2.03, 1, 1)], "voice": GULL, "seconds": 2.5, "air": 0.2}),
    ("woodpecker pecking", bones, {"times": [1.05 * (1 - (1 - i / 18) ** 1.15) for i in range(18)], "seconds": 1.4,
     "hz": 950, "friction": 0.03, "hard": 4000}),
    ("monkey calling", calls, {"events": [(0, 0.5, 0.8), (0.3, 0.6, 0.8), (0.58, 0.7, 0.8), (0.82, 0.85, 0.8),
     (1.04, 1, 0.9), (1.3, 1.15, 1), (1.6, 1.2, 1.4)], "voice": SCREECH, "seconds": 2.1}),
    ("baby crying", calls, {"events": [(0, 1, 1), (1.25, 1.08, 1.15), (2.55, 1.04, 0.9)], "voice": CRY,
     "seconds": 3.5}),
    ("sneezing", blast, {"puffs": [(0.55, 0.4, 2300, 1200), (0.52, 0.12, 900, 600)], "seconds": 1.05,
     "voice": [(0, AH_CHOO), (0.56, COUGH)]}),
    ("coughing", blast, {"puffs": [(0, 0.22, 1100, 500), (0.42, 0.2, 1200, 500), (0.78, 0.3, 1000, 500)],
     "seconds": 1.2, "voice": [(0.03, COUGH), (0.45, COUGH), (0.81, COUGH)]}),
    ("snoring", snore, {"breaths": [(0, 1.2, True), (1.5, 2.6, False), (3.0, 4.3, True)], "seconds": 4.4}),
    ("laughing", calls, {"events": [(0.0, 1.2, 1.2), (0.21, 1.15, 1), (0.4, 1.1, 1), (0.59, 1.05, 1), (0.78, 1, 1),
     (0.98, 0.95, 1), (1.2, 0.9, 1.2)], "voice": HA, "seconds": 1.5}),
    ("yawning", calls, {"events": [(0, 1, 1)], "voice": YAWN, "seconds": 2.5}),
    ("gargling", gargle, {"seconds": 2.2, "hz": 150}),
    ("screaming", calls, {"events": [(0, 1, 1)], "voice": SHRIEK, "seconds": 1.6, "air": 0.15}),
    ("lip whistling", song, {"syllables": [(0, ((0, 900), (0.12, 1250), (0.35, 1250)), 0.9), (0.4, ((0, 1250),
     (0.1, 1680), (0.3, 1670)), 0.9), (0.75, ((0, 1670), (0.35, 1400), (0.9, 830)), 1)], "seconds": 1.8,
     "second_harmonic": 0.02, "far": 0.1}),
    ("crunching crisps", crunch, {"bites": (0, 0.42, 0.8, 1.22, 1.6), "seconds": 2.0}),
    ("heartbeat", heart, {"beats": 4, "every": 0.85}),
]
# fmt: on
