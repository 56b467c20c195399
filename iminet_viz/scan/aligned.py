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

A sketch of each cut (means of four neighbouring frames, the first 16 principal values) is compared in the same way in a
tenth of the time. It bounds nothing, but its best rows give at once a limit above which bounds are abandoned (a quarter
of the time), and they are the first stage of a cascade: on 52,050 windows of real sounds and of mixtures of two, 19 of
20 of the exact first ten of 24 imitations by people are among the first 40 of the sketch, all among the first 472.

int8 costs an MRR of -.0038 [-.0111, +.0013] (.4021 instead of .4059; 244 imitations by people among 170 recordings,
``voice-search``; ``benchmarks/search_aligned.py --data DATA --people``).
"""

from __future__ import annotations

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iminet_viz.errors import SearchError

AT_ONCE = 2_048  # rows a task
FIRST = 64  # rows scored exactly before any bound is looked at again
SKETCHED = 1_024  # rows from which on a sketch is worth its time
SKETCH_VALUES = 16  # of a frame
FIRST_TEN = 10  # what recall is of
CALIBRATED_ON = 50_000  # rows at most
SAMPLES = 24  # queries
SAFETY = 4  # times the rows that the samples need: people need up to three times as many
CALIBRATED_BY = f"{CALIBRATED_ON} rows, {SAMPLES} queries, {SAFETY} times, {SKETCH_VALUES} values"
OFF_TORCH = 2e-5  # relative, 5 times what 63 additions and 48 squares lose in float32
VALUES_AT_ONCE = 1 << 26  # distances in memory at a time, on a device


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How many rows of the sketch are scored for a recall, and what was measured.

    ``recall`` is that of the exact first ten, asked; ``best`` how many rows are scored; ``measured`` the recall with
    ``queries`` queries, among ``rows`` rows at the same share. These are drawn from the library where none were given,
    and have chosen ``best`` themselves: people's imitations may find less.
    """

    recall: float
    best: int
    measured: float
    queries: int
    rows: int


def pack(frames: np.ndarray, log_durations: np.ndarray) -> np.ndarray:
    """Stored form of windows: int8 frames with one scale a cut, the log of its duration, all bytes in a row.

    Shape:
        ``(..., cuts, frames, features)`` and ``(..., cuts)``, logs of seconds, to
        ``(..., cuts * (frames * features + 8))`` int8.

    Raises:
        SearchError: a value is not finite.
    """
    frames, log_durations = np.asarray(frames, np.float32), np.asarray(log_durations, np.float32)
    if not (np.isfinite(frames).all() and np.isfinite(log_durations).all()):
        raise SearchError("a window for the library has frames or a duration that are not finite numbers")
    scales = np.abs(frames).max(axis=(-2, -1)) / np.float32(127)
    rounded = np.rint(frames / np.where(scales > 0, scales, 1)[..., None, None]).clip(-127, 127).astype(np.int8)
    numbers = np.stack([scales, log_durations], axis=-1).astype("<f4").view(np.int8)
    cuts = np.concatenate([rounded.reshape(*numbers.shape[:-1], -1), numbers], axis=-1)
    return cuts.reshape(*cuts.shape[:-2], -1)


