"""Which of the cells that were found are worth showing."""

from __future__ import annotations

from service.inspection.results import CellExcerpt, CellReport, FoundCell


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
