"""The long short-term memory (LSTM) with a forget gate.

Hochreiter and Schmidhuber 1997, Long short-term memory; the forget gate is of Gers, Schmidhuber and Cummins 2000.

::

    i f o g = σ σ σ tanh (z[t] + h[t-1] Wh)          z = x Wx + b
    c[t] = f c[t-1] + i g
    h[t] = o tanh(c[t])

    dc[t]  += dh[t] o (1 - tanh²c[t])
    di, df, dg = dc[t] g, dc[t] c[t-1], dc[t] i;     do = dh[t] tanh c[t]
    dz[t]   = di i(1-i), df f(1-f), do o(1-o), dg (1-g²)
    dc[t-1] = dc[t] f;   dh[t-1] += dz[t] Whᵀ;   dWh = Σ h[t-1]ᵀ dz[t]

T time, B batch, H hidden units. The gates stand in the order i f o g, so that one sigmoid covers three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.functions import sigmoid, sigmoid_slope, tanh_slope
from model.workspace import FRESH, Workspace, last_to_first

if TYPE_CHECKING:
    from model.cells import Bind

Array = NDArray[Any]

GATES = ("i", "f", "o", "g")
STATES = ("h", "c")


class Tape(NamedTuple):
    gates: Array  # (T, B, 4H)  i f o g
    c: Array  # (T+1, B, H)  c[0] before the first step
    tanh_c: Array  # (T, B, H)
    h: Array  # (T+1, B, H)  h[0] before the first step


def shapes(H: int) -> dict[str, tuple[int, ...]]:
    """The cell's own parameters."""
    return {"Wh": (H, 4 * H)}


def forward(p: Mapping[str, Array], z: Array, state: Array, workspace: Workspace = FRESH) -> tuple[Array, Array, Tape]:
    """See `model.cells`."""
    T, B, H = z.shape[0], z.shape[1], state.shape[-1]
    Wh = p["Wh"]
    h = workspace.empty("h", (T + 1, B, H), z.dtype)
    c = workspace.empty("c", (T + 1, B, H), z.dtype)
    tanh_c = workspace.empty("tanh_c", (T, B, H), z.dtype)
    recurrent = workspace.empty("recurrent", (B, 4 * H), z.dtype)
    written = workspace.empty("written", (B, H), z.dtype)
    h[0], c[0] = state

    with np.errstate(over="ignore"):  # of σ
        for t in range(T):
            np.dot(h[t], Wh, out=recurrent)
            z[t] += recurrent
            _advance(_gates(z[t]), c[t], c[t + 1], tanh_c[t], h[t + 1], written)
    return h[1:], np.stack((h[T], c[T])), Tape(z, c, tanh_c, h)


def _gates(a: Array) -> tuple[Array, ...]:
    """Views of a (B, 4H): i f o together, i, f, o, g."""
    H = a.shape[-1] // 4
    return a[:, : 3 * H], a[:, :H], a[:, H : 2 * H], a[:, 2 * H : 3 * H], a[:, 3 * H :]


def _advance(gates: tuple[Array, ...], c_before: Array, c: Array, tanh_c: Array, h: Array, written: Array) -> None:
    """From the gates' arguments and the cell before to the gates, the cell and the output (B, H)."""
    ifo, i, f, o, g = gates
    sigmoid(ifo, out=ifo)
    np.tanh(g, out=g)
    np.multiply(i, g, out=written)
    np.multiply(f, c_before, out=c)
    np.add(c, written, out=c)
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=h)


def stepper(p: Mapping[str, Array], z: Array, state: Array, bind: Bind) -> Callable[[], None]:
    """See `model.cells`."""
    h, c = state
    recurrent, written, tanh_c = np.empty_like(z), np.empty_like(c), np.empty_like(c)
    product, gates = bind(p["Wh"], h, recurrent), _gates(z)

    def step() -> None:
        product()
        np.add(z, recurrent, out=z)
        _advance(gates, c, c, tanh_c, h, written)

    return step


def backward(
    p: Mapping[str, Array],
    tape: Tape,
    dh: Array,
    grads: Mapping[str, Array],
    dstate: Array | None = None,
    workspace: Workspace = FRESH,
) -> tuple[Array, Array]:
    """See `model.cells`. The gates on the tape are overwritten by dz."""
    gates, c, tanh_c, h = tape
    T, B, H = dh.shape
    WhT = np.ascontiguousarray(p["Wh"].T)  # one copy makes each of the T products faster
    dh_t = workspace.empty("dh_t", (B, H), dh.dtype)
    through = workspace.empty("through", (B, H), dh.dtype)
    dstate_out = np.zeros((2, B, H), dh.dtype) if dstate is None else dstate.copy()
    dh_next, dc = dstate_out
    for block in last_to_first(T, B * H):
        a = gates[block]
        i, f, o, g = a[..., :H], a[..., H : 2 * H], a[..., 2 * H : 3 * H], a[..., 3 * H :]

        # What does not depend on the next step, for the whole block: the factors by which dc (for o: dh) gives dz.
        dz = workspace.empty("dz", a.shape, dh.dtype)
        sigmoid_slope(a[..., : 3 * H], out=dz[..., : 3 * H])
        dz[..., :H] *= g
        dz[..., H : 2 * H] *= c[block]
        dz[..., 2 * H : 3 * H] *= tanh_c[block]
        tanh_slope(g, out=dz[..., 3 * H :])
        dz[..., 3 * H :] *= i
        dc_dh = tanh_slope(tanh_c[block], out=workspace.empty("dc_dh", o.shape, dh.dtype))
        dc_dh *= o

        for t in reversed(range(len(a))):
            np.add(dh[block][t], dh_next, out=dh_t)
            np.multiply(dh_t, dc_dh[t], out=through)
            dc += through
            d = dz[t].reshape(B, 4, H)
            d[:, :2] *= dc[:, None]  # i f
            d[:, 2] *= dh_t  # o
            d[:, 3] *= dc  # g
            dc *= f[t]
            np.dot(dz[t], WhT, out=dh_next)
        a[...] = dz

    dWh = workspace.empty("dWh", p["Wh"].shape, dh.dtype)
    grads["Wh"][...] += np.dot(h[:-1].reshape(T * B, H).T, gates.reshape(T * B, 4 * H), out=dWh)
    return gates, dstate_out
