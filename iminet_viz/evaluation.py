"""From scores to figures with n, chance and interval. Arithmetic only; NumPy in, numbers out.

Ties: a score shared by m candidates stands for m ranks. The rank reported is the middle one; the reciprocal rank is
the mean over the m ranks (what breaking ties at random gives on average), so that a constant scorer scores exactly
chance: 0.180 among 20 candidates. The reciprocal of the middle rank would give it 0.095.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class RetrievalResult:
    """Figures of a retrieval test; ``interval`` is the 95 % bootstrap interval of ``mrr`` over queries."""

    mrr: float
    interval: tuple[float, float]
    chance: float
    permuted_mrr: float
    p: float
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float
    n: int
    candidates: int


def reciprocal_rank(n_above: np.ndarray, n_tied: np.ndarray) -> np.ndarray:
    """Mean of 1/rank over the ranks ``n_above + 1 ... n_above + n_tied``; ``n_tied`` counts the target itself."""
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int((n_above + n_tied).max()) + 1))])
    return (harmonic[n_above + n_tied] - harmonic[n_above]) / n_tied


def count_above(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates scored above each query's target, and those tied with it (the target included).

    Args:
        scores: ``(queries, candidates)``, higher is better, ``-inf`` where a candidate does not take part.
        targets: ``(queries,)`` column of the right candidate.
    """
    own = scores[np.arange(len(scores)), targets][:, None]
    return (scores > own).sum(axis=1), (scores == own).sum(axis=1)


def evaluate_retrieval(
    scores: np.ndarray, targets: np.ndarray, seed: int = 0, n_permutations: int = 1_000
) -> RetrievalResult:
    """Mean reciprocal rank and its company (paper, eq. 1).

    The permuted control gives each query the target of another query, ``n_permutations`` times; ``p`` is the share
    of permutations (the real order counted in) that reach the real figure.

    Args:
        scores: ``(queries, candidates)``, higher is better, ``-inf`` where a candidate does not take part.
        targets: ``(queries,)`` column of the right candidate.
        seed: of permutations and bootstrap.
        n_permutations: how many.

    Raises:
        ValueError: shapes disagree, a target does not take part, or a score is NaN.
    """
    scores = np.asarray(scores, np.float64)
    targets = np.asarray(targets)
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or not len(scores):
        raise ValueError(
            f"scores {scores.shape} and targets {targets.shape}, expected (queries, candidates), (queries,)"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if not ((targets >= 0) & (targets < scores.shape[1])).all():
        raise ValueError(f"a target is not a column of the {scores.shape[1]} candidates")
    if np.isneginf(scores[np.arange(len(scores)), targets]).any():
        raise ValueError("the target of a query does not take part as a candidate")
    above, tied = count_above(scores, targets)
    reciprocal = reciprocal_rank(above, tied)
    present = (~np.isneginf(scores)).sum(axis=1)
    rng = np.random.default_rng(seed)
    permuted = []
    for _ in range(n_permutations):
        other = rng.permutation(targets)
        # a query that is itself the other's target does not take part there: it keeps its own target
        other = np.where(np.isneginf(scores[np.arange(len(scores)), other]), targets, other)
        permuted.append(reciprocal_rank(*count_above(scores, other)).mean())

    def recall(k: int) -> float:
        return float((np.clip(k - above, 0, tied) / tied).mean())

    return RetrievalResult(
        mrr=float(reciprocal.mean()),
        interval=bootstrap_interval(reciprocal, np.mean, seed),
        chance=float(reciprocal_rank(np.zeros_like(present), present).mean()),
        permuted_mrr=float(np.mean(permuted)),
        p=float((1 + np.sum(np.asarray(permuted) >= reciprocal.mean())) / (1 + n_permutations)),
        recall_at_1=recall(1),
        recall_at_5=recall(5),
        recall_at_10=recall(10),
        median_rank=float(np.median(above + (tied + 1) / 2)),
        n=len(scores),
        candidates=scores.shape[1],
    )


@dataclasses.dataclass(frozen=True)
class ClassificationResult:
    """Figures of a classification test; ``balanced_accuracy`` is the mean over classes, chance its chance."""

    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    balanced_interval: tuple[float, float]
    chance: float
    n: int
    recall: dict[str, float]


def evaluate_classification(
    predicted: np.ndarray, actual: np.ndarray, classes: tuple[str, ...], seed: int = 0
) -> ClassificationResult:
    """Accuracy, balanced accuracy and their 95 % bootstrap intervals over clips.

    Args:
        predicted: ``(clips,)`` class index.
        actual: ``(clips,)`` class index.
        classes: names, in the order of the indices.
        seed: of the bootstrap.
    """
    right = predicted == actual
    together = np.stack([right, actual], axis=1)  # resampled together

    def balanced(sample: np.ndarray) -> float:
        return float(np.mean([sample[sample[:, 1] == label, 0].mean() for label in np.unique(sample[:, 1])]))

    return ClassificationResult(
        accuracy=float(right.mean()),
        interval=bootstrap_interval(right, np.mean, seed),
        balanced_accuracy=balanced(together),
        balanced_interval=bootstrap_interval(together, balanced, seed),
        chance=1 / len(classes),
        n=len(right),
        recall={
            name: float(right[actual == index].mean()) for index, name in enumerate(classes) if (actual == index).any()
        },
    )


def bootstrap_interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], float], seed: int, n_resamples: int = 2_000
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic over the first axis."""
    rng = np.random.default_rng(seed)
    resampled = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(n_resamples)]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """One line for each part of ``metrics.json`` that holds figures, with interval, chance and n."""
    lines = []
    for part, values in metrics.items():
        if not isinstance(values, dict):
            continue
        if "mrr" in values:
            low, high = values["interval"]
            lines.append(
                f"{part}: MRR {values['mrr']:.3f} [{low:.3f}, {high:.3f}], chance {values['chance']:.3f}, "
                f"queries permuted {values['permuted_mrr']:.3f}, p {values['p']:.3f}, "
                f"median rank {values['median_rank']:g}, n {values['n']}, {values['candidates']} candidates"
            )
        elif "accuracy" in values:
            low, high = values["interval"]
            balanced = values["balanced_interval"]
            lines.append(
                f"{part}: accuracy {values['accuracy']:.3f} [{low:.3f}, {high:.3f}], balanced "
                f"{values['balanced_accuracy']:.3f} [{balanced[0]:.3f}, {balanced[1]:.3f}], "
                f"chance {values['chance']:.3f}, n {values['n']}"
            )
    return lines
