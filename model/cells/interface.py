"""What a cell is given and what it shows: the types that the cells share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]
Bind = Callable[[Array, Array, Array], Callable[[], object]]  # bind(W, a, out): what writes a W to out each time it is called


class Signals(NamedTuple):
    """Views of a tape, as it is before `backward` uses it up; T time, B batch, H hidden units."""

    h: Array  # (T, B, H) the output
    memory: Array  # (T, B, H) what is carried on, between -1 and 1: an LSTM's tanh(c), else h (which relu and identity do not bound)
    gates: dict[str, Array]  # those between 0 and 1, by their names in `GATES`: (T, B, H)
