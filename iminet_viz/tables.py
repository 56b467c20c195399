"""From the scores of all systems and seeds to the paper's Table I and Figure 6, as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from iminet_viz.audio import atomic_path
from iminet_viz.datasets import Pair, vocalsketch
from iminet_viz.evaluation import (
    RetrievalResult,
    bootstrap_interval,
    compare_paired,
    compare_seeds,
    evaluate_retrieval,
    evaluate_within,
    reciprocal_ranks,
)
from iminet_viz.pairs import PairSplit
from iminet_viz.plotting import plot_retrieval
from iminet_viz.scoring import fuse
from iminet_viz.systems import COMPARISONS, FIGURE_6, PAPER, PRODUCTS, SYSTEMS, WEIGHTED, WEIGHTS

CATEGORIES = dict(zip(vocalsketch.SUBSETS, ("AI", "CS", "ED", "SS"), strict=True))
Scores = dict[str, list[dict[str, np.ndarray]]]  # by system, of each seed, "validation" and "test"


def searched(pairs: Sequence[Pair]) -> tuple[list[Path], list[Path], np.ndarray, np.ndarray]:
    """Queries, candidates, and of each query its target's column and its category, ``(queries,)`` each."""
    candidates = sorted({pair.recording for pair in pairs})
    column = {path: number for number, path in enumerate(candidates)}
    targets = np.array([column[pair.recording] for pair in pairs])
    return [pair.imitation for pair in pairs], candidates, targets, np.array([pair.category for pair in pairs])


def fuse_product(grids: dict[str, np.ndarray]) -> np.ndarray:
    """Product of likelihoods as a sum of logarithms (paper, eq. 2 to 5): ``(queries, candidates)`` each, and again.

    A Siamese net's is the sigmoid of its logit; IMISOUND's the softmax of its negative cosine distances over the
    candidates, whose sum is the same for all of them and so changes no rank.
    """
    logs = []
    for name, grid in grids.items():
        scores = torch.from_numpy(grid)
        likelihood = (scores - 1).log_softmax(dim=1) if name == "imisound" else F.logsigmoid(scores)
        logs.append(likelihood.numpy())
    return np.sum(logs, axis=0)


def fuse_systems(
    scores: Scores, validation: Sequence[Pair]
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[float]]]:
    """Test scores of the fusions whose parts are all there, seed by seed, and the weights that were chosen."""
    grids: dict[str, list[np.ndarray]] = {}
    chosen: dict[str, list[float]] = {}
    for name, parts in PRODUCTS.items():
        if set(parts) <= set(scores):
            each = zip(*(scores[part] for part in parts), strict=True)
            grids[name] = [fuse_product({p: s["test"] for p, s in zip(parts, seed, strict=True)}) for seed in each]
    _, _, targets, categories = searched(validation)
    for name, (first, second) in WEIGHTED.items():
        if {first, second} <= set(scores):
            grids[name], chosen[name] = [], []
            for seed, one in enumerate(scores[first]):
                two = scores[second][min(seed, len(scores[second]) - 1)]  # a baseline has one for all seeds

                def mix(weight: float, part: str, one: Any = one, two: Any = two) -> np.ndarray:
                    return fuse([one[part], two[part]], [weight, 1 - weight])

                mrr = [within_ranks(mix(weight, "validation"), targets, categories).mean() for weight in WEIGHTS]
                chosen[name].append(WEIGHTS[int(np.argmax(mrr))])
                grids[name].append(mix(chosen[name][-1], "test"))
    return grids, chosen


def within_ranks(scores: np.ndarray, targets: np.ndarray, categories: np.ndarray) -> np.ndarray:
    """Reciprocal rank of each query among the right answers of its category's queries, ``(queries,)``."""
    of_candidate = np.full(scores.shape[1], "", categories.dtype)
    of_candidate[targets] = categories
    return reciprocal_ranks(np.where(categories[:, None] == of_candidate, scores, -np.inf), targets)


