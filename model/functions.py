"""Implements the functions between the matrix products, each forward beside its backward.

Shapes: N rows, V symbols. A function without a shape works element by element on any shape.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]]

CODE_POINTS = 1_114_112  # of Unicode; a character outside the alphabet could be any of them
BUFFER = 256  # numbers
ONE = np.ones((), np.float32)  # half a microsecond faster per call than a Python number
OVERFLOW = 1e38  # replaces infinity in logits; the difference of two stays finite in single precision
UNKNOWN_COST = math.log(CODE_POINTS)  # nats that a symbol outside the alphabet costs: 13.92


def by_gate(a: Array, gates: int) -> Array:
    """Returns rows of G gates as G arrays: ``(..., B, G*H) -> (..., G, B, H)``, a view."""
    *outer, B, width = a.shape
    return a.reshape(*outer, B, gates, width // gates).swapaxes(-2, -3)


@contextlib.contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Turns off numpy's warnings about numbers that are not finite (the caller checks for them) and its buffering.

    An operand that is a part of wider rows, such as one gate of several, is copied row by row into a buffer of 8,192 numbers, computed
    there and copied back. With a buffer smaller than a row it is computed in place: three times as fast at 32 x 1536.
    """
    with np.errstate(all="ignore"):
        size = np.setbufsize(BUFFER)
        try:
            yield
        finally:
            np.setbufsize(size)


def sigmoid(a: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(-a)), in half the time of numpy's tanh. If exp overflows (numpy warns), the result is 0, as it should be."""
    y = np.negative(a, out=out)
    np.exp(y, out=y)
    np.add(y, ONE, out=y)
    return np.divide(ONE, y, out=y)


def sigmoid_slope(y: Array, out: Array | None = None) -> Array:
    """d sigmoid(a) / da as a function of y = sigmoid(a): y (1 - y)."""
    slope = np.subtract(1, y, out=out)
    slope *= y
    return slope


def tanh_slope(y: Array, out: Array | None = None) -> Array:
    """d tanh(a) / da as a function of y = tanh(a): 1 - y²."""
    slope = np.multiply(y, y, out=out)
    np.subtract(1, slope, out=slope)
    return slope


def relu_slope(y: Array, out: Array | None = None) -> Array:
    """d max(a, 0) / da as a function of y = max(a, 0): 1 where y > 0, else 0."""
    slope = np.sign(y, out=out)  # y is never negative
    return slope


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis. ``(..., V) -> (..., V)``"""
    p: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def log_softmax(logits: Array) -> Array:
    """Log-probabilities (nats) along the last axis. ``(..., V) -> (..., V)``"""
    a: Array = logits - logits.max(axis=-1, keepdims=True)
    a -= np.log(np.exp(a).sum(axis=-1, keepdims=True))
    return a


def log_probabilities(logits: Array) -> Array:
    """`log_softmax` in double precision. Logits that are NaN or infinite, from sums that overflowed, count as plus or minus 1e38."""
    return log_softmax(np.nan_to_num(logits.astype(np.float64), nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW))


def nats(logits: Array, targets: Ids, unknown_cost: float = UNKNOWN_COST) -> tuple[NDArray[np.float64], Array]:
    """-ln p(target) of each row (N,), and the probabilities (N, V).

    logits (N, V) are overwritten by the probabilities. A target of V or more is a symbol outside the alphabet: it has no logit and
    costs `unknown_cost`.
    """
    N, V = logits.shape
    logits -= logits.max(axis=1, keepdims=True)
    known = targets < V
    picked = logits[np.arange(N), np.minimum(targets, V - 1)]  # (N,)
    p = np.exp(logits, out=logits)
    total = p.sum(axis=1)  # (N,)
    p /= total[:, None]
    costs = np.log(total, dtype=np.float64) - picked
    return (costs if known.all() else np.where(known, costs, unknown_cost)), p


def cross_entropy(logits: Array, targets: Ids, unknown_cost: float = UNKNOWN_COST) -> tuple[float, Array]:
    """The sum of `nats` over the rows, and the probabilities (N, V), which `cross_entropy_backward` takes.

    logits (N, V) are overwritten by the probabilities.
    """
    costs, p = nats(logits, targets, unknown_cost)
    return float(costs.sum()), p


def cross_entropy_backward(p: Array, targets: Ids, scale: float) -> Array:
    """The gradient of `scale` times the sum, with respect to the logits: (p - onehot(target)) scale.

    p (N, V) is overwritten by it. Rows whose target is outside the alphabet have gradient 0.
    """
    N, V = p.shape
    known = targets < V
    if known.all():
        p[np.arange(N), targets] -= 1
    else:
        p[~known] = 0
        p[np.flatnonzero(known), targets[known]] -= 1
    p *= scale
    return p
