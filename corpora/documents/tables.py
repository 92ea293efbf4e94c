"""Reads one column of a workbook or a CSV file, or one field of JSON objects."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time
from typing import Any, BinaryIO

from corpora.records import DELIMITERS
from model.errors import ChooseColumn, NoSuchColumn, UnreadableDocument

LONGEST_CELL = 2**27  # characters; the memory of the process is the limit
LONGEST_NAME, MOST_NAMES = 200, 1000  # characters of a column's name, and columns, that an error tells


def read_csv(file: BinaryIO, column: str) -> Iterator[str]:
    """Yields the values of a column. Raises `NoSuchColumn`."""
    csv.field_size_limit(LONGEST_CELL)
    text = io.TextIOWrapper(file, "utf-8", newline="\n")
    first = text.readline()
    text.seek(0)
    delimiter = max("".join(DELIMITERS.values()), key=first.count) if first else ","
    try:
        yield from _column_of(csv.reader(text, delimiter=delimiter), column)
    finally:
        text.detach()


def read_xlsx(file: BinaryIO, column: str | None) -> Iterator[str]:
    """Yields the values of a column of the first sheet that has any. Raises `ChooseColumn` if there are several and none is named."""
    from openpyxl import load_workbook

    book = load_workbook(file, read_only=True, data_only=True)
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            continue
        sheet.reset_dimensions()  # what the file says of its size may be wrong
        rows = ([_cell(value) for value in row] for row in sheet.iter_rows(values_only=True))
        filled = (row for row in rows if any(row))
        first = next(filled, None)
        if first is None:
            continue
        whole = itertools.chain([first], filled)
        if column is not None:
            yield from _column_of(whole, column)
            return
        head = list(itertools.islice(whole, 100))
        used = [index for index in range(max(map(len, head))) if any(row[index : index + 1] not in ([], [""]) for row in head)]
        if len(used) > 1:
            raise ChooseColumn("", "an Excel workbook", _names(head[0]))
        yield from (row[used[0]] if used[0] < len(row) else "" for row in itertools.chain(head, whole))
        return


def _cell(value: Any) -> str:
    """Returns a cell as a spreadsheet shows it without formats."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return str(value.date())
    return str(value)


def _names(row: Iterable[str]) -> list[str]:
    """Returns the names of columns that an error may carry."""
    return [name.strip()[:LONGEST_NAME] for name in row if name.strip()][:MOST_NAMES]


def _column_of(rows: Iterable[Sequence[str]], column: str) -> Iterator[str]:
    """Yields the values below the name `column`; a number means the column itself, from 1, in a table without names."""
    rows = iter(rows)
    names = next(rows, [])
    stripped = [name.strip() for name in names]
    if column in stripped:
        index = stripped.index(column)
    elif column.isdecimal() and 1 <= int(column) <= len(names):
        index = int(column) - 1
        yield names[index]
    else:
        raise NoSuchColumn("", column, _names(stripped))
    for row in rows:
        if row:
            yield row[index] if index < len(row) else ""


def read_json_lines(file: BinaryIO, field: str) -> Iterator[str]:
    """Yields a field of each object: of one a line, or of an array. ``a.b`` is the field b inside of a. Raises `NoSuchColumn`."""
    first = file.read(4096).lstrip()[:1]
    file.seek(0)
    objects = json.loads(file.read()) if first == b"[" else _objects(file)
    names: list[str] = []
    found = False
    for each in objects:
        value: Any = each
        for key in [field] if isinstance(each, dict) and field in each else field.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            names = names or (list(each) if isinstance(each, dict) else [])
            yield ""
            continue
        found = True
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not found:
        raise NoSuchColumn("", field, _names(names), "field")


def _objects(file: BinaryIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UnreadableDocument("", "a file of JSON lines", f"line {number:,} is no JSON ({error})") from None
