"""Sounds that differ enough to be told apart, for the tests of the search tab."""

from pathlib import Path

import numpy as np

from iminet_viz.audio import save_audio

RATE = 16_000


def tone(hz: float, seconds: float) -> np.ndarray:
    """A decaying harmonic tone."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hz * n * t) / n for n in range(1, 5))
    return (0.4 * wave * np.exp(-2 * t)).astype(np.float32)


def make_sounds(folder: Path) -> None:
    """Write twelve sounds."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE) / RATE
    noise = rng.standard_normal(RATE)
    sounds = {
        "sweep": np.sin(2 * np.pi * (200 * t + 1500 * t**2)),
        "fall": np.sin(2 * np.pi * (3000 * t - 1200 * t**2)),
        "hiss": 0.3 * noise,
        "knocks": noise * np.exp(-60 * (t % 0.25)),
        "two knocks": noise * np.exp(-60 * (t % 0.5)),
        "siren": np.sin(2 * np.pi * 800 * t + 60 * np.sin(2 * np.pi * 3 * t)),
        "hum": np.sign(np.sin(2 * np.pi * 110 * t)),
        "swell": noise * t**2,
        "bell": sum(np.sin(2 * np.pi * hz * t) for hz in (523, 1410, 2790)) * np.exp(-3 * t),
        "chirps": np.sin(2 * np.pi * (2000 * t + 4000 * (t % 0.1) ** 2)) * (t % 0.2 < 0.1),
    }
    for name, wave in sounds.items():
        save_audio(folder / f"{name}.wav", (0.5 * wave / np.abs(wave).max()).astype(np.float32), RATE)
    save_audio(folder / "low tone.wav", tone(150, 1.2), RATE)
    save_audio(folder / "high tone.flac", tone(1200, 0.6), RATE)
