"""Are imitations sound? Thousands of them, made in memory: none may hold NaN, clip or be silent.

    .venv/bin/python benchmarks/soundness.py DATA/esc10 DATA/tuxpaint-effects --count 10000

Every sound of the folders is imitated about as often as the others. Exit status 1 if any imitation has a fault.
"""

from __future__ import annotations

import collections
import itertools
import sys
import time
from pathlib import Path

import click
import numpy as np
from transfer import workers

from iminet_viz.audio import find_audio
from iminet_viz.errors import AudioError, ImitationError
from iminet_viz.imitator import analyse, imitate
from iminet_viz.imitator.batch import read_beginning

FAULTS = ("not finite", "clipped", "silent")


def find_fault(waveform: np.ndarray) -> str:
    """Say what is wrong with ``(samples,)``; nothing is "".

    Three samples in a row at the peak are clipped, at whatever level: the top of a 40 Hz tone, the slowest there is,
    falls by 1e-4 from one sample to the next.
    """
    if not np.isfinite(waveform).all():
        return "not finite"
    level = np.abs(waveform)
    if not len(level) or level.max() < 0.01 or np.sqrt(np.mean(np.square(level, dtype=np.float64))) < 1e-4:
        return "silent"
    top = level >= level.max() * (1 - 1e-6)
    return "clipped" if level.max() >= 1 or (top[:-2] & top[1:-1] & top[2:]).any() else ""


def try_sound(task: tuple[Path, range]) -> tuple[collections.Counter[str], list[str]]:
    """Imitate a sound with each seed; how many have which fault, and a line for each that is worth a look."""
    path, seeds = task
    tally: collections.Counter[str] = collections.Counter()
    try:
        waveform, rate, _ = read_beginning(path)
        features = analyse(waveform, rate)
    except (AudioError, ImitationError) as error:
        return tally, [f"left out: {path}: {error}"]
    lines = []
    for seed in seeds:
        imitation = imitate(features, seed)
        fault = find_fault(imitation.waveform)
        tally[fault] += 1
        if fault:
            lines.append(f"{fault}: {path}, seed {seed}, {imitation.strategy}")
    return tally, lines


@click.command(context_settings={"show_default": True})
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", default=10_000, help="Imitations, of all sounds together.")
def main(folders: tuple[Path, ...], count: int) -> None:
    """Imitate the sounds of FOLDERS and look for faults (see the top of the file)."""
    sounds = [path for folder in folders for path in find_audio(folder)]
    # seeds 0 ... count - 1, one after the other: no two imitations have the same person
    edges = np.linspace(0, count, len(sounds) + 1).round().astype(int).tolist()
    parts = (range(*edge) for edge in itertools.pairwise(edges))
    tasks = [(path, seeds) for path, seeds in zip(sounds, parts, strict=True) if seeds]
    tally: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    with workers() as pool:
        for part, lines in pool.imap(try_sound, tasks):
            tally += part
            for line in lines:
                click.echo(line)
    faults = ", ".join(f"{tally[name]} {name}" for name in FAULTS)
    seconds = time.monotonic() - began
    click.echo(f"{tally.total()} imitations of {len(tasks)} sounds in {seconds:.0f} s: {faults}")
    sys.exit(tally.total() != tally[""] or not tally.total())


if __name__ == "__main__":
    main()
