"""Implements the plain recurrent cell (Elman 1990, Finding structure in time).

::

    h[t] = φ(z[t] + h[t-1] Wh)              φ: tanh, relu or identity;  z = x Wx + b

    dz[t]   = dh[t] φ'(a[t])                 a: the argument of φ; every φ' here is a function of h = φ(a)
    dh[t-1] += dz[t] Whᵀ
    dWh     = Σ h[t-1]ᵀ dz[t]

T time, B batch, H hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells.interface import Signals, Starts, anew
from model.functions import relu_slope, tanh_slope

Array = NDArray[Any]

GATES = ("a",)
STATES = ("h",)


class RnnTape(NamedTuple):
    h: Array  # (T+1, B, H), h[0] before the first step
    starts: Starts


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the cell's own parameters."""
    return {"Wh": (H, H)}


# φ, and φ' as a function of h = φ(a).
ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, tanh_slope),
    "relu": (lambda a: np.maximum(a, 0), relu_slope),
    "identity": (np.positive, np.ones_like),
}


def forward(
    p: Mapping[str, Array], z: Array, state: Array, starts: Starts = None, activation: str = "tanh"
) -> tuple[Array, Array, RnnTape]:
    """See `model.cells`."""
    T, B, H = z.shape
    phi, _ = ACTIVATIONS[activation]
    h = np.empty((T + 1, B, H), z.dtype)
    h[0] = state[0]
    for t in range(T):
        h[t + 1] = phi(z[t] + anew(h[t], starts, t) @ p["Wh"])
    return h[1:], h[-1:].copy(), RnnTape(h, starts)


def backward(
    p: Mapping[str, Array],
    tape: RnnTape,
    dh: Array,
    grads: Mapping[str, Array],
    dstate: Array | None = None,
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """See `model.cells`."""
    h, starts = tape
    T, B, H = dh.shape
    _, phi_slope = ACTIVATIONS[activation]
    dz = np.empty((T, B, H), dh.dtype)
    (dh_next,) = np.zeros((1, B, H), dh.dtype) if dstate is None else dstate
    for t in reversed(range(T)):
        dz[t] = (dh[t] + dh_next) * phi_slope(h[t + 1])
        dh_next = anew(dz[t] @ p["Wh"].T, starts, t)
    grads["Wh"][...] += anew(h[:-1], starts).reshape(T * B, H).T @ dz.reshape(T * B, H)
    return dz, dh_next[None]


def signals(tape: RnnTape) -> Signals:
    """See `model.cells`."""
    return Signals(tape.h[1:], tape.h[1:], {})
