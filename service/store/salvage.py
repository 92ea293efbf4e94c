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
    stored_by = ("rowid",) if has_rowid(db, table) else tuple(db.table(table).pks)  # no other order is read without sorting
    columns = columns or stored_by
    wanted, order, backwards = ", ".join(columns), ", ".join(stored_by), ", ".join(f"{column} DESC" for column in stored_by)
    found: dict[tuple[Any, ...], None] = {}
    if _collect(db, f"SELECT {wanted} FROM {table} NOT INDEXED ORDER BY {order}", found):
        return list(found)
    from_start = set(found)
    _collect(db, f"SELECT {wanted} FROM {table} NOT INDEXED ORDER BY {backwards}", found)
    if columns == ("rowid",):
        start = max(from_start, default=(0,))[0] + 1
        end = min(found.keys() - from_start, default=(start + GAP,))[0]
        found |= {(number,): None for number in range(start, min(end, start + GAP))}
    for index in db.table(table).indexes:
        _collect(db, f"SELECT {wanted} FROM {table} INDEXED BY {index.name}", found)
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
