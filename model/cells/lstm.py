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

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells.interface import Bind, Signals
from model.functions import by_gate, sigmoid, sigmoid_slope, tanh_slope
from model.workspace import FRESH, Workspace, last_to_first

Array = NDArray[Any]

GATES = ("i", "f", "o", "g")
STATES = ("h", "c")


class LstmTape(NamedTuple):
    gates: Array  # (T, 4, B, H)  i f o g
    c: Array  # (T+1, B, H)  c[0] before the first step
    tanh_c: Array  # (T, B, H)
    h: Array  # (T+1, B, H)  h[0] before the first step


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the cell's own parameters."""
    return {"Wh": (H, 4 * H)}


def forward(p: Mapping[str, Array], z: Array, state: Array, workspace: Workspace = FRESH) -> tuple[Array, Array, LstmTape]:
    """See `model.cells`."""
    T, B, H = z.shape[0], z.shape[1], state.shape[-1]
    Wh = p["Wh"]
    h = workspace.empty("h", (T + 1, B, H), z.dtype)
    c = workspace.empty("c", (T + 1, B, H), z.dtype)
    tanh_c = workspace.empty("tanh_c", (T, B, H), z.dtype)
    gates = workspace.empty("gates", (T, 4, B, H), z.dtype)
    recurrent = workspace.empty("recurrent", (B, 4 * H), z.dtype)
    written = workspace.empty("written", (B, H), z.dtype)
    inputs, recurrents = by_gate(z, 4), by_gate(recurrent, 4)
    h[0], c[0] = state

    with np.errstate(over="ignore"):  # of σ
        for t in range(T):
            np.dot(h[t], Wh, out=recurrent)
            np.add(inputs[t], recurrents, out=gates[t])
            _advance(_parts(gates[t]), c[t], c[t + 1], tanh_c[t], h[t + 1], written)
    return h[1:], np.stack((h[T], c[T])), LstmTape(gates, c, tanh_c, h)


def _parts(gates: Array) -> tuple[Array, ...]:
    """Returns views of (4, B, H): i f o together, i, f, o, g."""
    return gates[:3], gates[0], gates[1], gates[2], gates[3]


def _advance(parts: tuple[Array, ...], c_before: Array, c: Array, tanh_c: Array, h: Array, written: Array) -> None:
    """Computes the gates, the cell and the output (B, H) from the gates' arguments and the previous cell."""
    ifo, i, f, o, g = parts
    sigmoid(ifo, out=ifo)
    np.tanh(g, out=g)
    np.multiply(i, g, out=written)
    np.multiply(f, c_before, out=c)
    np.add(c, written, out=c)
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=h)


def signals(tape: LstmTape) -> Signals:
    """See `model.cells`."""
    i, f, o, _ = tape.gates.swapaxes(0, 1)
    return Signals(tape.h[1:], tape.tanh_c, {"i": i, "f": f, "o": o})


def stepper(p: Mapping[str, Array], z: Array, state: Array, bind: Bind) -> Callable[[], None]:
    """See `model.cells`."""
    h, c = state
    gates, recurrent = np.empty((4, *c.shape), z.dtype), np.empty_like(z)
    written, tanh_c = np.empty_like(c), np.empty_like(c)
    inputs, recurrents, parts = by_gate(z, 4), by_gate(recurrent, 4), _parts(gates)
    product = bind(p["Wh"], h, recurrent)

    def step() -> None:
        product()
        np.add(inputs, recurrents, out=gates)
        _advance(parts, c, c, tanh_c, h, written)

    return step


def backward(
    p: Mapping[str, Array],
    tape: LstmTape,
    dh: Array,
    grads: Mapping[str, Array],
    dstate: Array | None = None,
    workspace: Workspace = FRESH,
) -> tuple[Array, Array]:
    """See `model.cells`. The gates on the tape are overwritten by dz."""
    gates, c, tanh_c, h = tape
    T, B, H = dh.shape
    WhT = np.ascontiguousarray(p["Wh"].T)  # one copy makes each of the T products faster
    dz = gates.reshape(T, B, 4 * H)  # the same memory, in the layout of z
    dz_by_gate = by_gate(dz, 4)
    dh_t = workspace.empty("dh_t", (B, H), dh.dtype)
    through = workspace.empty("through", (B, H), dh.dtype)
    dstate_out = np.zeros((2, B, H), dh.dtype) if dstate is None else dstate.copy()
    dh_next, dc = dstate_out
    for block in last_to_first(T, B * H):
        a = gates[block]
        i, f, o, g = a[:, 0], a[:, 1], a[:, 2], a[:, 3]

        # The factors by which dc (for o: dh) gives dz do not depend on the next step: computed for the whole block.
        slopes = workspace.empty("slopes", a.shape, dh.dtype)
        sigmoid_slope(a[:, :3], out=slopes[:, :3])
        slopes[:, 0] *= g
        slopes[:, 1] *= c[block]
        slopes[:, 2] *= tanh_c[block]
        tanh_slope(g, out=slopes[:, 3])
        slopes[:, 3] *= i
        dc_dh = tanh_slope(tanh_c[block], out=workspace.empty("dc_dh", dh[block].shape, dh.dtype))
        dc_dh *= o

        for k in reversed(range(len(a))):
            t = block.start + k
            np.add(dh[t], dh_next, out=dh_t)
            np.multiply(dh_t, dc_dh[k], out=through)
            dc += through
            np.multiply(dc, f[k], out=through)  # now, since dz overwrites the gates
            np.multiply(slopes[k, :2], dc, out=dz_by_gate[t, :2])  # i f
            np.multiply(slopes[k, 2], dh_t, out=dz_by_gate[t, 2])  # o
            np.multiply(slopes[k, 3], dc, out=dz_by_gate[t, 3])  # g
            dc[:] = through
            np.dot(dz[t], WhT, out=dh_next)

    dWh = workspace.empty("dW", p["Wh"].shape, dh.dtype)
    grads["Wh"][...] += np.dot(h[:-1].reshape(T * B, H).T, dz.reshape(T * B, 4 * H), out=dWh)
    return dz, dstate_out
