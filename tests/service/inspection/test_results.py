"""The cells that are worth showing, the tint scale of surprise, and symbols that a reader can see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import service
from model.vocabulary import SymbolCounts, Vocabulary
from service.inspection.results import (
    FULL_SURPRISE,
    LEAST_SURPRISE,
    TINT_LEVELS,
    CellExcerpt,
    CellReport,
    FoundCell,
    surprise_level,
    visible,
)


def found_cell(unit: str, feature: str, f1: float, *, found: bool = True, learned: bool = True) -> FoundCell:
    return FoundCell(feature, feature, unit, 0.0, True, f1, f1, f1, 0.1, 0.2, 0.3, found, learned, CellExcerpt("", [], []))


def test_the_best_cells_are_one_for_each_unit_and_those_that_were_learned_come_first() -> None:
    cells = [
        found_cell("0:1", "blank", 0.95, learned=False),
        found_cell("0:2", "brackets", 0.9),
        found_cell("0:2", "round_brackets", 0.88),
        found_cell("0:3", "quotes", 0.85),
        found_cell("0:4", "digit", 0.7, found=False),
    ]
    report = CellReport("weaver@7", "rnn 1x4", "knots", 100, True, cells, [])
    assert [cell.feature for cell in report.best] == ["brackets", "quotes", "blank"]
    assert report.drawn == report.best
    poor = CellReport("weaver@7", "rnn 1x4", "knots", 100, True, cells[-1:], [])
    assert poor.best == []
    assert poor.drawn == cells[-1:]


# ── tints ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bits", "level"),
    [(0, 0), (0.499, 0), (0.5, 1), (0.999, 1), (1, 2), (2.5, 3), (6.999, 7), (7, 8), (8, 8), (20.1, 8), (float("inf"), 8)],
)
def test_a_tint_per_bit(bits: float, level: int) -> None:
    assert surprise_level(bits) == level


def test_the_page_has_the_same_scale() -> None:
    script = (Path(service.__file__).parent / "web/static/components/tint-scale.js").read_text(encoding="utf-8")

    def constant(name: str) -> float:
        found = re.search(rf"^const {name} = ([\d.]+);", script, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    assert (constant("LEVELS"), constant("LEAST_SURPRISE")) == (TINT_LEVELS, LEAST_SURPRISE)
    assert "bits < LEAST_SURPRISE ? null : `surprise-${Math.min(LEVELS, Math.floor(bits) + 1)}`" in script
    assert "{ bits: LEVELS - 1 }" in script, "the end of the legend"
    assert FULL_SURPRISE == TINT_LEVELS - 1
    for name in ("TINT_LEVELS", "LEAST_SURPRISE", "surprise_level()", "service/inspection/results.py"):
        assert name in script, "the comment names the other half"


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [("char", "a \n\t\x07é\u200b", ["⇥", "↵", "␣", "U+0007", "a", "é", "U+200B"]), ("byte", "aé", ["a", "\\xa9", "\\xc3"])],
)
def test_symbols_that_would_not_be_seen_have_signs(level: str, text: str, expected: list[str]) -> None:
    *names, unknown = map(visible, Vocabulary.build(SymbolCounts(level, "nfc").add([text])).names)
    assert sorted(names) == sorted(expected)
    assert unknown == "\ufffd"
    assert visible("\n%\n") == "↵%↵", "the separator of records"
