"""Computes once for each text the masks that several features share."""

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
    """A text of N characters with its masks. Each is computed once, when a feature asks for it."""

    def __init__(self, text: str, piece: bool = False) -> None:
        """`piece`: the text is cut from a longer one, and may begin inside a quotation."""
        self.text, self.piece = text, piece
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        self._distinct, self._which = np.unique(codes, return_inverse=True)
        self._known: dict[Callable[[FeatureText], Array], Array] = {}

    def where(self, holds: Callable[[str], bool]) -> Array:
        """(N,) the characters for which `holds` is true."""
        return np.array([holds(chr(code)) for code in self._distinct.tolist()], bool)[self._which]

    def once(self, function: Callable[[FeatureText], Array]) -> Array:
        """(N,) the result of a function of this text, which is computed once."""
        if function not in self._known:
            self._known[function] = function(self)
        return self._known[function]

    def at(self, pattern: re.Pattern[str]) -> Array:
        """(N,) the last character of each match of a pattern."""
        mask = np.zeros(len(self.text), bool)
        mask[[match.end() - 1 for match in pattern.finditer(self.text)]] = True
        return mask

    def in_line(self, mask: Array) -> Array:
        """(N,) whether a mask (N,) has been true in the line so far."""
        return since(mask) < since(self.newline)

    @cached_property
    def kinds(self) -> Array:
        """(N,) the `Kind` of each character: quotations and comments."""
        return kinds(self.text, self.piece)

    @cached_property
    def newline(self) -> Array:
        """(N,) line ends."""
        return self.where("\n".__eq__)

    @cached_property
    def blank(self) -> Array:
        """(N,) blanks, without line ends."""
        return self.where(str.isspace) & ~self.newline

    @cached_property
    def word(self) -> Array:
        """(N,) letters, digits and underscores."""
        return self.where(lambda c: c.isalnum() or c == "_")

    @cached_property
    def leading(self) -> Array:
        """(N,) blanks at the beginning of a line."""
        return self.blank & ~self.in_line(~self.blank & ~self.newline)


def since(mask: Array) -> Array:
    """(N,) characters since a mask (N,) was true, 0 while it is. Before the first time it counts from just before the text."""
    places = np.arange(len(mask))
    return places - np.maximum.accumulate(np.where(mask, places, -1))


def coming(mask: Array) -> Array:
    """(N,) the mask of the next character; False for the last one."""
    return np.append(mask[1:], False)[: len(mask)]


def before(mask: Array) -> Array:
    """(N,) the mask of the previous character; False for the first one."""
    return np.append(False, mask)[: len(mask)]
