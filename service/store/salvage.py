"""Reads what can be read of a damaged table.

A damaged page costs the rows on it, and SQLite gives up there. So the keys are read from both ends, from the indexes, and for numbers
in the gap between; then each row by its key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

Row = dict[str, Any]
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)  # the latter if SQLite names what is damaged in a message

GAP = 100_000  # numbers that are tried one by one between the last key that was read from the start and the first from the end


def keys(db: Database, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Returns the values of `columns` that can be read, in no order; by default those of the primary key, or the rowid."""
    columns = columns or (("rowid",) if has_rowid(db, table) else tuple(db.table(table).pks))
    order, backwards = ", ".join(columns), ", ".join(f"{column} DESC" for column in columns)
    found: dict[tuple[Any, ...], None] = {}
    whole = _collect(db, f"SELECT {order} FROM {table} NOT INDEXED ORDER BY {order}", found)
    if whole:
        return list(found)
    last = max(found, default=None)
    from_end: dict[tuple[Any, ...], None] = {}
    _collect(db, f"SELECT {order} FROM {table} NOT INDEXED ORDER BY {backwards}", from_end)
    first = min(from_end, default=None)
    found |= from_end
    for index in db.table(table).indexes:
        _collect(db, f"SELECT {order} FROM {table} INDEXED BY {index.name}", found)
    if columns == ("rowid",):
        start = last[0] + 1 if last else 1
        found |= {(number,): None for number in range(start, min(first[0] if first else start + GAP, start + GAP))}
    return list(found)


def rows(db: Database, table: str) -> Iterator[tuple[tuple[Any, ...], Row | None]]:
    """Yields each key with its row as a dict, or None if that cannot be read; a number in a gap that no row has is left out."""
    where = "rowid = ?" if has_rowid(db, table) else " AND ".join(f"{column} = ?" for column in db.table(table).pks)
    for key in keys(db, table):
        try:
            cursor = db.execute(f"SELECT * FROM {table} WHERE {where}", key)
            names = [column[0] for column in cursor.description]
            found = cursor.fetchone()
        except UNREADABLE:
            yield key, None
            continue
        if found is not None:
            yield key, dict(zip(names, found, strict=True))


def has_rowid(db: Database, table: str) -> bool:
    """Returns whether a table has rowids."""
    return not db.execute("SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", (table,)).fetchone()[0]


def _collect(db: Database, sql: str, found: dict[tuple[Any, ...], None]) -> bool:
    """Adds the rows of a query to `found` until its end or the first error; returns whether it came to its end."""
    try:
        for row in db.execute(sql):
            found[tuple(row)] = None
    except UNREADABLE:
        return False
    return True
