"""Cosine of vectors: IMISOUND (7,200 values) and the baselines that pool over a clip.

The error of a scan, for :mod:`iminet_viz.scan._topk`. Queries are of length 1, and the products of a query with a row
of length 1 are together at most 1 (Cauchy-Schwarz), so a sum of n of them is off by n roundings. The compiled loop sums
256 in float32 and those sums in float64, so its n is 256 and not 7,200: cosines of pooled features differ little.

In int8 rows of length 1 are stored as ``centre + step * code``; the centre's share of a score is the query's alone. The
score is off by ``query . error`` of the row: by ``sum |query| half`` at most, and by the length of the longest error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iminet_viz.scan._topk import FETCHED, ROUNDING, SPARE, Fetch, Quantised, VectorRows, in_threads

SMALLEST = 1e-12  # length that a vector counts as at least; all zeros score 0
PARTIAL = 256  # of the compiled loop


class CosineRows(VectorRows):
    """Rows compared by the cosine, whatever their length; arguments as for :class:`~iminet_viz.scan._topk.VectorRows`.

    A query of several windows scores the best of their cosines.
    """

    def __init__(
        self,
        rows: np.ndarray | Fetch,
        width: int | None = None,
        *,
        count: int | None = None,
        precision: str = "float32",
        device: str = "cpu",
    ) -> None:
        super().__init__(rows, width, count, precision, device)
        self._factor = np.ones(len(self), np.float32)  # of each row's product
        if self._quantised is None:
            in_threads(self._measure, len(self), 4 * max(self._width, 1))
        if self.device is not None:
            self._device_factor = torch.from_numpy(self._factor).to(self.device)

    def _measure(self, first: int, last: int) -> None:
        for start in range(first, last, FETCHED):
            stop = min(start + FETCHED, last)
            self._factor[start:stop] = 1 / _lengths(self._read(start, stop))

    def _read_unit(self, first: int, last: int) -> np.ndarray:
        rows = self._read(first, last)
        return rows / _lengths(rows)[:, None]

    def _quantise(self, low: np.ndarray, high: np.ndarray) -> Quantised:
        return Quantised(self._read_unit, len(self), *self._range(self._read_unit))  # of rows of length 1

    def _eps(self, windows: np.ndarray) -> np.ndarray:
        query, terms = np.abs(_unit(windows)), (PARTIAL if self.device is None else self._scanned.shape[1]) + SPARE
        if self._quantised is None:
            return np.full(len(windows), terms * ROUNDING)
        coded = self._quantised
        size = query @ (127 * coded.step) + query @ np.abs(coded.centre)
        return terms * ROUNDING * size + np.minimum(query @ coded.half, coded.residual)

    def _scan_inputs(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries as the scanned rows want them, and what is added to the score of each."""
        query = _unit(windows)
        if self._quantised is None:
            return query.astype(np.float32), np.zeros(len(query))
        return self._quantised.pad(query * self._quantised.step).astype(np.float32), query @ self._quantised.centre

    def _loop(self, windows: np.ndarray) -> Callable[..., int]:
        from iminet_viz.scan._kernels import scan_cosine

        queries, shift = self._scan_inputs(windows)

        def scan(first: int, last: int, allowed: np.ndarray, starts: np.ndarray, state: list[np.ndarray]) -> int:
            return scan_cosine(self._scanned, first, last, allowed, queries, starts, self._factor, shift, *state)

        return scan

    def _torch_scorer(self, windows: np.ndarray) -> Callable[[torch.Tensor, int], torch.Tensor]:
        queries, shift = (torch.from_numpy(x).to(self._device_factor) for x in self._scan_inputs(windows))

        def score(rows: torch.Tensor, first: int) -> torch.Tensor:
            return queries @ rows.to(queries).T * self._device_factor[first : first + len(rows)] + shift[:, None]

        return score

    def _exact_scorer(self, windows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        from iminet_viz.scan._kernels import exact_cosine

        queries = _unit(windows)
        return lambda rows, scores: exact_cosine(rows, queries, SMALLEST, scores)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)).clip(min=SMALLEST)


def _unit(windows: np.ndarray) -> np.ndarray:
    return windows / _lengths(windows)[:, None]
