"""Engines, tools, vehicles, signals and weapons (after Farnell 2010 where he has them)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iminet_viz.datasets._demo import signals as s
from iminet_viz.datasets._demo.instruments import bars

Points = Sequence[tuple[float, float]]
Peaks = Sequence[tuple[float, float, float]]


def engine(
    rng: np.random.Generator,
    firing: Points,
    cylinders: int,
    peaks: Peaks,
    level: Points = ((0, 0.0), (0.04, 1), (0.95, 1), (1, 0)),
    uneven: float = 0.3,
    sharp: float = 8.0,
    hiss: float = 0.1,
    drive: float = 1.5,
    whine: tuple[float, float] = (0.0, 0.0),
    rough: float = 0.03,
    top: float = 6000.0,
) -> np.ndarray:
    """A combustion engine: explosions, one unlike the other, through an exhaust.

    Args:
        rng: draws the cylinders and the noise.
        firing: (second, explosions a second).
        cylinders: after so many the pattern repeats.
        peaks: of exhaust and body.
        level: (share, level).
        uneven: spread of the cylinders' strengths.
        sharp: how much of a period an explosion is short of.
        hiss: noise of gas within each explosion.
        drive: saturation.
        whine: (multiple of the firing rate, level) of gears.
        rough: random share of the rate.
        top: low-pass in Hz.
    """
    rate = s.glide(*firing)
    n = len(rate)
    rate = rate * (1 + rough * s.wander(rng, n, 9))
    phase = np.cumsum(rate) / s.RATE
    strengths = np.clip(1 + uneven * rng.standard_normal(cylinders), 0.2, 2)
    part = phase % 1
    burst = np.exp(-sharp * part) * (1 - np.exp(-60 * part))
    x = burst * strengths[phase.astype(int) % cylinders] * (1 + hiss * 4 * s.low(rng.standard_normal(n), 5000))
    y = s.body(x - x.mean(), peaks, 0.4)
    y = s.saturate(y, drive) + hiss * 0.4 * s.unit(s.band(s.noise(rng, n, -3), 200, 5000)) * 0.3
    if whine[0]:
        y += whine[1] * s.harmonics(np.minimum(rate * whine[0], 8000), n, [1, 0.5, 0.3])
    return s.low(y, top) * np.interp(np.linspace(0, 1, n), *np.transpose(level))


def motor(
    rng: np.random.Generator,
    speed: Points,
    partials: Sequence[tuple[float, float]],
    noise: tuple[float, float, float],
    level: Points = ((0, 0.0), (0.03, 1), (0.96, 1), (1, 0)),
    brush: float = 0.0,
    load: float = 0.01,
) -> np.ndarray:
    """An electric motor: tones at multiples of its speed, and a fan's noise ``(level, from, to)`` that follows it."""
    hz = s.glide(*speed)
    n = len(hz)
    share = hz / hz.max()
    hz = hz * (1 + load * s.wander(rng, n, 4))
    phase = s.turns(hz, n)
    y = sum(g * np.sin(2 * np.pi * (multiple * phase + rng.random())) for multiple, g in partials) * share
    y = (
        s.unit(y) * (1 + brush * s.wander(rng, n, 90))
        + noise[0] * s.unit(s.band(s.noise(rng, n, -1.5), *noise[1:])) * share**2
    )
    return y * np.interp(np.linspace(0, 1, n), *np.transpose(level))


def rotor(
    rng: np.random.Generator, seconds: float, blades: Points, thump: float, slap: float, turbine: float, level: Points
) -> np.ndarray:
    """Blades that chop the air: a thump and a swish each, a turbine above."""
    rate = s.glide(*blades)
    n = len(rate)
    phase = np.cumsum(rate) / s.RATE % 1
    chop = np.exp(-5 * phase) * (1 - np.exp(-50 * phase))
    x = thump * s.low(s.noise(rng, n), 130, 3) * chop * 12 + slap * s.band(s.noise(rng, n), 300, 2500) * chop**2
    if turbine:
        x += turbine * (s.sine(2350.0, n) * 0.3 + s.band(s.noise(rng, n), 1500, 5500))
    return x * np.interp(np.linspace(0, 1, n), *np.transpose(level))


