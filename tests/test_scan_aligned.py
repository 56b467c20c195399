"""Rows of the aligned nets: every answer is that of brute force, whatever bounds are looked at first."""

import functools

import numpy as np
import pytest
import torch

from iminet_viz.errors import SearchError
from iminet_viz.models.aligned import align_scores
from iminet_viz.scan import _aligned_kernels
from iminet_viz.scan.aligned import AlignedRows, _Query, pack, unpack

FRAMES, FEATURES = 8, 12
DURATION_COST = 0.4


def draw_cuts(rng: np.random.Generator, n: int, cuts: int, shape: tuple[int, int] = (FRAMES, FEATURES)) -> np.ndarray:
    """``(n, cuts, frames * features + 1)``: random walks, so that neighbouring frames are alike as those of sounds."""
    walk = rng.normal(size=(n, cuts, *shape)).cumsum(axis=2) / 3 + rng.normal(size=(n, 1, 1, shape[1]))
    return np.concatenate([walk.reshape(n, cuts, -1), rng.normal(size=(n, cuts, 1))], axis=2).astype(np.float32)


def pack_all(cuts: np.ndarray, shape: tuple[int, int] = (FRAMES, FEATURES)) -> np.ndarray:
    return np.stack([pack(window[:, :-1].reshape(-1, *shape), window[:, -1]) for window in cuts])


def library(cuts: np.ndarray, shape: tuple[int, int] = (FRAMES, FEATURES), **options) -> AlignedRows:
    return AlignedRows(pack_all(cuts, shape), cuts.shape[1], *shape, DURATION_COST, **options)


def brute_force(query: np.ndarray, rows: AlignedRows) -> np.ndarray:
    """Scores by the kernel of the model, on the frames that are stored: ``(rows,)``."""
    frames, log_s = unpack(rows.rows, rows.n_cuts, rows.features)
    cuts = query.reshape(-1, rows.frames * rows.features + 1)
    scores = align_scores(
        list(cuts[:, :-1].reshape(-1, rows.frames, rows.features)),
        list(frames.reshape(-1, rows.frames, rows.features)),
        np.exp(cuts[:, -1].astype(float)),
        np.exp(log_s.reshape(-1).astype(float)),
        step_cost=1.0,
        duration_cost=DURATION_COST,
    )
    return scores.reshape(len(cuts), len(rows), rows.n_cuts).max(axis=(0, 2))


def check(rows: AlignedRows, query: np.ndarray, k: int, allowed: np.ndarray | None = None) -> None:
    (ids, scores), expected = rows.search([query], k, allowed)[0], brute_force(query, rows)
    who = np.arange(len(rows)) if allowed is None else np.flatnonzero(allowed)
    assert ids.dtype == np.int64 and scores.dtype == np.float64
    assert len(ids) == len(set(ids)) == min(k, len(who))
    np.testing.assert_allclose(scores, expected[ids], atol=1e-4, rtol=0)
    np.testing.assert_allclose(scores, np.sort(expected[who])[::-1][:k], atol=1e-4, rtol=0)
    reference = rows.scores(query, who)  # float64, so its order is the order
    np.testing.assert_array_equal(ids, who[np.lexsort((who, -reference))[:k]])


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    shape = (32, 48) if seed % 3 == 0 else (FRAMES, FEATURES)
    cuts = draw_cuts(rng, int(rng.integers(1, 400)), int(rng.integers(1, 4)), shape)
    rows = library(cuts, shape)
    query = draw_cuts(rng, int(rng.integers(1, 4)), int(rng.integers(1, 4)), shape)
    check(rows, query.reshape(len(query), -1), int(rng.integers(1, 40)))


@pytest.mark.parametrize("seed", range(20))
def test_a_bound_is_never_above_the_cost(seed):
    """Also for silence, for what is equal, and for values of all sizes."""
    rng = np.random.default_rng(seed)
    cuts = draw_cuts(rng, 100, 2)
    cuts[:50, :, :-1] *= 10.0 ** rng.uniform(-6, 6, (50, 1, 1))
    cuts[50] = 0
    rows = library(cuts)
    frames, log_s = unpack(rows.rows, 2, FEATURES)
    stored = np.concatenate([frames.reshape(100, 2, -1), log_s[..., None]], axis=2)
    for query in (draw_cuts(rng, 1, 3), stored[seed][None], stored[50][None], stored[60][None] * 1.001, cuts[70:72]):
        form = _Query(query, FRAMES, FEATURES)
        ids = np.arange(100)
        bounds, costs = rows._bounds(form, ids, np.inf), rows._bounded.costs(form, ids)
        assert (bounds <= costs).all()
        assert np.median(bounds / costs.clip(1e-9)) > 0.9  # else the test could not fail
        limit = np.sort(costs)[9]
        limited = rows._bounds(form, ids, limit)
        assert (limited[costs <= limit] <= costs[costs <= limit]).all()