def write_results(out: Path, root: Path, dataset: str, split: PairSplit, scores: Scores) -> dict[str, list[float]]:
    """Write ``table1.csv``, ``table1.md``, ``figure6.png`` and ``ranks.csv``.

    Args:
        out: folder.
        root: of the corpus; queries are named below it.
        dataset: its name.
        split: who searched: the imitations of a part, in its order, among the recordings of the part, sorted.
        scores: ``(queries, candidates)`` each.

    Returns:
        The weights that were chosen for fusions, by seed.
    """
    fusions, weights = fuse_systems(scores, split.validation)
    grids = {name: [seed["test"] for seed in each] for name, each in scores.items()} | fusions
    queries, _, targets, categories = searched(split.test)
    order = [*SYSTEMS, *PRODUCTS, *WEIGHTED]
    order.sort(key=lambda name: list(PAPER).index(name) if name in PAPER else len(PAPER))  # stable: ours come last
    table: dict[str, dict[str, list[RetrievalResult]]] = {}
    within: dict[str, np.ndarray] = {}  # (seeds, queries)
    ranks = [("system", "seed", "query", "category", "reciprocal_rank_within", "reciprocal_rank_all")]
    for name in order:
        if name not in grids:
            continue
        rows: dict[str, list[RetrievalResult]] = {}
        each_rank = []
        for seed, grid in enumerate(grids[name]):
            inside, by_category = evaluate_within(grid, targets, categories)
            parts = {short: by_category[category] for category, short in CATEGORIES.items()}
            for part, result in {**parts, "within": inside, "all": evaluate_retrieval(grid, targets)}.items():
                rows.setdefault(part, []).append(result)
            each_rank.append(within_ranks(grid, targets, categories))
            columns = (
                [path.relative_to(root).as_posix() for path in queries],
                categories,
                each_rank[-1],
                reciprocal_ranks(grid, targets),
            )
            for query, category, own, overall in zip(*columns, strict=True):
                ranks.append((name, str(seed), query, str(category), f"{own:.6f}", f"{overall:.6f}"))
        table[name], within[name] = rows, np.stack(each_rank)
    _write_csv(out / "ranks.csv", ranks)
    _write_csv(out / "table1.csv", _table_rows(table))
    with atomic_path(out / "table1.md") as path:
        path.write_text("\n".join(_report_lines(dataset, split, table, within, targets, weights)), encoding="utf-8")
    shown = [name for name in FIGURE_6 if name in table] or list(table)[:5]
    bars = {name: [[result.mrr for result in table[name][short]] for short in CATEGORIES.values()] for name in shown}
    chance = [table[shown[0]][short][0].chance for short in CATEGORIES.values()]
    names = [f"{category}\n({table[shown[0]][short][0].candidates})" for category, short in CATEGORIES.items()]
    with atomic_path(out / "figure6.png") as path:
        plot_retrieval(bars, names, chance).savefig(path, dpi=120, format="png", metadata={"Software": None})
    return weights


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and the deviation between seeds if there are several."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _table_rows(table: dict[str, dict[str, list[RetrievalResult]]]) -> list[list[str]]:
    """One row a system and part: each category, all queries within theirs, all queries among all candidates."""
    means = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank", "permuted_mrr")
    rows = [["system", "part", "mrr", "sd", *means, "chance", "n", "candidates", "seeds", "paper_mrr"]]
    for name, parts in table.items():
        paper = dict(zip(CATEGORIES.values(), PAPER.get(name, ()), strict=False))
        for part, results in parts.items():
            mean, sd = _mean_sd([result.mrr for result in results])
            row = [name, part, f"{mean:.4f}", "" if sd is None else f"{sd:.4f}"]
            row += [f"{np.mean([getattr(result, key) for result in results]):.4f}" for key in means]
            row += [f"{results[0].chance:.4f}", str(results[0].n), str(results[0].candidates), str(len(results))]
            rows.append([*row, f"{paper[part]:.3f}" if part in paper else ""])
    return rows