def passing(
    rng: np.random.Generator,
    seconds: float,
    tone: tuple[float, float, float],
    tilt: float,
    cutoff: tuple[float, float],
    doppler: float,
    rumble: float,
) -> np.ndarray:
    """What comes, passes and goes: louder, brighter and lower in pitch; ``tone`` (hz, level, number of harmonics)."""
    n = s.count(seconds)
    place = np.linspace(-1, 1, n)
    near = 1 / (1 + (place / 0.16) ** 2) ** 0.75
    shift = 1 - doppler * place / np.sqrt(place**2 + 0.01)
    y = s.swept(s.noise(rng, n, tilt), cutoff[0] * (cutoff[1] / cutoff[0]) ** near, 0.6)
    y = s.unit(y * near)
    if tone[1]:
        gains = [1 / k for k in range(1, int(tone[2]) + 1)]
        y += tone[1] * s.unit(s.harmonics(tone[0] * shift * (1 + 0.004 * s.wander(rng, n, 12)), n, gains) * near)
    return y + rumble * s.unit(s.low(s.noise(rng, n), 90)) * near**0.5


def train(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Wheels over joints, two and two, with roll and squeal."""
    n = s.count(seconds)
    times = [t + d for t in np.arange(0.05, seconds - 0.3, 0.62) for d in (0, 0.11, 0.27, 0.38)]
    joint = [
        s.struck(rng, 0.25, hz, 0.03, 12, 1500, 0.8)
        + 0.8 * s.unit(s.low(s.noise(rng, s.count(0.25)), 120)) * s.fall(s.count(0.25), 0.12)
        for hz in (310, 340, 290)
    ]
    roll = s.body(s.noise(rng, n, -4), [(260, 120, 1.5), (900, 200, 0.8)], 0.6)
    squeal = s.sine(2900 * (1 + 0.004 * s.wander(rng, n, 3)), n) * np.clip(s.wander(rng, n, 1.2) - 0.7, 0, 1)
    fade = np.interp(np.linspace(0, 1, n), [0, 0.3, 0.7, 1], [0.25, 1, 1, 0.25])
    return (s.scatter(seconds, times, joint) + 0.45 * s.unit(roll) + 0.06 * squeal) * fade


def steam_engine(rng: np.random.Generator, puffs: Sequence[float]) -> np.ndarray:
    """Chuffs, each a burst of steam through the chimney, and a whistle at the end."""
    seconds = puffs[-1] + 1.5
    grains = []
    for length in (0.3, 0.24, 0.26, 0.24):
        n = s.count(length)
        grains.append(
            s.unit(s.body(s.noise(rng, n, -2), [(330, 150, 2.0), (1300, 500, 1.0)], 0.6))
            * s.fall(n, 0.9 * length, 0.02)
        )
    out = s.scatter(seconds, puffs, grains, np.resize((1, 0.7, 0.8, 0.7), len(puffs)))
    n = s.count(1.2)
    blow = sum(
        s.sine(hz * (1 - 0.03 * np.exp(-np.arange(n) / s.RATE / 0.08)), n) for hz in (523, 622, 740)
    ) + 1.2 * s.band(s.noise(rng, n), 500, 5000)
    return s.room(
        rng,
        s.mix(out, s.join(np.zeros(s.count(puffs[-1] + 0.25)), 0.6 * s.unit(blow) * s.adsr(n, 0.06, 1, 0.9, 0.2))),
        0.6,
        0.15,
    )


def beats(
    rng: np.random.Generator,
    rate: float,
    seconds: float,
    parts: Sequence[tuple[float, float, float, float, float]],
    bed: tuple[float, float, float] = (0.0, 100.0, 1000.0),
    vary: float = 0.05,
    level: Points = ((0, 1), (1, 1)),
) -> np.ndarray:
    """A machine's cycle, ``rate`` a second: blows ``(share of the cycle, hz, friction, hardness, level)``, noise."""
    times = np.arange(0, seconds - 0.5 / rate, 1 / rate)
    out = np.zeros(s.count(seconds))
    for share, hz, friction, hard, gain in parts:
        grains = [
            s.struck(rng, min(0.4, 3 / rate), hz * rng.uniform(1 - vary / 2, 1 + vary / 2), friction, 9, hard, 0.8)
            for _ in range(4)
        ]
        out += gain * s.scatter(
            seconds, s.jittered(rng, times + share / rate, vary / rate / 4), grains, rng.uniform(0.8, 1, len(times))
        )
    n = len(out)
    if bed[0]:
        out += bed[0] * s.unit(s.band(s.noise(rng, n, -2), *bed[1:]))
    return s.room(rng, out * np.interp(np.linspace(0, 1, n), *np.transpose(level)), 0.25, 0.08)


def beeps(
    rng: np.random.Generator,
    tones: Sequence[tuple[float, float, Sequence[float]]],
    wave: str = "square",
    peaks: Peaks = (),
    edge: float = 0.004,
    room: float = 0.1,
    warble: tuple[float, float] = (0.0, 0.0),
    top: float = 9000.0,
    t60: float = 0.0,
) -> np.ndarray:
    """Electric signals: ``(start, stop, frequencies)``, sounding at once, through a small loudspeaker."""
    seconds = max(stop for _, stop, _ in tones) + 0.05
    out = np.zeros(s.count(seconds + t60))
    for start, stop, frequencies in tones:
        n = s.count(stop - start + t60)
        at = np.arange(n) / s.RATE
        swing = 1 + warble[1] * np.sign(np.sin(2 * np.pi * warble[0] * at)) if warble[0] else np.ones(n)
        waves = {"square": s.pulse, "sine": s.sine, "saw": s.saw, "triangle": s.triangle}
        y = sum(waves[wave](hz * swing, n) for hz in frequencies)
        y = y * (s.fall(n, t60) if t60 else s.adsr(n, edge, 1, 1, edge))
        first = round(start * s.RATE)
        out[first : first + n] += y[: len(out) - first]
    return s.room(rng, s.low(s.body(out, peaks, 0.5 if peaks else 1.0), top), 0.3, room)


def siren(rng: np.random.Generator, hz: Points, repeats: int, wave: str, top: float, room: float = 0.35) -> np.ndarray:
    """A pitch that wails up and down."""
    track = np.tile(s.glide(*hz), repeats)
    n = len(track)
    y = s.low(s.pulse(track, n, 0.4) if wave == "square" else s.saw(track, n), top) * s.adsr(n, 0.05, 1, 1, 0.15)
    return s.room(rng, s.body(y, [(1400, 500, 0.7)]), 0.8, room)


def horn(
    rng: np.random.Generator,
    tones: Sequence[float],
    blasts: Sequence[tuple[float, float]],
    rolloff: float,
    peaks: Peaks,
    attack: float,
    beat: float,
    breath: float,
) -> np.ndarray:
    """Membrane and reed horns: several tones with many harmonics."""
    seconds = max(stop for _, stop in blasts)
    out = np.zeros(s.count(seconds))
    for start, stop in blasts:
        n = s.count(stop - start)
        gains = [10 ** (-rolloff * np.log2(k) / 20) for k in range(1, 40)]
        at = np.arange(n) / s.RATE
        y = sum(
            s.harmonics(hz * (1 - 0.04 * np.exp(-at / attack)) + i * beat, n, gains, rng.random(39))
            for i, hz in enumerate(tones)
        )
        y = s.body(y + breath * s.noise(rng, n, -3), peaks, 0.6) * s.adsr(n, attack, 1, 1, 0.09)
        first = round(start * s.RATE)
        out[first : first + n] += y[: len(out) - first]
    return s.room(rng, out, 0.9, 0.25)


def bell_ringing(
    rng: np.random.Generator,
    bursts: Sequence[tuple[float, float]],
    rate: float,
    hz: Sequence[float],
    t60: float,
    seconds: float,
) -> np.ndarray:
    """Hammers on small bells, ``rate`` a second in bursts: telephones, alarm clocks, bicycles."""
    notes = [
        (float(t), hz[i % len(hz)]) for start, stop in bursts for i, t in enumerate(np.arange(start, stop, 1 / rate))
    ]
    return s.room(rng, bars(rng, notes, seconds, (1, 2.2, 2.76, 4.1, 5.4), t60, 0.6, 9000, 0.25), 0.4, 0.1)


def shots(
    rng: np.random.Generator,
    times: Sequence[float],
    seconds: float,
    crack: float,
    boom: float,
    tail: float,
    top: float = 9000.0,
) -> np.ndarray:
    """Explosions: a shock of under a millisecond, hot gas, the ground, and echoes that darken."""
    n = s.count(min(seconds, 1.5))
    one = (
        s.low(s.noise(rng, n), top) * s.fall(n, crack, 0.0003)
        + 1.6 * s.low(s.noise(rng, n), 160, 3) * s.fall(n, boom, 0.004) * 2
    )
    one[: s.count(0.002)] += np.linspace(6, -3, s.count(0.002))
    out = s.saturate(s.scatter(seconds, times, [one], rng.uniform(0.85, 1, len(times))), 2.2)
    return s.room(rng, out, tail, 0.35)


def fireworks(rng: np.random.Generator) -> np.ndarray:
    """A rocket whistles up, bursts, its stars crackle."""
    n = s.count(1.1)
    rise = (s.sine(s.glide((0, 900), (0.9, 2600), (1.1, 2300)), n) + 0.4 * s.high(s.noise(rng, n), 1500)) * s.adsr(
        n, 0.1, 1, 0.8, 0.4
    )
    burst = shots(rng, (0,), 1.2, 0.25, 0.6, 1.5)
    m = s.count(1.7)
    stars = s.band(s.crackle(rng, m, 260 * np.linspace(1, 0.1, m), 0.2), 1500, 9000)
    return s.mix(s.join(0.25 * rise, burst), s.join(np.zeros(s.count(1.45)), 1.0 * stars / np.abs(stars).max() * 0.5))


def modem(rng: np.random.Generator) -> np.ndarray:
    """Dialling, an answer tone, chirps, two carriers, scrambled noise."""
    dial = beeps(
        rng,
        [
            (0.1 * i, 0.1 * i + 0.065, pair)
            for i, pair in enumerate(((697, 1336), (852, 1477), (770, 1209), (941, 1336), (852, 1209)))
        ],
        "sine",
        room=0.0,
    )
    answer = s.sine(2100.0, s.count(0.6)) * s.adsr(s.count(0.6), 0.005, 1, 1, 0.01)
    n = s.count(0.5)
    bits = np.sign(rng.standard_normal(int(0.5 * 300) + 2))[(np.arange(n) * 300 / s.RATE).astype(int)]
    chirp = s.sine(1180 + 200 * bits, n) + s.sine(1750 - 300 * bits, n)
    m = s.count(1.0)
    symbols = rng.choice([0, 0.25, 0.5, 0.75], 2402)[(np.arange(m) * 2400 / s.RATE).astype(int)]
    data = s.band(np.sin(2 * np.pi * (1800 * np.arange(m) / s.RATE + symbols)) + 0.5 * s.noise(rng, m), 500, 3200)
    gong = s.sine(s.glide((0, 600), (0.25, 2800), (0.4, 1200)), s.count(0.4))
    return s.low(s.join(dial, np.zeros(4000), 0.8 * answer, 0.5 * chirp, 0.7 * gong, s.unit(data)), 3600)


def printer(rng: np.random.Generator) -> np.ndarray:
    """Needles: lines of buzz at changing pitch, the carriage's return, paper advance."""
    parts = []
    for length in (0.55, 0.4, 0.6):
        n = s.count(length)
        hz = np.repeat(rng.choice([380.0, 460.0, 520.0, 620.0], int(length / 0.06) + 1), s.count(0.06))[:n]
        hz = np.pad(hz, (0, n - len(hz)), mode="edge")
        buzz = s.body(
            np.exp(-8 * (np.cumsum(hz) / s.RATE % 1)) * s.noise(rng, n), [(2600, 500, 1.0), (4500, 900, 1.0)], 0.4
        )
        m = s.count(0.13)
        feed = 0.5 * s.body(s.saw(s.line((0, 90), (0.13, 160)), m), [(1100, 200, 1.0)], 0.3)
        parts += [s.unit(buzz) * s.adsr(n, 0.004, 1, 1, 0.01), s.unit(feed) * s.adsr(m, 0.01, 1, 1, 0.02) * 0.6]
    return s.join(*parts)


def cuckoo_clock(rng: np.random.Generator) -> np.ndarray:
    """Door, two pipes with bellows, three times, over the tick."""
    out = np.zeros(s.count(3.1))
    for start in (0.15, 1.1, 2.05):
        for offset, hz, length in ((0, 784, 0.22), (0.33, 622, 0.34)):
            n = s.count(length)
            y = s.harmonics(
                hz * (1 - 0.03 * np.exp(-np.arange(n) / s.RATE / 0.02)), n, [1, 0.12, 0.2, 0.05]
            ) + 0.2 * s.band(s.noise(rng, n), 600, 4000)
            first = s.count(start + offset)
            out[first : first + n] += y * s.adsr(n, 0.015, 1, 0.9, 0.04)
    ticks = beats(rng, 2.0, 3.0, [(0.1, 2400, 0.02, 8000, 0.5), (0.6, 2000, 0.02, 8000, 0.4)])
    return s.room(rng, s.mix(out, ticks), 0.4, 0.15)


def whistle(rng: np.random.Generator, blasts: Sequence[tuple[float, float]]) -> np.ndarray:
    """A referee's whistle: two chambers that beat, a pea that trills."""
    out = np.zeros(s.count(blasts[-1][1] + 0.02))
    for start, stop in blasts:
        n = s.count(stop - start)
        at = np.arange(n) / s.RATE
        trill = np.sin(2 * np.pi * np.cumsum(34 + 4 * s.wander(rng, n, 5)) / s.RATE)
        rise = 1 - 0.06 * np.exp(-at / 0.03)
        y = (
            s.sine(2650 * rise * (1 + 0.012 * trill), n)
            + 0.8 * s.sine(2880 * rise * (1 + 0.012 * trill), n)
            + 0.25 * s.high(s.noise(rng, n), 1800)
        )
        first = round(start * s.RATE)
        out[first : first + n] += y[: len(out) - first] * (1 + 0.5 * trill) * s.adsr(n, 0.012, 1, 1, 0.03)
    return s.room(rng, out, 0.6, 0.2)


def kettle(rng: np.random.Generator) -> np.ndarray:
    """Water roars, the whistle finds its pitch."""
    n = s.count(3.4)
    share = np.linspace(0, 1, n)
    hz = s.glide((0, 1500), (1.2, 2100), (2.0, 2750), (3.4, 2820)) * (1 + 0.004 * s.wander(rng, n, 14))
    tone = (s.sine(hz, n) + 0.25 * s.sine(2 * hz, n)) * np.interp(share, [0, 0.25, 0.6, 0.95, 1], [0, 0.1, 1, 1, 0])
    roar = s.band(s.noise(rng, n, -2), 150, 2500) * np.interp(share, [0, 0.2, 0.6, 1], [0.3, 0.6, 0.25, 0.1])
    return (
        tone
        + 0.4 * s.unit(roar) * np.interp(share, [0, 0.05, 1], [0, 1, 0.3])
        + 0.15 * s.high(s.noise(rng, n), 3000) * share
    )


def camera(rng: np.random.Generator) -> np.ndarray:
    """Mirror, shutter, motor."""
    clicks = s.scatter(
        0.9,
        (0, 0.045, 0.16, 0.19),
        [s.struck(rng, 0.09, hz, 0.02, 9, 8000, 1.2) for hz in (900, 1600, 1200, 800)],
        (0.8, 1, 0.9, 0.6),
    )
    n = s.count(0.4)
    wind = s.body(
        s.saw(s.line((0, 210), (0.06, 420), (0.34, 430), (0.4, 200)), n), [(1900, 400, 1.0), (3600, 600, 0.7)], 0.3
    )
    return s.mix(clicks, s.join(np.zeros(s.count(0.24)), 0.22 * s.unit(wind) * s.adsr(n, 0.02, 1, 1, 0.05)))


def register(rng: np.random.Generator) -> np.ndarray:
    """Keys, bell, drawer."""
    keys = beats(rng, 8.0, 0.4, [(0, 700, 0.02, 5000, 1.0)])
    bell = bars(rng, [(0, 2350.0)], 1.4, (1, 2.4, 2.9, 4.2), 1.6, 0.5, 9000, 0.3)
    m = s.count(0.4)
    slide = (
        s.unit(s.body(s.crackle(rng, m, 1800.0), [(420, 120, 1.5), (1500, 400, 1.0)], 0.2))
        * np.sin(np.pi * np.linspace(0, 1, m)) ** 0.5
    )
    clunk = s.struck(rng, 0.3, 180, 0.03, 12, 1500, 0.8)
    coins = s.scatter(
        0.6,
        np.sort(rng.uniform(0, 0.4, 9)),
        [s.struck(rng, 0.2, hz, 0.0015, 5, 14_000) for hz in (4200, 5100, 6100)],
        0.35,
    )
    return s.mix(
        0.8 * keys,
        s.join(np.zeros(s.count(0.45)), 0.9 * bell),
        s.join(np.zeros(s.count(0.6)), 0.35 * slide),
        s.join(np.zeros(s.count(0.98)), s.mix(clunk, coins)),
    )


def washing(rng: np.random.Generator) -> np.ndarray:
    """Spinning up: a drum's hum, its imbalance, the motor's whine."""
    seconds = 4.4
    motor_part = motor(
        rng,
        ((0, 18), (seconds, 62)),
        [(1, 0.6), (2, 0.4), (11, 0.25), (22, 0.15)],
        (0.8, 80, 1500),
        ((0, 0.3), (1, 1)),
        load=0.004,
    )
    n = len(motor_part)
    turn = np.cumsum(s.glide((0, 2.5), (seconds, 9))) / s.RATE
    thump = s.low(s.noise(rng, n), 110, 3) * np.exp(-7 * (turn[:n] % 1)) * (1 - np.exp(-40 * (turn[:n] % 1))) * 6
    return motor_part + 0.8 * s.unit(thump)


# fmt: off
SOUNDS = [
    ("car engine idling", engine, {"firing": ((0, 24), (3.0, 24.5)), "cylinders": 4,
     "peaks": ((85, 30, 1.5), (170, 60, 1.2), (430, 150, 1.2), (1100, 300, 0.5)), "sharp": 9, "top": 3500}),
    ("motorbike revving", engine, {"firing": ((0, 28), (0.5, 110), (0.9, 45), (1.5, 170), (2.1, 60), (2.8, 32)),
     "cylinders": 2, "peaks": ((140, 50, 1.5), (330, 90, 1.5), (900, 250, 0.8)), "uneven": 0.4, "drive": 3.0}),
    ("truck accelerating", engine, {"firing": ((0, 22), (1.1, 48), (1.25, 30), (2.4, 58), (2.6, 36), (3.6, 62)),
     "cylinders": 6, "peaks": ((60, 25, 2.5), (130, 50, 1.5), (320, 120, 0.6)), "hiss": 0.2, "sharp": 5,
     "whine": (9.0, 0.06), "top": 3000}),
    ("racing car passing", passing, {"seconds": 3.0, "tone": (430, 1.3, 30), "tilt": -4, "cutoff": (500, 7000),
     "doppler": 0.24, "rumble": 0.2}),
    ("jet flying over", passing, {"seconds": 5.6, "tone": (2600, 0.1, 2), "tilt": -3.5, "cutoff": (220, 5200),
     "doppler": 0.15, "rumble": 0.6}),
    ("train on the rails", train, {"seconds": 3.6}),
    ("steam locomotive", steam_engine, {"puffs": [0.0, 0.34, 0.66, 0.96, 1.25, 1.52, 1.78, 2.03, 2.27]}),
    ("helicopter", rotor, {"seconds": 3.2, "blades": ((0, 13), (3.2, 13.5)), "thump": 1.0, "slap": 0.8,
     "turbine": 0.1, "level": ((0, 0.2), (0.5, 1), (1, 0.4))}),
    ("chainsaw", engine, {"firing": ((0, 42), (0.3, 45), (0.6, 155), (1.7, 150), (1.9, 118), (2.5, 125), (2.7, 160),
     (3.0, 60)), "cylinders": 1, "peaks": ((650, 200, 1.5), (1500, 400, 1.5), (3200, 800, 1.0)), "hiss": 0.2,
     "drive": 4.0, "rough": 0.05, "top": 11000}),
    ("power drill", motor, {"speed": ((0, 90), (0.35, 640), (1.5, 620), (1.7, 470), (2.3, 480), (2.7, 110)),
     "partials": [(1, 1.0), (2, 0.8), (3, 0.6), (5, 0.4), (8, 0.3)], "noise": (0.5, 800, 9000), "brush": 0.25,
     "load": 0.02}),
    ("jackhammer", beats, {"rate": 17, "seconds": 2.0,
     "parts": [(0, 95, 0.05, 800, 1.2), (0.05, 1150, 0.01, 7000, 0.9), (0.5, 700, 0.03, 4000, 0.3)],
     "bed": (0.12, 300, 6000)}),
    ("lawn mower", engine, {"firing": ((0, 9), (0.25, 12), (0.5, 16), (0.9, 44), (1.5, 50), (3.4, 50)),
     "cylinders": 1, "peaks": ((110, 40, 2.0), (260, 80, 1.2), (700, 250, 0.6)), "hiss": 0.25, "sharp": 6,
     "level": ((0, 0.5), (0.2, 0.7), (0.3, 1), (0.95, 1), (1, 0))}),
    ("vacuum cleaner", motor, {"speed": ((0, 60), (0.9, 330), (2.8, 335), (3.6, 140)),
     "partials": [(1, 1.0), (2, 0.4), (4, 0.5), (12, 0.25)], "noise": (2.2, 250, 7000), "load": 0.003}),
    ("hair dryer", motor, {"speed": ((0, 120), (0.3, 240), (2.2, 243), (2.6, 150)),
     "partials": [(1, 0.7), (2, 0.5), (6, 0.2)], "noise": (4.0, 700, 11000), "load": 0.002}),
    ("washing machine spinning", washing, {}),
    ("sewing machine", beats, {"rate": 11, "seconds": 2.4,
     "parts": [(0, 480, 0.03, 3000, 1.0), (0.45, 850, 0.03, 5000, 0.6)], "bed": (0.1, 150, 2500), "vary": 0.02,
     "level": ((0, 0.8), (0.4, 1), (1, 0.9))}),
    ("dot-matrix printer", printer, {}),
    ("modem connecting", modem, {}),
    ("elevator ding", beeps, {"tones": [(0, 0.3, (1430, 1433, 2865, 3860))], "wave": "sine", "t60": 1.6}),
    ("clock ticking", beats, {"rate": 2.0, "seconds": 3.0,
     "parts": [(0, 2900, 0.02, 11000, 1.0), (0.5, 2350, 0.025, 10000, 0.7)], "vary": 0.01}),
    ("digital alarm clock", beeps, {"tones": [(t + 0.11 * i, t + 0.11 * i + 0.055, (2048,)) for t in (0, 0.85,
     1.7) for i in range(4)]}),
    ("telephone ringing", bell_ringing, {"bursts": [(0, 1.1), (1.8, 2.9)], "rate": 23, "hz": (1480.0, 1790.0),
     "t60": 0.6, "seconds": 3.5}),
    ("bicycle bell", bell_ringing, {"bursts": [(0, 0.22), (0.35, 0.57)], "rate": 28, "hz": (2250.0,), "t60": 1.3,
     "seconds": 1.9}),
    ("doorbell", beeps, {"tones": [(0, 0.5, (659.3, 1318.6, 3300)), (0.6, 1.1, (523.3, 1046.6, 2616))],
     "wave": "sine", "t60": 1.3, "room": 0.3}),
    ("police siren", siren, {"hz": ((0, 620), (0.75, 1500), (1.7, 620)), "repeats": 2, "wave": "square",
     "top": 5000}),
    ("car horn honking", horn, {"tones": (415.0, 523.0), "blasts": [(0, 0.25), (0.45, 1.3)], "rolloff": 2,
     "peaks": ((2300, 700, 1.5),), "attack": 0.01, "beat": 1.5, "breath": 0.02}),
    ("ship horn", horn, {"tones": (87.0, 110.0), "blasts": [(0, 2.6)], "rolloff": 4, "peaks": ((260, 100, 1.2),),
     "attack": 0.25, "beat": 0.7, "breath": 0.4}),
    ("sonar ping", beeps, {"tones": [(0, 0.1, (1420.0,)), (1.6, 1.7, (1420.0,))], "wave": "sine", "t60": 1.5,
     "room": 0.6}),
    ("cuckoo clock", cuckoo_clock, {}),
    ("referee whistle", whistle, {"blasts": [(0, 0.22), (0.34, 1.25)]}),
    ("tea kettle whistling", kettle, {}),
    ("camera shutter", camera, {}),
    ("cash register", register, {}),
    ("gunshot", shots, {"times": (0,), "seconds": 0.8, "crack": 0.12, "boom": 0.3, "tail": 1.3}),
    ("machine gun", shots, {"times": [0.085 * i for i in range(14)], "seconds": 1.5, "crack": 0.07, "boom": 0.09,
     "tail": 0.7}),
    ("fireworks", fireworks, {}),
    ("explosion", shots, {"times": (0, 0.07), "seconds": 1.5, "crack": 0.8, "boom": 1.9, "tail": 3.0, "top": 2500}),
]
# fmt: on
