"""Heads ``weight . relu(query + row) + bias``: TL-IMINET and its recurrent variant, 108 values a sound.

The error of a scan, for :mod:`iminet_viz.scan._topk`. In float32 each term ``weight * relu(query + row)`` is of a size
up to ``|weight| (|query| + largest |row|)``; a sum of n terms, in any order, is off by n roundings of their sum at most
(Higham, Accuracy and Stability of Numerical Algorithms, section 4.2), and a few more are in the terms themselves.

In int8 a row is ``centre + step * code``, at most ``half`` (half a step) off in each dimension. ReLU is 1-Lipschitz:
``|relu(a) - relu(b)| <= |a - b|``, so the score is off by ``sum |weight| half`` at most. The step is positive, so it
goes through the ReLU, and ``relu(a) = max(a, 0)`` is moved by ``a``'s other part::

    weight relu(query + centre + step code) = weight step (max(code, bar) - bar),  bar = -(query + centre) / step

The compiled loop takes this in whole numbers: codes and bars in 64ths, weights of 16 bits such that no sum leaves 32.
A bar beyond the codes is one at their end and a constant. What the rounding of bars (1-Lipschitz again) and of weights
(times the largest code) can do is counted as it is for the query, some hundredths of the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iminet_viz.scan._topk import ROUNDING, SPARE, Fetch, VectorRows

LAST_CODE = 127
PARTS = 64  # of a code, in which bars are rounded; the kernel shifts codes by 6
WEIGHT_MAX = 32_767


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
        self._whole = self._quantised is not None and self.device is None  # scans in whole numbers

    def _size(self, windows: np.ndarray) -> np.ndarray:
        """Largest that each row's term can be, without its weight: ``(windows, width)``."""
        if self._quantised is None:
            return np.abs(windows) + self._largest
        return np.abs(windows + self._quantised.centre) + 127 * self._quantised.step

    def _eps(self, windows: np.ndarray) -> np.ndarray:
        weight, size = np.abs(self.weight), self._size(windows) @ np.abs(self.weight)
        terms = SPARE if self._whole else self._scanned.shape[1] + SPARE
        eps = terms * ROUNDING * size
        if self._quantised is None:
            return eps
        eps = eps + weight @ self._quantised.half
        if not self._whole:
            return eps
        value, bar = self.weight * self._quantised.step, self._bars(windows)
        whole, unit = _whole_weights(value)
        bar_off = np.abs(np.rint(bar * PARTS) / PARTS - bar)
        return eps + bar_off @ np.abs(value) + LAST_CODE * np.abs(whole * unit - value).sum()

    def _bars(self, windows: np.ndarray) -> np.ndarray:
        """Codes below which a dimension adds nothing, none beyond the codes: ``(windows, width)``."""
        assert self._quantised is not None
        return (-(windows + self._quantised.centre) / self._quantised.step).clip(-LAST_CODE, LAST_CODE)

    def _scan_inputs(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Queries and weights in float32, as the scanned rows want them."""
        if self._quantised is None:
            return windows.astype(np.float32), self.weight.astype(np.float32)
        coded = self._quantised
        query, weight = (windows + coded.centre) / coded.step, self.weight * coded.step
        return coded.pad(query).astype(np.float32), coded.pad(weight).astype(np.float32)

    def _loop(self, windows: np.ndarray) -> Callable[..., int]:
        from iminet_viz.scan import _kernels

        inputs: tuple[np.ndarray | float, ...]
        if self._quantised is None:
            queries, weight = self._scan_inputs(windows)
            kernel, inputs = _kernels.scan_factorised, (weight,)
        else:
            coded, bar = self._quantised, self._bars(windows)
            value = self.weight * coded.step
            whole, unit = _whole_weights(value)
            queries = coded.pad(np.rint(bar * PARTS)).astype(np.int16)
            beyond = (-(windows + coded.centre) / coded.step - LAST_CODE).clip(min=0)
            shift = (windows + coded.centre) @ self.weight + beyond @ value
            kernel = _kernels.scan_coded(self._scanned.shape[1])
            inputs = coded.pad(whole).astype(np.int16), unit / PARTS, shift

        def scan(first: int, last: int, allowed: np.ndarray, starts: np.ndarray, state: list[np.ndarray]) -> int:
            return kernel(self._scanned, first, last, allowed, queries, starts, *inputs, *state)

        return scan

    def _torch_scorer(self, windows: np.ndarray) -> Callable[[torch.Tensor, int], torch.Tensor]:
        queries, weight = (torch.from_numpy(x).to(self._on_device.device) for x in self._scan_inputs(windows))

        def score(rows: torch.Tensor, first: int) -> torch.Tensor:
            return torch.stack([(rows + query).relu_() @ weight for query in queries])

        return score

    def _exact_scorer(self, windows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        from iminet_viz.scan._kernels import exact_factorised

        return lambda rows, scores: exact_factorised(rows, windows, self.weight, self.bias, scores)


def _whole_weights(value: np.ndarray) -> tuple[np.ndarray, float]:
    """Whole numbers and their unit: no sum of 32 bits overflows, whatever the codes are."""
    most = (2**31 - 1) / (LAST_CODE * PARTS) - len(value)  # of all weights together; rounding adds half of each
    unit = max(np.abs(value).max(initial=0) / WEIGHT_MAX, np.abs(value).sum() / most, 1e-300)
    return np.rint(value / unit), float(unit)
