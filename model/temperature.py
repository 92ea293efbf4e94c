"""Applies the temperature: one number, or a schedule of numbers that may be changed while the text is written.

A schedule is a list of [position, value] pairs; a value is in force from the symbol at its position on. A request with the schedule
that was reported at the end gives the same text again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from model.settings import SchedulePairs

COOLEST = 1e30  # 1 / temperature at most: above it single precision overflows, and only the likeliest symbol is left anyway


class TemperatureSchedule:
    """The schedule of one request, which all of its texts share."""

    def __init__(self, pairs: SchedulePairs) -> None:
        self._positions = [position for position, _ in pairs]
        self._values = [value for _, value in pairs]

    @property
    def pairs(self) -> SchedulePairs:
        """The pairs as they are now."""
        return tuple(zip(self._positions, self._values, strict=True))

    @property
    def moves(self) -> bool:
        """Whether the temperature changes within the text."""
        return len(self._values) > 1

    def at(self, position: int) -> float:
        """Returns the temperature of the symbol at a position."""
        return self._values[bisect_right(self._positions, position) - 1]

    def left(self, position: int, most: int) -> int:
        """Returns how many symbols from a position on have the same temperature, at most `most`."""
        index = bisect_right(self._positions, position)
        return min(most, self._positions[index] - position) if index < len(self._positions) else most

    def change(self, position: int, value: float) -> None:
        """Puts `value` in force from a position on and drops all later pairs."""
        index = bisect_left(self._positions, position)
        self._positions[index:], self._values[index:] = [position], [value]


def inverse_temperature(temperature: float) -> np.float32:
    """Returns 1 / temperature, by which logits are multiplied; at temperature 0, where the likeliest symbol is taken, 0."""
    return np.float32(min(1 / max(temperature, 1 / COOLEST), COOLEST) if temperature else 0.0)
