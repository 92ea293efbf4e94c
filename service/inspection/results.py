"""What was found inside a model, as plain data.

It is made of numbers, strings and lists alone: `dataclasses.asdict` of it is ready for JSON.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Alternative:
    """A symbol that might have come."""

    symbol: str
    probability: float


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
class Inspection:
    """What a model did with a text. Lists of the same length belong together, character by character."""

    model: str  # RUN@STEP
    network: str
    text: str
    bits_per_char: float
    unknown: int  # characters outside the alphabet
    bits: list[float]
    alternatives: list[list[Alternative]]
    unit: str  # LAYER:UNIT
    activations: list[float]
    gates: list[Gate]
    neighbours: list[Neighbour]
    map_shares: list[float]  # of the variance, that the map's two directions explain


@dataclass(frozen=True)
class CellExcerpt:
    """A text, what a unit held once each of its characters was read, and whether the feature holds there."""

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
    above: bool  # whether the feature is said to hold at or above the threshold, or below it
    f1: float
    precision: float
    recall: float
    share: float  # of the characters, for which the feature holds
    always: float  # F1 of saying yes always
    fresh: float  # F1 of the best unit of a network that has learned nothing
    found: bool  # F1 of 0.8 at least, and half of the way from saying yes always to being right always
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
    """The units of a model that follow a readable feature, the best first."""

    model: str
    network: str
    corpus: str
    characters: int  # on which was measured; as many others were used to find
    held_out: bool  # whether the network never learned from them
    cells: list[FoundCell]
    gauges: list[FoundGauge]

    @property
    def best(self) -> list[FoundCell]:
        """One cell for each unit that was found: the feature that it follows best; those that were learned come first."""
        firsts: dict[str, FoundCell] = {}
        for cell in sorted(self.cells, key=lambda cell: (not cell.learned, -cell.f1)):
            if cell.found:
                firsts.setdefault(cell.unit, cell)
        return list(firsts.values())

    @property
    def drawn(self) -> list[FoundCell]:
        """Those of which a picture is worth making: the found ones, or where there are none the three that come closest."""
        return self.best or self.cells[:3]
