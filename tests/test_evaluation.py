"""The figures against numbers worked out by hand, other implementations, and chance."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, label_ranking_average_precision_score, recall_score
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalRecall

from iminet_viz.evaluation import (
    bootstrap_interval,
    compare_paired,
    compare_seeds,
    count_above,
    evaluate_classification,
    evaluate_retrieval,
    evaluate_within,
    reciprocal_rank,
    reciprocal_ranks,
)

CHANCE = {20: 0.180, 60: 0.078, 120: 0.045}  # paper.md, section 5


def random_case(queries: int = 60, candidates: int = 15, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, candidates, queries)
    scores = rng.standard_normal((queries, candidates))
    scores[np.arange(queries), targets] += signal
    return scores, targets


def test_figures_worked_out_by_hand():
    scores = np.array(
        [
            [9.0, 1, 2, 3, 4, 5],  # target 0: rank 1
            [9.0, 8, 7, 6, 5, 4],  # target 2: rank 3
            [0.0, 1, 2, 3, 4, 5],  # target 0: rank 6
            [5.0, 5, 1, 1, 1, 1],  # target 1: ranks 1 and 2, the middle is 1.5
        ]
    )
    result = evaluate_retrieval(scores, np.array([0, 2, 0, 1]))
    assert result.mrr == pytest.approx((1 + 1 / 3 + 1 / 6 + (1 + 1 / 2) / 2) / 4)
    assert result.recall_at_1 == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert result.recall_at_5 == pytest.approx(3 / 4)
    assert result.recall_at_10 == 1
    assert result.median_rank == pytest.approx((1.5 + 3) / 2)
    assert result.chance == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5 + 1 / 6) / 6)
    assert (result.n, result.candidates) == (4, 6)


@pytest.mark.parametrize(
    ("above", "tied", "expected"),
    [
        (0, 1, 1),
        (1, 1, 1 / 2),
        (0, 2, 3 / 4),
        (1, 2, (1 / 2 + 1 / 3) / 2),
        (0, 4, 25 / 48),
        (2, 3, (1 / 3 + 1 / 4 + 1 / 5) / 3),
    ],
)
def test_ties_share_their_ranks(above, tied, expected):
    assert reciprocal_rank(np.array([above]), np.array([tied]))[0] == pytest.approx(expected)


def test_ties_score_what_breaking_them_at_random_scores_on_average():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (40, 12)).astype(float)
    targets = rng.integers(0, 12, 40)
    broken = [
        evaluate_retrieval(scores + rng.uniform(0, 0.1, scores.shape), targets, n_permutations=1) for _ in range(60)
    ]
    ours = evaluate_retrieval(scores, targets)
    assert ours.mrr == pytest.approx(np.mean([result.mrr for result in broken]), abs=0.02)
    for name in ("recall_at_1", "recall_at_5", "recall_at_10"):
        assert getattr(ours, name) == pytest.approx(np.mean([getattr(result, name) for result in broken]), abs=0.02)


@pytest.mark.parametrize("candidates", CHANCE)
@pytest.mark.parametrize("value", [0.0, -3.5, 1e300])
def test_a_constant_scorer_scores_exactly_chance(candidates, value):
    targets = np.arange(30) % candidates
    result = evaluate_retrieval(np.full((30, candidates), value), targets)
    assert result.mrr == pytest.approx(result.chance)
    assert result.mrr == pytest.approx(CHANCE[candidates], abs=5e-4)
    assert result.permuted_mrr == pytest.approx(result.chance)
    assert result.p == 1
    assert result.recall_at_5 == pytest.approx(5 / candidates)
    assert result.median_rank == (candidates + 1) / 2


@pytest.mark.parametrize("signal", [0.0, 1.0, 3.0])
def test_mrr_is_that_of_torchmetrics_and_sklearn(signal):
    scores, targets = random_case(signal=signal)
    relevant = np.zeros(scores.shape, bool)
    relevant[np.arange(len(targets)), targets] = True
    indexes = torch.arange(len(targets))[:, None].expand(scores.shape)
    # torchmetrics takes a score of 0 or less for "not retrieved"
    positive = torch.from_numpy(np.exp(scores)).flatten()
    other = RetrievalMRR()(positive, torch.from_numpy(relevant).flatten(), indexes.flatten())
    ours = evaluate_retrieval(scores, targets)
    assert ours.mrr == pytest.approx(other.item(), abs=1e-6)
    assert ours.mrr == pytest.approx(label_ranking_average_precision_score(relevant, scores))


def relevant_of(targets: np.ndarray, candidates: int) -> np.ndarray:
    return np.arange(candidates) == targets[:, None]


def by_torchmetrics(metric, scores: np.ndarray, relevant: np.ndarray) -> float:
    """torchmetrics takes a score of 0 or less for "not retrieved", so the scores are made positive."""
    indexes = torch.arange(len(scores))[:, None].expand(scores.shape)
    flat = (torch.from_numpy(x).flatten() for x in (np.exp(scores), relevant))
    return metric(*flat, indexes.flatten()).item()


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_that_of_torchmetrics(k):
    scores, targets = random_case()
    ours = getattr(evaluate_retrieval(scores, targets), f"recall_at_{k}")
    assert ours == pytest.approx(by_torchmetrics(RetrievalRecall(top_k=k), scores, relevant_of(targets, 15)))


def test_several_right_answers_are_counted_as_by_torchmetrics():
    rng = np.random.default_rng(1)
    scores, answers = rng.standard_normal((60, 15)), rng.random((60, 15)) < 0.2
    answers[np.arange(60), rng.integers(0, 15, 60)] = True
    ours = evaluate_retrieval(scores, answers)
    assert ours.mrr == pytest.approx(by_torchmetrics(RetrievalMRR(), scores, answers), abs=1e-6)
    np.testing.assert_allclose(reciprocal_ranks(scores, answers).mean(), ours.mrr)
    for k in (1, 5, 10):
        hits = by_torchmetrics(RetrievalHitRate(top_k=k), scores, answers)
        assert getattr(ours, f"recall_at_{k}") == pytest.approx(hits)


def test_of_several_right_answers_the_best_ranked_counts():
    scores = np.array([[9.0, 8, 7, 6, 5], [9.0, 8, 7, 6, 5], [1.0, 1, 1, 0, 0]])
    answers = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 1, 1], [1, 1, 0, 0, 1]], bool)
    # ranks 2 and 4; of the last, two of three tied are right: the first of them is first in 2 of 3 orders, else second
    np.testing.assert_allclose(reciprocal_ranks(scores, answers), [1 / 2, 1 / 4, 2 / 3 + 1 / 3 / 2])
    result = evaluate_retrieval(scores, answers)
    assert result.recall_at_1 == pytest.approx((0 + 0 + 2 / 3) / 3)
    assert result.median_rank == 2  # of 2, 4, 4/3
    assert evaluate_retrieval(scores[2:], answers[2:]).median_rank == pytest.approx(4 / 3)
    # two of five in random order: first is 1, 2, 3, 4 in 4, 3, 2, 1 of 10 orders; three of five: 6, 3, 1 of 10
    two, three = (4 + 3 / 2 + 2 / 3 + 1 / 4) / 10, (6 + 3 / 2 + 1 / 3) / 10
    assert result.chance == pytest.approx((2 * two + three) / 3)
    as_column = evaluate_retrieval(scores, np.array([1, 3, 0]))
    assert as_column == evaluate_retrieval(scores, relevant_of(np.array([1, 3, 0]), 5))


@pytest.mark.parametrize(("above", "tied", "right"), [(0, 4, 2), (2, 5, 3), (1, 3, 3), (0, 6, 1), (3, 2, 2)])
def test_ties_among_several_right_answers_are_the_mean_over_all_orders(above, tied, right):
    labels = [True] * right + [False] * (tied - right)
    firsts = [above + 1 + order.index(True) for order in itertools.permutations(labels)]
    ours = reciprocal_rank(np.array([above]), np.array([tied]), np.array([right]))[0]
    assert ours == pytest.approx(np.mean([1 / rank for rank in firsts]))


def test_a_constant_scorer_scores_chance_with_several_right_answers_too():
    answers = np.zeros((12, 9), bool)
    for row in range(12):
        answers[row, [row % 9, (2 * row + 1) % 9]] = True
    result = evaluate_retrieval(np.zeros((12, 9)), answers)
    assert result.mrr == pytest.approx(result.chance)
    assert result.permuted_mrr == pytest.approx(result.chance, abs=0.02)


def test_the_permuted_control_is_that_of_a_plain_loop():
    """Ties, several right answers, and queries that are themselves the answer of others."""
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 5, (8, 6)).astype(float)
    targets = np.array([0, 1, 2, 3, 4, 5, 0, 1])
    scores[0, 1] = scores[3, 4] = -np.inf
    ours = evaluate_retrieval(scores, targets, seed=5, n_permutations=50)
    order, means = np.random.default_rng(5), []
    for _ in range(50):
        other = targets[order.permutation(8)]
        other = np.where(np.isneginf(scores[np.arange(8), other]), targets, other)
        means.append(reciprocal_rank(*count_above(scores, other)).mean())
    assert ours.permuted_mrr == pytest.approx(np.mean(means))
    real = reciprocal_rank(*count_above(scores, targets)).mean()
    assert ours.p == pytest.approx((1 + np.sum(np.array(means) >= real - 1e-12)) / 51)


def test_within_a_category_only_its_own_candidates_are_ranked():
    #                    a  a    b  b    nobody's
    scores = np.array([[5.0, 6, 9, 9, 9], [8.0, 7, 9, 9, 9], [9.0, 9, 2, 1, 9], [9.0, 9, 4, 3, 9]])
    targets, categories = np.array([0, 1, 2, 3]), np.array(["a", "a", "b", "b"])
    everything, each = evaluate_within(scores, targets, categories)
    assert {name: result.mrr for name, result in each.items()} == {"a": 0.5, "b": 0.75}
    assert {name: (result.n, result.candidates) for name, result in each.items()} == {"a": (2, 2), "b": (2, 2)}
    assert everything.mrr == pytest.approx((1 / 2 + 1 / 2 + 1 + 1 / 2) / 4)
    assert everything.chance == pytest.approx(0.75)
    assert evaluate_retrieval(scores, targets).mrr < everything.mrr
    # answers are exchanged within categories, in half of the permutations: then the ranks are 1, 1, 2, 1
    assert everything.permuted_mrr == pytest.approx((3.5 / 4 + everything.mrr) / 2, abs=0.02)


def test_the_figures_of_a_category_are_those_of_its_own_table():
    scores, targets = random_case(queries=40, candidates=12)
    categories = np.where(targets < 5, "low", "high")
    everything, each = evaluate_within(scores, targets, categories)
    rows = categories == "low"
    assert each["low"] == evaluate_retrieval(scores[rows][:, :5], targets[rows])
    assert everything.mrr == pytest.approx(np.average([each[name].mrr for name in categories]))
    constant, _ = evaluate_within(np.zeros_like(scores), targets, categories)
    assert constant.mrr == pytest.approx(constant.chance)
    assert constant.p == 1


def test_a_paired_comparison_worked_out_by_hand():
    second = np.array([0.5, 0.2, 0.1, 0.3, 0.4])
    result = compare_paired(second + np.array([0.01, 0.02, 0.03, 0.04, 0.05]), second)
    assert result.difference == pytest.approx(0.03)
    assert result.p == pytest.approx(2 / 2**5)  # all five of one sign, in 2 of 32 equally likely ways
    assert result.interval[0] > 0
    assert (result.n, result.clusters) == (5, 5)
    same = compare_paired(second, second)
    assert (same.difference, same.interval, same.p) == (0, (0, 0), 1)


def test_the_paired_p_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(0)
    base = rng.random(100)
    noise = [compare_paired(base + rng.normal(0, 0.1, 100), base, n_resamples=20).p for _ in range(100)]
    assert stats.kstest(noise, "uniform").pvalue > 0.01
    assert compare_paired(base + rng.normal(0.1, 0.1, 100), base).p < 1e-6


def test_queries_of_one_cluster_are_resampled_together():
    rng = np.random.default_rng(0)
    first, second = rng.random(30), rng.random(30)
    alone = compare_paired(first, second)
    four = compare_paired(np.repeat(first, 4), np.repeat(second, 4), clusters=np.repeat(np.arange(30), 4))
    assert four.interval == pytest.approx(alone.interval)  # repeating each query tells nothing new
    assert (four.n, four.clusters) == (120, 30)
    taken_for_new = compare_paired(np.repeat(first, 4), np.repeat(second, 4)).interval
    assert np.ptp(taken_for_new) == pytest.approx(np.ptp(alone.interval) / 2, rel=0.15)


def test_the_unpaired_t_worked_out_by_hand():
    # means 2 and 4, variances 1 and 4, three of each: Welch's degrees of freedom are (5/3)^2 / ((1/9 + 16/9) / 2)
    t, p = compare_seeds(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]))
    assert t == pytest.approx(-2 / (5 / 3) ** 0.5)
    assert p == pytest.approx(2 * stats.t.cdf(t, df=(5 / 3) ** 2 / (17 / 18)))
    assert compare_seeds(np.array([2.0, 4, 6]), np.array([1.0, 2, 3])) == pytest.approx((-t, p))


@pytest.mark.parametrize(
    ("function", "first", "second", "reason"),
    [
        (compare_paired, [1.0], [1.0, 2.0], "shapes"),
        (compare_paired, [], [], "shapes"),
        (compare_seeds, [1.0], [1.0, 2.0], "two seeds"),
        (compare_seeds, [1.0, 1.0], [2.0, 2.0], "neither system varies"),
    ],
)
def test_tests_without_something_to_test_are_refused(function, first, second, reason):
    with pytest.raises(ValueError, match=reason):
        function(np.array(first), np.array(second))


def test_recall_and_median_rank_are_those_of_a_full_sort():
    scores, targets = random_case()
    order = np.argsort(-scores, axis=1)
    ranks = 1 + np.argmax(order == targets[:, None], axis=1)
    result = evaluate_retrieval(scores, targets)
    for k, ours in ((1, result.recall_at_1), (5, result.recall_at_5), (10, result.recall_at_10)):
        assert ours == pytest.approx(np.mean(ranks <= k))
    assert result.median_rank == np.median(ranks)
    above, tied = count_above(scores, targets)
    np.testing.assert_array_equal(above + 1, ranks)
    assert (tied == 1).all()


def test_only_the_order_of_the_scores_counts():
    scores, targets = random_case()
    plain, bent = evaluate_retrieval(scores, targets), evaluate_retrieval(np.exp(3 * scores) - 7, targets)
    assert plain == bent


def test_excluded_candidates_take_no_part():
    scores, targets = random_case(candidates=15)
    wider = np.full((len(scores), 40), -np.inf)
    wider[:, 5:20] = scores
    inner, outer = evaluate_retrieval(scores, targets), evaluate_retrieval(wider, targets + 5)
    assert (outer.mrr, outer.chance, outer.median_rank) == (inner.mrr, inner.chance, inner.median_rank)
    assert outer.permuted_mrr == pytest.approx(inner.permuted_mrr)
    assert outer.candidates == 40
    # of two that stay, one of each: chance is (1 + 1/2) / 2, or 1 where the target is alone
    few = np.array([[0.0, 0, -np.inf], [-np.inf, -np.inf, 0]])
    assert evaluate_retrieval(few, np.array([0, 2])).chance == pytest.approx((0.75 + 1) / 2)


def test_the_permuted_control_is_near_chance_and_p_tells_signal_from_noise():
    good = evaluate_retrieval(*random_case(signal=2.0))
    assert good.permuted_mrr == pytest.approx(good.chance, abs=0.02)
    assert good.mrr > good.chance + 0.2
    assert good.p == pytest.approx(1 / 1_001)  # the smallest there is with 1,000 permutations
    shares = []
    for seed in range(40):  # without signal p is uniform
        rng = np.random.default_rng(seed)
        noise = evaluate_retrieval(rng.standard_normal((25, 8)), rng.integers(0, 8, 25), n_permutations=39)
        shares.append(noise.p <= 0.5)
        assert 1 / 40 <= noise.p <= 1
    assert 0.2 < np.mean(shares) < 0.8


def test_the_control_notices_a_scorer_that_ignores_the_query():
    """All queries want candidate 0, and every query scores it highest: perfect, and worth nothing."""
    scores = np.tile(np.arange(10.0)[::-1], (20, 1))
    result = evaluate_retrieval(scores, np.zeros(20, int))
    assert result.mrr == result.permuted_mrr == 1
    assert result.p == 1


def test_figures_follow_the_seed():
    case = random_case()
    assert evaluate_retrieval(*case, seed=1) == evaluate_retrieval(*case, seed=1)
    assert evaluate_retrieval(*case, seed=1).interval != evaluate_retrieval(*case, seed=2).interval


@pytest.mark.parametrize(
    ("scores", "targets", "reason"),
    [
        (np.array([[0, np.nan]]), [0], "NaN"),
        (np.array([[0, -np.inf]]), [1], "does not take part"),
        (np.zeros((2, 3)), [0], "expected"),
        (np.zeros(3), [0], "expected"),
        (np.zeros((0, 3)), [], "expected"),
        (np.zeros((1, 3)), [3], "not a column"),
        (np.zeros((1, 3)), [-1], "not a column"),
    ],
)
def test_nonsense_is_refused(scores, targets, reason):
    with pytest.raises(ValueError, match=reason):
        evaluate_retrieval(scores, np.array(targets, int))


def test_the_bootstrap_interval_holds_the_mean_and_shrinks_with_n():
    rng = np.random.default_rng(0)
    widths = []
    for n in (25, 400):
        values = rng.standard_normal(n)
        low, high = bootstrap_interval(values, np.mean, seed=0)
        assert low < values.mean() < high
        widths.append(high - low)
        # a mean of n normal values: 2 * 1.96 / sqrt(n)
        assert widths[-1] == pytest.approx(3.92 * values.std() / n**0.5, rel=0.1)
    assert widths[1] < widths[0] / 3
    assert bootstrap_interval(np.full(9, 0.5), np.mean, seed=0) == (0.5, 0.5)


def test_the_interval_of_a_result_holds_its_mrr():
    result = evaluate_retrieval(*random_case())
    assert result.interval[0] < result.mrr < result.interval[1]


def test_classification_figures_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    actual = rng.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
    predicted = np.where(rng.random(300) < 0.6, actual, rng.integers(0, 4, 300))
    result = evaluate_classification(predicted, actual, ("a", "b", "c", "d"))
    assert result.accuracy == pytest.approx(accuracy_score(actual, predicted))
    assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(actual, predicted))
    assert list(result.recall.values()) == pytest.approx(list(recall_score(actual, predicted, average=None)))
    assert list(result.recall) == ["a", "b", "c", "d"]
    assert result.interval[0] < result.accuracy < result.interval[1]
    assert result.balanced_interval[0] < result.balanced_accuracy < result.balanced_interval[1]
    assert (result.chance, result.n) == (0.25, 300)


def test_a_classifier_that_names_one_class_has_balanced_accuracy_at_chance():
    actual = np.array([0] * 90 + [1] * 10)
    result = evaluate_classification(np.zeros(100, int), actual, ("a", "b"))
    assert (result.accuracy, result.balanced_accuracy, result.chance) == (0.9, 0.5, 0.5)
    assert result.recall == {"a": 1, "b": 0}


def test_a_class_without_clips_is_left_out():
    result = evaluate_classification(np.array([0, 2, 2]), np.array([0, 2, 0]), ("a", "b", "c"))
    assert result.recall == {"a": 0.5, "c": 1}
    assert result.balanced_accuracy == 0.75