def test_what_is_above_the_limit_is_abandoned():
    rows = library(draw_cuts(np.random.default_rng(0), 160, 2))
    form = _Query(draw_cuts(np.random.default_rng(1), 1, 3), FRAMES, FEATURES)
    assert np.isinf(rows._bounds(form, np.arange(160), 0.01)).all()


def test_copies_come_in_the_order_of_their_numbers():
    rng = np.random.default_rng(0)
    cuts = draw_cuts(rng, 40, 2)[rng.integers(0, 40, 300)]
    rows, query = library(cuts), draw_cuts(rng, 1, 3)
    check(rows, query, 25)
    ids, scores = rows.search([query], 300)[0]
    same = np.flatnonzero(np.diff(scores) == 0)
    assert len(same) > 100 and (np.diff(ids)[same] > 0).all()


def test_rows_that_differ_by_less_than_the_bound_knows_are_told_apart():
    rng = np.random.default_rng(3)
    cuts = np.repeat(draw_cuts(rng, 1, 2), 200, axis=0)
    cuts[:, :, -1] += rng.permutation(200)[:, None].astype(np.float32) * 2e-6  # 8e-7 of the score
    check(library(cuts), draw_cuts(rng, 1, 3), 10)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_only_those_allowed_are_found(share):
    rng = np.random.default_rng(1)
    check(library(draw_cuts(rng, 300, 2)), draw_cuts(rng, 1, 3), 10, rng.random(300) < share)


def test_nothing_stored_nothing_found():
    rows = AlignedRows(np.empty((0, 2 * (FRAMES * FEATURES + 8)), np.int8), 2, FRAMES, FEATURES, DURATION_COST)
    query = draw_cuts(np.random.default_rng(0), 1, 3)
    ids, scores = rows.search([query], 10)[0]
    assert (len(rows), len(ids), len(scores), len(rows.scores(query))) == (0, 0, 0, 0)


