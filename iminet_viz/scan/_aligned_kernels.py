"""Compiled loops of :mod:`iminet_viz.scan.aligned`; imported on first use, because numba takes its time.

The bound is written in the compiler's own terms (:func:`_strip`), since nothing else keeps sixteen rows side by side in
registers: integer products of four bytes at a time (``vpdpbusd`` where the processor has it), the root, and the
recursion of the alignment, without a distance ever going to memory.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 16  # rows side by side
STRIP = 4  # frames of the query at a time, and of the rows: 16 sums stay in registers
ROOT_ERROR = 6.2e-5  # relative, of the processor's estimate of 1 / sqrt (2 ** -14)
TINY = 1e-30  # the least squared distance, of which a root can be taken

binding.initialize_native_asmparser()
_FEATURES = cpu_target.target_context.codegen().magic_tuple()[-1].split(",")  # as numba may be told to use less
_HAS_DOT, _HAS_ROOT = "+avx512vnni" in _FEATURES, "+avx512f" in _FEATURES
_INT, _FLOAT, _SIZE = ir.IntType(32), ir.FloatType(), ir.IntType(64)
_INTS, _FLOATS = ir.VectorType(_INT, LANES), ir.VectorType(_FLOAT, LANES)


def _compile(function: Any, **options: Any) -> Any:
    """Compile for many threads, and keep the result where there is a folder for it."""
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        return njit(nogil=True, **options)(function)


def _splat(builder: Any, value: Any) -> Any:
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_INT, 0))
    zeros = ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _dot(builder: Any, total: Any, unsigned: Any, signed: Any) -> Any:
    """Add the four products of bytes in each lane to ``total``."""
    if _HAS_DOT:  # as text: the compiler's name for it has changed its types between versions
        kind = ir.FunctionType(_INTS, [_INTS, _INTS, _INTS])
        return builder.asm(kind, "vpdpbusd $2, $1, $0", "=v,v,v,0", [unsigned, signed, total], side_effect=False)
    for byte in range(4):
        up, down = ir.Constant(_INTS, [24 - 8 * byte] * LANES), ir.Constant(_INTS, [24] * LANES)
        product = builder.mul(
            builder.lshr(builder.shl(unsigned, up), down), builder.ashr(builder.shl(signed, up), down)
        )
        total = builder.add(total, product)
    return total


def _root(builder: Any, x: Any) -> Any:
    """Square root of positive numbers, within ``ROOT_ERROR``."""
    if _HAS_ROOT:
        kind = ir.FunctionType(_FLOATS, [_FLOATS, _FLOATS, ir.IntType(16)])
        estimate = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.rsqrt14.ps.512")
        zeros = ir.Constant(_FLOATS, [0.0] * LANES)
        return builder.fmul(x, builder.call(estimate, [x, zeros, ir.Constant(ir.IntType(16), 0xFFFF)]))
    kind = ir.FunctionType(_FLOATS, [_FLOATS])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.sqrt.v16f32"), [x])


@intrinsic
def _turn(typing, words, starts, begin, turned, position):  # type: ignore[no-untyped-def]
    """Lay sixteen words of sixteen rows side by side, 128 added to each byte.

    ``words`` from ``starts`` ``(16,)`` + ``begin`` on, to ``turned`` ``(16, 16)`` from ``position`` on: first the first
    word of each row. Halves, quarters and so on change places between rows, as a matrix is transposed.
    """
    signature = types.void(words, starts, begin, turned, position)

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        words, starts, turned = (
            context.make_array(sig.args[number])(context, builder, args[number]).data for number in (0, 1, 3)
        )
        lines = []
        for lane in range(LANES):
            start = builder.add(builder.load(builder.gep(starts, [ir.Constant(_SIZE, lane)])), args[2])
            lines.append(builder.load(builder.bitcast(builder.gep(words, [start]), _INTS.as_pointer()), align=4))
        step = LANES // 2
        while step:
            first = [lane if not lane & step else lane - step + LANES for lane in range(LANES)]
            second = [lane + step if not lane & step else lane + LANES for lane in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    pair = lines[i], lines[i + step]
                    for row, order in ((i, first), (i + step, second)):
                        lines[row] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_INT, LANES), order))
            step //= 2
        high = ir.Constant(_INTS, [0x80808080] * LANES)
        for i, line in enumerate(lines):
            place = builder.gep(turned, [builder.add(args[4], ir.Constant(_SIZE, i * LANES))])
            builder.store(builder.xor(line, high), builder.bitcast(place, _INTS.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _strip(  # type: ignore[no-untyped-def]
    typing, query, first, quads, rows, norms, scale, frames, numbers, starts, table, offset, corner, lowest
):
    """Carry the recursion over four frames of a cut of the query, against one cut of sixteen rows.

    ``query`` are int8, four to a word, from word ``first`` on, ``quads`` words a frame; ``rows`` are uint8 (128 added)
    ``(frames, quads, 16)``, ``norms`` ``(frames, 16)``, ``scale`` ``(16,)``. ``numbers`` ``(frames, 3)`` are of each
    frame of the query, from ``offset`` on, -2 scale, squared norm and error, ``starts`` -128 times the sum of its
    values. ``table`` ``(frames, 16)`` is the row of the recursion, in and out, ``corner`` what is diagonally before it,
    ``lowest`` ``(16,)`` the least of the last row.
    """
    signature = types.void(
        query, first, quads, rows, norms, scale, frames, numbers, starts, table, offset, corner, lowest
    )

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        (query, first, quads, rows, norms, scale, frames, numbers, starts, table, offset, corner, lowest) = args

        def base(number, value):  # type: ignore[no-untyped-def]
            return context.make_array(sig.args[number])(context, builder, value).data

        data = {
            name: base(number, value)
            for name, number, value in (
                ("query", 0, query), ("rows", 3, rows), ("norms", 4, norms), ("scale", 5, scale),
                ("numbers", 7, numbers), ("starts", 8, starts), ("table", 9, table), ("lowest", 12, lowest),
            )
        }  # fmt: skip

        def size(value):  # type: ignore[no-untyped-def]
            return ir.Constant(_SIZE, value)

        def at(name, index, vector=None):  # type: ignore[no-untyped-def]
            pointer = builder.gep(data[name], [index])
            return pointer if vector is None else builder.bitcast(pointer, vector.as_pointer())

        def line(name, number, vector):  # type: ignore[no-untyped-def]
            return at(name, builder.mul(number, size(LANES)), vector)

        def variable(vector):  # type: ignore[no-untyped-def]
            return cgutils.alloca_once(builder, vector)

        infinite = ir.Constant(_FLOATS, [float("inf")] * LANES)
        scales = builder.load(line("scale", size(0), _FLOATS), align=4)
        tiny, zero = (ir.Constant(_FLOATS, [value] * LANES) for value in (TINY, 0.0))
        start, slope, square, error = [], [], [], []
        for r in range(STRIP):
            frame = builder.add(offset, size(r))
            own = [
                _splat(builder, builder.load(at("numbers", builder.add(builder.mul(frame, size(3)), size(i)))))
                for i in range(3)
            ]
            start.append(_splat(builder, builder.load(at("starts", frame))))
            slope.append(builder.fmul(own[0], scales))
            square.append(own[1])
            error.append(own[2])
        left = [variable(_FLOATS) for _ in range(STRIP)]
        before, low = variable(_FLOATS), variable(_FLOATS)
        sums = [[variable(_INTS) for _ in range(STRIP)] for _ in range(STRIP)]
        for each in (*left, low):
            builder.store(infinite, each)
        builder.store(_splat(builder, corner), before)
        fma_kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        fma = cgutils.get_or_insert_function(builder.module, fma_kind, "llvm.fma.v16f32")
        with cgutils.for_range(builder, builder.udiv(frames, size(STRIP))) as tiles:
            column = builder.mul(tiles.index, size(STRIP))
            for r in range(STRIP):
                for t in range(STRIP):
                    builder.store(start[r], sums[r][t])
            with cgutils.for_range(builder, quads) as words:
                values = [
                    builder.load(
                        line(
                            "rows",
                            builder.add(builder.mul(builder.add(column, size(t)), quads), words.index),
                            _INTS,
                        ),
                        align=4,
                    )
                    for t in range(STRIP)
                ]
                for r in range(STRIP):
                    word = builder.add(builder.add(first, builder.mul(quads, size(r))), words.index)
                    own = _splat(builder, builder.load(at("query", word)))
                    for t in range(STRIP):
                        builder.store(_dot(builder, builder.load(sums[r][t]), values[t], own), sums[r][t])
            for t in range(STRIP):
                number = builder.add(column, size(t))
                norm = builder.load(line("norms", number, _FLOATS), align=4)
                above = builder.load(line("table", number, _FLOATS), align=4)
                diagonal = builder.load(before)
                builder.store(above, before)
                for r in range(STRIP):
                    product = builder.sitofp(builder.load(sums[r][t]), _FLOATS)
                    x = builder.call(fma, [product, slope[r], builder.fadd(norm, square[r])])
                    distance = builder.fsub(_root(builder, _larger(builder, x, tiny)), error[r])
                    distance = _larger(builder, distance, zero)  # so the least of a row only grows
                    beside = builder.load(left[r])
                    best = _smaller(builder, _smaller(builder, diagonal, beside), above)
                    above = builder.fadd(best, distance)
                    diagonal = beside
                    builder.store(above, left[r])
                builder.store(above, line("table", number, _FLOATS), align=4)
                builder.store(_smaller(builder, above, builder.load(low)), low)
        builder.store(builder.load(low), line("lowest", size(0), _FLOATS), align=4)
        return context.get_dummy_value()

    return signature, generate


@_compile
def bound_costs(  # type: ignore[no-untyped-def]
    words, numbers, norms, n_cuts, ids, query, query_numbers, starts, query_log_s, duration_cost, limit, bounds
):
    """Lower bounds of the costs of rows, the best pair of cuts; infinite for a row that cannot be within the limit.

    ``words`` ``(rows, words)`` and ``numbers`` are the same memory as int32 and float32; ``norms`` ``(rows, cuts *
    frames)``, ``ids`` which rows; the query as for :func:`_strip`; to ``bounds`` ``(ids,)``.
    """
    n_queries = len(query_log_s)
    query_frames = len(starts) // n_queries
    frames = norms.shape[1] // n_cuts
    quads = len(query) // len(starts)
    per_cut = frames * quads + 2
    shrink = np.float32((1 - 2 * ROOT_ERROR) / (frames + query_frames))
    rows = np.empty((frames * quads + 1) * LANES, np.int32)
    # one block: norms, table of the recursion, scale, least of a row
    scratch = np.empty((2 * frames + 3) * LANES, np.float32)
    rows = rows[(-(rows.ctypes.data // 4)) % LANES :]  # each line of sixteen in one line of the cache
    scratch = scratch[(-(scratch.ctypes.data // 4)) % LANES :]
    norm_of, table = scratch, scratch[frames * LANES :]
    scale, lowest = scratch[2 * frames * LANES :], scratch[(2 * frames + 1) * LANES :]
    log_s, row_starts = np.empty(LANES, np.float32), np.empty(LANES, np.int64)
    for block in range(0, len(ids), LANES):
        count = min(LANES, len(ids) - block)
        for lane in range(LANES):
            row_starts[lane] = ids[block + min(lane, count - 1)] * words.shape[1]
        bounds[block : block + count] = np.inf
        for c in range(n_cuts):
            begin = c * per_cut
            whole = frames * quads // LANES * LANES
            for k in range(0, whole, LANES):
                _turn(words, row_starts, begin + k, rows, k * LANES)
            for lane in range(LANES):
                row = ids[block + min(lane, count - 1)]
                for k in range(whole, frames * quads):
                    rows[k * LANES + lane] = words[row, begin + k] ^ np.int32(-2139062144)
                scale[lane] = numbers[row, begin + frames * quads]
                log_s[lane] = numbers[row, begin + frames * quads + 1]
                for j in range(frames):
                    norm_of[j * LANES + lane] = norms[row, c * frames + j]
            for q in range(n_queries):
                for i in range(frames * LANES):
                    table[i] = np.inf
                corner = np.float32(0)
                alive = True
                for strip in range(q * query_frames, (q + 1) * query_frames, STRIP):
                    _strip(
                        query, strip * quads, quads, rows, norm_of, scale, frames, query_numbers, starts, table, strip,
                        corner, lowest,
                    )  # fmt: skip
                    corner = np.float32(np.inf)
                    alive = False
                    for lane in range(count):
                        duration = duration_cost * abs(query_log_s[q] - log_s[lane]) * np.float32(1 - 1e-6)
                        cost = lowest[lane] * shrink + duration
                        alive |= cost <= min(limit, bounds[block + lane])
                    if not alive:
                        break
                if alive:
                    for lane in range(count):
                        duration = duration_cost * abs(query_log_s[q] - log_s[lane]) * np.float32(1 - 1e-6)
                        cost = table[(frames - 1) * LANES + lane] * shrink + duration
                        bounds[block + lane] = min(bounds[block + lane], cost)


@functools.partial(_compile, fastmath={"reassoc", "contract"})
def exact_costs(rows, numbers, n_cuts, ids, query, query_log_s, duration_cost, costs):  # type: ignore[no-untyped-def]
    """Costs in float64 by the recursion as it is defined, the best pair of cuts: to ``costs`` ``(ids,)``.

    ``rows`` ``(rows, bytes)`` int8 and ``numbers`` are the same memory; ``query`` ``(cuts, frames, values)`` float64.
    """
    n_queries, n, values = query.shape
    per_cut = rows.shape[1] // n_cuts
    m = (per_cut - 8) // values
    candidate = np.empty((m, values), np.float64)
    table = np.empty(m + 1, np.float64)
    for number in range(len(ids)):
        row = ids[number]
        least = np.inf
        for c in range(n_cuts):
            scale, log_s = numbers[row, (c + 1) * per_cut // 4 - 2], numbers[row, (c + 1) * per_cut // 4 - 1]
            for j in range(m):
                for k in range(values):
                    candidate[j, k] = np.float32(rows[row, c * per_cut + j * values + k]) * scale
            for q in range(n_queries):
                table[:] = np.inf
                corner = 0.0
                for i in range(n):
                    diagonal, left = corner, np.inf
                    for j in range(m):
                        square = 0.0
                        for k in range(values):
                            difference = query[q, i, k] - candidate[j, k]
                            square += difference * difference
                        above = table[j]
                        left = np.sqrt(square) + min(min(diagonal, above), left)
                        diagonal = above
                        table[j] = left
                    corner = np.inf
                cost = table[m - 1] / (n + m) + duration_cost * abs(query_log_s[q] - np.float64(log_s))
                least = min(least, cost)
        costs[number] = least


@_compile
def square_frames(rows, numbers, n_cuts, values, first, norms):  # type: ignore[no-untyped-def]
    """Squared norms of dequantised frames of rows from ``first`` on: to ``norms`` ``(some, cuts * frames)``."""
    per_cut = rows.shape[1] // n_cuts
    frames = (per_cut - 8) // values
    for number in range(len(norms)):
        row = rows[first + number]
        for c in range(n_cuts):
            scale = np.float64(numbers[first + number, (c + 1) * per_cut // 4 - 2])
            for j in range(frames):
                frame = row[c * per_cut + j * values : c * per_cut + (j + 1) * values]
                total = np.int32(0)
                for k in range(values):
                    total += np.int32(frame[k]) * np.int32(frame[k])
                norms[number, c * frames + j] = total * scale * scale * (1 - 2e-6)


@functools.partial(_compile, fastmath={"reassoc", "contract"})
def sketch_rows(rows, numbers, n_cuts, axes, offset, first, sketches, sketch_numbers):  # type: ignore[no-untyped-def]
    """Means of neighbouring frames of rows from ``first`` on, by ``axes`` ``(values, fewer values)`` less ``offset``.

    To ``sketches`` ``(some, bytes)`` int8 and ``sketch_numbers``, the same memory, in the form of the rows.
    """
    values, fewer_values = axes.shape
    per_cut, per_sketch = rows.shape[1] // n_cuts, sketches.shape[1] // n_cuts
    fewer = (per_sketch - 8) // fewer_values
    factor = (per_cut - 8) // values // fewer
    total, pooled = np.empty(values, np.int32), np.empty((fewer, fewer_values), np.float32)
    for number in range(len(sketches)):
        row = rows[first + number]
        for c in range(n_cuts):
            scale = numbers[first + number, (c + 1) * per_cut // 4 - 2]
            log_s = numbers[first + number, (c + 1) * per_cut // 4 - 1]
            for j in range(fewer):
                total[:] = 0
                for i in range(factor):
                    begin = c * per_cut + (j * factor + i) * values
                    for k in range(values):
                        total[k] += np.int32(row[begin + k])
                pooled[j] = -offset
                for k in range(values):
                    value = total[k] * scale / np.float32(factor)
                    for m in range(fewer_values):
                        pooled[j, m] += value * axes[k, m]
            largest = np.float32(0)
            for j in range(fewer):
                for m in range(fewer_values):
                    largest = max(largest, abs(pooled[j, m]))
            step = largest / np.float32(127)
            each = np.float32(1) / step if step > 0 else np.float32(0)
            for j in range(fewer):
                for m in range(fewer_values):
                    value = np.rint(pooled[j, m] * each)
                    sketches[number, c * per_sketch + j * fewer_values + m] = np.int8(min(max(value, -127), 127))
            sketch_numbers[number, (c + 1) * per_sketch // 4 - 2] = step
            sketch_numbers[number, (c + 1) * per_sketch // 4 - 1] = log_s
