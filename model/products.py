"""Matrix products whose rows do not depend on each other's company.

A BLAS product of 64 rows may round differently from a product of one: it chooses other kernels and other orders of summation.
A text sampled from a seed must not depend on who else is being served at that moment, so the sampler multiplies with these.

Weights (D, K) are prepared once; `bind` then gives a function that multiplies what stands in a (B, D) each time it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

PANEL = 65_536  # weights (256 kB) that stay in the processor's L2 cache while all rows pass over them


class RowByRow:
    """a W, each row as a product of its own: the same bits in any company, by construction.

    The rows pass over W panel by panel, so that a panel is fetched from memory once and not for every row.
    """

    def __init__(self, W: Array) -> None:
        D, K = W.shape
        width = min(K, max(16, PANEL // D // 16 * 16))
        starts = range(0, K, width)
        self._panels = [(start, np.ascontiguousarray(W[:, start : start + width])) for start in starts]  # (D, width) each

    def bind(self, a: Array, out: Array) -> Callable[[], object]:
        """A function that writes a (B, D) times W to out (B, K), both contiguous, each time it is called."""
        each, results = a[:, None, :], out[:, None, :]  # B products of one row
        products = [partial(np.matmul, each, panel, results[:, :, start : start + panel.shape[1]]) for start, panel in self._panels]
        if len(products) == 1:
            return products[0]

        def all_panels() -> None:
            for product in products:
                product()

        return all_panels


class Products:
    """The products of one set of weights, each matrix prepared when it is first bound."""

    def __init__(self) -> None:
        self._prepared: dict[int, tuple[Array, RowByRow]] = {}

    def bind(self, W: Array, a: Array, out: Array) -> Callable[[], object]:
        """A function that writes ``a W`` to `out`: a (B, D), W (D, K), out (B, K). W must not change any more."""
        if id(W) not in self._prepared:
            self._prepared[id(W)] = W, RowByRow(W)  # W is kept, so that its id remains its own
        return self._prepared[id(W)][1].bind(a, out)
