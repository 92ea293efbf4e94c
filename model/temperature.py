"""The temperature of a text: one number, or a course of numbers that may be changed while the text is written.

A course is a list of [position, value] pairs; a value is in force from the symbol at its position on. Whoever gives the course that
was told in the end gets the same text again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from model.functions import Array
from model.settings import Course

COOLEST = 1e30  # 1 / temperature at most: beyond, single precision has no numbers, and only the likeliest symbol is left anyway


class Temperatures:
    """The course of one request, which all of its texts share."""

    def __init__(self, course: Course) -> None:
        self._positions = [position for position, _ in course]
        self._values = [value for _, value in course]

    @property
    def course(self) -> Course:
        """The pairs as they are now."""
        return tuple(zip(self._positions, self._values, strict=True))

    @property
    def moves(self) -> bool:
        """Whether it is not the same everywhere."""
        return len(self._values) > 1

    def at(self, position: int) -> float:
        """What is in force for the symbol at a position."""
        return self._values[bisect_right(self._positions, position) - 1]

    def left(self, position: int, most: int) -> int:
        """How many symbols from a position on have the same, `most` at most."""
        index = bisect_right(self._positions, position)
        return min(most, self._positions[index] - position) if index < len(self._positions) else most

    def change(self, position: int, value: float) -> None:
        """From a position on, `value` is in force; what was to come later is forgotten."""
        index = bisect_left(self._positions, position)
        self._positions[index:], self._values[index:] = [position], [value]


def coolness(temperatures: Array) -> Array:
    """1 / temperature as `tempered` takes it, ``(B,) -> (B, 1)``; where the temperature is 0, the likeliest symbol is taken anyway."""
    safe = np.where(temperatures > 0, temperatures, 1.0)
    return np.minimum(1 / np.maximum(safe, 1 / COOLEST), COOLEST).astype(np.float32)[:, None]


def tempered(scores: Array, highest: Array, cool: Array) -> Array:
    """softmax(scores / temperature), not yet divided by its sum; its largest entry is 1. ``(B, V), (B, 1), (B, 1) -> (B, V)``

    `highest` is the highest score of each row, `cool` is 1 / temperature. The scores are overwritten by the result.
    """
    scores -= highest
    scores *= cool
    return np.exp(scores, out=scores)
