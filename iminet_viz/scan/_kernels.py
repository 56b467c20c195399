"""Compiled loops over rows. Import it inside functions: it brings numba, half a second that only a search should pay.

Loops release the interpreter's lock and run in ordinary threads (:func:`iminet_viz.scan._topk.in_threads`), not in
numba's own: those must not be started from two threads at once, nor live through a fork. All are in one file because
numba's cache on disk does not notice a change in another. The end of the three scans is written three times: as a
function it takes 5 % longer in float32, 12 % in int8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

PARTIAL = 256  # values that are summed in float32 before float64 takes over
TILE = 64  # rows that all queries meet while they are in the cache
# Sums may be taken in any order, which the bounds allow for. Infinities stay what they are.
REORDER = {"reassoc", "contract", "nsz", "nnan"}


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder that can be written for the cache: compiled anew in each process
            return numba.njit(nogil=True, **options)(function)

    return compiled


@_compiled()
def _keep(best, floor, slack, count, values, numbers, q, score, number):  # type: ignore[no-untyped-def]
    """Take a candidate of query ``q``: the heap of the k best scores, and all that are within slack of the kth."""
    heap, k = best[q], best.shape[1]
    if score > heap[0]:
        at = 0
        while 2 * at + 1 < k:
            child = 2 * at + 1
            if child + 1 < k and heap[child + 1] < heap[child]:
                child += 1
            if heap[child] >= score:
                break
            heap[at] = heap[child]
            at = child
        heap[at] = score
        floor[q] = heap[0] - slack[q]
    values[q, count[q]] = score
    numbers[q, count[q]] = number
    count[q] += 1
    if count[q] <= values.shape[1] - TILE:
        return False
    left = 0
    for i in range(count[q]):
        if values[q, i] >= floor[q]:
            values[q, left] = values[q, i]
            numbers[q, left] = numbers[q, i]
            left += 1
    count[q] = left
    return 2 * left > values.shape[1]  # the room must grow, after this tile


@_compiled(fastmath=REORDER)
def scan_factorised(  # type: ignore[no-untyped-def]
    rows, first, last, allowed, queries, starts, weight, best, floor, slack, count, values, numbers
):
    """Scan rows ``first`` to ``last`` for all queries; returns the row to go on with when there is no more room."""
    width, zero, scores = rows.shape[1], np.float32(0), np.empty(TILE, np.float32)
    for start in range(first, last, TILE):
        tile, full = rows[start : min(start + TILE, last)], False
        for q in range(len(starts) - 1):
            scores[:] = -np.inf
            for window in range(starts[q], starts[q + 1]):
                query = queries[window]
                for r in range(len(tile)):
                    row, score = tile[r], zero
                    for j in range(width):
                        score += weight[j] * max(query[j] + np.float32(row[j]), zero)
                    scores[r] = max(scores[r], score)
            for r in range(len(tile)):
                if scores[r] >= floor[q] and (not len(allowed) or allowed[start + r]):
                    full |= _keep(best, floor, slack, count, values, numbers, q, scores[r], start + r)
        if full:
            return start + len(tile)
    return last


@functools.cache
def scan_coded(width: int) -> Callable[..., int]:
    """As :func:`scan_factorised` for int8 rows, in whole numbers: twice as fast as in float32.

    Compiled for one width, a multiple of 16: the loop over it is then whole registers only.
    """

    @_compiled()
    def scan(  # type: ignore[no-untyped-def]
        rows, first, last, allowed, queries, starts, weight, scale, shift, best, floor, slack, count, values, numbers
    ):
        scores = np.empty(TILE, np.float32)
        for start in range(first, last, TILE):
            tile, full = rows[start : min(start + TILE, last)], False
            for q in range(len(starts) - 1):
                scores[:] = -np.inf
                for window in range(starts[q], starts[q + 1]):
                    query = queries[window]
                    for r in range(len(tile)):
                        row, total = tile[r], np.int32(0)
                        for j in range(width):
                            code = np.int16(np.int16(row[j]) << np.int16(6))
                            total = np.int32(total + np.int32(max(code, query[j])) * np.int32(weight[j]))
                        scores[r] = max(scores[r], np.float32(total * scale + shift[window]))
                for r in range(len(tile)):
                    if scores[r] >= floor[q] and (not len(allowed) or allowed[start + r]):
                        full |= _keep(best, floor, slack, count, values, numbers, q, scores[r], start + r)
            if full:
                return start + len(tile)
        return last

    return scan


@_compiled(fastmath=REORDER)
def scan_cosine(  # type: ignore[no-untyped-def]
    rows, first, last, allowed, queries, starts, factor, shift, best, floor, slack, count, values, numbers
):
    """As :func:`scan_factorised`; a window's score is ``factor`` of the row times its product, and its ``shift``."""
    width, scores = rows.shape[1], np.empty(TILE, np.float32)
    for start in range(first, last, TILE):
        tile, full = rows[start : min(start + TILE, last)], False
        for q in range(len(starts) - 1):
            scores[:] = -np.inf
            for window in range(starts[q], starts[q + 1]):
                query = queries[window]
                for r in range(len(tile)):
                    row, total = tile[r], 0.0
                    for begin in range(0, width, PARTIAL):
                        part, own, other = np.float32(0), query[begin : begin + PARTIAL], row[begin : begin + PARTIAL]
                        for j in range(len(other)):
                            part += own[j] * np.float32(other[j])
                        total += np.float64(part)
                    scores[r] = max(scores[r], np.float32(total * factor[start + r] + shift[window]))
            for r in range(len(tile)):
                if scores[r] >= floor[q] and (not len(allowed) or allowed[start + r]):
                    full |= _keep(best, floor, slack, count, values, numbers, q, scores[r], start + r)
        if full:
            return start + len(tile)
    return last


