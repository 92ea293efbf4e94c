"""Reads what can be read of a damaged database, or from a disk that fails now and then.

A damaged page costs the rows on it, and SQLite gives up there. So the keys are read from both ends, from the indexes, and for numbers
in the gap between; then each row by its key. What the disk fails to read is read once more before it counts as damaged.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.errors import listed
from service.store import row_checksums
from service.store.sqlite_errors import IOERR, code

Row = dict[str, Any]
Read = TypeVar("Read")
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)  # the latter if SQLite names what is damaged in a message

GAP = 100_000  # numbers that are tried one by one between the last key that was read from the start and the first from the end


class Reader:
    """Reads keys and rows. `failed_once` counts what the disk could read only the second time."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.failed_once = 0

    def twice(self, read: Callable[[], Read]) -> Read:
        """Returns what ``read`` returns; if the disk fails, what it returns the second time."""
        try:
            return read()
        except sqlite3.Error as error:
            if code(error) != IOERR:
                raise
            found = read()
            self.failed_once += 1
            return found

    def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Returns all rows of a query."""
        return self.twice(lambda: self.db.execute(sql, values).fetchall())

    def keys(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Returns the values of `columns` that can be read, in no order; by default those of the primary key, or the rowid."""
        stored_by = ("rowid",) if self._has_rowid(table) else tuple(self.db.table(table).pks)  # no other order is read without sorting
        columns = columns or stored_by
        wanted, order, backwards = ", ".join(columns), ", ".join(stored_by), ", ".join(f"{column} DESC" for column in stored_by)
        found: dict[tuple[Any, ...], None] = {}
        if self._collect(f"SELECT {wanted} FROM {table} NOT INDEXED ORDER BY {order}", found):
            return list(found)
        from_start = set(found)
        self._collect(f"SELECT {wanted} FROM {table} NOT INDEXED ORDER BY {backwards}", found)
        if columns == ("rowid",):
            start = max(from_start, default=(0,))[0] + 1
            end = min(found.keys() - from_start, default=(start + GAP,))[0]
            found |= {(number,): None for number in range(start, min(end, start + GAP))}
        for index in self.db.table(table).indexes:
            self._collect(f"SELECT {wanted} FROM {table} INDEXED BY {index.name}", found)
        return list(found)

    def _collect(self, sql: str, found: dict[tuple[Any, ...], None]) -> bool:
        """Adds the rows of a query to `found` until its end or an error; returns whether it came to its end."""

        def collect() -> bool:
            for row in self.db.execute(sql):
                found[tuple(row)] = None
            return True

        try:
            return self.twice(collect)
        except UNREADABLE:
            return False

    def rows_by_key(self, table: str) -> Iterator[tuple[tuple[Any, ...], Row | None]]:
        """Yields each key with its row as a dict, or None if that cannot be read; a number in a gap that no row has is left out."""
        where = "rowid = ?" if self._has_rowid(table) else " AND ".join(f"{column} = ?" for column in self.db.table(table).pks)
        columns = [column.name for column in self.db.table(table).columns]
        for key in self.keys(table):
            try:
                found = self.fetch(f"SELECT {', '.join(columns)} FROM {table} WHERE {where}", *key)
            except UNREADABLE:
                yield key, None
                continue
            if found:
                yield key, dict(zip(columns, found[0], strict=True))

    def _has_rowid(self, table: str) -> bool:
        return not self.db.execute("SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", (table,)).fetchone()[0]


class Contents(Reader):
    """All rows of a database that can be read, and its texts, models and training states on demand."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.checked_columns = row_checksums.tables(db)
        self.tables: dict[str, dict[tuple[Any, ...], Row | None]] = {}
        for table in ("texts", "corpora", "runs", "checkpoints", "metrics", "samples", "events", "keys"):
            if table in db.table_names():
                self.tables[table] = dict(self.rows_by_key(table))

    def count(self, table: str) -> int:
        """Returns how many rows of a table can be read."""
        return sum(row is not None for row in self.tables.get(table, {}).values())

    def rows(self, table: str) -> Iterator[Row]:
        """Yields the rows of a table that can be read."""
        yield from filter(None, self.tables.get(table, {}).values())

    def is_sound(self, table: str, row: Mapping[str, Any]) -> bool:
        """Returns whether the checksum of a row fits. A row of an older release has none."""
        columns = self.checked_columns.get(table)
        return columns is None or row[row_checksums.COLUMN] == row_checksums.crc(*(row[column] for column in columns))

    # ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def name(self, table: str, row: Mapping[str, Any]) -> str:
        """Returns what a row is called."""
        if table == "texts":
            return f"text of corpus {listed(self.corpora_of[row['id']]) or 'without a name'}"
        if table in ("corpora", "runs", "keys"):
            return f"{ {'corpora': 'corpus', 'runs': 'run', 'keys': 'key'}[table] } {row['name']}"
        run = self._names_of_runs.get(row["run"], f"number {row['run']}")
        if table == "checkpoints":
            return f"checkpoint {run}@{row['step']}"
        at = f" at step {row['step']}" if "step" in row else f" of {row['created_at']}"
        return f"{ {'metrics': 'metric', 'samples': 'sample', 'events': 'event'}[table] }{at} of run {run}"

    @cached_property
    def corpora_of(self) -> Mapping[int, list[str]]:
        """The names of the corpora that have a text, by the number of the text."""
        found: dict[int, list[str]] = defaultdict(list)
        for corpus in self.rows("corpora"):
            found[corpus["text"]].append(corpus["name"])
        return found

    @cached_property
    def _names_of_runs(self) -> Mapping[int, str]:
        return {run["id"]: run["name"] for run in self.rows("runs")}

    # ── texts, models and training states ─────────────────────────────────────────────────────────────────────────────

    @cached_property
    def chunks_of(self) -> Mapping[int, list[int]]:
        """The numbers of the chunks that a text has, by the number of the text."""
        found: dict[int, list[int]] = defaultdict(list)
        for text, chunk in self.keys("text_chunks", "text", "chunk"):
            if isinstance(chunk, int):
                found[text].append(chunk)
        return found

    def packed_chunk(self, text: int, number: int) -> bytes | None:
        """Returns one chunk of a text as it is stored, or None behind its end. Raises if it cannot be read."""
        rows = self.fetch("SELECT zlib FROM text_chunks WHERE text = ? AND chunk = ?", text, number)
        return rows[0][0] if rows else None

    def chunk(self, text: int, number: int) -> str | None:
        """Returns one chunk of a text, or None behind its end. Raises if it is damaged."""
        packed = self.packed_chunk(text, number)
        return None if packed is None else zlib.decompress(packed).decode()

    def blob(self, sha256: str) -> bytes | None:
        """Returns the bytes of a model or training state, or None if there are none. Raises if they cannot be read."""
        rows = self.fetch("SELECT data FROM blobs WHERE sha256 = ?", sha256)
        return rows[0][0] if rows else None

    def why_blob_damaged(self, sha256: str) -> str | None:
        """Reads the bytes of a model or training state; returns what is wrong with them, or None."""
        try:
            rows = self.fetch("SELECT size, data FROM blobs WHERE sha256 = ?", sha256)
        except UNREADABLE as error:
            return f"its bytes cannot be read: {error}"
        if not rows:
            return "its bytes are gone"
        size, data = rows[0]
        sound = hashlib.sha256(data).hexdigest() == sha256 and len(data) == size
        return None if sound else "its bytes changed after they were stored"
