"""What the vector forms share: a scan whose error is bounded, and the exact end of it.

A scan gives each row a score ``s`` that is at most ``eps`` off the true one ``t``. Let ``S`` be the kth best ``s``: k
rows have ``t >= S - eps``, so the true kth best is no lower, and whatever is as good as that has ``s >= S - 2 eps``.
All such rows are kept, in the pass that finds S (what was kept early is thrown out as S rises), and scored again in
float64. So it does not matter to the answer what was scanned (float32, int8), by what (compiled loop, torch on any
device) or in which order it was summed: only ``eps`` has to be right. The best of several windows is off by no more
than the worst of them, so rows are compared by that.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from iminet_viz.errors import SearchError

Fetch = Callable[[np.ndarray], np.ndarray]  # row numbers, (m,) int64, to (m, width) float32
ROUNDING = 2.0**-24  # float32, relative
SPARE = 16  # roundings beside those of a sum: of a query, a weight, a product, the threshold
LARGEST = 1e18  # of a value, so that no sum leaves float32
LANES = 16  # int8 rows are filled up to whole registers
CHUNK_BYTES = 1 << 24  # of rows that a thread takes at a time
FETCHED = 4_096  # rows that are read at a time, to prepare them or to score them again
TORCH_VALUES = (1 << 20, 1 << 26)  # values in a block on the CPU, on another device
ROOM = 4_096  # candidates of a query before there has to be more


Candidates = list[tuple[np.ndarray, np.ndarray]]  # of each query: row numbers, and scores that are eps off at most


def in_threads(work: Callable[[int, int], None], count: int, row_bytes: int) -> None:
    """Do ``work(first, last)`` over all rows, some at a time, in as many threads as numba would take."""
    import numba

    n_threads = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # cores this process may use, or what the environment says
    chunk = int(np.clip(-(-count // (4 * n_threads)), (CHUNK_BYTES >> 4) // row_bytes, CHUNK_BYTES // row_bytes))
    chunk = max(chunk, 1)
    firsts, lock = iter(range(0, count, chunk)), threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        while not failures:
            with lock:
                first = next(firsts, None)
            if first is None:
                return
            try:
                work(first, min(first + chunk, count))
            except BaseException as failure:
                failures.append(failure)

    others = [threading.Thread(target=run) for _ in range(min(n_threads, -(-count // chunk)) - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


class Quantised:
    """Rows in int8: ``row = centre + step * code`` by dimension, and how far off that is.

    Shape:
        ``codes`` ``(count, width filled up to 16)``; ``step``, ``centre`` and ``half``, the largest error of a
        dimension (about half a step), ``(width,)``; ``residual`` is the length of the longest row of errors.
    """

    def __init__(self, read: Callable[[int, int], np.ndarray], count: int, low: np.ndarray, high: np.ndarray) -> None:
        span = high - low
        # A dimension that hardly varies gets a step too: queries are divided by it.
        self.step = np.maximum(span / 254, max(span.max(initial=0) / 254_000, 1e-12))
        self.centre = low + span / 2
        self.codes = np.zeros((count, -(-len(low) // LANES) * LANES), np.int8)
        largest, longest = np.zeros(len(low)), 0.0
        lock = threading.Lock()

        def quantise(first: int, last: int) -> None:
            nonlocal longest
            for start in range(first, last, FETCHED):
                stop = min(start + FETCHED, last)
                values = (read(start, stop) - self.centre) / self.step
                codes = np.rint(values).clip(-127, 127)
                self.codes[start:stop, : len(low)] = codes
                error = np.abs(values - codes) * self.step
                lengths = np.linalg.norm(error, axis=1)
                with lock:
                    np.maximum(largest, error.max(axis=0), out=largest)
                    longest = max(longest, float(lengths.max()))

        in_threads(quantise, count, 4 * max(len(low), 1))
        self.half, self.residual = largest * (1 + 1e-6), longest * (1 + 1e-6)

    def pad(self, values: np.ndarray) -> np.ndarray:
        """Fill up with zeros as the codes are: ``(..., width)``."""
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, self.codes.shape[1] - values.shape[-1])])


class VectorRows(ABC):
    """Rows of float32 vectors, searched exactly; a form says what a score is, and how far off a scan can be.

    Args:
        rows: ``(rows, width)``, not copied where it is float32 and in one piece (it may be memory-mapped); or a
            callable that fetches rows by their numbers. In int8 these are only read to be scored again.
        width: values of a row.
        count: number of rows, where ``rows`` is a callable.
        precision: of what is scanned: ``float32``, or ``int8``, a quarter of the memory. The answers are the same.
        device: ``cpu`` scans by compiled loops, any other name is torch's: ``cuda``, or ``cpu:0`` for torch itself.

    Raises:
        SearchError: rows are no matrix of that width, or hold NaN or infinite values; there is no such precision or
            device.
    """

    PRECISIONS: ClassVar[tuple[str, ...]] = ("float32", "int8")
    bias = 0.0  # added to each score, not by a scan
    LOOP: ClassVar[bool] = True  # there is a compiled loop; without one torch scans on the CPU too

    def __init__(
        self, rows: np.ndarray | Fetch, width: int | None, count: int | None, precision: str, device: str
    ) -> None:
        if precision not in self.PRECISIONS:
            raise SearchError(f"precision {precision!r}, expected {' or '.join(self.PRECISIONS)}")
        self.precision = precision
        self.device = None if device == "cpu" and self.LOOP else _torch_device(device)
        self._lock = threading.Lock()
        self._rows: np.ndarray | Fetch = rows if callable(rows) else np.ascontiguousarray(rows, np.float32)
        if isinstance(self._rows, np.ndarray):
            if self._rows.ndim != 2 or (width is not None and self._rows.shape[1] != width):
                raise SearchError(f"rows of shape {self._rows.shape}, expected (rows, {width or 'values'})")
            self._count, self._width = self._rows.shape
        else:
            if count is None or width is None:
                raise SearchError("rows that are fetched need their count and width")
            self._count, self._width = count, width
            if precision == "float32":
                fetched = np.empty((count, width), np.float32)
                for first in range(0, count, FETCHED):
                    last = min(first + FETCHED, count)
                    fetched[first:last] = self._read(first, last)
                self._rows = fetched
        low, high = self._range(self._read)
        self._largest = np.maximum(np.abs(low), np.abs(high))  # of each dimension
        self._quantised = self._quantise(low, high) if precision == "int8" else None
        scanned = self._rows if self._quantised is None else self._quantised.codes
        assert isinstance(scanned, np.ndarray)
        self._scanned = scanned.view(np.ndarray)
        self._scanned.flags.writeable = False  # one type for numba, whoever made the array
        if self.device is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
                self._on_device = torch.from_numpy(scanned).to(self.device)

    def __len__(self) -> int:
        return self._count

    @property
    def n_bytes(self) -> int:
        """Bytes that are scanned, on whatever device; rows that are only fetched to be scored again do not count."""
        return self._scanned.nbytes

    def search(
        self, queries: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly; as :meth:`iminet_viz.scan.Rows.search`.

        Raises:
            SearchError: a query is no ``(windows, width)``, has no window, or holds NaN or infinite values; ``k`` is
                below 1; ``allowed`` is not one bool a row.
        """
        checked = [self._check(query) for query in queries]
        if k < 1:
            raise SearchError(f"k {k}, expected at least 1")
        if allowed is not None and (np.shape(allowed) != (len(self),) or np.asarray(allowed).dtype != bool):
            raise SearchError(f"who takes part: expected {len(self)} bool, got shape {np.shape(allowed)}")
        if not checked or not len(self):
            return [(np.empty(0, np.int64), np.empty(0)) for _ in checked]
        mask = np.empty(0, bool) if allowed is None else np.array(allowed)
        eps = np.array([self._eps(query).max() for query in checked]) * 1.001
        starts = np.cumsum([0, *map(len, checked)])
        scan = self._scan_by_loop if self.device is None else self._scan_by_torch
        found = scan(np.concatenate(checked), starts, eps, min(k, len(self)), mask)
        return [self._best(query, k, *some, off) for query, some, off in zip(checked, found, eps, strict=True)]

    def scores(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores of some rows (all without ``rows``), in their order: ``(windows, width)`` to ``(rows,)`` float64.

        Raises:
            SearchError: as :meth:`search`; a row's number is not in the library.
        """
        checked = self._check(query)
        if rows is not None:
            rows = np.asarray(rows, np.int64)
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
                raise SearchError(f"rows {rows.min()} to {rows.max()}, there are {len(self)}")
        return self._exact(checked, rows)

    def _read(self, first: int, last: int) -> np.ndarray:
        """Rows in sequence."""
        return self._rows[first:last] if isinstance(self._rows, np.ndarray) else self._fetch(np.arange(first, last))

    def _fetch(self, numbers: np.ndarray) -> np.ndarray:
        if isinstance(self._rows, np.ndarray):
            return self._rows[numbers]
        with self._lock:
            rows = np.ascontiguousarray(self._rows(numbers), np.float32)
        if rows.shape != (len(numbers), self._width):
            raise SearchError(f"fetched rows of shape {rows.shape}, expected {(len(numbers), self._width)}")
        return rows

    def _check(self, query: np.ndarray) -> np.ndarray:
        """``(windows, width)`` float64."""
        checked = np.asarray(query, np.float64)
        if checked.ndim != 2 or checked.shape[1] != self._width or not len(checked):
            raise SearchError(f"a query of shape {checked.shape}, expected (windows, {self._width}), one at least")
        if not np.abs(checked).max(initial=0) < LARGEST:
            raise SearchError("the query holds NaN, infinite or absurdly large values")
        return checked

    def _range(self, read_rows: Callable[[int, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest value of each dimension, ``(width,)`` float64."""
        low, high = np.full(self._width, np.inf), np.full(self._width, -np.inf)
        lock = threading.Lock()

        def read(first: int, last: int) -> None:
            for start in range(first, last, FETCHED):
                rows = read_rows(start, min(start + FETCHED, last))
                least, largest = rows.min(axis=0), rows.max(axis=0)
                if not (np.abs(least).max(initial=0) < LARGEST and np.abs(largest).max(initial=0) < LARGEST):
                    wrong = start + int(np.argmin((np.abs(rows) < LARGEST).all(axis=1)))
                    raise SearchError(
                        f"row {wrong} of the library holds NaN or infinite values, or such as no model gives"
                    )
                with lock:
                    np.minimum(low, least, out=low)
                    np.maximum(high, largest, out=high)

        in_threads(read, len(self), 4 * max(self._width, 1))
        return (low, high) if len(self) else (np.zeros(self._width), np.zeros(self._width))

    def _quantise(self, low: np.ndarray, high: np.ndarray) -> Quantised:
        return Quantised(self._read, len(self), low, high)

    def _scan_by_loop(
        self, windows: np.ndarray, starts: np.ndarray, eps: np.ndarray, k: int, allowed: np.ndarray
    ) -> Candidates:
        n_queries = len(eps)
        scan = self._loop(windows)
        slack = np.nextafter((2 * eps).astype(np.float32), np.float32(np.inf))
        states: list[list[Any]] = []
        own = threading.local()

        def work(first: int, last: int) -> None:
            if not hasattr(own, "state"):  # each thread's: heaps, thresholds, candidates
                own.state = [
                    np.full((n_queries, k), -np.inf, np.float32),
                    np.full(n_queries, -np.inf, np.float32),
                    slack,
                    np.zeros(n_queries, np.int64),
                    np.empty((n_queries, max(ROOM, 2 * k)), np.float32),
                    np.empty((n_queries, max(ROOM, 2 * k)), np.int64),
                ]
                states.append(own.state)
            state = own.state
            while (first := scan(first, last, allowed, starts, state)) < last:
                state[4:] = [np.concatenate([room, np.empty_like(room)], axis=1) for room in state[4:]]

        in_threads(work, len(self), self._scanned[:1].nbytes)
        return [
            (
                np.concatenate([state[5][q, : state[3][q]] for state in states]),
                np.concatenate([state[4][q, : state[3][q]] for state in states]),
            )
            for q in range(n_queries)
        ]

    @torch.no_grad()
    def _scan_by_torch(
        self, windows: np.ndarray, starts: np.ndarray, eps: np.ndarray, k: int, allowed: np.ndarray
    ) -> Candidates:
        assert self.device is not None
        n_queries = len(eps)
        score = self._torch_scorer(windows)
        at_once = max(1, TORCH_VALUES[self.device.type != "cpu"] // max(self._scanned.shape[1], 1))
        best = torch.full((n_queries, k), -torch.inf, device=self.device)
        slack = torch.from_numpy(2 * eps).to(best)[:, None]
        mask = torch.from_numpy(allowed).to(self.device)
        kept: list[list[np.ndarray]] = []
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # the bounds are of float32, not of what tensor cores take for it
        try:
            for first in range(0, len(self), at_once):
                by_window = score(self._on_device[first : first + at_once], first)
                scores = torch.stack([part.amax(dim=0) for part in by_window.split(np.diff(starts).tolist())])
                if len(allowed):
                    scores.masked_fill_(~mask[first : first + at_once], -torch.inf)
                best = torch.cat([best, scores], dim=1).topk(k, dim=1).values
                query, row = torch.nonzero((scores >= best[:, -1:] - slack) & (scores > -torch.inf), as_tuple=True)
                kept.append([part.cpu().numpy() for part in (query, row + first, scores[query, row])])
        finally:
            torch.set_float32_matmul_precision(precision)
        of, number, approximate = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return [(number[of == q], approximate[of == q]) for q in range(n_queries)]

    def _best(
        self, query: np.ndarray, k: int, numbers: np.ndarray, approximate: np.ndarray, eps: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score candidates exactly: first the k best, then those that may still be better than the worst of them."""
        order = np.argsort(numbers)  # as they lie in the file
        numbers, approximate = numbers[order], approximate[order].astype(np.float64) + self.bias
        scores = np.full(len(numbers), -np.inf)
        first, rest = np.ones(len(numbers), bool), np.zeros(len(numbers), bool)
        if len(numbers) > k:
            first = approximate >= np.partition(approximate, -k)[-k]
        scores[first] = self._exact(query, numbers[first])
        if len(numbers) > k:
            rest = ~first & (approximate + eps >= np.partition(scores, -k)[-k])
            scores[rest] = self._exact(query, numbers[rest])
        order = np.lexsort((numbers, -scores))[:k]
        return numbers[order], scores[order]

    def _exact(self, query: np.ndarray, numbers: np.ndarray | None = None) -> np.ndarray:
        """Scores in float64 of rows as they were given, whatever was scanned."""
        scores = np.empty(len(self) if numbers is None else len(numbers))
        score = self._exact_scorer(query)

        def work(first: int, last: int) -> None:
            for start in range(first, last, FETCHED):
                stop = min(start + FETCHED, last)
                rows = self._read(start, stop) if numbers is None else self._fetch(numbers[start:stop])
                rows = rows.view(np.ndarray)
                rows.flags.writeable = False
                score(rows, scores[start:stop])

        in_threads(work, len(scores), 4 * max(self._width, 1))
        return scores

    @abstractmethod
    def _eps(self, windows: np.ndarray) -> np.ndarray:
        """How far off a scanned score can be: ``(windows, width)`` to ``(windows,)``."""

    def _loop(self, windows: np.ndarray) -> Callable[..., int]:
        """The compiled scan: of first row, last row, who takes part, where queries start, and a thread's state."""
        raise NotImplementedError

    @abstractmethod
    def _torch_scorer(self, windows: np.ndarray) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """Scores of a block of rows on the device and the number of its first: to ``(windows, block)``."""

    @abstractmethod
    def _exact_scorer(self, windows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        """Scores of float32 rows in float64, into the second argument."""


def _torch_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an unknown word, no such device, torch without CUDA
        raise SearchError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