def test_many_queries_are_answered_each():
    rng = np.random.default_rng(5)
    rows, queries = library(draw_cuts(rng, 5_000, 2)), list(draw_cuts(rng, 3, 3)[:, None])
    for query, (ids, scores) in zip(queries, rows.search(queries, 7), strict=True):
        alone = rows.search([query], 7)[0]
        np.testing.assert_array_equal(ids, alone[0])
        np.testing.assert_array_equal(scores, alone[1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_that_is_no_number_is_one_sentence(value):
    rng = np.random.default_rng(0)
    rows, query = library(draw_cuts(rng, 5, 2)), draw_cuts(rng, 1, 3)
    query[0, 1, 3] = value
    with pytest.raises(SearchError, match="not finite numbers"):
        rows.search([query], 3)
    with pytest.raises(SearchError, match="not finite numbers"):
        pack(query[0, :, :-1].reshape(3, FRAMES, FEATURES), query[0, :, -1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rows must be"):
        AlignedRows(np.zeros((3, 99), np.int8), 2, FRAMES, FEATURES, DURATION_COST)
    rows = library(draw_cuts(np.random.default_rng(0), 5, 2))
    with pytest.raises(ValueError, match="a query must hold"):
        rows.search([np.zeros((1, 98), np.float32)], 3)


def test_the_stored_form_is_the_frames_to_half_a_step():
    cuts = draw_cuts(np.random.default_rng(0), 20, 2)
    cuts[3, 1, :-1] = 0  # silence has no scale
    frames, log_s = unpack(pack_all(cuts), 2, FEATURES)
    original = cuts[:, :, :-1].reshape(frames.shape)
    step = np.abs(original).max(axis=(2, 3), keepdims=True) / 127
    assert (np.abs(frames - original) <= step * 0.501).all() and not frames[3, 1].any()
    np.testing.assert_array_equal(log_s, cuts[..., -1])
    assert pack(np.zeros((2, 32, 48)), np.zeros(2)).nbytes == 2 * 1_544


@functools.cache
def big_library() -> AlignedRows:
    """Variants of 40 sounds, as the windows of a collection are."""
    rng = np.random.default_rng(0)
    kinds, cuts = draw_cuts(rng, 40, 2, (16, 20)), draw_cuts(rng, 6_000, 2, (16, 20))
    return library((0.6 * kinds[rng.integers(0, 40, 6_000)] + 0.4 * cuts).astype(np.float32), (16, 20))


def test_a_big_library_is_searched_with_a_sketch_and_exactly():
    rows, rng = big_library(), np.random.default_rng(1)
    for query in rows.draw_queries(3, 3, rng):
        check(rows, query, 10)
        check(rows, query, 100, rng.random(len(rows)) < 0.4)
        check(rows, query, 10, rng.random(len(rows)) < 0.01)


def test_the_cascade_reaches_the_recall_it_promises():
    rows = big_library()
    assert not rows.calibrations
    rows.calibrations.clear()
    queries = rows.draw_queries(20, 3, np.random.default_rng(99))  # others than it calibrates with
    exact, fast = rows.search(queries, 10), rows.search(queries, 10, recall=0.9)
    known = rows.calibrations[0.9]
    assert known.measured >= 0.9 and 10 <= known.best < len(rows) and known.queries > 10
    recall = np.mean([np.isin(ids, found).mean() for (ids, _), (found, _) in zip(exact, fast, strict=True)])
    print(f"recall@10 {recall:.3f} of 20 queries, {known}")
    assert recall >= 0.9
    for query, (ids, scores) in zip(queries, fast, strict=True):
        np.testing.assert_array_equal(scores, rows.scores(query, ids))  # whoever is found, the score is exact
    for (ids, _), (found, _) in zip(exact, rows.search(queries, 10, recall=1.0), strict=True):
        np.testing.assert_array_equal(ids, found)
    rows.calibrations.clear()


def test_a_recall_that_is_none_is_one_sentence():
    with pytest.raises(SearchError, match="above 0 and at most 1"):
        big_library().search([], 10, recall=1.5)


def on_torch(cuts: np.ndarray, device: str) -> AlignedRows:
    rows = library(cuts)
    rows._device = torch.from_numpy(rows.rows).to(device)
    return rows


def check_device(device: str) -> None:
    rng = np.random.default_rng(2)
    cuts = draw_cuts(rng, 2_000, 2)
    cuts[:10] = cuts[10:20]
    cuts[20] = 0
    rows = on_torch(cuts, device)
    for query in (draw_cuts(rng, 1, 3), cuts[20][None], cuts[15][None], draw_cuts(rng, 2, 3).reshape(2, -1)):
        check(rows, query, 12)
        check(rows, query, 12, rng.random(2_000) < 0.2)
        form, ids = _Query(query, FRAMES, FEATURES), np.arange(2_000)
        bounds, costs = rows._bounds(form, ids, np.inf), rows._bounded.costs(form, ids)
        assert (bounds <= costs).all()
        np.testing.assert_allclose(bounds, costs, rtol=1e-4, atol=1e-6)


def test_the_path_of_a_device_gives_the_same_answers(monkeypatch):
    monkeypatch.setattr("iminet_viz.scan.aligned.VALUES_AT_ONCE", 300_000)  # in several pieces
    check_device("cpu")


@pytest.mark.gpu
def test_a_gpu_gives_the_same_answers():
    check_device("cuda")


def test_processors_without_the_wide_instructions_give_the_same_bounds(monkeypatch):
    numba = pytest.importorskip("numba")
    rows = library(draw_cuts(np.random.default_rng(0), 40, 2))
    form = _Query(draw_cuts(np.random.default_rng(1), 1, 3), FRAMES, FEATURES)
    expected = rows._bounds(form, np.arange(40), np.inf)
    monkeypatch.setattr(_aligned_kernels, "_HAS_DOT", False)
    monkeypatch.setattr(_aligned_kernels, "_HAS_ROOT", False)
    plain = numba.njit(_aligned_kernels.bound_costs.py_func)
    monkeypatch.setattr(_aligned_kernels, "bound_costs", plain)
    np.testing.assert_allclose(rows._bounds(form, np.arange(40), np.inf), expected, rtol=2e-4)
    assert "vpdpbusd" not in next(iter(plain.inspect_asm().values()))
