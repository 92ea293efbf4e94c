"""A text with what several features need of it, and the little arithmetic that they share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inspection.quoting import kinds

Array = NDArray[Any]


class FeatureText:
    """A text of N characters, with what several features need of it."""

    def __init__(self, text: str, piece: bool = False) -> None:
        """`piece`: it is one of a longer text, and may begin inside something."""
        self.text, self.piece = text, piece
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        self._distinct, self._which = np.unique(codes, return_inverse=True)
        self._known: dict[Callable[[FeatureText], Array], Array] = {}

    def where(self, holds: Callable[[str], bool]) -> Array:
        """(N,) where a character is of some sort."""
        return np.array([holds(chr(code)) for code in self._distinct.tolist()], bool)[self._which]

    def once(self, function: Callable[[FeatureText], Array]) -> Array:
        """(N,) what a function says of this page, which is computed once."""
        if function not in self._known:
            self._known[function] = function(self)
        return self._known[function]

    def at(self, pattern: re.Pattern[str]) -> Array:
        """(N,) true for the last character of each place that a pattern matches."""
        mask = np.zeros(len(self.text), bool)
        mask[[match.end() - 1 for match in pattern.finditer(self.text)]] = True
        return mask

    def in_line(self, mask: Array) -> Array:
        """(N,) whether a mask (N,) has been true in the same line so far."""
        return since(mask) < since(self.newline)

    @cached_property
    def kinds(self) -> Array:
        """(N,) quotations and comments."""
        return kinds(self.text, self.piece)

    @cached_property
    def newline(self) -> Array:
        """(N,) line ends."""
        return self.where("\n".__eq__)

    @cached_property
    def blank(self) -> Array:
        """(N,) blanks; a line end is none."""
        return self.where(str.isspace) & ~self.newline

    @cached_property
    def word(self) -> Array:
        """(N,) letters, digits and underscores."""
        return self.where(lambda c: c.isalnum() or c == "_")

    @cached_property
    def leading(self) -> Array:
        """(N,) the blanks at the beginning of a line."""
        return self.blank & ~self.in_line(~self.blank & ~self.newline)


def since(mask: Array) -> Array:
    """How many characters ago a mask (N,) was true last, 0 where it is; at the beginning as if it had been just before the text."""
    places = np.arange(len(mask))
    return places - np.maximum.accumulate(np.where(mask, places, -1))


def coming(mask: Array) -> Array:
    """The next character's value of a mask (N,); nothing comes after the last."""
    return np.append(mask[1:], False)[: len(mask)]


def before(mask: Array) -> Array:
    """The last character's value of a mask (N,); nothing is before the first."""
    return np.append(False, mask)[: len(mask)]
