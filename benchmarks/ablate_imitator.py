"""What is each part of the imitator worth to people? Each strategy alone, left out, and each limit of the voice off.

For every row the aligned net is trained anew on imitations made so, and searched with recordings of people
(``telephone-imitations``, see ``transfer.py``). A row's difference to the whole imitator is over the same queries, the
mean of the seeds' reciprocal ranks; its interval is a bootstrap over queries, and holds nothing of the variation
between trainings. The last column shows that between seeds; two rows show how far the whole imitator is from itself,
with other imitations or other seeds of training: a difference of that size says nothing.

A row that was finished is kept beside the imitations; the same command takes it from there, and trains what is missing.

    .venv/bin/python benchmarks/ablate_imitator.py --data DATA --cache /tmp/imitations --out ablation.md
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import transfer
from transfer import SOUNDS, Bench, People, Sound, drop_leaks, imitator_fingerprint, load_sounds, make_recipe

import iminet_viz
from iminet_viz.audio import atomic_path
from iminet_viz.errors import IminetVizError
from iminet_viz.evaluation import bootstrap_interval
from iminet_viz.imitator import STRATEGIES, ImitatorConfig
from iminet_viz.imitator.batch import cores

# what decides a row besides the imitator; a change of it trains all rows anew
SOURCES = ("contrastive.py", "frontends.py", "evaluation.py", "models/aligned.py", "models/_tower.py")


@dataclasses.dataclass(frozen=True)
class Row:
    """What a net is trained on, and with which seeds."""

    config: ImitatorConfig
    draws: range  # of the imitations of each sound
    seeds: range  # of the nets


def conditions(draws: range, seeds: range) -> dict[str, Row]:
    """Rows of the table."""
    everything = ImitatorConfig()
    rows = {
        "everything": Row(everything, draws, seeds),
        "everything, other imitations": Row(everything, range(draws.stop, 2 * draws.stop), seeds),
        "everything, other seeds": Row(everything, draws, range(seeds.stop, seeds.stop + len(seeds))),
    }
    configs = {}
    for name in STRATEGIES:
        configs[f"only {name}"] = dataclasses.replace(everything, strategies=(name,))
    for name in STRATEGIES:
        rest = tuple(other for other in STRATEGIES if other != name)
        configs[f"without {name}"] = dataclasses.replace(everything, strategies=rest)
    for field in dataclasses.fields(everything):
        if field.name != "strategies":
            configs[f"{field.name.replace('_', ' ')} off"] = dataclasses.replace(everything, **{field.name: False})
    return rows | {name: Row(config, draws, seeds) for name, config in configs.items()}


def row_file(row: Row, recipe: Any, content: str, cache: Path) -> Path:
    """Where a row is kept: its name is a hash of all that decides it; ``content`` is that of the recordings."""
    digest = hashlib.sha256(f"{content} {imitator_fingerprint(row.config)} {row} {recipe}".encode())
    for source in SOURCES:
        digest.update((Path(iminet_viz.__file__).parent / source).read_bytes())
    return cache / f"row-{digest.hexdigest()[:32]}.json"


def train_row(
    row: Row, recipe: Any, content: str, cache: Path, people: People, sounds: list[Sound], stored: Path
) -> None:
    """Train a row's nets, in a process of its own; ``stored`` gets each seed's reciprocal rank of each query."""
    from iminet_viz.contrastive import train_contrastive

    if row_file(row, recipe, content, cache) != stored:
        raise RuntimeError("the source has changed since this run began: its rows could not be compared")
    fingerprint = imitator_fingerprint(row.config)
    made = [transfer.imitate_cached((sound, row.draws, row.config, cache, fingerprint)) for sound in sounds]
    filled = [index for index, part in enumerate(made) if part]
    bench = Bench("aligned", people, [sounds[index] for index in filled], [made[index] for index in filled])
    ranks = []
    for seed in row.seeds:
        network = bench.network(seed)
        train_contrastive(network, bench.view, bench.sounds, dataclasses.replace(recipe, seed=seed))
        ranks.append(people.reciprocal_ranks(bench.scores(network)).tolist())
    with atomic_path(stored) as temporary:
        temporary.write_text(json.dumps({"row": str(row), "recipe": str(recipe), "ranks": ranks}), encoding="utf-8")


def train_rows(tasks: dict[str, tuple[Any, ...]], jobs: int) -> Iterator[tuple[str, int]]:
    """Train rows, ``jobs`` at a time; yields the name and exit status of each as it ends.

    Each has a process of one thread, since the net is too small for two, and of its own: one that is killed takes no
    other row with it.
    """
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    waiting = list(tasks)
    running: dict[Any, tuple[str, Any]] = {}  # by what tells that a process has ended
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            process = multiprocessing.get_context("spawn").Process(target=train_row, args=tasks[name], daemon=True)
            process.start()
            running[process.sentinel] = name, process
        for sentinel in multiprocessing.connection.wait(list(running)):
            name, process = running.pop(sentinel)
            process.join()
            yield name, process.exitcode


def describe(name: str, each: np.ndarray | None, whole: np.ndarray | None) -> str:
    """A line of the table, from reciprocal ranks ``(seeds, queries)`` of the row and of the whole imitator."""
    if each is None:
        return f"| {name} | failed | | |"
    change = ""
    if whole is not None and whole is not each:
        differences = each.mean(axis=0) - whole.mean(axis=0)
        low, high = bootstrap_interval(differences, np.mean, seed=0)
        change = f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"| {name} | {each.mean():.3f} | {change} | {' '.join(f'{values.mean():.3f}' for values in each)} |"


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--sounds", "folders", multiple=True, default=SOUNDS, help="Collections to train on.")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Folder to keep imitations and rows in.")
@click.option("--count", default=2, help="Imitations of each sound.")
@click.option("--seeds", default=2, help="How many nets a row.")
@click.option("--rows", "words", default="", help="Only rows with these words in their names (comma-separated).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Settings of the recipe or alterations.")
@click.option("--leak-threshold", default=0.35, help="As in transfer.py.")
@click.option("--jobs", type=click.IntRange(1), default=cores, help="Rows at a time, one thread each.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Markdown table.")
def main(**options: Any) -> None:
    """Ablate the imitator (see the top of the file)."""
    try:
        ablate(**options)
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def ablate(
    data: Path,
    folders: tuple[str, ...],
    cache: Path,
    count: int,
    seeds: int,
    words: str,
    settings: tuple[str, ...],
    leak_threshold: float,
    jobs: int,
    out: Path,
) -> None:
    transfer.check_cache(cache)
    recipe = make_recipe("aligned", transfer.parse_settings(settings))
    people = People(data)
    paths = [path for name in folders for path, _ in transfer.collection(data / name)]
    sounds, _ = drop_leaks(load_sounds(paths), [*people.heard, *people.drums], leak_threshold, cache)
    lines = [
        f"`{' '.join(Path(part).name if index == 0 else part for index, part in enumerate(sys.argv))}`: "
        f"{len(sounds)} sounds, {count} imitations of each, {seeds} seeds, {recipe.epochs} epochs; "
        f"n {len(people.targets)}, {len(people.candidates)} candidates",
        "",
        "| imitator | MRR on people | difference [95 %] | seeds |",
        "|---|---|---|---|",
    ]
    digest = hashlib.sha256()
    for path in (*people.queries, *people.candidates):
        digest.update(path.read_bytes())
    for sound in sounds:
        digest.update(sound.waveform.tobytes())
    content = digest.hexdigest()
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    rows = {
        name: row
        for name, row in conditions(range(count), range(recipe.seed, recipe.seed + seeds)).items()
        if not wanted or name == "everything" or any(word in name for word in wanted)
    }
    stored = {name: row_file(row, recipe, content, cache) for name, row in rows.items()}
    results: dict[str, np.ndarray | None] = {}

    def finish(name: str) -> None:
        results[name] = np.array(json.loads(stored[name].read_text())["ranks"]) if stored[name].exists() else None
        whole = results.get("everything")
        click.echo(describe(name, results[name], whole))
        table = [describe(done, results[done], whole) for done in rows if done in results]
        with atomic_path(out) as temporary:  # what is known so far
            temporary.write_text("\n".join([*lines, *table]) + "\n", encoding="utf-8")

    for name in rows:
        if stored[name].exists():
            finish(name)
    click.echo(f"{len(results)} of {len(rows)} rows were finished before", err=True)
    began = time.monotonic()
    tasks = {
        name: (row, recipe, content, cache, people, sounds, stored[name])
        for name, row in rows.items()
        if name not in results
    }
    for done, (name, status) in enumerate(train_rows(tasks, jobs), start=1):
        finish(name)
        elapsed = time.monotonic() - began
        left = elapsed / done * (len(tasks) - done)
        passed, rest = (datetime.timedelta(seconds=round(seconds)) for seconds in (elapsed, left))
        ended = f"FAILED (exit status {status})" if status else "finished"
        click.echo(f"{name} {ended}: {done} of {len(tasks)} rows after {passed}, {rest} left", err=True)
    if failed := [name for name in rows if results[name] is None]:
        raise click.ClickException(
            f"{len(failed)} of {len(rows)} rows failed: {', '.join(failed)}; the rest is in {out}"
        )


if __name__ == "__main__":
    main()
