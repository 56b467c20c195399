"""IMINET's head: ``weight . relu(hidden_weight @ relu(query + row) + hidden_bias) + bias``, 432 values a sound.

432 x 32 products a row: a matter of arithmetic, not of memory, so torch's matrix product does it in blocks, on the CPU
as elsewhere, and int8 would save nothing but room.

The error of a scan, for :mod:`iminet_viz.scan._topk`. A hidden value is at most ``size = |hidden_weight| (|query| +
largest |row|) + |hidden_bias|``, unit by unit, and off by as many roundings of that as it has terms. ReLU is
1-Lipschitz, so the score is off by ``|weight| . size`` times the roundings of both sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch

from iminet_viz.scan._topk import ROUNDING, SPARE, Fetch, VectorRows


class ProductRows(VectorRows):
    """Rows under a head of two layers; arguments as for :class:`~iminet_viz.scan._topk.VectorRows`, and its weights.

    Args:
        hidden_weight: ``(hidden, width)``, as torch has it.
        hidden_bias: ``(hidden,)``.
        weight: ``(hidden,)``.
        bias: added to each score.
    """

    PRECISIONS: ClassVar[tuple[str, ...]] = ("float32",)
    LOOP: ClassVar[bool] = False

    def __init__(
        self,
        rows: np.ndarray | Fetch,
        hidden_weight: np.ndarray,
        hidden_bias: np.ndarray,
        weight: np.ndarray,
        bias: float = 0.0,
        *,
        count: int | None = None,
        precision: str = "float32",
        device: str = "cpu",
    ) -> None:
        self.hidden_weight = np.ascontiguousarray(np.transpose(hidden_weight), np.float64)  # (width, hidden)
        self.hidden_bias, self.weight = np.asarray(hidden_bias, np.float64), np.asarray(weight, np.float64)
        self.bias = float(bias)
        super().__init__(rows, len(self.hidden_weight), count, precision, device)

    def _eps(self, windows: np.ndarray) -> np.ndarray:
        size = (np.abs(windows) + self._largest) @ np.abs(self.hidden_weight) + np.abs(self.hidden_bias)
        return (sum(self.hidden_weight.shape) + SPARE) * ROUNDING * (size @ np.abs(self.weight))

    def _torch_scorer(self, windows: np.ndarray) -> Callable[[torch.Tensor, int], torch.Tensor]:
        hidden_weight, hidden_bias, weight, queries = (
            torch.from_numpy(x).to(self._on_device)
            for x in (self.hidden_weight, self.hidden_bias, self.weight, windows)
        )

        def score(rows: torch.Tensor, first: int) -> torch.Tensor:
            hidden = [torch.addmm(hidden_bias, (rows + query).relu_(), hidden_weight) for query in queries]
            return torch.stack([values.relu_() @ weight for values in hidden])

        return score

    def _exact_scorer(self, windows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
        from iminet_viz.scan._kernels import exact_product

        head = self.hidden_weight, self.hidden_bias, self.weight, self.bias
        return lambda rows, scores: exact_product(rows, windows, *head, scores)
