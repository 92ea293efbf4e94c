"""What was found inside a model, as plain data: the answers of the API, the reports on a terminal and the figures are made of it.

It consists of numbers, strings and lists alone, so that it is ready for JSON. The docstrings are the descriptions in ``/openapi.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]

# The tint scale of surprise for the SVG figures and the terminal. The page's is the same: components/tint-scale.js; a test compares them.
TINT_LEVELS = 8  # tints of surprise, and of each sign of an activation
LEAST_SURPRISE = 0.5  # bits
FULL_SURPRISE = TINT_LEVELS - 1  # bits from which on the tint is the strongest
SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥"}


def surprise_level(bits: float) -> int:
    """Returns the tint of a surprise: 0 is no tint (below 0.5 bits), then there is one tint per bit, up to `TINT_LEVELS` from 7 bits on."""
    return 0 if bits < LEAST_SURPRISE else int(min(bits, FULL_SURPRISE)) + 1


def visible(symbol: str) -> str:
    """Returns a symbol as a reader can see it: ␣ for a space, ↵ for a line end, ⇥ for a tab, U+0007 for a control character."""
    return "".join(SIGNS.get(c, c if c.isprintable() else f"U+{ord(c):04X}") for c in symbol)


@dataclass(frozen=True)
class Gate:
    """One kind of gate of one layer: for each unit the shares of the text in which it was below 0.1 and above 0.9."""

    layer: int
    gate: str
    name: str
    left: list[float]
    right: list[float]


@dataclass(frozen=True)
class Neighbour:
    """A symbol with those that lie nearest to it, and its place on the map."""

    symbol: str
    nearest: list[str]
    distances: list[float]
    x: float
    y: float


@dataclass(frozen=True)
class UnitActivations:
    """The activations of a hidden unit, `LAYER:UNIT`, once each character was read: tanh(c) of an LSTM, h of other cells."""

    unit: str
    activations: list[float]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The answer of ``POST /v1/inspect``: what a model did with a text. What was not asked for is null.

    Lists have one entry for each character of `text`, which is in the normal form that is read. `bits` is how surprising each character
    was, `alternatives` are the likeliest symbols in its place (if it has several symbols, in place of the first) with their probabilities.
    The separator of records is one symbol: the further ones of its characters have 0 bits and no alternatives.
    `unknown` characters are not in the alphabet. `neighbours` are of the most frequent characters, and `map_shares` the shares of the
    variance that the two directions of their map explain. `liveliest` is the unit that varied most, if all were read.
    """

    object: Literal["inspection"] = "inspection"
    model: str  # RUN@STEP
    cell: str
    num_layers: Count
    hidden_size: Count
    text: str
    characters: Count
    unknown: Count
    bits_per_char: float | None
    bits: list[float] | None
    alternatives: list[list[tuple[str, float]]] | None
    liveliest: str | None
    units: list[UnitActivations]
    gates: list[Gate] | None
    neighbours: list[Neighbour] | None
    map_shares: list[float] | None

    @property
    def network(self) -> str:
        """``lstm 1x384``: the cell, the layers, and the units of each."""
        return f"{self.cell} {self.num_layers}x{self.hidden_size}"


@dataclass(frozen=True)
class CellExcerpt:
    """A text, the activation of a unit once each of its characters was read, and whether the feature holds there."""

    text: str
    activations: list[float]
    holds: list[bool]


@dataclass(frozen=True)
class FoundCell:
    """The unit that follows a feature best, measured on text that was not used to find it."""

    feature: str
    meaning: str
    unit: str
    threshold: float
    above: bool  # whether the feature is predicted at or above the threshold, else below it
    f1: float
    precision: float
    recall: float
    share: float  # of the characters, for which the feature holds
    always: float  # F1 of always predicting the feature
    fresh: float  # F1 of the best unit of the same network before training
    found: bool  # F1 of 0.8 at least, and half of the way from `always` to 1
    learned: bool  # clearly better than the fresh network
    excerpt: CellExcerpt


@dataclass(frozen=True)
class FoundGauge:
    """The unit from which a number is read best: the share of its variance that a straight line explains."""

    feature: str
    meaning: str
    unit: str
    explained: float
    fresh: float


@dataclass(frozen=True)
class CellReport:
    """The answer of ``POST /v1/inspect/cells``: units that follow a readable feature, the best first.

    They were found on one half of a sample and measured on `characters` of the other half. `held_out` tells whether the model never learned
    from them.
    """

    object: Literal["cells"] = field(default="cells", kw_only=True)
    model: str
    network: str
    corpus: str
    characters: Count
    held_out: bool
    cells: list[FoundCell]
    gauges: list[FoundGauge]

    @property
    def best(self) -> list[FoundCell]:
        """Returns one cell for each unit that was found: the feature that it follows best. Those that were learned come first."""
        firsts: dict[str, FoundCell] = {}
        for cell in sorted(self.cells, key=lambda cell: (not cell.learned, -cell.f1)):
            if cell.found:
                firsts.setdefault(cell.unit, cell)
        return list(firsts.values())

    @property
    def drawn(self) -> list[FoundCell]:
        """Returns the cells that are worth a picture: the best, or if there are none the three that come closest."""
        return self.best or self.cells[:3]
