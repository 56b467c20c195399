"""Rows of the aligned nets: each cut of a window is a sequence of int8 frames, compared by dynamic time warping.

The score of a window is the best over its cuts and those of the query of ::

    -alignment / (frames + frames) - duration_cost * |log duration ratio|

with :func:`iminet_viz.models.aligned.align_scores` at a step cost of 1, on the frames as they are stored; the query
stays float32.

The search is exact and cheap because nearly every row is settled by a bound. The query is rounded to int8 as well, one
scale a frame, so that distances are integer products. A rounded frame that is off by ``e`` changes each of its
distances by at most ``e`` (the triangle inequality); with ``e`` taken off, the alignment is a lower bound on the cost,
some 0.4 % below it. Rows are then scored in float64 from the lowest bound upwards, until the bound exceeds the k-th
cost. What float32 rounds is on the safe side too: 2e-6 of the squared norms are taken off each squared distance (seven
roundings of 6e-8 each, and that of the stored frames), and twice the error of the processor's root estimate (6.2e-5)
off the whole, 30 times what 63 additions lose.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from iminet_viz.errors import SearchError

AT_ONCE = 2_048  # rows a task
FIRST = 64  # rows scored exactly before any bound is looked at again


def pack(frames: np.ndarray, log_durations: np.ndarray) -> np.ndarray:
    """Stored form of a window: int8 frames with one scale a cut, the log of its duration, all bytes in a row.

    Shape:
        ``(cuts, frames, features)`` and ``(cuts,)``, logs of seconds, to ``(cuts * (frames * features + 8),)`` int8.

    Raises:
        SearchError: a value is not finite.
    """
    frames, log_durations = np.asarray(frames, np.float32), np.asarray(log_durations, np.float32)
    if not (np.isfinite(frames).all() and np.isfinite(log_durations).all()):
        raise SearchError("a window for the library has frames or a duration that are not finite numbers")
    scales = np.abs(frames).max(axis=(1, 2)) / np.float32(127)
    rounded = np.rint(frames / np.where(scales > 0, scales, 1)[:, None, None]).clip(-127, 127).astype(np.int8)
    numbers = np.stack([scales, log_durations], axis=1).astype("<f4")
    return np.concatenate([rounded.reshape(len(frames), -1), numbers.view(np.int8)], axis=1).ravel()


def unpack(row: np.ndarray, n_cuts: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """What a row says: ``(..., width)`` int8 to ``(..., cuts, frames, features)`` and ``(..., cuts)`` float32."""
    cuts = row.reshape(*row.shape[:-1], n_cuts, -1)
    numbers = np.ascontiguousarray(cuts[..., -8:]).view("<f4")
    frames = cuts[..., :-8].reshape(*cuts.shape[:-1], -1, features)
    return frames.astype(np.float32) * numbers[..., :1, None], numbers[..., 1]


class AlignedRows:
    """All rows of an aligned net's library; see :class:`iminet_viz.scan.Rows`.

    A query is ``(windows, cuts * (frames * features + 1))`` float32, of each cut its frames and its log duration, as
    :meth:`iminet_viz.models.aligned.AlignedNet.query_half` gives them; the best pair of cuts counts.

    Args:
        rows: ``(rows, width)`` int8 of :func:`pack`; not copied.
        n_cuts: cuts of a row.
        frames: frames of a cut, a multiple of 4.
        features: values of a frame, a multiple of 4.
        duration_cost: see above.
        device: where rows are bounded.

    Raises:
        ValueError: the rows are of another width.
    """

    def __init__(
        self,
        rows: np.ndarray,
        n_cuts: int,
        frames: int,
        features: int,
        duration_cost: float,
        device: str = "cpu",
    ) -> None:
        width = n_cuts * (frames * features + 8)
        if rows.dtype != np.int8 or rows.ndim != 2 or rows.shape[1] != width or frames % 4 or features % 4:
            raise ValueError(
                f"rows must be (rows, {width}) int8 with frames and features in fours, not {rows.shape} {rows.dtype} "
                f"of {frames} frames of {features}"
            )
        self.rows = np.ascontiguousarray(rows)
        self.n_cuts, self.frames, self.features = n_cuts, frames, features
        self.duration_cost, self.device = float(duration_cost), device
        self._numbers = self.rows.view(np.float32)
        self._norms = np.empty((len(rows), n_cuts * frames), np.float32)  # squared, of each frame
        self._spread(
            lambda start, stop: _kernels().square_frames(
                self.rows, self._numbers, n_cuts, features, start, self._norms[start:stop]
            ),
            len(rows),
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def n_bytes(self) -> int:
        """Bytes that are resident: the rows, and the norms of their frames."""
        return self.rows.nbytes + self._norms.nbytes

    def search(
        self, queries: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly; see :meth:`iminet_viz.scan.Rows.search`.

        Raises:
            SearchError: a query is not finite.
        """
        ids = np.arange(len(self)) if allowed is None else np.flatnonzero(allowed)
        return [self._best(_Query(query, self.frames, self.features), k, ids) for query in queries]

    def scores(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores of some rows (all without ``rows``), in their order: ``(windows, width)`` to ``(rows,)`` float64."""
        ids = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        return -self._costs(_Query(query, self.frames, self.features), ids)

    def _best(self, query: _Query, k: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(ids))
        if not k:
            return np.empty(0, np.int64), np.empty(0)
        bounds = self._bounds(query, ids, np.inf)
        return self._settle(query, k, ids, bounds)

    def _settle(self, query: _Query, k: int, ids: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score rows from the lowest bound upwards, until no other can be among the first ``k``."""
        found, costs = np.empty(0, np.int64), np.empty(0)
        limit, at_once = np.inf, max(FIRST, 2 * k)
        waiting = bounds <= limit
        while waiting.any():
            open_ = np.flatnonzero(waiting)
            if len(open_) > at_once:
                open_ = open_[np.argpartition(bounds[open_], at_once - 1)[:at_once]]
            waiting[open_] = False
            found = np.concatenate([found, ids[open_]])
            costs = np.concatenate([costs, self._costs(query, ids[open_])])
            first = np.lexsort((found, costs))[:k]
            found, costs = found[first], costs[first]
            if len(costs) == k:
                limit = costs[-1]
                waiting &= bounds <= limit
            at_once *= 2
        return found, -costs

    def _bounds(self, query: _Query, ids: np.ndarray, limit: float) -> np.ndarray:
        """Lower bounds of the costs of rows: ``(ids,)`` to ``(ids,)`` float32, infinite where above the limit."""
        bounds = np.empty(len(ids), np.float32)
        self._spread(
            lambda start, stop: _kernels().bound_costs(
                self.rows.view(np.int32),
                self._numbers,
                self._norms,
                self.n_cuts,
                ids[start:stop],
                query.words,
                query.numbers,
                query.starts,
                query.log_s,
                np.float32(self.duration_cost),
                np.float32(np.nextafter(np.float32(limit), np.float32(np.inf))),
                bounds[start:stop],
            ),
            len(ids),
        )
        return bounds

    def _costs(self, query: _Query, ids: np.ndarray) -> np.ndarray:
        """Costs of rows as they are defined, in float64: ``(ids,)`` to ``(ids,)``."""
        costs = np.empty(len(ids))
        self._spread(
            lambda start, stop: _kernels().exact_costs(
                self.rows,
                self._numbers,
                self.n_cuts,
                ids[start:stop],
                query.frames,
                query.log_s,
                self.duration_cost,
                costs[start:stop],
            ),
            len(ids),
            at_once=16,
        )
        return costs

    def _spread(self, run: Callable[[int, int], Any], n: int, at_once: int = AT_ONCE) -> None:
        """Run pieces of ``n`` rows on all cores.

        By threads of our own: a server searches from several at once, which a parallel loop of numba need not survive.
        """
        starts = range(0, n, at_once)
        if len(starts) < 2:
            for start in starts:
                run(start, n)
            return
        with ThreadPoolExecutor(_n_cores()) as pool:
            list(pool.map(lambda start: run(start, min(start + at_once, n)), starts))


class _Query:
    """The cuts of all windows of a query, as they are and rounded to int8."""

    def __init__(self, query: np.ndarray, frames: int, features: int) -> None:
        query = np.asarray(query, np.float32)
        if not query.size or query.size % (frames * features + 1):
            raise ValueError(f"a query must hold cuts of {frames} x {features} + 1 values, not {query.shape}")
        if not np.isfinite(query).all():
            raise SearchError("the query has values that are not finite numbers, so nothing can be found with it")
        cuts = query.reshape(-1, frames * features + 1)
        self.log_s = np.ascontiguousarray(cuts[:, -1])
        self.frames = cuts[:, :-1].reshape(-1, frames, features).astype(np.float64)
        scales = (np.abs(self.frames).max(axis=-1) / 127).astype(np.float32).astype(np.float64)
        rounded = np.rint(self.frames / np.where(scales > 0, scales, 1)[..., None]).clip(-127, 127)
        kept = rounded * scales[..., None]
        kernels = _kernels()
        error = np.linalg.norm(self.frames - kept, axis=-1) * (1 + 4 * kernels.ROOT_ERROR) + 2 * kernels.TINY**0.5
        square = np.square(kept).sum(axis=-1) * (1 - 2e-6)
        self.numbers = np.stack([-2 * scales, square, error], axis=-1).reshape(-1, 3).astype(np.float32)
        self.words = rounded.astype(np.int8).reshape(-1).view(np.int32)
        self.starts = (-128 * rounded.sum(axis=-1)).astype(np.int32).reshape(-1)


def _kernels() -> Any:
    """The compiled loops; numba is loaded with the first of them."""
    from iminet_viz.scan import _aligned_kernels

    return _aligned_kernels


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["AlignedRows", "pack", "unpack"]
