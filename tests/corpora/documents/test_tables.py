"""Columns of workbooks that xlsxwriter makes and of CSV files that Python makes, and fields of JSON objects."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from corpora import open_source
from model.errors import ChooseColumn, InvalidSetting, NoSuchColumn, UnreadableDocument, UnsuitableFile

from .test_office import docx, paragraph

ROWS = [["name", "city", "note"], ["Anna", "Köln", 'says "hi", twice'], ["보라", "Ürümqi", "two\nlines"], ["Cleo", "", "x"]]


def read(path: Path, **options: Any) -> tuple[str, list[str]]:
    """The text of a file, and what was told."""
    source = open_source(str(path), **options)
    return "".join(source.pieces()), source.report.warnings


def workbook(path: Path, *sheets: list[list[Any]]) -> Path:
    with xlsxwriter.Workbook(str(path)) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for rows in sheets:
            sheet = book.add_worksheet()
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    sheet.write(number, column, value, *([day] if isinstance(value, datetime.date) else []))
    return path


@pytest.fixture(params=["xlsx", "csv", "tsv", "semicolons.csv"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"people.{request.param}"
    if request.param == "xlsx":
        return workbook(path, ROWS)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter={"csv": ",", "tsv": "\t"}.get(request.param, ";")).writerows(ROWS)
    return path


def test_a_column_by_its_name_or_number(table: Path) -> None:
    what = "an Excel workbook" if table.suffix == ".xlsx" else "a table"
    assert read(table, column="name") == ("Anna\n보라\nCleo\n", [f"{table.name}: 3 values of {what}"])
    assert read(table, column="2") == ("city\nKöln\nÜrümqi\n", [f"{table.name}: 3 values of {what} (1 without text was left out)"])


def test_values_of_several_lines_are_parted_by_empty_lines(table: Path) -> None:
    assert read(table, column="note")[0] == 'says "hi", twice\n\ntwo\nlines\n\nx\n'


def test_a_column_that_is_not_there(table: Path) -> None:
    with pytest.raises(NoSuchColumn, match="has no column 'town'; it has 'name', 'city', 'note'; choose one of those with --column"):
        read(table, column="town")


def test_a_workbook_asks_for_a_column_unless_it_has_one(tmp_path: Path) -> None:
    with pytest.raises(ChooseColumn, match="an Excel workbook with the columns 'name', 'city', 'note'; choose one with --column NAME"):
        read(workbook(tmp_path / "many.xlsx", ROWS))
    assert read(workbook(tmp_path / "one.xlsx", [], [["", "Anna"], ["", "Bo"]]))[0] == "Anna\nBo\n"


def test_cells_that_are_no_text(tmp_path: Path) -> None:
    rows = [[7], [7.5], [True], [datetime.date(2024, 5, 6)], ["=1+1"]]
    assert read(workbook(tmp_path / "a.xlsx", rows))[0].split("\n")[:4] == ["7", "7.5", "TRUE", "2024-05-06"]


def test_json_lines_and_arrays(tmp_path: Path) -> None:
    objects = [{"text": "one", "of": {"a": "deep"}}, {"text": "two"}, {"other": 1}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(each) for each in objects), encoding="utf-8")
    assert read(path, field="text") == ("one\ntwo\n", ["a.jsonl: 2 values of a file of JSON objects (1 without text was left out)"])
    assert read(path, field="of.a")[0] == "deep\n"
    path.write_text(json.dumps(objects))
    assert read(path, field="text")[0] == "one\ntwo\n"
    with pytest.raises(NoSuchColumn, match="has no field 'words'; it has 'text', 'of'; choose one of those with --field"):
        read(path, field="words")
    path.write_text('{"text": "a"}\n{"text": ')
    with pytest.raises(UnreadableDocument, match="line 2 is no JSON"):
        read(path, field="text")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.4\n")
    with pytest.raises(UnsuitableFile, match="a PDF document; --field is for JSON objects, and --column for tables"):
        read(path, column="name")
    path.write_bytes(docx(paragraph("text")).getvalue())
    with pytest.raises(UnsuitableFile, match="a Word document; --field is for JSON objects, and --column for tables"):
        read(path, column="name")
    with pytest.raises(InvalidSetting, match="field is 'b'; it must be left out with a column"):
        read(path, column="a", field="b")
    with pytest.raises(InvalidSetting, match="raw is True; it must be left out with a column or field"):
        read(path, column="a", raw=True)
