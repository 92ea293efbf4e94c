"""Defines what all cells show of a tape: their signals."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class Signals(NamedTuple):
    """Views of a tape; T time, B batch, H hidden units."""

    h: Array  # (T, B, H) the output
    memory: Array  # (T, B, H) the carried state, between -1 and 1: an LSTM's tanh(c), else h (unbounded with relu and identity)
    gates: dict[str, Array]  # the sigmoid gates by their names in `GATES`: (T, B, H)
