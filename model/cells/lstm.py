"""Implements the long short-term memory (LSTM) with a forget gate.

Hochreiter and Schmidhuber 1997, Long short-term memory; the forget gate is of Gers, Schmidhuber and Cummins 2000.

::

    i f o g = σ σ σ tanh (z[t] + h[t-1] Wh)          z = x Wx + b
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

    dc[t]  += dh[t] o (1 - tanh²c[t])
    di, df, dg = dc[t] g, dc[t] c[t-1], dc[t] i;     do = dh[t] tanh c[t]
    dz[t]   = di i(1-i), df f(1-f), do o(1-o), dg (1-g²)
    dc[t-1] = dc[t] f;   dh[t-1] += dz[t] Whᵀ;   dWh = Σ h[t-1]ᵀ dz[t]

T time, B batch, H hidden units. The gates are in the order i f o g, so that one sigmoid covers three.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells.interface import Signals, Starts, anew
from model.functions import by_gate, sigmoid, sigmoid_slope, tanh_slope

Array = NDArray[Any]

GATES = ("i", "f", "o", "g")
STATES = ("h", "c")


class LstmTape(NamedTuple):
    gates: Array  # (T, 4, B, H)  i f o g
    c: Array  # (T+1, B, H)  c[0] before the first step
    tanh_c: Array  # (T, B, H)
    h: Array  # (T+1, B, H)  h[0] before the first step
    starts: Starts


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the cell's own parameters."""
    return {"Wh": (H, 4 * H)}


def forward(p: Mapping[str, Array], z: Array, state: Array, starts: Starts = None) -> tuple[Array, Array, LstmTape]:
    """See `model.cells`."""
    T, (_, B, H) = len(z), state.shape
    h, c = np.empty((2, T + 1, B, H), z.dtype)
    gates, tanh_c = np.empty((T, 4, B, H), z.dtype), np.empty((T, B, H), z.dtype)
    h[0], c[0] = state
    with np.errstate(over="ignore"):  # of σ
        for t in range(T):
            a = by_gate(z[t] + anew(h[t], starts, t) @ p["Wh"], 4)
            i, f, o = sigmoid(a[:3])
            g = np.tanh(a[3])
            c[t + 1] = f * anew(c[t], starts, t) + i * g
            tanh_c[t] = np.tanh(c[t + 1])
            h[t + 1] = o * tanh_c[t]
            gates[t] = i, f, o, g
    return h[1:], np.stack((h[T], c[T])), LstmTape(gates, c, tanh_c, h, starts)


def backward(
    p: Mapping[str, Array], tape: LstmTape, dh: Array, grads: Mapping[str, Array], dstate: Array | None = None
) -> tuple[Array, Array]:
    """See `model.cells`."""
    gates, c, tanh_c, h, starts = tape
    T, B, H = dh.shape
    dz = np.empty((T, B, 4 * H), dh.dtype)
    dh_next, dc = np.zeros((2, B, H), dh.dtype) if dstate is None else dstate
    for t in reversed(range(T)):
        i, f, o, g = gates[t]
        dh_t = dh[t] + dh_next
        dc = dc + dh_t * o * tanh_slope(tanh_c[t])
        di, df, do, dg = dc * g, dc * anew(c[t], starts, t), dh_t * tanh_c[t], dc * i
        by_gate(dz[t], 4)[:] = di * sigmoid_slope(i), df * sigmoid_slope(f), do * sigmoid_slope(o), dg * tanh_slope(g)
        dc = anew(dc * f, starts, t)
        dh_next = anew(dz[t] @ p["Wh"].T, starts, t)
    grads["Wh"][...] += anew(h[:-1], starts).reshape(T * B, H).T @ dz.reshape(T * B, 4 * H)
    return dz, np.stack((dh_next, dc))


def signals(tape: LstmTape) -> Signals:
    """See `model.cells`."""
    i, f, o, _ = tape.gates.swapaxes(0, 1)
    return Signals(tape.h[1:], tape.tanh_c, {"i": i, "f": f, "o": o})
