"""Lists the recurrent cells and defines their interface.

A cell is a pair of pure functions over a whole sequence, time first. Nothing is stored on objects: the forward pass returns a tape
with all that the backward pass needs, so one model can serve many callers at once.

::

    forward(p, z, state, starts)  -> h, state, tape
    backward(p, tape, dh, grads)  -> dz, dstate

T time, B batch, H hidden units, G gates, S states (1 for RNN and GRU, 2 for LSTM: h and c).

- `p` holds the cell's own parameters by name: `Wh` (H, G*H) and the others in its `shapes`.
- `z` (T, B, G*H) is the input's share of the gates, with the bias: ``x Wx + b``, made for all T at once by the language model,
  which also turns `dz` into the gradients of x, Wx and b. No tape keeps it.
- `state` (S, B, H) is that before the first step; the state after the last step is returned. ``state[0]`` is h.
- `starts` (T, B) says which rows begin a new text with which step: their state before it is zero, and no gradient passes back from
  there. None if no row does. The tape keeps it.
- `h` (T, B, H) is the output; `dh` (T, B, H) its gradient; `dstate` (S, B, H) the gradient of the state before the first step.
  A gradient that arrives at the state after the last step may be given as `dstate`, so that chunks can be chained.
- `grads` has the names of `p`; the backward pass *adds* to it.
- `signals` returns the gates and outputs on a tape as views (`model.cells.interface`).

A cell knows nothing of characters, and the language model never asks which cell it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from model.cells import gru, lstm, rnn
from model.cells.interface import Signals, Starts
from model.config import ModelConfig

Array = NDArray[Any]


class Forward(Protocol):
    def __call__(self, p: Mapping[str, Array], z: Array, state: Array, starts: Starts = None) -> tuple[Array, Array, Any]: ...


class Backward(Protocol):
    def __call__(
        self,
        p: Mapping[str, Array],
        tape: Any,
        dh: Array,
        grads: Mapping[str, Array],
        dstate: Array | None = None,
    ) -> tuple[Array, Array]: ...


class Cell(NamedTuple):
    """One kind of cell: its functions, and the names and shapes of its gates, states and parameters."""

    gates: tuple[str, ...]  # in their order in z and Wh
    states: tuple[str, ...]
    shapes: Callable[[int], dict[str, tuple[int, ...]]]  # hidden size -> the cell's own parameters
    forward: Forward
    backward: Backward
    signals: Callable[[Any], Signals]


CELLS: dict[str, Cell] = {
    "rnn": Cell(rnn.GATES, rnn.STATES, rnn.shapes, rnn.forward, rnn.backward, rnn.signals),
    "gru": Cell(gru.GATES, gru.STATES, gru.shapes, gru.forward, gru.backward, gru.signals),
    "lstm": Cell(lstm.GATES, lstm.STATES, lstm.shapes, lstm.forward, lstm.backward, lstm.signals),
}


def cell_of(config: ModelConfig) -> Cell:
    """Returns the cell that a configuration names, with the configured activation for the rnn cell."""
    cell = CELLS[config.cell]
    if config.cell == "rnn":
        return cell._replace(
            forward=partial(rnn.forward, activation=config.activation),
            backward=partial(rnn.backward, activation=config.activation),
        )
    return cell
