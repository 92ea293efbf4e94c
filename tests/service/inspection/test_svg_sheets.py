"""Whole sheets, and the files they go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from service.inspection.results import CellReport, Inspection, UnitActivations
from service.inspection.svg_sheets import cells_sheet, check, inspection_sheet, save
from service.system.errors import FileTaken, FileUnwritable

SVG = "{http://www.w3.org/2000/svg}"
Parse = Callable[[str], ElementTree.Element]


def said(root: ElementTree.Element) -> str:
    return " ".join(each.text or "" for each in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("width", [30, 80])
def test_a_text_has_surprise_a_unit_gates_and_a_map(parse: Parse, inspection: Inspection, width: int) -> None:
    root = parse(inspection_sheet(inspection, width))
    words = said(root)
    for part in ("how surprising each character was", "Unit 1:2", "forget gate", "layer 1", "1.50 bits per character", "37.5%"):
        assert part in words, part
    assert sum(each.get("class") in ("a", "b") for each in root.iter(f"{SVG}circle")) == 2 + 3 * 2 * 3, "legend, gates, layers, units"
    tips = [each.text for each in root.iter(f"{SVG}title")]
    assert "<: 2.0 bits. Expected: < 50.0%, ␣ 25.0%" in tips


def test_a_cell_without_gates_has_no_squares_for_them(parse: Parse, inspection: Inspection) -> None:
    root = parse(inspection_sheet(replace(inspection, gates=[]), 80))
    assert not list(root.iter(f"{SVG}circle"))
    assert "saturated" not in said(root)


def test_the_empty_text_has_a_sheet(parse: Parse, inspection: Inspection) -> None:
    parse(inspection_sheet(replace(inspection, text="", characters=0, bits=[], units=[UnitActivations("0:0", [])], alternatives=[]), 80))


def test_a_cell_says_how_good_it_is_and_what_a_fresh_network_reaches(parse: Parse, report: CellReport) -> None:
    words = said(parse(cells_sheet(report, report.best, 80)))
    assert "Unit 0:1 is at or above 0.25 inside quotes" in words
    for part in ("F1 0.90", "precision 0.85", "recall 0.95", "always saying yes 0.33", "fresh network 0.40", "never learned from"):
        assert part in words, part
    assert "digits" not in words


def test_cells_go_to_one_file_or_to_a_file_each(parse: Parse, report: CellReport, tmp_path: Path) -> None:
    one = tmp_path / "cells.svg"
    assert save(report, one, 80) == [one]
    folder = tmp_path / "deep" / "cells"
    assert save(report, folder, 80) == [folder / "quotes.svg", folder / "blanks.svg"]
    for file in (one, *folder.iterdir()):
        parse(file.read_text(encoding="utf-8"))
    assert sorted(path.name for path in folder.iterdir()) == ["blanks.svg", "quotes.svg"]


def test_nothing_is_overwritten_that_was_not_asked_for(report: CellReport, tmp_path: Path) -> None:
    (tmp_path / "blanks.svg").write_text("mine")
    with pytest.raises(FileTaken):
        save(report, tmp_path, 80)
    assert [path.name for path in tmp_path.iterdir()] == ["blanks.svg"], "not even the first one was written"
    with pytest.raises(FileTaken):
        check(tmp_path / "blanks.svg")
    check(tmp_path / "blanks.svg", overwrite=True)
    check(tmp_path, folder=True)
    save(report, tmp_path, 80, overwrite=True)
    assert (tmp_path / "blanks.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_folder_that_cannot_be_made_is_said(report: CellReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileUnwritable):
        save(report, tmp_path / "file", 80)


def test_a_text_goes_to_a_file_and_to_no_folder(inspection: Inspection, tmp_path: Path) -> None:
    assert save(inspection, tmp_path / "a.picture", 80) == [tmp_path / "a.picture"]
    for refused in (lambda: check(tmp_path), lambda: save(inspection, tmp_path, 80)):
        with pytest.raises(FileUnwritable, match="it is a folder"):
            refused()


def test_halves_of_pairs_are_written_as_something_else(inspection: Inspection, tmp_path: Path) -> None:
    (file,) = save(replace(inspection, text=inspection.text.replace("a", "\ud800")), tmp_path / "a.svg", 80)
    assert "\ufffd" in file.read_text(encoding="utf-8")


def test_without_cells_the_sheet_says_so(parse: Parse, report: CellReport, tmp_path: Path) -> None:
    (file,) = save(replace(report, cells=[]), tmp_path / "a.svg", 80)
    assert "No feature occurs often enough" in said(parse(file.read_text(encoding="utf-8")))


def test_what_was_not_asked_for_is_not_drawn(parse: Parse, inspection: Inspection) -> None:
    root = parse(inspection_sheet(replace(inspection, bits=None, bits_per_char=None, alternatives=None, gates=None, neighbours=None), 80))
    assert said(root).startswith("Unit 1:2")
    assert "Characters by the direction of their embeddings" not in said(root)
