"""What goes on inside a model. What is found there is told as `service.findings` has it."""

from __future__ import annotations

from typing import Literal

from service.api.shapes.base import Count, Shape
from service.findings import FoundCell, FoundGauge, Gate, Neighbour


class UnitActivations(Shape, kw_only=True):
    """What a hidden unit, `LAYER:UNIT`, held once each character was read: tanh(c) of an LSTM, h of other cells."""

    unit: str
    activations: list[float]


class Inspected(Shape, kw_only=True):
    """The answer of ``POST /v1/inspect``: what a model did with a text; null is what was not asked for.

    Lists belong to the characters of `text`, which is in the normal form that is read. `bits` is how surprising each character was,
    `alternatives` are the likeliest symbols in its place (of several symbols in place of the first) with their probabilities.
    `unknown` characters are not in the alphabet. `neighbours` are of the most frequent characters, and `map_shares` the shares of the
    variance that the two directions of their map explain. `liveliest` is the unit that varied most, where all were looked at.
    """

    object: Literal["inspection"] = "inspection"
    model: str
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


class Cells(Shape, kw_only=True):
    """The answer of ``POST /v1/inspect/cells``: units that follow a readable feature, the best first.

    They were found on one half of a sample and measured on `characters` of the other, which the model never learned from where
    `held_out` says so.
    """

    object: Literal["cells"] = "cells"
    model: str
    network: str
    corpus: str
    characters: Count
    held_out: bool
    cells: list[FoundCell]
    gauges: list[FoundGauge]
