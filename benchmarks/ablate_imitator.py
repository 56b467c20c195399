"""What is each part of the imitator worth to people? Each strategy alone, left out, and each limit of the voice off.

For every row the aligned net is trained anew on imitations made so, and searched with recordings of people
(``telephone-imitations``, see ``transfer.py``). A row's difference to the whole imitator is over the same queries, the
mean of the seeds' reciprocal ranks; its interval is a bootstrap over queries, and holds nothing of the variation
between seeds, which the last column shows.

    .venv/bin/python benchmarks/ablate_imitator.py --data DATA --cache /tmp/imitations --out ablation.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click
import numpy as np
from transfer import SOUNDS, Bench, People, drop_leaks, load_sounds, make_imitations, make_recipe, read_metadata

from iminet_viz.audio import atomic_path
from iminet_viz.evaluation import bootstrap_interval, count_above, reciprocal_rank
from iminet_viz.imitator import STRATEGIES, ImitatorConfig


def conditions() -> dict[str, ImitatorConfig]:
    """Rows of the table."""
    everything = ImitatorConfig()
    rows = {"everything": everything}
    for name in STRATEGIES:
        rows[f"only {name}"] = dataclasses.replace(everything, strategies=(name,))
    for name in STRATEGIES:
        rest = tuple(other for other in STRATEGIES if other != name)
        rows[f"without {name}"] = dataclasses.replace(everything, strategies=rest)
    for field in dataclasses.fields(everything):
        if field.name != "strategies":
            rows[f"{field.name} off"] = dataclasses.replace(everything, **{field.name: False})
    return rows


@click.command(context_settings={"show_default": True})
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Folder to keep imitations in.")
@click.option("--count", default=2, help="Imitations of each sound.")
@click.option("--seeds", default=2)
@click.option("--rows", default="", help="Only rows with these words in their names (comma-separated).")
@click.option("--leak-threshold", default=0.35, help="As in transfer.py.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Markdown table.")
def main(data: Path, cache: Path, count: int, seeds: int, rows: str, leak_threshold: float, out: Path) -> None:
    """Ablate the imitator (see the top of the file)."""
    from iminet_viz.contrastive import train_contrastive

    people = People(data)
    paths = [data / name / row["file"] for name in SOUNDS for row in read_metadata(data / name)]
    sounds, _ = drop_leaks(load_sounds(paths), [*people.heard, *people.drums], leak_threshold, cache)
    recipe = make_recipe("aligned", {})
    lines = [
        f"`{' '.join(Path(part).name if index == 0 else part for index, part in enumerate(sys.argv))}`: "
        f"{len(sounds)} sounds, {count} imitations of each, {seeds} seeds, {recipe.epochs} epochs; "
        f"n {len(people.targets)}, {len(people.heard)} candidates",
        "",
        "| imitator | MRR on people | difference [95 %] | seeds |",
        "|---|---|---|---|",
    ]
    whole: np.ndarray | None = None
    wanted = [word.strip() for word in rows.split(",") if word.strip()]
    for name, config in conditions().items():
        if wanted and name != "everything" and not any(word in name for word in wanted):
            continue
        made = make_imitations(sounds, count, config, cache)
        filled = [index for index, part in enumerate(made) if part]
        bench = Bench("aligned", people, [sounds[index] for index in filled], [made[index] for index in filled])
        reciprocal = []
        for seed in range(seeds):
            network = bench.network(seed)
            train_contrastive(network, bench.view, bench.sounds, dataclasses.replace(recipe, seed=seed))
            scores = bench.scores(network)["telephone"]
            reciprocal.append(reciprocal_rank(*count_above(scores, people.targets)))
        ranks = np.mean(reciprocal, axis=0)  # (queries,)
        whole = ranks if whole is None else whole
        low, high = bootstrap_interval(ranks - whole, np.mean, seed=0)
        change = "" if whole is ranks else f"{(ranks - whole).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        each = " ".join(f"{values.mean():.3f}" for values in reciprocal)
        lines.append(f"| {name.replace('_', ' ')} | {ranks.mean():.3f} | {change} | {each} |")
        click.echo(lines[-1])
        with atomic_path(out) as temporary:  # what is known so far
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
