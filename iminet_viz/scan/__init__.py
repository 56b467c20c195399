"""The family of stored forms: how the sounds of one kind of model are kept in a library, and searched exactly.

A stored window of a sound is one row of fixed width; a query is one row for each of its windows, and the best pair of
windows counts. Every form gives the answer of brute force in float64, whatever is scanned first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from iminet_viz.scan.cosine import CosineRows
from iminet_viz.scan.factorised import FactorisedRows
from iminet_viz.scan.product import ProductRows


@dataclasses.dataclass(frozen=True)
class StoredForm:
    """What a row of a library is: ``width`` values of ``dtype``, float32 or int8."""

    dtype: str
    width: int


class Rows(Protocol):
    """All rows of one model's library, resident."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def n_bytes(self) -> int:
        """Bytes that are resident."""

    def search(
        self, queries: Sequence[np.ndarray], k: int, allowed: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best rows for each query, exactly.

        Args:
            queries: each ``(windows, width)`` as the model keeps imitations; the best window counts.
            k: how many are wanted, at least 1; fewer come back where there are fewer.
            allowed: ``(rows,)`` bool, who takes part; all without it.

        Returns:
            for each query ``(found,)`` int64 row numbers, best first, ties by number, and ``(found,)`` float64 scores,
            higher is more alike.
        """

    def scores(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Scores of some rows (all without ``rows``), in their order: ``(windows, width)`` to ``(rows,)`` float64."""


__all__ = ["CosineRows", "FactorisedRows", "ProductRows", "Rows", "StoredForm"]