def unpack(row: np.ndarray, n_cuts: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """What rows say: ``(..., width)`` int8 to ``(..., cuts, frames, features)`` and ``(..., cuts)`` float32."""
    cuts = row.reshape(*row.shape[:-1], n_cuts, row.shape[-1] // n_cuts)
    numbers = np.ascontiguousarray(cuts[..., -8:]).view("<f4")
    frames = cuts[..., :-8].reshape(*cuts.shape[:-1], (cuts.shape[-1] - 8) // features, features)
    return frames.astype(np.float32) * numbers[..., :1, None], numbers[..., 1]


def typical_rows(n: int) -> np.ndarray:
    """Which of ``n`` rows a sketch is fitted to: some 512, evenly."""
    return np.arange(0, n, -(-n // 512))


class Cascade(ABC):
    """Rows with a sketch, wherever they are: how many of the sketch's best have to be scored for a recall.

    Attributes:
        calibrations: what was found, by recall.
    """

    n_cuts: int
    frames: int
    features: int
    calibrations: dict[float, Calibration]

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def read(self, ids: np.ndarray) -> np.ndarray:
        """Rows as they are stored: ``(ids,)`` to ``(ids, width)``."""

    @abstractmethod
    def search(
        self, queries: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly."""

    @abstractmethod
    def sketched(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Costs of the sketches of rows: ``(ids,)`` to ``(ids,)`` float32."""

    @property
    def skips(self) -> bool:
        """Whether there are enough rows that a recall below 1 leaves any out."""
        return len(self) >= SKETCHED

    def best_of_sketch(self, k: int, recall: float | None) -> int | None:
        """How many rows of the sketch are scored; None for all.

        Raises:
            SearchError: the recall is not above 0 and at most 1.
        """
        if recall is not None and not 0 < recall <= 1:
            raise SearchError(f"a recall must be above 0 and at most 1, not {recall:g}")
        if recall is None or recall == 1 or not self.skips:
            return None
        known = self.calibrations.get(recall) or self.calibrate(recall)
        return -(-known.best * max(k, FIRST_TEN) // FIRST_TEN)

    def calibrate(
        self, recall: float, queries: Sequence[np.ndarray] | None = None, n_cuts: int = 3, seed: int = 0
    ) -> Calibration:
        """Find how many rows of the sketch have to be scored for a recall, and remember it in ``calibrations``.

        Four times as many as the drawn queries need for half of the misses that the recall allows: they are few, and
        people need more. (Of 10,000 windows 24 drawn queries need 61 for a recall of .95, 48 imitations 162; of 60,000
        both need 460.) Of more than 50,000 rows so many are drawn, and the number grows with the rows; the exact first
        ten of a part lie further back than those of all, so this is too many rather than too few.

        Args:
            recall: of the exact first ten, below 1.
            queries: as for :meth:`search`; drawn from the library without them.
            n_cuts: of the queries drawn.
            seed: of what is drawn.
        """
        rng = np.random.default_rng(seed)
        ids, allowed = np.arange(len(self)), None
        if len(ids) > CALIBRATED_ON:
            ids = np.sort(rng.choice(ids, CALIBRATED_ON, replace=False))
            allowed = np.zeros(len(self), bool)
            allowed[ids] = True
        if queries is None:
            queries = self.draw_queries(SAMPLES, n_cuts, rng)
        ranks = []
        for query, (found, _) in zip(queries, self.search(queries, FIRST_TEN, allowed), strict=True):
            sketched = self.sketched(query, ids)
            worst = sketched[np.searchsorted(ids, found)]
            ranks.append((sketched[None] <= worst[:, None]).sum(axis=1))
        wanted = (1 + recall) / 2
        best = min(len(ids), SAFETY * max(FIRST_TEN, int(np.quantile(ranks, wanted, method="inverted_cdf"))))
        self.calibrations[recall] = Calibration(
            recall, -(-best * len(self) // len(ids)), float((np.array(ranks) <= best).mean()), len(queries), len(ids)
        )
        return self.calibrations[recall]

    def draw_queries(self, n: int, n_cuts: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Rows changed to queries: each frame blended with one of another row, time warped, the duration off.

        Their tenth costs .47 to .59 of the median row, that of imitations by people .53 to .64.

        Shape:
            each ``(1, n_cuts * (frames * features + 1))``.
        """
        pairs = rng.integers(0, len(self), (n, 2))
        rows = self.read(pairs.ravel()).reshape(n, 2, -1)
        queries = []
        for pair in rows:
            frames, log_s = unpack(pair, self.n_cuts, self.features)
            weight = rng.uniform()
            cuts = []
            for cut in rng.integers(0, self.n_cuts, n_cuts):
                place = np.sort(rng.uniform(0, self.frames, self.frames)).astype(int)
                blended = (1 - weight) * frames[0, cut, place] + weight * frames[1, cut]
                cuts.append(np.append(blended, log_s[0, cut] + rng.normal(0, 0.3)))
            queries.append(np.concatenate(cuts).astype(np.float32)[None])
        return queries


class AlignedRows(Cascade):
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
        self.duration_cost = float(duration_cost)
        self.calibrations: dict[float, Calibration] = {}
        self._bounded = _Bounded(self.rows, n_cuts, frames, features, self.duration_cost)
        self._device = None if device == "cpu" else torch.from_numpy(self.rows).to(device)
        self._sketch: _Sketch | None = None
        if len(rows) >= SKETCHED:
            self.fit_sketch(self.rows[typical_rows(len(rows))])

    def fit_sketch(self, typical: np.ndarray) -> None:
        """Sketch the rows by the principal values of others, which may be of a larger library: ``(some, width)``."""
        self._sketch = _Sketch(self._bounded, typical)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def n_bytes(self) -> int:
        """Bytes that are resident: the rows, the norms of their frames, and their sketches."""
        return self._bounded.n_bytes + (0 if self._sketch is None else self._sketch.bounded.n_bytes)

    def search(
        self,
        queries: Sequence[np.ndarray],
        k: int,
        allowed: np.ndarray | None = None,
        recall: float | None = None,
        limits: Sequence[float] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly; see :meth:`iminet_viz.scan.Rows.search`.

        Args:
            queries: see there.
            k: see there.
            allowed: see there.
            recall: below 1, only the best rows of the sketch are scored, as many as :meth:`calibrate` finds necessary
                for this share of the exact first ten.
            limits: of each query, instead: what the sketch of a row may cost for it to be scored.

        Raises:
            SearchError: a query is not finite, or the recall is not above 0 and at most 1.
        """
        best = self.best_of_sketch(k, recall)
        ids = _ids(len(self), allowed)
        found = []
        for number, query in enumerate(queries):
            form = _Query(query, self.frames, self.features)
            found.append(self._best(form, k, ids, best, None if limits is None else limits[number]))
        return found

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Rows as they are stored: ``(ids,)`` to ``(ids, width)``."""
        return self.rows[ids]

    def sketched(self, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Costs of the sketches of rows: ``(ids,)`` to ``(ids,)`` float32."""
        assert self._sketch is not None, "so few rows are all scored"
        return self._sketch.costs(_Query(query, self.frames, self.features), ids)

    def lowest_sketched(
        self, queries: Sequence[np.ndarray], best: int, allowed: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """The ``best`` lowest costs of sketches for each query, in no order; fewer where there are fewer."""
        ids = _ids(len(self), allowed)
        costs = [self.sketched(query, ids) for query in queries]
        return [own if best >= len(own) else np.partition(own, best - 1)[:best] for own in costs]

    def scores(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores of some rows (all without ``rows``), in their order: ``(windows, width)`` to ``(rows,)`` float64."""
        ids = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        return -self._bounded.costs(_Query(query, self.frames, self.features), ids)

    def _best(
        self, query: _Query, k: int, ids: np.ndarray, best: int | None, within: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first ``k`` of rows, of their ``best`` by the sketch, or of those ``within`` a cost of it; ties count."""
        sketched = None
        enough = len(ids) >= SKETCHED and (self._device is None or best is not None)
        if self._sketch is not None and (enough or within is not None):
            sketched = self._sketch.costs(query, ids)
            if best is not None and best < len(ids):
                within = np.partition(sketched, best - 1)[best - 1]
            if within is not None:
                chosen = sketched <= within
                ids, sketched = ids[chosen], sketched[chosen]
        k = min(k, len(ids))
        if not k:
            return np.empty(0, np.int64), np.empty(0)
        limit = np.inf
        if sketched is not None:
            first = ids[np.argpartition(sketched, k - 1)[: max(k, FIRST)]] if len(ids) > FIRST else ids
            limit = np.partition(self._bounded.costs(query, first), k - 1)[k - 1] if k <= len(first) else np.inf
        return self._settle(query, k, ids, self._bounds(query, ids, limit))

    def _settle(self, query: _Query, k: int, ids: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score rows from the lowest bound upwards, until no other can be among the first ``k``."""
        found, costs = np.empty(0, np.int64), np.empty(0)
        at_once = max(FIRST, 2 * k)
        waiting = np.flatnonzero(np.isfinite(bounds))
        while len(waiting):
            order = np.argpartition(bounds[waiting], at_once - 1) if len(waiting) > at_once else np.arange(len(waiting))
            now, waiting = waiting[order[:at_once]], waiting[order[at_once:]]
            found = np.concatenate([found, ids[now]])
            costs = np.concatenate([costs, self._bounded.costs(query, ids[now])])
            first = np.lexsort((found, costs))[:k]
            found, costs = found[first], costs[first]
            if len(costs) == k:
                waiting = waiting[bounds[waiting] <= costs[-1]]
            at_once *= 2
        return found, -costs

    def _bounds(self, query: _Query, ids: np.ndarray, limit: float) -> np.ndarray:
        if self._device is None:
            return self._bounded.bounds(query, ids, limit)
        return _bound_on_device(self._device, self.n_cuts, self.duration_cost, query, ids)


class _Bounded:
    """Rows whose costs can be bounded, with the squared norms of their frames."""

    def __init__(self, rows: np.ndarray, n_cuts: int, frames: int, features: int, duration_cost: float) -> None:
        rows = rows.view()
        rows.flags.writeable = False  # one type for numba, whoever made the array
        self.rows, self.words, self.numbers = rows, rows.view(np.int32), rows.view(np.float32)
        self.n_cuts, self.frames, self.features, self.duration_cost = n_cuts, frames, features, duration_cost
        self.norms = np.empty((len(rows), n_cuts * frames), np.float32)
        _spread(
            lambda start, stop: _kernels().square_frames(
                rows, self.numbers, n_cuts, features, start, self.norms[start:stop]
            ),
            len(rows),
        )

    @property
    def n_bytes(self) -> int:
        """Bytes that are resident."""
        return self.rows.nbytes + self.norms.nbytes

    def bounds(self, query: _Query, ids: np.ndarray, limit: float) -> np.ndarray:
        """Lower bounds of the costs of rows: ``(ids,)`` to ``(ids,)`` float32, infinite where above the limit."""
        bounds = np.empty(len(ids), np.float32)
        limit = np.nextafter(np.float32(limit), np.float32(np.inf))
        _spread(
            lambda start, stop: _kernels().bound_costs(
                self.words,
                self.numbers,
                self.norms,
                self.n_cuts,
                ids[start:stop],
                query.words,
                query.numbers,
                query.starts,
                query.log_s,
                np.float32(self.duration_cost),
                limit,
                bounds[start:stop],
            ),
            len(ids),
        )
        return bounds

    def costs(self, query: _Query, ids: np.ndarray) -> np.ndarray:
        """Costs of rows as they are defined, in float64: ``(ids,)`` to ``(ids,)``."""
        costs = np.empty(len(ids))
        _spread(
            lambda start, stop: _kernels().exact_costs(
                self.rows,
                self.numbers,
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


class _Sketch:
    """Means of neighbouring frames, by their first principal values, in the same form as the rows."""

    def __init__(self, bounded: _Bounded, typical: np.ndarray) -> None:
        frames, n = bounded.frames, len(bounded.rows)
        self.pooled = next(factor for factor in (4, 2, 1) if frames // factor % 4 == 0 and frames % factor == 0)
        self.values = min(SKETCH_VALUES, bounded.features)
        shape = bounded.n_cuts, frames // self.pooled
        some = unpack(typical, bounded.n_cuts, bounded.features)[0]
        some = some.reshape(-1, bounded.features)
        self.mean = some.mean(axis=0)
        self.axes = np.linalg.eigh(np.cov(some.T))[1][:, ::-1][:, : self.values].astype(np.float32)
        rows = np.empty((n, shape[0] * (shape[1] * self.values + 8)), np.int8)
        axes, offset = np.ascontiguousarray(self.axes), self.mean @ self.axes
        _spread(
            lambda start, stop: _kernels().sketch_rows(
                bounded.rows,
                bounded.numbers,
                shape[0],
                axes,
                offset,
                start,
                rows[start:stop],
                rows[start:stop].view(np.float32),
            ),
            n,
        )
        self.bounded = _Bounded(rows, *shape, self.values, bounded.duration_cost)

    def costs(self, query: _Query, ids: np.ndarray) -> np.ndarray:
        """Costs of sketches, approximately: ``(ids,)`` to ``(ids,)`` float32."""
        frames = query.frames.reshape(len(query.frames), -1, self.pooled, len(self.mean)).mean(axis=2)
        cuts = [((frames - self.mean) @ self.axes).reshape(len(frames), -1), query.log_s[:, None]]
        own = _Query(np.concatenate(cuts, axis=1), self.bounded.frames, self.values)
        return self.bounded.bounds(own, ids, np.inf)


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


@torch.no_grad()
def _bound_on_device(rows: Tensor, n_cuts: int, duration_cost: float, query: _Query, ids: np.ndarray) -> np.ndarray:
    """Lower bounds of the costs of rows, in float32 by torch: ``(ids,)`` to ``(ids,)``.

    The recursion runs over diagonals, whose cells do not depend on each other.
    """
    cuts, frames, features = query.frames.shape
    own = torch.from_numpy(query.frames).to(rows.device, torch.float32).reshape(-1, features)
    own_log_s = torch.from_numpy(query.log_s).to(rows.device)
    per_row = n_cuts * frames * cuts * 2 * frames
    bounds = []
    for some in torch.from_numpy(ids).split(max(1, VALUES_AT_ONCE // per_row)):
        parts = rows[some.to(rows.device)].reshape(len(some) * n_cuts, -1)
        numbers = parts[:, -8:].contiguous().view(torch.float32)
        values = parts[:, :-8].reshape(-1, frames, features) * numbers[:, :1, None]
        distance = torch.cdist(values.flatten(0, 1), own, compute_mode="donot_use_mm_for_euclid_dist")
        distance = distance.reshape(-1, frames, cuts, frames).permute(3, 1, 0, 2).flatten(2)  # (query, row, pairs)
        # frame i of the query moved by i, so that a diagonal is a column
        moved = torch.nn.functional.pad(distance, (0, 0, 0, frames), value=torch.inf).flatten(0, 1)
        diagonals = moved[: frames * (2 * frames - 1)].reshape(frames, 2 * frames - 1, -1)
        last = torch.full_like(diagonals[:, 0], torch.inf)
        before = last.clone()
        edge = before[:1]
        last[0] = diagonals[0, 0]
        for number in range(1, 2 * frames - 1):
            up, diagonal = torch.cat([edge, last[:-1]]), torch.cat([edge, before[:-1]])
            before, last = last, torch.minimum(torch.minimum(up, diagonal), last) + diagonals[:, number]
        cost = last[-1].reshape(len(some), n_cuts, cuts) / (2 * frames)
        apart = (numbers[:, 1].reshape(-1, n_cuts, 1) - own_log_s).abs()
        bounds.append(((cost + duration_cost * apart) * (1 - OFF_TORCH)).amin(dim=(1, 2)).cpu())
    return torch.cat(bounds).numpy()


def _ids(n: int, allowed: np.ndarray | None) -> np.ndarray:
    return np.arange(n) if allowed is None else np.flatnonzero(allowed)


def _spread(run: Callable[[int, int], Any], n: int, at_once: int = AT_ONCE) -> None:
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


def _kernels() -> Any:
    """The compiled loops; numba is loaded with the first of them."""
    from iminet_viz.scan import _aligned_kernels

    return _aligned_kernels


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["AlignedRows", "Calibration", "pack", "unpack"]