def _report_lines(
    dataset: str,
    split: PairSplit,
    table: dict[str, dict[str, list[RetrievalResult]]],
    within: dict[str, np.ndarray],
    targets: np.ndarray,
    weights: dict[str, list[float]],
) -> list[str]:
    """Lines of ``table1.md``."""
    some = next(iter(table.values()))
    seeds = max(len(results) for parts in table.values() for results in parts.values())
    sizes = ", ".join(f"{some[part][0].candidates} {part}" for part in CATEGORIES.values())
    lines = [
        f"# Table I on {dataset}",
        "",
        f"Mean reciprocal rank, mean ± standard deviation over {seeds} seeds (of untrained systems, one figure). "
        f"{len(split.train)} positive pairs for training, {len(split.validation)} for validation, {len(targets)} "
        f"imitations search: within their category ({sizes}), and among all {some['all'][0].candidates} sounds. The "
        "interval (95 %, bootstrap over queries) is that of the mean over all queries within their categories; "
        "recall@10 and median rank are within them too. Beside it the paper's Table I, measured on other sounds and "
        "voices: do not compare absolute values.",
        "",
        "| system | AI | CS | ED | SS | within | interval | all | R@10 | median rank | paper AI | CS | ED | SS |",
        "|---|" + "---|" * 13,
    ]
    for name, parts in table.items():
        cells = []
        for part in (*CATEGORIES.values(), "within", "all"):
            mean, sd = _mean_sd([result.mrr for result in parts[part]])
            cells.append(f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}"))
        low, high = bootstrap_interval(within[name].mean(axis=0), np.mean, 0)
        cells.insert(5, f"[{low:.3f}, {high:.3f}]")
        cells += [
            f"{np.mean([getattr(r, key) for r in parts['within']]):.3f}" for key in ("recall_at_10", "median_rank")
        ]
        cells += [f"{value:.3f}" for value in PAPER[name]] if name in PAPER else [""] * 4
        lines.append(f"| {name} | {' | '.join(cells)} |")
    chance = [f"{some[part][0].chance:.3f}" for part in (*CATEGORIES.values(), "within", "all")]
    chance.insert(5, "")
    lines.append(f"| chance | {' | '.join(chance)} | | | 0.180 | 0.180 | 0.078 | 0.180 |")
    counts = [str(some[part][0].n) for part in (*CATEGORIES.values(), "within", "all")]
    lines += [f"| n | {' | '.join([*counts[:5], '', *counts[5:]])} | | | | | | |", ""]
    for name, values in weights.items():
        shown = ", ".join(f"{value:g}" for value in values)
        lines += [
            f"Weight of the first in {name}, by seed: {shown}. It is chosen on the validation pairs, whose sounds "
            "training has heard: that favours what was trained.",
            "",
        ]
    lines += [
        "## Comparisons",
        "",
        "First minus second: the difference of the means over all queries within category with its 95 % interval "
        "(resampled by sound, seeds averaged), and in each category the unpaired t test over seeds, as in the paper: "
        "t (p).",
        "",
        "| first | second | difference | interval | AI | CS | ED | SS |",
        "|---|" + "---|" * 7,
    ]
    for first, second in COMPARISONS:
        if first not in table or second not in table:
            continue
        paired = compare_paired(within[first].mean(axis=0), within[second].mean(axis=0), targets)
        tests = []
        for part in CATEGORIES.values():
            try:
                t, p = compare_seeds(*(np.array([r.mrr for r in table[name][part]]) for name in (first, second)))
                tests.append(f"{t:.2f} ({p:.2g})")
            except ValueError:  # too few seeds, or one figure for all of them
                tests.append("–")
        low, high = paired.interval
        cells = [first, second, f"{paired.difference:+.3f}", f"[{low:+.3f}, {high:+.3f}]", *tests]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]
