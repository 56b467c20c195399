"""Heads ``weight . relu(query + row) + bias``: TL-IMINET and its recurrent variant, 108 values a sound.

The error of a scan, for :mod:`iminet_viz.scan._topk`. In float32 each term ``weight * relu(query + row)`` is of a size
up to ``|weight| (|query| + largest |row|)``; a sum of n terms, in any order, is off by n roundings of their sum at most
(Higham, Accuracy and Stability of Numerical Algorithms, section 4.2), and a few more are in the terms themselves.

In int8 a row is ``centre + step * code``, at most ``half`` (half a step) off in each dimension. ReLU is 1-Lipschitz:
``|relu(a) - relu(b)| <= |a - b|``, so the score is off by ``sum |weight| half`` at most, on top of rounding.
The step is positive, so it goes through the ReLU, and the scan needs no more than an addition, a maximum and a product
a value: ``weight relu(query + centre + step code) = (weight step) relu((query + centre) / step + code)``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iminet_viz.scan._topk import ROUNDING, SPARE, Fetch, VectorRows


class FactorisedRows(VectorRows):
    """Rows under a head of one layer; arguments as for :class:`~iminet_viz.scan._topk.VectorRows`, and its weights.

    Args:
        weight: ``(width,)``.
        bias: added to each score.
    """

    def __init__(
        self,
        rows: np.ndarray | Fetch,
        weight: np.ndarray,
        bias: float = 0.0,
        *,
        count: int | None = None,
        precision: str = "float32",
        device: str = "cpu",
    ) -> None:
        self.weight, self.bias = np.asarray(weight, np.float64), float(bias)
        super().__init__(rows, len(self.weight), count, precision, device)

    def _size(self, windows: np.ndarray) -> np.ndarray:
        """Largest that each row's term can be, without its weight: ``(windows, width)``."""
        if self._quantised is None:
            return np.abs(windows) + self._largest
        return np.abs(windows + self._quantised.centre) + 127 * self._quantised.step

    def _eps(self, windows: np.ndarray) -> np.ndarray:
        weight = np.abs(self.weight)
        rounding = (self._scanned.shape[1] + SPARE) * ROUNDING * (self._size(windows) @ weight)
        return rounding if self._quantised is None else rounding + weight @ self._quantised.half

    def _scan_inputs(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries and weights as the scanned rows want them."""
        if self._quantised is None:
            return windows.astype(np.float32), self.weight.astype(np.float32)
        coded = self._quantised
        query, weight = (windows + coded.centre) / coded.step, self.weight * coded.step
        return coded.pad(query).astype(np.float32), coded.pad(weight).astype(np.float32)

    def _loop(self, windows: np.ndarray) -> Callable[..., int]:
        from iminet_viz.scan._kernels import scan_factorised

        queries, weight = self._scan_inputs(windows)

        def scan(first: int, last: int, allowed: np.ndarray, starts: np.ndarray, state: list[np.ndarray]) -> int:
            return scan_factorised(self._scanned, first, last, allowed, queries, starts, weight, *state)

        return scan

    def _torch_scorer(self, windows: np.ndarray) -> Callable[[torch.Tensor, int], torch.Tensor]:
        queries, weight = (torch.from_numpy(x).to(self._on_device.device) for x in self._scan_inputs(windows))

        def score(rows: torch.Tensor, first: int) -> torch.Tensor:
            return torch.stack([(rows + query).relu_() @ weight for query in queries])

        return score

    def _exact_scorer(self, windows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        from iminet_viz.scan._kernels import exact_factorised

        return lambda rows, scores: exact_factorised(rows, windows, self.weight, self.bias, scores)
