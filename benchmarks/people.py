"""People decide: every system that can search, measured with imitations by people, none of whom was trained on.

* ``telephone``: of each unflagged imitation of ``telephone-imitations`` (244), the rank of the recording that its maker
  heard, among the 170 that somebody heard; never the imitation itself. The weights of fusions were chosen on the chains
  ``frip`` and ``heeh`` ("chosen by"); the other two, ``riri`` and ``splish``, only report them ("held out"). Recipes
  were chosen with all of it in sight (docs/people.md). Candidates are always all 170.
* ``beatbox``: of each kick, snare and hi-hat of ``beatbox-paullin1`` (202), the rank of the first of its class among
  those of ``gmrockkit-drums`` and ``dirt-samples-subset``, averaged within and then over the three classes.
* ``nonverbal``: of each sneeze and cry of ``nonverbal-deeply-subset`` (40), the rank of the first sneeze or baby's cry
  among all 400 clips of ``esc10``, averaged in the same way. The queries were never trained on; the clips of ESC-10
  were, as sounds to be imitated, by whatever names ESC-10 as a source.

For the class tests chance is high: compare with the figure under permuted classes.

    .venv/bin/python benchmarks/people.py --data DATA
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from transfer import People, collection, evaluate_classes

from iminet_viz.audio import atomic_path, read_native
from iminet_viz.baselines import BASELINES
from iminet_viz.cards import write_card
from iminet_viz.checkpoint import FUSION, find_model, read_json, shipped_models, write_json
from iminet_viz.datasets import telephone
from iminet_viz.errors import IminetVizError
from iminet_viz.evaluation import RetrievalResult, evaluate_retrieval
from iminet_viz.scoring import NETWORKS, Scorer, load_scorer
from iminet_viz.trials import Trial, compare_trial, run_trial

CHOSEN_BY = ("between-frip", "between-heeh")  # chains by which the weights of fusions were chosen
CRIES = {"sneezing": "006_-_Person_sneeze", "crying": "004_-_Baby_cry"}  # nonverbal-deeply-subset: esc10


def classes_of(data: Path) -> dict[str, tuple[list[Path], list[Path], np.ndarray, np.ndarray]]:
    """Of each class test its queries, its candidates, and the class of each; -1 is one that no query has."""
    people = People(data)
    voices = [(path, label) for path, label in collection(data / "nonverbal-deeply-subset") if label in CRIES]
    clips = collection(data / "esc10")
    own = list(CRIES.values())
    return {
        "beatbox": (people.drum_queries, people.drums, people.drum_classes, people.candidate_classes),
        "nonverbal": (
            [path for path, _ in voices],
            [path for path, _ in clips],
            np.array([list(CRIES).index(label) for _, label in voices]),
            np.array([own.index(label) if label in own else -1 for _, label in clips]),
        ),
    }


def class_scores(scorers: list[Scorer], queries: list[Path], candidates: list[Path]) -> list[np.ndarray]:
    """Scores of all pairs by each scorer; each file is read once."""
    kept: dict[str, list[list[Any]]] = {}
    for role, paths in (("imitation", queries), ("recording", candidates)):
        clips = [[scorer.keep(*native, role) for scorer in scorers] for native in map(read_native, paths)]
        kept[role] = [list(own) for own in zip(*clips, strict=True)]
    return [scorer.scores(*sides) for scorer, *sides in zip(scorers, *kept.values(), strict=True)]


def searchers() -> list[str]:
    """Every shipped model that can search, and every baseline."""
    shipped = [(name, read_json(find_model(name) / "config.json")["kind"]) for name in shipped_models()]
    able = {FUSION, *(network.KIND for network in NETWORKS)}
    return [*(name for name, kind in shipped if kind in able), *BASELINES]


def halves(trial: Trial, grid: np.ndarray) -> dict[str, RetrievalResult]:
    """All queries, those of the chains that choices were made on, and those of the others."""
    chosen = np.array([path.parent.name in CHOSEN_BY for path in trial.queries])
    parts = {"telephone": np.ones(len(chosen), bool), "telephone, chosen by": chosen, "telephone, held out": ~chosen}
    return {name: evaluate_retrieval(grid[rows], trial.answers[rows]) for name, rows in parts.items()}


def describe(result: RetrievalResult) -> str:
    low, high = result.interval
    return f"{result.mrr:.3f} [{low:.3f}, {high:.3f}]"


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--systems", help="Models, folders, baselines or fusions, comma-separated  [default: all that search]")
@click.option("--against", default="dtw", help="What each is compared with over the same queries.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every figure here.")
@click.option("--write", is_flag=True, help="Write the figures into the metrics and the card of each shipped model.")
def main(data: Path, systems: str | None, against: str, json_path: Path | None, write: bool) -> None:
    """Measure systems on recordings of people (see the top of the file); prints a table in Markdown."""
    try:
        run(
            data,
            searchers() if systems is None else [name.strip() for name in systems.split(",")],
            against,
            json_path,
            write,
        )
    except IminetVizError as error:
        raise click.ClickException(str(error)) from None


def run(data: Path, names: list[str], against: str, json_path: Path | None, write: bool) -> None:
    names = list(dict.fromkeys([*names, against]))
    scorers = [load_scorer(name) for name in names]
    folder = data / telephone.NAME
    trial, grids = run_trial(telephone.load(folder), folder, scorers, report=progress)
    figures: dict[str, dict[str, Any]] = {name: halves(trial, grid) for name, grid in zip(names, grids, strict=True)}
    for test, (queries, candidates, classes, of_candidate) in classes_of(data).items():
        for name, grid in zip(names, class_scores(scorers, queries, candidates), strict=True):
            figures[name][test] = evaluate_classes(grid, classes, of_candidate)
    columns = list(next(iter(figures.values())))
    click.echo(f"| system | {' | '.join(columns)} | permuted | over {against}, telephone |")
    click.echo("|---|" + "---|" * (len(columns) + 2))
    paired = {}
    for name, grid in zip(names, grids, strict=True):
        paired[name] = compare_trial(trial, grid, grids[names.index(against)])
        low, high = paired[name].interval
        cells = [describe(figures[name][column]) for column in columns]
        permuted = ", ".join(
            f"{figures[name][test].permuted_mrr:.3f}" for test in ("telephone", "beatbox", "nonverbal")
        )
        cells += [permuted, f"{paired[name].difference:+.3f} [{low:+.3f}, {high:+.3f}]" if name != against else ""]
        click.echo(f"| {name} | {' | '.join(cells)} |")
    chance = next(iter(figures.values()))
    click.echo(f"| chance | {' | '.join(f'{chance[column].chance:.3f}' for column in columns)} | | |")
    counts = [f"{chance[column].n} among {chance[column].candidates}" for column in columns]
    click.echo(f"| n | {' | '.join(counts)} | | {paired[names[0]].clusters} recordings resampled |")
    if write:
        for name in set(names) & set(shipped_models()):
            folder = find_model(name)
            own = {f"people, {test}": dataclasses.asdict(result) for test, result in figures[name].items()}
            write_json(folder / "metrics.json", read_json(folder / "metrics.json") | own)
            write_card(folder)
    if json_path is not None:
        content = {
            "command": sys.argv,
            "figures": {
                name: {test: dataclasses.asdict(result) for test, result in parts.items()}
                for name, parts in figures.items()
            },
            "paired": {name: dataclasses.asdict(result) for name, result in paired.items()},
        }
        with atomic_path(json_path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def progress(what: str, done: int, of: int) -> None:
    click.echo(f"\r{what}: {done} of {of}", nl=done == of, err=True)


if __name__ == "__main__":
    main()