# Exact scores in float64. Sums in the order of the values: equal rows have equal scores, whatever is beside them.


@_compiled()
def exact_factorised(rows, queries, weight, bias, scores):  # type: ignore[no-untyped-def]
    """``(m, width)`` float32 rows, best of ``(windows, width)`` float64 queries, to ``(m,)``."""
    for r in range(len(rows)):
        highest = -np.inf
        for window in range(len(queries)):
            score = 0.0
            for j in range(rows.shape[1]):
                score += weight[j] * max(queries[window, j] + np.float64(rows[r, j]), 0.0)
            highest = max(highest, score + bias)
        scores[r] = highest


@_compiled()
def exact_product(rows, queries, hidden_weight, hidden_bias, weight, bias, scores):  # type: ignore[no-untyped-def]
    """As :func:`exact_factorised` with a second layer, ``hidden_weight`` ``(width, hidden)``."""
    hidden = np.empty(len(hidden_bias))
    for r in range(len(rows)):
        highest = -np.inf
        for window in range(len(queries)):
            hidden[:] = hidden_bias
            for j in range(rows.shape[1]):
                value = queries[window, j] + np.float64(rows[r, j])
                if value > 0:
                    for unit in range(len(hidden)):
                        hidden[unit] += value * hidden_weight[j, unit]
            score = bias
            for unit in range(len(hidden)):
                score += weight[unit] * max(hidden[unit], 0.0)
            highest = max(highest, score)
        scores[r] = highest


@_compiled()
def exact_cosine(rows, queries, smallest, scores):  # type: ignore[no-untyped-def]
    """As :func:`exact_factorised`; queries are of length 1 or 0, a row's length counts as ``smallest`` at least."""
    for r in range(len(rows)):
        square = 0.0
        for j in range(rows.shape[1]):
            square += np.float64(rows[r, j]) * np.float64(rows[r, j])
        length = max(np.sqrt(square), smallest)
        highest = -np.inf
        for window in range(len(queries)):
            score = 0.0
            for j in range(rows.shape[1]):
                score += queries[window, j] * np.float64(rows[r, j])
            highest = max(highest, score / length)
        scores[r] = highest
