"""How fast sounds are imitated, as Markdown: ``python benchmarks/imitate.py FOLDER [--count 10] [--sounds 24]``.

FOLDER holds sounds; one that does not exist is filled with synthetic ones of 1 to 5 s. The figure to hold: 240 sounds
x 10 imitations in at most 15 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from iminet_viz.audio import find_audio, save_audio
from iminet_viz.imitator.batch import imitate_files

GOAL = (240, 10, 15.0)  # sounds, imitations of each, minutes


def make_sounds(folder: Path, count: int) -> None:
    """Bursts of filtered noise and gliding tones at the usual rates."""
    rng = np.random.default_rng(0)
    for index in range(count):
        rate = (16_000, 22_050, 44_100, 48_000)[index % 4]
        time_s = np.arange(int(rng.uniform(1, 5) * rate)) / rate
        level = np.abs(np.sin(np.pi * rng.uniform(0.3, 4) * time_s)) ** rng.uniform(0.5, 4)
        tone = np.sin(2 * np.pi * np.cumsum(rng.uniform(150, 2_000) * 2 ** np.sin(rng.uniform(0, 3) * time_s)) / rate)
        noise = np.convolve(rng.standard_normal(len(time_s)), np.hanning(rng.integers(3, 40)), "same")
        waveform = level * (tone if index % 2 else noise / np.abs(noise).max())
        save_audio(folder / ("tones" if index % 2 else "noises") / f"{index:03d}.wav", 0.9 * waveform, rate)


def measure(sounds: list[Path], count: int, workers: int) -> tuple[float, int, float]:
    """Imitate into a folder that is removed again: seconds with the start, imitations, seconds of sound made."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = imitate_files(sounds, folder, count, 0, workers=workers)
        seconds = time.perf_counter() - start
        with done.table.open(newline="", encoding="utf-8") as file:
            made = [soundfile.info(Path(folder) / row["imitation"]).duration for row in csv.DictReader(file)]
    return seconds, len(made), sum(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sounds", type=int, default=24, help="how many of them, evenly drawn")
    parser.add_argument("--count", type=int, default=10, help="imitations of each")
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        make_sounds(arguments.folder, arguments.sounds)
    sounds = find_audio(arguments.folder)
    chosen = np.unique(np.linspace(0, len(sounds) - 1, min(arguments.sounds, len(sounds))).astype(int))
    sounds = [sounds[index] for index in chosen]
    n_sounds, n_each, goal = GOAL
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    print(
        f"{len(sounds)} sounds x {arguments.count}, start of the processes included; {os.cpu_count()} cores, of which"
    )
    print(f"other programs used {busy:.1f} in the minute before.\n")
    print(f"| workers | s | imitations/s | s of sound made per s | {n_sounds} x {n_each} takes, min |")
    print("|---|---|---|---|---|")
    minutes = 0.0
    for workers in (1, 2):
        seconds, made, duration = measure(sounds, arguments.count, workers)
        minutes = n_sounds * n_each * seconds / made / 60
        print(f"| {workers} | {seconds:.1f} | {made / seconds:.2f} | {duration / seconds:.1f} | {minutes:.1f} |")
    print(f"\nGoal: at most {goal:.0f} minutes with 2 workers: {'held' if minutes <= goal else 'MISSED'}.")


if __name__ == "__main__":
    main()
