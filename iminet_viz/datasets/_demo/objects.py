"""Things, water, weather and fire: impacts by modes, friction and breakage by crowds of grains, liquids by bubbles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iminet_viz.datasets._demo import signals as s
from iminet_viz.datasets._demo.instruments import FREE_BAR, bars

Points = Sequence[tuple[float, float]]
Peaks = Sequence[tuple[float, float, float]]


def hits(
    rng: np.random.Generator,
    times: Sequence[float],
    seconds: float,
    hz: float,
    friction: float,
    hard: float = 3000.0,
    spread: float = 0.02,
    thud: tuple[float, float, float] = (0.0, 100.0, 0.1),
    number: int = 14,
    room: float = 0.1,
    levels: Sequence[float] = (),
    ring: float = 0.6,
    click: float = 0.4,
) -> np.ndarray:
    """Blows on a thing of one material; ``thud`` (level, hz, t60) is what stands below it, ``spread`` between blows."""
    grains = []
    for _ in range(min(len(times), 8)):
        y = s.struck(rng, ring, hz * 2 ** (spread * rng.uniform(-1, 1) * 4), friction, number, hard, click)
        if thud[0]:
            y = y + thud[0] * s.unit(s.low(s.noise(rng, len(y)), thud[1], 3)) * s.fall(len(y), thud[2])
        grains.append(y)
    gains = np.asarray(levels) if len(levels) else rng.uniform(0.7, 1, len(times))
    return s.room(rng, s.scatter(seconds, times, grains, gains), 0.35, room)


def pieces(
    rng: np.random.Generator,
    seconds: float,
    density: Points,
    hz: tuple[float, float],
    friction: float,
    ring: float,
    hard: float = 9000.0,
    first: tuple[float, float] = (0.0, 500.0),
    weakest: float = 0.05,
    room: float = 0.15,
) -> np.ndarray:
    """A crowd of small blows, ``density`` a second along the way: what breaks or jingles; ``first`` (level, hz)."""
    curve = s.line(*[(share * seconds, rate) for share, rate in density])
    times = np.flatnonzero(rng.random(len(curve)) < curve / s.RATE) / s.RATE
    grains = [
        s.struck(rng, ring, float(np.exp(rng.uniform(np.log(hz[0]), np.log(hz[1])))), friction, 6, hard, 0.5)
        for _ in range(24)
    ]
    out = s.scatter(seconds, times, grains, np.exp(rng.uniform(np.log(weakest), 0, len(times))))
    if first[0]:
        out = s.mix(out, first[0] * s.unit(s.low(s.noise(rng, s.count(0.3)), first[1])) * s.fall(s.count(0.3), 0.18))
    return s.room(rng, out, 0.4, room)


def bouncing(
    rng: np.random.Generator,
    seconds: float,
    hz: float,
    friction: float,
    gap: float,
    shrink: float,
    count: int,
    hard: float = 3000.0,
    thud: tuple[float, float, float] = (0.0, 100.0, 0.1),
    ring: float = 0.3,
    ratios: Sequence[float] = (),
    room: float = 0.15,
    start: Sequence[float] = (0.0,),
) -> np.ndarray:
    """One thing that bounces: gaps and levels shrink by the same share."""
    times, levels = [], []
    for first in start:
        gaps = gap * shrink ** np.arange(count - 1)
        times += list(first + np.r_[0, np.cumsum(gaps)])
        levels += list(shrink ** np.arange(count))
    y = s.struck(rng, ring, hz, friction, 10, hard, 0.5, ratios)
    if thud[0]:
        y = y + thud[0] * s.sine(thud[1] * (1 + 0.4 * s.fall(len(y), 0.05, 0)), len(y)) * s.fall(len(y), thud[2])
    return s.room(rng, s.scatter(seconds, times, [y], levels), 0.5, room)


def rubbing(
    rng: np.random.Generator,
    strokes: Sequence[tuple[float, float, float]],
    seconds: float,
    peaks: Peaks,
    grain: float = 3000.0,
    teeth: float = 0.0,
    lift: float = 0.5,
    low_cut: float = 200.0,
    sharp: float = 0.7,
) -> np.ndarray:
    """Strokes ``(start, stop, level)`` of a rough thing: its grain a second, or teeth that follow the speed."""
    n = s.count(seconds)
    at = np.arange(n) / s.RATE
    speed = np.zeros(n)
    for start, stop, level in strokes:
        speed += level * np.sin(np.pi * np.clip((at - start) / (stop - start), 0, 1)) ** sharp
    if teeth:
        phase = np.cumsum(teeth * speed) / s.RATE
        x = (
            np.exp(-12 * (phase % 1))
            * s.noise(rng, n)
            * (0.6 + 0.4 * rng.random(int(phase[-1]) + 2)[phase.astype(int)])
        )
    else:
        x = s.crackle(rng, n, grain * (0.2 + speed), 0.1)
    y = s.body(s.high(x, low_cut), peaks, 0.25)
    return s.swept(y, 1500 + 9000 * speed**lift, 0.7) * speed


def crushed(
    rng: np.random.Generator,
    seconds: float,
    density: Points,
    peaks: Peaks,
    weakest: float = 0.01,
    burst: float = 0.0,
    cut: float = 300.0,
    top: float = 15_000.0,
) -> np.ndarray:
    """Paper, foil, crisps, fire: clicks of very different strength, in bursts of ``burst`` hz, through resonances."""
    n = s.count(seconds)
    rate = np.interp(np.linspace(0, 1, n), *np.transpose(density))
    if burst:
        rate = rate * np.clip(0.6 + s.wander(rng, n, burst), 0.02, None) ** 2
    x = s.crackle(rng, n, rate.clip(0, 20_000), weakest)
    return s.low(s.body(s.high(x, cut), peaks, 0.3), top)


def squeak(
    rng: np.random.Generator, pulls: Sequence[tuple[Points, float]], peaks: Peaks, rough: float = 0.2
) -> np.ndarray:
    """Stick and slip: pulls ``((second, slips a second) points, pause)`` through what carries them."""
    parts = []
    for points, pause in pulls:
        hz = s.glide(*points)
        n = len(hz)
        hz = hz * (1 + rough * 0.25 * s.wander(rng, n, 18))
        x = np.diff(s.saw(np.maximum(hz, 10), n), prepend=0) * (1 + rough * s.wander(rng, n, 60))
        y = s.body(x, peaks, 0.05)
        parts += [s.unit(y) * s.adsr(n, 0.06, 1, 0.9, 0.08), np.zeros(s.count(pause))]
    return s.room(rng, s.join(*parts), 0.4, 0.15)


def wind(
    rng: np.random.Generator,
    seconds: float,
    whistle: Points,
    gust_hz: float,
    q: float,
    tilt: float,
    tone: float,
    shape: Points,
) -> np.ndarray:
    """Moving air: tilted noise, and a band that follows the gusts (Farnell 2010)."""
    n = s.count(seconds)
    gusts = np.clip(0.7 + 0.3 * s.wander(rng, n, gust_hz), 0.25, 1.6)
    curve = s.glide(*whistle)[:n] * gusts**0.5
    x = s.noise(rng, n, tilt)
    y = (1 - tone) * s.high(x, 60) * gusts + tone * 2 * s.unit(
        s.swept(s.noise(rng, n, -3), curve, q, "band", 2)
    ) * gusts
    return y * np.interp(np.linspace(0, 1, n), *np.transpose(shape))


def jet(
    rng: np.random.Generator,
    seconds: float,
    centre: Points,
    q: float,
    shape: Points,
    cut: float = 500.0,
) -> np.ndarray:
    """Gas through a narrow opening: bright noise with a resonance that moves."""
    n = s.count(seconds)
    x = s.high(s.noise(rng, n), cut)
    y = 0.5 * x + s.swept(s.noise(rng, n), s.glide(*centre)[:n], q, "band") * 2
    return y * np.interp(np.linspace(0, 1, n), *np.transpose(shape))


def water(
    rng: np.random.Generator,
    seconds: float,
    rate: Points,
    radii: tuple[float, float],
    rise: float,
    hiss: tuple[float, float, float] = (0.0, 1000.0, 8000.0),
    shape: Points = ((0, 1), (1, 1)),
    vessel: Points = (),
    weakest: float = 0.1,
) -> np.ndarray:
    """Bubbles by the hundred (van den Doel 2005); ``hiss`` (level, from, to) of spray; ``vessel`` fills."""
    n = s.count(seconds)
    curve = np.interp(np.linspace(0, 1, n), *np.transpose(rate))
    times = np.flatnonzero(rng.random(n) < curve / s.RATE) / s.RATE
    sizes = np.exp(rng.uniform(np.log(radii[0]), np.log(radii[1]), 80))
    grains = [s.bubble(radius, rise * rng.uniform(0.3, 1.6), (radius / radii[1]) ** 0.8) for radius in sizes]
    y = s.unit(s.scatter(seconds, times, grains, np.exp(rng.uniform(np.log(weakest), 0, len(times)))))
    if hiss[0]:
        y += hiss[0] * s.unit(s.band(s.noise(rng, n), *hiss[1:])) * (1 + 0.3 * s.wander(rng, n, 7))
    if vessel:
        y = 0.5 * y + 1.5 * s.swept(y, s.glide(*vessel)[:n], 6, "band")
    return y * np.interp(np.linspace(0, 1, n), *np.transpose(shape))


def drips(
    rng: np.random.Generator, times: Sequence[float], seconds: float, radii: tuple[float, float], rise: float
) -> np.ndarray:
    """Single drops: a tick, then a bubble that rises."""
    grains = []
    for radius in rng.uniform(*radii, 8):
        tick = 0.15 * s.high(rng.standard_normal(s.count(0.003)), 3000)
        grains.append(s.mix(tick, s.join(np.zeros(s.count(0.012)), s.bubble(radius, rise))))
    return s.room(rng, s.scatter(seconds, times, grains, rng.uniform(0.6, 1, len(times))), 0.7, 0.3)


def splash(rng: np.random.Generator) -> np.ndarray:
    """A stone: slap, cavity, drops falling back."""
    n = s.count(1.5)
    slap = s.band(s.noise(rng, n), 300, 6000) * s.fall(n, 0.35, 0.004)
    cavity = s.join(np.zeros(s.count(0.12)), 4 * s.bubble(16, 0.3))
    back = water(
        rng, 1.5, ((0, 0), (0.12, 160), (0.4, 220), (1, 5)), (0.8, 4), 0.2, shape=((0, 0), (0.2, 1), (1, 0.05))
    )
    return s.room(rng, s.mix(1.2 * slap, cavity, 0.3 * back), 0.5, 0.15)


def waves(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """The sea: a swell that breaks, its foam running up and back."""
    n = s.count(seconds)
    share = np.linspace(0, 1, n)
    roll = s.low(s.noise(rng, n, -4), 500) * np.interp(share, [0, 0.3, 0.5, 1], [0.2, 1, 0.4, 0.1])
    crash = s.swept(
        s.noise(rng, n, -1), s.glide((0, 500), (0.35 * seconds, 5000), (0.7 * seconds, 2500), (seconds, 5000)), 0.6
    )
    foam = s.high(s.crackle(rng, n, 6000 * np.interp(share, [0, 0.4, 0.6, 1], [0, 0.2, 1, 0.3])), 3000)
    return (
        s.unit(roll) * 0.7
        + s.unit(crash) * np.interp(share, [0, 0.25, 0.36, 0.6, 1], [0.05, 0.4, 1.3, 0.5, 0.08])
        + 0.4 * s.unit(foam)
    )


def thunder(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A crack, then the same from ever farther parts of the bolt."""
    n = s.count(seconds)
    x = s.band(s.noise(rng, n), 500, 7000) * s.fall(n, 0.3, 0.002)
    starts = np.sort(rng.exponential(1.0, 26))
    for start in starts[starts < seconds - 0.3]:
        first = round(start * s.RATE)
        length = n - first
        dark = 2500 * np.exp(-1.3 * start) + 70
        x[first:] += (
            3.5
            * np.exp(-0.4 * start)
            * s.unit(s.low(s.noise(rng, length, -2), dark))
            * s.fall(length, rng.uniform(0.5, 1.6), 0.02 + 0.05 * start)
        )
    return s.saturate(s.body(x, [(55, 40, 1.5)]), 2.5)


