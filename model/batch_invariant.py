"""Multiplies matrices batch-invariantly: each row of the result has the same bits in any batch.

A BLAS product of 64 rows may round differently from a product of one row: it uses other kernels and other orders of summation.
A text sampled from a seed must not depend on the other texts in the batch, so the sampler multiplies with these.

Weights (D, K) are prepared once; `bind` then returns a function that multiplies the current contents of a (B, D) at each call.

- `RowByRow` multiplies each row separately: batch-invariant by construction, with any BLAS.
- `InBlocks` multiplies all rows at once in products so small that some kernels neither pack them nor treat rows differently.
- `model.batch_invariant_lanes.in_lanes` multiplies many rows in large products that are split as other kernels split a single row.

The last two are used only on a machine on which they pass a test (`is_batch_invariant`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PANEL = 65_536  # weights (256 kB) that stay in the processor's L2 cache while all rows pass over them
ROWS, COLUMNS = 256, 128  # of a block

Run = Callable[[], object]


class PreparedProduct(Protocol):
    def bind(self, a: Array, out: Array) -> Run: ...


Prepare = Callable[[Array], PreparedProduct]


def in_turn(steps: Sequence[Run]) -> Run:
    """Returns a function that runs all of `steps`, one after the other."""
    if len(steps) == 1:
        return steps[0]

    def all_steps() -> None:
        for step in steps:
            step()

    return all_steps


class RowByRow:
    """a W, each row as a separate product: batch-invariant by construction.

    W is read panel by panel, so that a panel is fetched from memory once and not for every row.
    """

    def __init__(self, W: Array) -> None:
        D, K = W.shape
        width = min(K, max(16, PANEL // D // 16 * 16))
        starts = range(0, K, width)
        self._panels = [(start, np.ascontiguousarray(W[:, start : start + width])) for start in starts]  # (D, width) each

    def bind(self, a: Array, out: Array) -> Run:
        """Returns a function that writes a (B, D) times W to out (B, K), both contiguous, at each call."""
        each, results = a[:, None, :], out[:, None, :]  # B products of one row
        products = [partial(np.matmul, each, panel, results[:, :, start : start + panel.shape[1]]) for start, panel in self._panels]
        return in_turn(products)


class InBlocks:
    """a W as a sum of products with blocks of W. A single row is multiplied as two rows, since BLAS uses another kernel for one.

    OpenBLAS's AVX-512 kernels do products of up to a million multiplications without packing the operands first. With few rows, packing
    takes longer than the product itself.
    """

    def __init__(self, W: Array) -> None:
        D, K = W.shape
        self._whole = K // COLUMNS * COLUMNS  # columns in whole blocks
        starts = range(0, D, ROWS)
        blocks = [W[start : start + ROWS, : self._whole] for start in starts]
        self._blocks = [  # (columns / COLUMNS, up to ROWS, COLUMNS) each
            np.ascontiguousarray(each.reshape(len(each), self._whole // COLUMNS, COLUMNS).transpose(1, 0, 2)) for each in blocks
        ]
        self._rest = [np.ascontiguousarray(W[start : start + ROWS, self._whole :]) for start in starts]  # (up to ROWS, fewer columns)

    def bind(self, a: Array, out: Array) -> Run:
        """Returns a function that writes a (B, D) times W to out (B, K), both contiguous, at each call."""
        if len(a) == 1:
            return self._as_two(a, out)
        B, steps = len(a), []
        for index, (blocks, rest) in enumerate(zip(self._blocks, self._rest, strict=True)):
            rows = a[:, index * ROWS : index * ROWS + ROWS]
            result = out if not index else np.empty_like(out)
            if self._whole:
                panels = result[:, : self._whole].reshape(B, -1, COLUMNS).transpose(1, 0, 2)  # (columns / COLUMNS, B, COLUMNS), a view
                steps.append(partial(np.matmul, rows[None], blocks, panels))
            if rest.size:
                steps.append(partial(np.matmul, rows, rest, result[:, self._whole :]))
            if index:
                steps.append(partial(np.add, out, result, out))

        return in_turn(steps)

    def _as_two(self, a: Array, out: Array) -> Run:
        two, results = np.zeros((2, a.shape[1]), a.dtype), np.empty((2, out.shape[1]), out.dtype)
        product = self.bind(two, results)

        def as_two() -> None:
            two[0] = a[0]
            product()
            out[0] = results[0]

        return as_two


def is_batch_invariant(prepare: Prepare, shapes: Iterable[tuple[int, int]], counts: Collection[int] = range(1, 65)) -> bool:
    """Whether `prepare` gives each row the same bits alone and in batches of `counts` rows, at any position, on this machine.

    `shapes` are those of the matrices (D, K) that will be multiplied. Takes a fraction of a second.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    most = max(counts)
    for D, K in set(shapes):
        a = rng.standard_normal((most, D), np.float32)
        W = prepare(rng.standard_normal((D, K), np.float32))
        alone = np.empty((most, K), np.float32)
        for row in range(most):
            W.bind(a[row : row + 1], alone[row : row + 1])()
        for count in counts:
            out = np.empty((count, K), np.float32)
            W.bind(a[most - count :], out)()
            if out.tobytes() != alone[most - count :].tobytes():
                return False
    return True


class PreparedWeights:
    """The prepared matrices of one model, each prepared when it is first bound."""

    def __init__(self, prepare: Prepare = RowByRow) -> None:
        self._prepare = prepare
        self._prepared: dict[int, tuple[Array, PreparedProduct]] = {}

    def bind(self, W: Array, a: Array, out: Array) -> Run:
        """Returns a function that writes ``a W`` to `out`: a (B, D), W (D, K), out (B, K). W must not change afterwards."""
        if id(W) not in self._prepared:
            self._prepared[id(W)] = W, self._prepare(W)  # a reference to W, so that its id stays unique
        return self._prepared[id(W)][1].bind(a, out)
