"""Implements the gated recurrent unit (GRU) in its reset-after variant.

Cho et al. 2014, Learning phrase representations using RNN encoder-decoder. Here r is applied after the recurrent product, as cuDNN
and PyTorch do, so that one product serves all gates.

::

    r   = σ(z_r[t] + h[t-1] Wh_r)                     z = x Wx + b, in the order r z n
    zt  = σ(z_z[t] + h[t-1] Wh_z)
    q   = h[t-1] Wh_n + bn
    n   = tanh(z_n[t] + r q)
    h[t] = (1 - zt) n + zt h[t-1]

    da_n = dh[t] (1-zt) (1-n²);   da_z = dh[t] (h[t-1] - n) zt(1-zt);   da_r = da_n q r(1-r);   dq = da_n r
    dz[t] = da_r, da_z, da_n                           what flows to the input
    du[t] = da_r, da_z, dq                             what flows to the recurrent product
    dh[t-1] = dh[t] zt + du[t] Whᵀ;   dWh = Σ h[t-1]ᵀ du[t];   dbn = Σ dq

T time, B batch, H hidden units. The gates are in the order r z n, so that one sigmoid covers two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells.interface import Signals, Starts, anew
from model.functions import by_gate, sigmoid, sigmoid_slope, tanh_slope

Array = NDArray[Any]

GATES = ("r", "z", "n")
STATES = ("h",)


class GruTape(NamedTuple):
    gates: Array  # (T, 3, B, H)  r z n
    q: Array  # (T, B, H)  h[t-1] Wh_n + bn
    h: Array  # (T+1, B, H)  h[0] before the first step
    starts: Starts


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the cell's own parameters; `bn` is inside the product with r and therefore cannot be part of b."""
    return {"Wh": (H, 3 * H), "bn": (H,)}


def forward(p: Mapping[str, Array], z: Array, state: Array, starts: Starts = None) -> tuple[Array, Array, GruTape]:
    """See `model.cells`."""
    T, (_, B, H) = len(z), state.shape
    h, q = np.empty((T + 1, B, H), z.dtype), np.empty((T, B, H), z.dtype)
    gates = np.empty((T, 3, B, H), z.dtype)
    h[0] = state[0]
    with np.errstate(over="ignore"):  # of σ
        for t in range(T):
            before = anew(h[t], starts, t)
            z_r, z_z, z_n = by_gate(z[t], 3)
            u_r, u_z, u_n = by_gate(before @ p["Wh"], 3)
            r, zt = sigmoid(z_r + u_r), sigmoid(z_z + u_z)
            q[t] = u_n + p["bn"]
            n = np.tanh(z_n + r * q[t])
            h[t + 1] = (1 - zt) * n + zt * before
            gates[t] = r, zt, n
    return h[1:], h[-1:].copy(), GruTape(gates, q, h, starts)


def backward(
    p: Mapping[str, Array], tape: GruTape, dh: Array, grads: Mapping[str, Array], dstate: Array | None = None
) -> tuple[Array, Array]:
    """See `model.cells`."""
    gates, q, h, starts = tape
    T, B, H = dh.shape
    dz, du = np.empty((2, T, B, 3 * H), dh.dtype)
    (dh_next,) = np.zeros((1, B, H), dh.dtype) if dstate is None else dstate
    for t in reversed(range(T)):
        r, zt, n = gates[t]
        dh_t = dh[t] + dh_next
        da_n = dh_t * (1 - zt) * tanh_slope(n)
        da_z = dh_t * (anew(h[t], starts, t) - n) * sigmoid_slope(zt)
        da_r = da_n * q[t] * sigmoid_slope(r)
        by_gate(dz[t], 3)[:] = da_r, da_z, da_n
        by_gate(du[t], 3)[:] = da_r, da_z, da_n * r
        dh_next = anew(dh_t * zt + du[t] @ p["Wh"].T, starts, t)
    grads["Wh"][...] += anew(h[:-1], starts).reshape(T * B, H).T @ du.reshape(T * B, 3 * H)
    grads["bn"][...] += du[..., 2 * H :].sum(axis=(0, 1))
    return dz, dh_next[None]


def signals(tape: GruTape) -> Signals:
    """See `model.cells`."""
    r, z, _ = tape.gates.swapaxes(0, 1)
    return Signals(tape.h[1:], tape.h[1:], {"r": r, "z": z})
