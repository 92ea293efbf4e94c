"""Matrix products whose rows do not depend on each other's company.

A BLAS product of 64 rows may round differently from a product of one: it chooses other kernels and other orders of summation.
A text sampled from a seed must not depend on who else is being served at that moment, so the sampler multiplies with these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def row_by_row(a: Array, W: Array, out: Array) -> Array:
    """a (B, H) times W (H, K) into out (B, K), each row as a product of its own: the same bits for any B, by construction.

    Each row of a must be contiguous in memory, as the cells' are: numpy multiplies others without BLAS, which rounds differently.
    """
    np.matmul(a[:, None, :], W, out=out[:, None, :])
    return out
