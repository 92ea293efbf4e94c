"""Fixtures: what was seen inside a small model."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from service.inspection.results import Alternative, CellExcerpt, CellReport, FoundCell, FoundGauge, Gate, Inspection, Neighbour


@pytest.fixture
def inspection() -> Inspection:
    """A text of eleven characters with markup in it, read by two layers."""
    text = "a <b> &\t각\u0301\n"
    return Inspection(
        model="first@100",
        network="lstm 2x3",
        text=text,
        bits_per_char=1.5,
        unknown=0,
        bits=[float(place) for place in range(len(text))],
        alternatives=[[Alternative("<", 0.5), Alternative("␣", 0.25)] for _ in text],
        unit="1:2",
        activations=[place / 5 - 1 for place in range(len(text))],
        gates=[
            Gate(layer, gate, name, [0.0, 0.5, 0.25], [1.0, 0.5, 0.25])
            for layer in (0, 1)
            for gate, name in (("i", "input"), ("f", "forget"), ("o", "output"))
        ],
        neighbours=[Neighbour(symbol, ["<", "&"], [0.5, 0.75], x, -x) for x, symbol in enumerate("a<&7␣B")],
        map_shares=[0.25, 0.125],
    )


@pytest.fixture
def make_cell() -> Callable[..., FoundCell]:
    """``make_cell(feature="quotes", unit="0:1", f1=0.9, found=True, learned=True)``"""

    def made(feature: str = "quotes", unit: str = "0:1", f1: float = 0.9, found: bool = True, learned: bool = True) -> FoundCell:
        excerpt = CellExcerpt("say 'a<b' & go\n", [-0.5] * 5 + [1.0] * 4 + [-1.0] * 6, [False] * 5 + [True] * 4 + [False] * 6)
        return FoundCell(feature, f"inside {feature}", unit, 0.25, True, f1, 0.85, 0.95, 0.2, 0.33, 0.4, found, learned, excerpt)

    return made


@pytest.fixture
def report(make_cell: Callable[..., FoundCell]) -> CellReport:
    """Two cells that were found, one of which a fresh network has, too, and one that was not."""
    cells = [make_cell("blanks", "0:3", 0.95, learned=False), make_cell(), make_cell("digits", "0:2", 0.6, found=False)]
    gauges = [FoundGauge("indentation", "the depth of the indentation", "0:5", 0.5, 0.1)]
    return CellReport("first@100", "lstm 2x3", "tale", 5000, True, cells, gauges)


@pytest.fixture
def parse() -> Callable[[str], ElementTree.Element]:
    """A sheet as XML, which must be sound and must load nothing from elsewhere."""

    def parsed(svg: str) -> ElementTree.Element:
        assert "href" not in svg
        assert "url(" not in svg
        assert "@import" not in svg
        assert "<script" not in svg
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        return root

    return parsed