def fire(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Flames: lapping, hissing, crackling (Farnell 2010)."""
    n = s.count(seconds)
    lap = s.band(s.noise(rng, n, -4), 25, 250) * np.clip(s.wander(rng, n, 5), 0, None)
    hiss = s.high(s.noise(rng, n), 1500) * np.clip(s.wander(rng, n, 2), 0.2, 2) ** 2
    times = np.sort(rng.uniform(0, seconds - 0.05, int(28 * seconds)))
    snaps = [
        s.unit(s.band(s.noise(rng, s.count(0.03)), f, 3.2 * f))
        * s.fall(s.count(0.03), rng.uniform(0.006, 0.03), 0.0003)
        for f in rng.uniform(600, 4500, 20)
    ]
    return (
        0.5 * s.unit(lap)
        + 0.02 * hiss
        + 1.6 * s.scatter(seconds, times, snaps, np.exp(rng.uniform(-2.5, 0.4, len(times))))
    )


def bells(rng: np.random.Generator, notes: Sequence[tuple[float, float]], seconds: float, t60: float) -> np.ndarray:
    """Church bells: hum, prime, tierce, quint, nominal and above, each slightly double."""
    return s.room(
        rng,
        bars(rng, notes, seconds, (0.5, 1.0, 1.2, 1.5, 2.0, 2.6, 3.0, 4.1, 5.3), t60, 0.7, 2500, 0.4, 0.0, 0.0017),
        1.0,
        0.2,
    )


def chimes(rng: np.random.Generator, seconds: float, tubes: Sequence[float], t60: float, blows: int) -> np.ndarray:
    """Hanging tubes that wind knocks together."""
    times = np.sort(rng.uniform(0, 0.7 * seconds, blows))
    return bars(rng, [(float(t), float(rng.choice(tubes))) for t in times], seconds, FREE_BAR[:4], t60, 0.8, 9000, 0.15)


def sprung(rng: np.random.Generator) -> np.ndarray:
    """A spring twanged on a board: a low wobble whose pitch rises, with its beats through the board."""
    n = s.count(1.6)
    at = np.arange(n) / s.RATE
    wobble = 17 + 16 * at
    hz = 210 * (1 + 0.18 * np.sin(2 * np.pi * np.cumsum(wobble) / s.RATE) * np.exp(-at / 0.7)) * (1 + 0.35 * at)
    x = s.harmonics(hz, n, [1, 0.7, 0.5, 0.5, 0.3, 0.3, 0.2, 0.2]) * (
        1 + 0.6 * np.sin(2 * np.pi * np.cumsum(wobble) / s.RATE)
    )
    return s.body(x, [(650, 150, 1.0), (1400, 300, 0.8)], 0.4) * s.fall(n, 1.7, 0.002)


def whip(rng: np.random.Generator) -> np.ndarray:
    """A rising swish and a crack."""
    n = s.count(0.42)
    swish = s.swept(s.noise(rng, n), s.glide((0, 350), (0.42, 3800)), 2.5, "band") * np.linspace(0, 1, n) ** 2.5
    tail = s.count(0.45)
    crack = s.high(s.noise(rng, tail), 900) * s.fall(tail, 0.09, 0.0003)
    return s.room(rng, s.join(0.7 * swish, 3.5 * crack), 0.6, 0.25)


def cork(rng: np.random.Generator) -> np.ndarray:
    """A creaking cork, a pop of the bottle's air, some fizz."""
    n = s.count(1.1)
    at = np.arange(n) / s.RATE
    pop = np.sin(2 * np.pi * (430 * at + 4 * (1 - np.exp(-at / 0.02)))) * s.fall(n, 0.13, 0.0008) + 0.5 * s.high(
        s.noise(rng, n), 1000
    ) * s.fall(n, 0.03)
    fizz = 0.05 * s.high(s.noise(rng, n), 4500) * s.fall(n, 1.6, 0.12)
    pull = squeak(rng, [(((0, 70), (0.3, 160)), 0.02)], ((900, 250, 1.0), (1900, 400, 1.0)))[: s.count(0.33)]
    return s.join(0.09 * s.unit(pull), pop + fizz)


def balloon(rng: np.random.Generator) -> np.ndarray:
    """Two squeaks of rubber, then the bang."""
    rubber = squeak(
        rng,
        [(((0, 420), (0.12, 760), (0.22, 600)), 0.08), (((0, 500), (0.15, 950)), 0.12)],
        ((1100, 300, 1.0), (2400, 500, 0.7)),
        0.1,
    )
    n = s.count(0.5)
    bang = s.low(s.noise(rng, n), 9000) * s.fall(n, 0.06, 0.0002) + 0.6 * s.low(s.noise(rng, n), 250) * s.fall(
        n, 0.15, 0.001
    )
    return s.join(0.2 * s.unit(rubber), s.room(rng, 1.5 * s.unit(bang), 0.6, 0.2))


def match(rng: np.random.Generator) -> np.ndarray:
    """A scrape, a flare, a small flame."""
    n = s.count(1.7)
    at = np.arange(n) / s.RATE
    scrape = s.band(s.crackle(rng, n, 9000.0, 0.2), 1500, 9000) * np.interp(at, [0, 0.03, 0.2, 0.24], [0, 1, 1, 0])
    flare = s.swept(s.noise(rng, n), s.glide((0, 1200), (0.35, 6000), (1.7, 900)), 0.7) * np.interp(
        at, [0, 0.18, 0.32, 0.7, 1.7], [0, 0.05, 1, 0.25, 0.05]
    )
    return 0.9 * s.unit(scrape) + s.unit(flare) * (1 + 0.4 * s.wander(rng, n, 18))


def can(rng: np.random.Generator) -> np.ndarray:
    """A ring pull: click, hiss, tear of metal."""
    n = s.count(1.0)
    at = np.arange(n) / s.RATE
    click = s.mix(s.struck(rng, 0.3, 1700, 0.006, 10, 9000, 0.8), np.zeros(n))
    hiss = s.high(s.noise(rng, n), 3500) * np.interp(at, [0, 0.015, 0.05, 0.3, 1.0], [0, 0, 1, 0.25, 0.0])
    tear = s.body(
        s.crackle(rng, n, 1500 * ((at > 0.4) & (at < 0.62)), 0.1),
        [(1300, 90, 1.0), (2900, 150, 1.0), (4700, 250, 0.8)],
        0.3,
    )
    clunk = s.join(np.zeros(s.count(0.63)), s.struck(rng, 0.25, 900, 0.008, 8, 5000, 0.6))
    return s.mix(click, 0.5 * s.unit(hiss), 0.5 * s.unit(tear), 0.9 * clunk)


def door(rng: np.random.Generator) -> np.ndarray:
    """A latch, a slam, the house."""
    n = s.count(0.9)
    boom = s.low(s.noise(rng, n), 130, 3) * s.fall(n, 0.3, 0.003)
    slam = s.struck(rng, 0.9, 95, 0.06, 22, 1200, 0.8)
    latch = hits(rng, (0, 0.07), 0.2, 1900, 0.01, 8000, ring=0.12, room=0.0)
    return s.room(
        rng,
        s.mix(
            0.25 * latch,
            s.join(np.zeros(s.count(0.16)), 2 * s.unit(boom) * 0.35 + slam),
            s.join(np.zeros(s.count(0.21)), 0.3 * latch),
        ),
        0.8,
        0.3,
    )


def swords(rng: np.random.Generator) -> np.ndarray:
    """Blades: clash, clash, and a long scrape."""
    blow = [s.struck(rng, 1.2, hz, 0.0012, 16, 12_000, 0.5) for hz in (820, 940, 760)]
    out = s.scatter(2.3, (0, 0.45, 1.05), blow, (0.8, 0.9, 1.0))
    n = s.count(0.55)
    edge = s.swept(s.high(s.noise(rng, n), 2000), s.glide((0, 2800), (0.55, 7500)), 9, "band") * np.sin(
        np.pi * np.linspace(0, 1, n)
    )
    return s.room(rng, s.mix(out, s.join(np.zeros(s.count(1.1)), 0.5 * s.unit(edge))), 0.6, 0.15)


def coin(rng: np.random.Generator) -> np.ndarray:
    """A coin that drops, spins and settles ever faster."""
    times = list(np.r_[0, 0.22, 0.36])
    step, time = 0.075, 0.5
    while step > 0.013:
        times.append(time)
        time += step
        step *= 0.955
    levels = np.r_[1, 0.8, 0.6, np.linspace(0.45, 0.25, len(times) - 3)]
    grains = [
        s.struck(rng, 0.4, 4700 * rng.uniform(0.995, 1.005), 0.0007, 6, 14_000, 0.5, (1, 1.52, 1.9, 2.3, 2.9))
        for _ in range(6)
    ]
    return s.scatter(times[-1] + 0.25, times, grains, levels)


def clapping(rng: np.random.Generator, seconds: float, hands: int, rate: float) -> np.ndarray:
    """A crowd: each pair of hands with its own sound, place and rhythm."""
    times, grains = [], []
    for _ in range(hands):
        n = s.count(0.05)
        centre = rng.uniform(700, 2300)
        grains.append(
            s.unit(s.body(s.noise(rng, n), [(centre, 500, 1.0)], 0.25)) * s.fall(n, 0.03, 0.0005) * rng.uniform(0.2, 1)
        )
    order = []
    for hand in range(hands):
        own = s.jittered(rng, np.arange(rng.uniform(0, 0.3), seconds - 0.1, 1 / (rate * rng.uniform(0.85, 1.15))), 0.02)
        times += list(own)
        order += [hand] * len(own)
    out = np.zeros(s.count(seconds))
    for time, hand in zip(times, order, strict=True):
        first = round(time * s.RATE)
        out[first : first + len(grains[hand])] += grains[hand][: len(out) - first]
    share = np.linspace(0, 1, len(out))
    return s.room(rng, out * np.interp(share, [0, 0.15, 0.75, 1], [0.3, 1, 0.9, 0.15]), 0.9, 0.3)


def zip_up(rng: np.random.Generator) -> np.ndarray:
    """Teeth ever faster, a pull at the end."""
    n = s.count(0.75)
    rate = s.glide((0, 60), (0.45, 230), (0.75, 330))
    phase = np.cumsum(rate) / s.RATE
    x = np.exp(-9 * (phase % 1)) * s.noise(rng, n)
    y = s.swept(s.high(x, 1200), s.glide((0, 2200), (0.75, 6800)), 2.0, "band") * np.interp(
        np.linspace(0, 1, n), [0, 0.1, 0.9, 1], [0.3, 1, 0.8, 0.2]
    )
    return s.mix(s.unit(y), s.join(np.zeros(n - 400), 1.5 * s.struck(rng, 0.15, 2600, 0.008, 6, 9000)))


# fmt: off
SOUNDS = [
    ("knocking on a door", hits, {"times": (0, 0.17, 0.34, 0.7, 0.87, 1.04), "seconds": 1.4, "hz": 155,
     "friction": 0.045, "hard": 1200, "thud": (0.3, 220, 0.08)}),
    ("door creaking", squeak, {"pulls": [(((0, 24), (0.5, 70), (1.1, 48), (1.5, 130), (1.7, 60)), 0.0)],
     "peaks": ((480, 60, 1.0), (870, 90, 1.0), (1450, 140, 0.9), (2600, 300, 0.6)), "rough": 0.5}),
    ("door slamming", door, {}),
    ("hammering a nail", hits, {"times": (0, 0.45, 0.9, 1.33), "seconds": 1.7, "hz": 1250, "friction": 0.006,
     "hard": 7000, "thud": (0.8, 320, 0.1), "ring": 0.35}),
    ("glass breaking", pieces, {"seconds": 1.6, "density": ((0, 900), (0.04, 700), (0.15, 150), (0.4, 50), (1, 3)),
     "hz": (1900, 7500), "friction": 0.0022, "ring": 0.5, "hard": 14000, "first": (0.5, 2500)}),
    ("glasses clinking", hits, {"times": (0, 0.9), "seconds": 2.4, "hz": 2350, "friction": 0.0006, "hard": 9000,
     "number": 5, "ring": 1.5, "spread": 0.05, "click": 0.15}),
    ("coin spinning down", coin, {}),
    ("basketball dribbling", bouncing, {"seconds": 2.2, "hz": 160, "friction": 0.05, "gap": 0.42, "shrink": 0.985,
     "count": 5, "hard": 700, "thud": (1.2, 88, 0.2), "ratios": (1, 1.6, 2.4, 5.9, 9.2), "room": 0.4}),
    ("ping-pong ball bouncing", bouncing, {"seconds": 1.9, "hz": 2700, "friction": 0.012, "gap": 0.36,
     "shrink": 0.8, "count": 16, "hard": 6000, "ratios": (1, 1.31, 1.9), "ring": 0.08, "room": 0.05}),
    ("footsteps on a wooden floor", hits, {"times": (0, 0.04, 0.56, 0.6, 1.13, 1.17, 1.69, 1.73), "seconds": 2.1,
     "hz": 110, "friction": 0.06, "hard": 700, "thud": (0.9, 140, 0.12), "levels": (1, 0.4) * 4, "room": 0.25}),
    ("footsteps in gravel", rubbing, {"strokes": [(t, t + d, v) for t in (0, 0.6, 1.22, 1.8) for d, v in ((0.17,
     1.0), (0.3, 0.45))], "seconds": 2.1, "peaks": ((1600, 600, 1.5), (3400, 900, 1.2)), "grain": 900}),
    ("spoon stirring a cup", hits, {"times": [0.21 * i for i in range(10)], "seconds": 2.4, "hz": 2050,
     "friction": 0.0028, "hard": 7000, "number": 7, "ring": 0.4, "spread": 0.012}),
    ("swords clashing", swords, {}),
    ("keys jingling", pieces, {"seconds": 1.7, "density": ((0, 25), (0.25, 60), (0.5, 25), (0.7, 55), (1, 8)),
     "hz": (3200, 8000), "friction": 0.0014, "ring": 0.22, "hard": 15000}),
    ("typewriter", hits, {"times": (0, 0.16, 0.27, 0.45, 0.56, 0.71, 0.94, 1.05, 1.2, 1.31, 1.52), "seconds": 1.8,
     "hz": 640, "friction": 0.02, "hard": 7000, "thud": (0.5, 300, 0.04), "ring": 0.12, "spread": 0.03,
     "click": 1.0}),
    ("computer keyboard", hits, {"times": (0, 0.11, 0.19, 0.33, 0.41, 0.47, 0.62, 0.78, 0.86, 0.93, 1.04, 1.2, 1.27,
     1.36), "seconds": 1.6, "hz": 1350, "friction": 0.05, "hard": 3500, "ring": 0.06, "spread": 0.06, "click": 0.8,
     "room": 0.03}),
    ("cork popping", cork, {}),
    ("can opening", can, {}),
    ("can crushing", crushed, {"seconds": 1.1, "density": ((0, 350), (0.3, 100), (0.45, 500), (0.7, 120), (1, 20)),
     "peaks": ((650, 60, 1.5), (1250, 90, 1.5), (2300, 120, 1.2), (3900, 200, 1.0)), "burst": 9}),
    ("balloon popping", balloon, {}),
    ("whip cracking", whip, {}),
    ("spring twanging", sprung, {}),
    ("wind chimes", chimes, {"seconds": 4.4, "tubes": (1046.5, 1174.7, 1396.9, 1568.0, 1864.7), "t60": 2.6,
     "blows": 17}),
    ("church bells", bells, {"notes": [(0, 392.0), (0.9, 349.2), (1.8, 311.1), (2.7, 261.6)], "seconds": 5.2,
     "t60": 6.0}),
    ("sawing wood", rubbing, {"strokes": [(0.42 * i, 0.42 * i + 0.36,
     1.0 if i % 2 == 0 else 0.65) for i in range(6)], "seconds": 2.5,
     "peaks": ((750, 250, 1.0), (1900, 500, 1.0), (3600, 900, 0.8)), "teeth": 190}),
    ("zipper closing", zip_up, {}),
    ("tearing paper", crushed, {"seconds": 0.9, "density": ((0, 1500), (0.3, 4000), (0.8, 7500), (0.95, 3000),
     (1, 0)), "peaks": ((2400, 900, 0.6), (5200, 1800, 0.6)), "weakest": 0.1, "cut": 900, "burst": 30}),
    ("crumpling paper", crushed, {"seconds": 1.8, "density": ((0, 60), (0.3, 260), (0.7, 200), (1, 15)),
     "peaks": ((1400, 700, 0.5), (3800, 1500, 0.6)), "burst": 6, "cut": 500}),
    ("brushing teeth", rubbing, {"strokes": [(0.125 * i, 0.125 * i + 0.115,
     1.0 if i % 2 == 0 else 0.75) for i in range(15)], "seconds": 1.95,
     "peaks": ((1700, 500, 1.3), (3300, 700, 1.3)), "grain": 12000, "low_cut": 900}),
    ("shuffling cards", rubbing, {"strokes": [(0, 0.5, 1.0), (0.8, 1.35, 0.9)], "seconds": 1.5,
     "peaks": ((1500, 500, 1.0), (3100, 900, 1.0)), "teeth": 75, "sharp": 0.3, "lift": 0.3}),
    ("match striking", match, {}),
    ("applause", clapping, {"seconds": 3.4, "hands": 45, "rate": 4.2}),
    ("water dripping", drips, {"times": (0, 0.52, 1.1, 1.55, 2.2), "seconds": 2.6, "radii": (2.0, 3.8),
     "rise": 0.25}),
    ("pouring water into a glass", water, {"seconds": 3.2, "rate": ((0, 250), (1, 350)), "radii": (0.7, 3.5),
     "rise": 0.12, "hiss": (0.35, 1500, 9000), "shape": ((0, 0), (0.06, 1), (0.94, 1), (1, 0)),
     "vessel": ((0, 420), (1.6, 650), (2.7, 1250), (3.2, 2300))}),
    ("boiling water", water, {"seconds": 2.8, "rate": ((0, 60), (1, 110)), "radii": (3.5, 10.0), "rise": 0.18,
     "hiss": (0.12, 200, 1200)}),
    ("toilet flushing", water, {"seconds": 4.2, "rate": ((0, 100), (0.2, 500), (0.7, 400), (1, 60)),
     "radii": (1.5, 7.0), "rise": 0.1, "hiss": (1.6, 180, 3800),
     "shape": ((0, 0.1), (0.08, 1), (0.55, 0.8), (0.8, 0.35), (1, 0.05)),
     "vessel": ((0, 330), (2.2, 280), (4.2, 600))}),
    ("brook babbling", water, {"seconds": 3.4, "rate": ((0, 200), (0.5, 260), (1, 200)), "radii": (1.2, 6.0),
     "rise": 0.12, "hiss": (0.35, 500, 4000), "weakest": 0.03}),
    ("splash of a stone", splash, {}),
    ("rain on a window", water, {"seconds": 3.0, "rate": ((0, 320), (1, 380)), "radii": (0.35, 0.9), "rise": 0.05,
     "hiss": (0.55, 1500, 12000), "weakest": 0.02}),
    ("sea waves", waves, {"seconds": 5.6}),
    ("howling wind", wind, {"seconds": 4.6, "whistle": ((0, 380), (1.6, 760), (2.8, 480), (3.8, 880), (4.6, 420)),
     "gust_hz": 0.9, "q": 14, "tilt": -5, "tone": 0.75, "shape": ((0, 0.1), (0.25, 1), (0.75, 1), (1, 0.1))}),
    ("thunder", thunder, {"seconds": 5.4}),
    ("fire crackling", fire, {"seconds": 3.2}),
    ("food frying", crushed, {"seconds": 2.6, "density": ((0, 2500), (0.1, 5000), (1, 3800)),
     "peaks": ((3200, 1500, 0.4), (8200, 3000, 0.6)), "weakest": 0.02, "cut": 1800}),
    ("steam hissing", jet, {"seconds": 2.4, "centre": ((0, 5200), (2.4, 4300)), "q": 0.9,
     "shape": ((0, 0), (0.06, 1), (0.7, 0.8), (1, 0)), "cut": 2500}),
    ("spray can", jet, {"seconds": 1.5, "centre": ((0, 7500), (1.5, 7800)), "q": 2.2,
     "shape": ((0, 0), (0.02, 1), (0.28, 0.9), (0.31, 0), (0.42, 0), (0.44, 1), (0.6, 0.9), (0.63, 0), (0.7, 0),
     (0.72, 1), (0.97, 0.9), (1, 0)), "cut": 4000}),
]
# fmt: on
