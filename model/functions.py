"""Implements the functions between the matrix products, each forward beside its backward.

Shapes: N rows, V symbols. A function without a shape works element by element on any shape.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]]

CODE_POINTS = 1_114_112  # of Unicode; a character outside the alphabet could be any of them
OVERFLOW = 1e38  # replaces infinity in logits; the difference of two stays finite in single precision
UNKNOWN_COST = math.log(CODE_POINTS)  # nats that a symbol outside the alphabet costs: 13.92


def by_gate(a: Array, gates: int) -> Array:
    """Returns rows of G gates as G arrays: ``(..., B, G*H) -> (..., G, B, H)``, a view."""
    *outer, B, width = a.shape
    return a.reshape(*outer, B, gates, width // gates).swapaxes(-2, -3)


def plain_arithmetic() -> AbstractContextManager[None]:
    """Turns off numpy's warnings about numbers that are not finite: the caller checks for them."""
    return np.errstate(all="ignore")


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)). If exp overflows (numpy warns), the result is 0, as it should be."""
    y: Array = 1 / (1 + np.exp(-a))
    return y


def sigmoid_slope(y: Array) -> Array:
    """d sigmoid(a) / da as a function of y = sigmoid(a)."""
    slope: Array = y * (1 - y)
    return slope


def tanh_slope(y: Array) -> Array:
    """d tanh(a) / da as a function of y = tanh(a)."""
    return 1 - y * y


def relu_slope(y: Array) -> Array:
    """d max(a, 0) / da as a function of y = max(a, 0): 1 if y > 0, else 0."""
    slope: Array = np.sign(y)  # y is never negative
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
    """-ln p(target) of each row (N,), and the probabilities (N, V), for logits (N, V).

    A target of V or more is a symbol outside the alphabet: it has no logit and costs `unknown_cost`.
    """
    N, V = logits.shape
    logs = log_softmax(logits)
    costs = -logs[np.arange(N), np.minimum(targets, V - 1)].astype(np.float64)
    return np.where(targets < V, costs, unknown_cost), np.exp(logs)


def cross_entropy(logits: Array, targets: Ids, unknown_cost: float = UNKNOWN_COST) -> tuple[float, Array]:
    """The sum of `nats` over the rows, and the probabilities (N, V), which `cross_entropy_backward` takes."""
    costs, p = nats(logits, targets, unknown_cost)
    return float(costs.sum()), p


def cross_entropy_backward(p: Array, targets: Ids, scale: float) -> Array:
    """The gradient of `scale` times the sum, with respect to the logits (N, V): (p - onehot(target)) scale.

    Rows whose target is outside the alphabet have gradient 0.
    """
    N, V = p.shape
    known = targets < V
    dlogits = p.copy()
    dlogits[np.arange(N), np.minimum(targets, V - 1)] -= 1
    dlogits[~known] = 0
    return dlogits * scale
