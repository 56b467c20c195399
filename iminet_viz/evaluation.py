"""From scores to figures with n, chance and interval. Arithmetic only; NumPy in, numbers out.

Ties: a score shared by m candidates stands for m ranks. The rank reported is the middle one; the reciprocal rank is
the mean over the m ranks (what breaking ties at random gives on average), so that a constant scorer scores exactly
chance: 0.180 among 20 candidates. The reciprocal of the middle rank would give it 0.095.

Several right answers: the best ranked one counts, in the figures, in chance and in the permuted control alike. Where k
of m tied candidates are right, its rank is the first of k places drawn from m, on average (m + 1) / (k + 1).
"""

from __future__ import annotations

import dataclasses
import warnings
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


def reciprocal_rank(n_above: np.ndarray, n_tied: np.ndarray, n_right: np.ndarray | int = 1) -> np.ndarray:
    """Mean of 1/rank of the best right answer: of the ``n_tied`` below ``n_above``, ``n_right`` are right answers."""
    return _mean_over_ties(lambda rank: 1 / rank, n_above, n_tied, n_right)


def _mean_over_ties(
    worth: Callable[[np.ndarray], np.ndarray], n_above: np.ndarray, n_tied: np.ndarray, n_right: np.ndarray | int
) -> np.ndarray:
    """Mean of a function of the rank of the best right answer, ties being broken at random."""
    above, tied, right = np.broadcast_arrays(n_above, n_tied, n_right)
    size = int((above + tied).max()) + 1
    # as one number each: there are millions of cases and few different ones, and rows are slow to tell apart
    distinct, which = np.unique((above * size + tied) * size + right, return_inverse=True)
    means = np.empty(len(distinct))
    for index, case in enumerate(distinct.tolist()):
        m, k = case // size % size, case % size
        place = np.arange(1, m - k + 2)
        # that the places before hold none of the right ones, and this place one of them
        wrong_before = np.cumprod(np.append(1.0, (m - k + 1 - place[:-1]) / (m + 1 - place[:-1])))
        means[index] = np.sum(worth(case // size**2 + place) * wrong_before * k / (m + 1 - place))
    return means[which].reshape(above.shape)


def count_above(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates scored above each query's target, and those tied with it (the target included).

    Args:
        scores: ``(queries, candidates)``, higher is better, ``-inf`` where a candidate does not take part.
        targets: ``(queries,)`` column of the right candidate.
    """
    own = scores[np.arange(len(scores)), targets][:, None]
    return (scores > own).sum(axis=1), (scores == own).sum(axis=1)


def _stand(scores: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How each query would stand with each set of right answers: above the best of them, tied with it, right of those.

    Shape:
        ``(queries, candidates)`` and ``(sets, candidates)`` bool to three arrays ``(queries, sets)``; a set of which
        nothing takes part has 0 right.
    """
    best = np.empty((len(scores), len(answers)))
    right = np.empty(best.shape, int)
    for column, chosen in enumerate(answers):
        own = scores[:, chosen]
        best[:, column] = own.max(axis=1)
        right[:, column] = (own == best[:, column, None]).sum(axis=1)
    right[np.isneginf(best)] = 0
    above, tied = np.empty_like(right), np.empty_like(right)
    for row, (of_query, wanted) in enumerate(zip(scores, best, strict=True)):
        ordered = np.sort(of_query)
        first, last = (np.searchsorted(ordered, wanted, side) for side in ("left", "right"))
        above[row], tied[row] = len(ordered) - last, last - first
    return above, tied, right


def _checked(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 and right answers as ``(queries, candidates)`` bool; see :func:`evaluate_retrieval`."""
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.ndim != 2 or targets.shape not in (scores.shape[:1], scores.shape) or not len(scores):
        raise ValueError(
            f"scores {scores.shape} and targets {targets.shape}, expected (queries, candidates), and (queries,) or the "
            "same as the scores"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if targets.ndim == 2:
        answers = targets.astype(bool)
    elif ((targets >= 0) & (targets < scores.shape[1])).all():
        answers = np.arange(scores.shape[1]) == targets[:, None]
    else:
        raise ValueError(f"a target is not a column of the {scores.shape[1]} candidates")
    if not (answers & ~np.isneginf(scores)).any(axis=1).all():
        raise ValueError("the target of a query does not take part as a candidate")
    return scores, answers


def reciprocal_ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Reciprocal rank of each query, ``(queries,)``, for tests over queries; as for :func:`evaluate_retrieval`."""
    scores, answers = _checked(scores, targets)
    own = np.where(answers, scores, -np.inf).max(axis=1, keepdims=True)
    tied = scores == own
    return reciprocal_rank((scores > own).sum(axis=1), tied.sum(axis=1), (tied & answers).sum(axis=1))


def evaluate_retrieval(
    scores: np.ndarray,
    targets: np.ndarray,
    seed: int = 0,
    n_permutations: int = 1_000,
    groups: np.ndarray | None = None,
) -> RetrievalResult:
    """Mean reciprocal rank and its company (paper, eq. 1).

    The permuted control gives each query the right answers of another query, ``n_permutations`` times; ``p`` is the
    share of permutations (the real order counted in) that reach the real figure.

    Args:
        scores: ``(queries, candidates)``, higher is better, ``-inf`` where a candidate does not take part.
        targets: ``(queries,)`` column of the right candidate, or ``(queries, candidates)`` bool where several may be
            right: the best ranked of them counts.
        seed: of permutations and bootstrap.
        n_permutations: how many.
        groups: ``(queries,)``; answers are only exchanged among queries of one group.

    Raises:
        ValueError: shapes disagree, no right answer of a query takes part, or a score is NaN.
    """
    scores, answers = _checked(scores, targets)
    distinct, own = np.unique(answers, axis=0, return_inverse=True)
    own = own.reshape(-1)  # NumPy 2.0 alone gives it another shape
    above, tied, right = _stand(scores, distinct)
    # a query that is itself the only answer of another does not take part there: it keeps its own answer
    queries = np.arange(len(scores))
    usable = right > 0
    # each query with each query's answer, once; permutations only look up
    table = np.zeros(right.shape)
    table[usable] = reciprocal_rank(above[usable], tied[usable], right[usable])
    reciprocal = table[queries, own]
    above, tied, right = (counts[queries, own] for counts in (above, tied, right))
    taking_part = ~np.isneginf(scores)
    rng = np.random.default_rng(seed)
    members = [queries] if groups is None else [np.flatnonzero(groups == name) for name in np.unique(groups)]
    permuted = []
    for _ in range(n_permutations):
        other = own.copy()
        for group in members:
            other[group] = own[group][rng.permutation(len(group))]
        permuted.append(table[queries, np.where(usable[queries, other], other, own)].mean())

    def recall(k: int) -> float:
        return float(_mean_over_ties(lambda rank: rank <= k, above, tied, right).mean())

    present, right_present = taking_part.sum(axis=1), (taking_part & answers).sum(axis=1)
    return RetrievalResult(
        mrr=float(reciprocal.mean()),
        interval=bootstrap_interval(reciprocal, np.mean, seed),
        chance=float(reciprocal_rank(np.zeros_like(present), present, right_present).mean()),
        permuted_mrr=float(np.mean(permuted)),
        # sums in another order differ in the last bits: a constant scorer must reach itself
        p=float((1 + np.sum(np.asarray(permuted) >= reciprocal.mean() - 1e-12)) / (1 + n_permutations)),
        recall_at_1=recall(1),
        recall_at_5=recall(5),
        recall_at_10=recall(10),
        median_rank=float(np.median(above + (tied + 1) / (right + 1))),
        n=len(scores),
        candidates=scores.shape[1],
    )


def evaluate_within(
    scores: np.ndarray, targets: np.ndarray, categories: np.ndarray, seed: int = 0, n_permutations: int = 1_000
) -> tuple[RetrievalResult, dict[str, RetrievalResult]]:
    """Each query against the candidates of its category, as in the paper's Table I: all queries, and each category.

    The candidates of a category are the right answers of its queries. The control exchanges answers within categories.

    Args:
        scores: as for :func:`evaluate_retrieval`.
        targets: as for :func:`evaluate_retrieval`.
        categories: ``(queries,)`` name of the category of a query and its right answers.
        seed: of permutations and bootstrap.
        n_permutations: how many.

    Returns:
        The mean over all queries (its ``candidates`` are those of all categories), and the figures of each category.

    Raises:
        ValueError: as for :func:`evaluate_retrieval`.
    """
    scores, answers = _checked(scores, targets)
    inside = np.zeros(scores.shape, bool)
    each = {}
    for name in np.unique(categories):
        rows = categories == name
        columns = answers[rows].any(axis=0)
        inside[rows] = columns
        part = np.ix_(rows, columns)
        each[str(name)] = evaluate_retrieval(scores[part], answers[part], seed, n_permutations)
    return evaluate_retrieval(np.where(inside, scores, -np.inf), answers, seed, n_permutations, categories), each


@dataclasses.dataclass(frozen=True)
class PairedResult:
    """First minus second over the same queries: mean, 95 % bootstrap interval, two-sided p of Wilcoxon's test.

    ``interval`` resamples the ``clusters``, Wilcoxon's test takes the ``n`` queries for independent: where queries
    share candidates, believe the interval.
    """

    difference: float
    interval: tuple[float, float]
    p: float
    n: int
    clusters: int


def compare_paired(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray | None = None, seed: int = 0, n_resamples: int = 2_000
) -> PairedResult:
    """Compare two systems over the same queries, by their reciprocal ranks.

    Args:
        first: ``(queries,)``, of :func:`reciprocal_ranks`.
        second: ``(queries,)``, the same.
        clusters: ``(queries,)``, what is resampled as a whole, for example the candidate that a query is about;
            without, each query.
        seed: of the bootstrap.
        n_resamples: how many.

    Raises:
        ValueError: the shapes differ, or there are no queries.
    """
    from scipy import stats

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"values of shapes {first.shape} and {second.shape}, expected (queries,) twice")
    difference = first - second
    clusters = np.arange(len(difference)) if clusters is None else np.asarray(clusters)
    if clusters.shape != difference.shape:
        raise ValueError(f"clusters of shape {clusters.shape}, expected {difference.shape}")
    cluster = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    together = np.stack([np.bincount(cluster, difference), np.bincount(cluster)], axis=1)  # sum and count of each
    return PairedResult(
        difference=float(difference.mean()),
        interval=bootstrap_interval(together, lambda drawn: float(np.divide(*drawn.sum(axis=0))), seed, n_resamples),
        p=float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0,
        n=len(difference),
        clusters=len(together),
    )


def compare_seeds(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Unpaired t-test over seeds (paper, section VI): ``t`` of first minus second, and its two-sided p.

    The paper does not say which. This is Welch's, since nothing says that two systems vary alike from seed to seed;
    with as many seeds of each, Student's has the same t.

    Args:
        first: ``(seeds,)`` MRR of one system.
        second: ``(other seeds,)`` MRR of the other.

    Raises:
        ValueError: fewer than two seeds of a system, or neither varies.
    """
    from scipy import stats

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or second.ndim != 1 or min(len(first), len(second)) < 2:
        raise ValueError(f"values of shapes {first.shape} and {second.shape}, expected two seeds or more of each")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        raise ValueError("neither system varies over its seeds, so there is nothing to test against")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # of a system that does not vary
        result = stats.ttest_ind(first, second, equal_var=False)
    return float(result.statistic), float(result.pvalue)


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
        elif "chance_loss" in values:
            loss, chance = values["train_loss"], values["chance_loss"]
            lines.append(f"{part}: {values['epochs']} epochs, loss {loss:.3f}, chance {chance:.3f}")
    return lines
