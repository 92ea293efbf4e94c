"""Multiplies many rows batch-invariantly with OpenBLAS's kernels for AVX2: each row gets the bits of its single product.

The kernels multiply one row by W with vectors of eight numbers (`sgemv` with W transposed): a[k] W[k, j] goes to lane k mod 8, and ::

    (a W)[j] = ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))          s[l] = Σ a[k] W[k, j] over k = l, l+8, l+16, ...

where each s is a chain of fused multiply-adds. A product of many rows (`sgemm`) is one such chain over all k. So eight products, each over
an eighth of k and added as above, have the same bits as rows that are multiplied one by one, but read W once for all of them.

In some tiles at the edges of a product of many rows the kernels keep two chains and add them. With a multiple of twelve rows these are
the first and the last `EDGE` columns, so these columns are padded with zeros here; with up to twelve rows there are none if features
come first and are a multiple of twelve. All of this was found by comparing bits and is documented nowhere, so it is tested on each
machine before use: `model.batch_invariant.is_batch_invariant` with `COUNTS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from itertools import chain

import numpy as np

from model.batch_invariant import PANEL, Array, PreparedProduct, RowByRow, Run, in_turn

LANES = 8
WORTH = 400_000  # weights of a matrix that is divided: with fewer, eight small products take about as long as single rows
TILE = 12  # rows, or features if these come first
UNIT = 4  # features of a single row: a remainder is computed in another way
EDGE = 8  # columns on either side of a product of many rows whose bits depend on their position
WIDTH = 304  # columns of one product of many rows; with the edges no more than BLAS processes at once
SINGLE = 4  # up to this many rows, each is multiplied separately: a product would take longer
MOST = 60  # rows of one product
COUNTS = (*range(1, TILE + 1), *range(2 * TILE, MOST + 1, TILE))  # the numbers of rows that are multiplied together


def divided(D: int, K: int) -> bool:
    """Whether dividing a matrix (D, K) into lanes is faster."""
    return D * K > WORTH and D % LANES == 0


def in_lanes(W: Array) -> PreparedProduct:
    """Prepares W, divided into lanes if that is faster, else row by row."""
    return InLanes(W) if divided(*W.shape) else RowByRow(W)


class InLanes:
    """a W for W (D, K), D a multiple of 8: batch-invariant if the kernels sum as described above."""

    def __init__(self, W: Array) -> None:
        self._W = W
        self._columns = W.shape[1]

    def bind(self, a: Array, out: Array) -> Run:
        """Returns a function that writes a (B, D) times W to out (B, K), both contiguous, at each call."""
        return in_turn(list(chain.from_iterable(self._steps(a[rows], out[rows]) for rows in _groups(len(a)))))

    def _steps(self, a: Array, out: Array) -> Iterator[Run]:
        if len(a) <= SINGLE:
            return self._one_by_one(a, out)
        return self._features_first(a, out) if len(a) <= TILE else self._rows_first(a, out)

    def _one_by_one(self, a: Array, out: Array) -> Iterator[Run]:
        width = max(UNIT, PANEL // a.shape[1] // UNIT * UNIT)
        results = out if self._columns == len(self._transposed) else np.empty((len(a), len(self._transposed)), out.dtype)
        for start in range(0, len(self._transposed), width):
            panel = self._transposed[start : start + width].T
            yield partial(np.matmul, a[:, None], panel, results[:, None, start : start + width])
        if results is not out:
            yield partial(np.copyto, out, results[:, : self._columns])

    def _features_first(self, a: Array, out: Array) -> Iterator[Run]:
        by_lane = a.reshape(len(a), -1, LANES).transpose(2, 1, 0)
        lanes = np.empty(by_lane.shape, a.dtype)  # (8, D/8, B)
        height = self._features[0].shape[1]
        sums = np.empty((LANES, height, len(a)), out.dtype)
        yield partial(np.copyto, lanes, by_lane)
        for index, features in enumerate(self._features):
            part = out[:, index * height : (index + 1) * height]
            these = sums[:, : features.shape[1]]
            yield partial(np.matmul, features, lanes, these)
            yield from _added(these, these[:, : part.shape[1]].swapaxes(1, 2), part)

    def _rows_first(self, a: Array, out: Array) -> Iterator[Run]:
        by_lane = a.reshape(len(a), -1, LANES).transpose(2, 0, 1)
        lanes = np.empty(by_lane.shape, a.dtype)  # (8, B, D/8)
        sums = np.empty((LANES, len(a), self._panels.shape[-1]), out.dtype)
        width = sums.shape[-1] - 2 * EDGE
        yield partial(np.copyto, lanes, by_lane)
        for index, panel in enumerate(self._panels):
            part = out[:, index * width : (index + 1) * width]
            yield partial(np.matmul, lanes, panel, sums)
            yield from _added(sums, sums[:, :, EDGE : EDGE + part.shape[1]], part)

    # The weights in the layouts of the three methods, each made when it is first needed.

    @property
    def _by_lane(self) -> Array:
        """(8, D/8, K), a view"""
        return self._W.reshape(-1, LANES, self._columns).swapaxes(0, 1)

    @cached_property
    def _transposed(self) -> Array:
        """(K, D), K padded to a multiple of `UNIT`"""
        transposed = np.zeros((_up(self._columns, UNIT), len(self._W)), self._W.dtype)
        transposed[: self._columns] = self._W.T
        return transposed

    @cached_property
    def _features(self) -> list[Array]:
        """(8, height, D/8) each, the last one perhaps with a smaller height; height is a multiple of `TILE`"""
        by_lane = self._by_lane.transpose(0, 2, 1)
        height = max(TILE, PANEL // by_lane.shape[2] // TILE * TILE)
        found = []
        for start in range(0, self._columns, height):
            part = by_lane[:, start : start + height]
            found.append(np.zeros((LANES, _up(part.shape[1], TILE), part.shape[2]), part.dtype))
            found[-1][:, : part.shape[1]] = part
        return found

    @cached_property
    def _panels(self) -> Array:
        """(panels, 8, D/8, width with edges)"""
        count = -(-self._columns // WIDTH)
        width = _up(-(-self._columns // count), EDGE)
        by_lane = self._by_lane
        panels = np.zeros((count, *by_lane.shape[:2], width + 2 * EDGE), self._W.dtype)
        for index, panel in enumerate(panels):
            part = by_lane[:, :, index * width : (index + 1) * width]
            panel[:, :, EDGE : EDGE + part.shape[2]] = part
        return panels


def _up(number: int, unit: int) -> int:
    """Returns the next multiple of `unit`."""
    return -(-number // unit) * unit


def _added(sums: Array, shown: Array, out: Array) -> Iterator[Run]:
    """Yields the steps that add the eight lanes of `sums` in the order of `sgemv`; `shown` views the part that goes to `out`."""
    yield partial(np.add, sums[:4], sums[4:], sums[:4])
    yield partial(np.add, sums[0:4:2], sums[1:4:2], sums[0:4:2])
    yield partial(np.add, shown[0], shown[2], out)


def _groups(B: int) -> Iterator[slice]:
    """Yields slices of B rows, of the sizes in `COUNTS`."""
    start = 0
    while start < B:
        rest = B - start
        size = min(rest, TILE if rest < 2 * TILE else min(MOST, rest // TILE * TILE))
        yield slice(start, start + size)
        start += size
