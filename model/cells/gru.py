"""Implements the gated recurrent unit (GRU) in its reset-after variant.

Cho et al. 2014, Learning phrase representations using RNN encoder-decoder. Here r is applied after the recurrent product, as cuDNN
and PyTorch do, so that one product serves all gates.

::

    r   = σ(z_r[t] + h[t-1] Wh_r)                     z = x Wx + b, in the order r z n
    z   = σ(z_z[t] + h[t-1] Wh_z)
    q   = h[t-1] Wh_n + bn
    n   = tanh(z_n[t] + r q)
    h[t] = (1 - z) n + z h[t-1]

    da_n = dh[t] (1-z) (1-n²);   da_z = dh[t] (h[t-1] - n) z(1-z);   da_r = da_n q r(1-r);   dq = da_n r
    dz[t] = da_r, da_z, da_n                           what flows to the input
    du[t] = da_r, da_z, dq                             what flows to the recurrent product
    dh[t-1] = dh[t] z + du[t] Whᵀ;   dWh = Σ h[t-1]ᵀ du[t];   dbn = Σ dq

T time, B batch, H hidden units. The gates are in the order r z n, so that one sigmoid covers two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells.interface import Bind, Signals
from model.functions import by_gate, sigmoid, sigmoid_slope, tanh_slope
from model.workspace import FRESH, Workspace, last_to_first

Array = NDArray[Any]

GATES = ("r", "z", "n")
STATES = ("h",)


class GruTape(NamedTuple):
    gates: Array  # (T, 3, B, H)  r z n
    q: Array  # (T, B, H)  h[t-1] Wh_n + bn
    h: Array  # (T+1, B, H)  h[0] before the first step


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the cell's own parameters; `bn` is inside the product with r and therefore cannot be part of b."""
    return {"Wh": (H, 3 * H), "bn": (H,)}


def forward(p: Mapping[str, Array], z: Array, state: Array, workspace: Workspace = FRESH) -> tuple[Array, Array, GruTape]:
    """See `model.cells`."""
    T, B, H = z.shape[0], z.shape[1], state.shape[-1]
    Wh, bn = p["Wh"], p["bn"]
    h = workspace.empty("h", (T + 1, B, H), z.dtype)
    q = workspace.empty("q", (T, B, H), z.dtype)
    gates = workspace.empty("gates", (T, 3, B, H), z.dtype)
    recurrent = workspace.empty("recurrent", (B, 3 * H), z.dtype)
    kept = workspace.empty("kept", (B, H), z.dtype)
    inputs, recurrents = by_gate(z, 3), by_gate(recurrent, 3)
    h[0] = state[0]

    with np.errstate(over="ignore"):  # of σ
        for t in range(T):
            np.dot(h[t], Wh, out=recurrent)
            _advance(_parts(gates[t]), _parts(inputs[t]), _parts(recurrents), bn, h[t], q[t], h[t + 1], kept)
    return h[1:], h[-1:].copy(), GruTape(gates, q, h)


Parts = tuple[Array, Array, Array, Array]


def _parts(gates: Array) -> Parts:
    """Returns views of (3, B, H): r z together, r, z, n."""
    return gates[:2], gates[0], gates[1], gates[2]


def _advance(gates: Parts, inputs: Parts, recurrents: Parts, bn: Array, h_before: Array, q: Array, h: Array, kept: Array) -> None:
    """Computes the gates and the output (B, H) from the input's and the recurrent share of the gates and the previous output."""
    rz, r, zt, n = gates
    np.add(inputs[0], recurrents[0], out=rz)
    sigmoid(rz, out=rz)
    np.add(recurrents[3], bn, out=q)
    np.multiply(r, q, out=n)
    np.add(n, inputs[3], out=n)
    np.tanh(n, out=n)
    np.subtract(h_before, n, out=kept)  # (1 - z) n + z h = n + z (h - n)
    np.multiply(kept, zt, out=kept)
    np.add(n, kept, out=h)


def signals(tape: GruTape) -> Signals:
    """See `model.cells`."""
    r, z, _ = tape.gates.swapaxes(0, 1)
    return Signals(tape.h[1:], tape.h[1:], {"r": r, "z": z})


def stepper(p: Mapping[str, Array], z: Array, state: Array, bind: Bind) -> Callable[[], None]:
    """See `model.cells`."""
    (h,) = state
    recurrent, q, kept = np.empty_like(z), np.empty_like(h), np.empty_like(h)
    gates, inputs, recurrents = _parts(np.empty((3, *h.shape), z.dtype)), _parts(by_gate(z, 3)), _parts(by_gate(recurrent, 3))
    bn, product = p["bn"], bind(p["Wh"], h, recurrent)

    def step() -> None:
        product()
        _advance(gates, inputs, recurrents, bn, h, q, h, kept)

    return step


def backward(
    p: Mapping[str, Array],
    tape: GruTape,
    dh: Array,
    grads: Mapping[str, Array],
    dstate: Array | None = None,
    workspace: Workspace = FRESH,
) -> tuple[Array, Array]:
    """See `model.cells`. The gates on the tape are overwritten by dz."""
    gates, q, h = tape
    T, B, H = dh.shape
    WhT = np.ascontiguousarray(p["Wh"].T)  # one copy makes each of the T products faster
    dz = gates.reshape(T, B, 3 * H)  # the same memory, in the layout of z
    du = workspace.empty("du", (T, B, 3 * H), dh.dtype)
    dz_by_gate, du_by_gate = by_gate(dz, 3), by_gate(du, 3)
    dh_t = workspace.empty("dh_t", (B, H), dh.dtype)
    kept = workspace.empty("kept", (B, H), dh.dtype)
    dh_next = np.zeros((B, H), dh.dtype) if dstate is None else dstate[0].copy()
    for block in last_to_first(T, B * H):
        a = gates[block]
        r, zt, n = a[:, 0], a[:, 1], a[:, 2]

        # The factors by which dh gives du and the n part of dz do not depend on the next step: computed for the whole block.
        slopes = workspace.empty("slopes", a.shape, dh.dtype)
        slope_r, slope_z, slope_q = slopes[:, 0], slopes[:, 1], slopes[:, 2]
        slope_n = tanh_slope(n, out=workspace.empty("slope_n", n.shape, dh.dtype))
        np.subtract(1, zt, out=slope_q)
        slope_n *= slope_q
        sigmoid_slope(a[:, :2], out=slopes[:, :2])
        slope_r *= q[block]
        slope_r *= slope_n
        np.subtract(h[block], n, out=slope_q)
        slope_z *= slope_q
        np.multiply(slope_n, r, out=slope_q)

        for k in reversed(range(len(a))):
            t = block.start + k
            np.add(dh[t], dh_next, out=dh_t)
            np.multiply(dh_t, zt[k], out=kept)  # now, since dz overwrites the gates
            np.multiply(slopes[k], dh_t, out=du_by_gate[t])
            np.multiply(slopes[k, :2], dh_t, out=dz_by_gate[t, :2])
            np.multiply(slope_n[k], dh_t, out=dz_by_gate[t, 2])
            np.dot(du[t], WhT, out=dh_next)
            dh_next += kept

    dWh = workspace.empty("dW", p["Wh"].shape, dh.dtype)
    grads["Wh"][...] += np.dot(h[:-1].reshape(T * B, H).T, du.reshape(T * B, 3 * H), out=dWh)
    grads["bn"][...] += du[..., 2 * H :].sum(axis=(0, 1))
    return dz, dh_next[None]
