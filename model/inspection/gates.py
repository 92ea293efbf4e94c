"""How often gates are saturated: nearly shut, or nearly open.

Karpathy, Johnson and Li 2015, Visualizing and understanding recurrent networks: a gate is left-saturated below 0.1 and
right-saturated above 0.9. A forget gate that is mostly right-saturated makes its unit a long memory, one that is mostly
left-saturated makes it forget at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.cells.interface import Signals
from model.functions import Array

LEFT, RIGHT = 0.1, 0.9
NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}


class Saturation(NamedTuple):
    """The shares of a text in which each unit's gate was saturated."""

    layer: int
    gate: str  # as in the cell's equations; see `NAMES`
    left: Array  # (H,) below 0.1
    right: Array  # (H,) above 0.9


class SaturationCounts:
    """Counts saturated gates over a text that is read slice by slice."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], Array] = {}  # (2, H): left, right
        self._steps = 0

    def add(self, layers: list[Signals]) -> None:
        """Count the steps of one slice."""
        for index, layer in enumerate(layers):
            for name, gate in layer.gates.items():
                found = np.stack([(gate < LEFT).sum(axis=(0, 1)), (gate > RIGHT).sum(axis=(0, 1))])
                self._counts[index, name] = self._counts.get((index, name), 0) + found
        self._steps += layers[0].h.shape[0] * layers[0].h.shape[1]

    def shares(self) -> list[Saturation]:
        """Layer by layer, in the order of the gates; none for a cell without gates."""
        return [Saturation(*key, *(counts / max(1, self._steps))) for key, counts in self._counts.items()]
