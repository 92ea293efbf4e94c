"""Reads ids with a network slice by slice, so that memory does not grow with the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from model.cells.interface import Signals
from model.functions import Ids, plain_arithmetic
from model.language_model import LanguageModel

NUMBERS = 2**22  # of all gates of a slice: 16 MB
SYMBOLS = 64  # steps of a slice at most; more would make nothing faster


class StateSlice(NamedTuple):
    """The states of a few steps."""

    steps: slice  # of all T
    layers: list[Signals]  # (t, B, H) each


Tick = Callable[[], None]


def untroubled() -> None:
    """Does nothing: the tick of a reading that runs to its end."""


def slices(model: LanguageModel, ids: Ids, tick: Tick = untroubled) -> Iterator[StateSlice]:
    """Reads ids (T, B) from the state before any text. `tick` is called before each slice; what it raises ends the reading."""
    T, B = ids.shape
    width = model.layers[0]["b"].shape[0] * model.config.num_layers
    step = max(1, min(SYMBOLS, NUMBERS // (B * width)))
    state, table = model.zero_state(B), model.input_table()
    for start in range(0, T, step):
        tick()
        steps = slice(start, min(T, start + step))
        with plain_arithmetic():
            _, state, tape = model.read(ids[steps], state, table=table)
        yield StateSlice(steps, [model.cell.signals(each) for each in tape.cells])
