"""Defines what all cells share: the steps at which a text begins, and the signals that a tape shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Starts = NDArray[np.bool_] | None  # (T, B): which rows begin a new text with which step; None if no row does


def anew(x: Array, starts: Starts, t: int | slice = slice(None)) -> Array:
    """Returns x (..., B, H), of before step or steps `t`, with zeros in the rows that begin a new text there."""
    return x if starts is None else np.where(starts[t][..., None], 0, x)


class Signals(NamedTuple):
    """Views of a tape; T time, B batch, H hidden units."""

    h: Array  # (T, B, H) the output
    memory: Array  # (T, B, H) the carried state, between -1 and 1: an LSTM's tanh(c), else h (unbounded with relu and identity)
    gates: dict[str, Array]  # the sigmoid gates by their names in `GATES`: (T, B, H)
