"""Keeps a checksum with each row, so that `charloom check` finds a changed bit anywhere.

Blobs and texts have their sha256. All other rows have a CRC-32 in their column `crc`, which triggers write. They belong to a connection
and not to the file (`TEMP`), so every program can write to it; `check` then says that such a row was changed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping

from sqlite_utils import Database

COLUMN = "crc"
FUNCTION = "row_crc"
# No CRC-32 is negative. The first stands for a row that was wrong before a migration, and stays so, the second for one that was made anew.
UNKNOWN, ANEW = -1, -2
Value = int | float | str | bytes | None


def crc(*values: Value) -> int:
    """Returns the CRC-32 of the values of a row, in the order of its columns."""
    return zlib.crc32(b"".join(map(_encoded, values)))


def _encoded(value: Value) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d," % value
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value)
    kind, data = (b"b", value) if isinstance(value, bytes) else (b"s", value.encode("utf-8", "replace"))  # only a damaged row has bytes
    return kind + b"%d," % len(data) + data


def tables(db: Database) -> dict[str, list[str]]:
    """Returns table -> its columns, except the checksum's, of the tables that have one."""
    found = {name: [column.name for column in db.table(name).columns] for name in db.table_names()}
    return {name: [column for column in columns if column != COLUMN] for name, columns in found.items() if COLUMN in columns}


def keys(db: Database, table: str) -> list[str]:
    """Returns the columns of a table's primary key."""
    return list(db.table(table).pks)


def triggers(db: Database) -> list[str]:
    """Returns the statements that let a connection keep the checksums of the rows that it writes."""
    return [statement for table, columns in tables(db).items() for statement in _triggers(table, columns, keys(db, table))]


def _triggers(table: str, columns: Iterable[str], key_columns: Iterable[str]) -> Iterator[str]:
    new = ", ".join(f"NEW.{column}" for column in columns)
    same = " AND ".join(f"{key} = NEW.{key}" for key in key_columns)
    for name, when in (("insert", "INSERT"), ("update", f"UPDATE OF {', '.join(columns)}")):
        yield (
            f"CREATE TEMP TRIGGER {COLUMN}_{name}_{table} AFTER {when} ON main.{table}"
            f" BEGIN UPDATE {table} SET {COLUMN} = {FUNCTION}({new}) WHERE {same}; END"
        )


def install(db: Database, statements: Iterable[str] | None = None) -> None:
    """Carries them out; ``statements`` are those of another connection to the same file, if they are known."""
    db.conn.create_function(FUNCTION, -1, crc, deterministic=True)
    for statement in triggers(db) if statements is None else statements:
        db.execute(statement)


def wrong(db: Database) -> dict[str, list[tuple[Value, ...]]]:
    """Returns table -> the keys of the rows whose checksum does not fit."""
    db.conn.create_function(FUNCTION, -1, crc, deterministic=True)
    return {
        table: db.execute(
            f"SELECT {', '.join(keys(db, table))} FROM {table} WHERE {COLUMN} IS NOT {FUNCTION}({', '.join(columns)})"
        ).fetchall()
        for table, columns in tables(db).items()
    }


def seal(db: Database, known_wrong: Mapping[str, Iterable[tuple[Value, ...]]] | None = None, *, only_anew: bool = False) -> None:
    """Computes all checksums, or only those of rows that were made anew; rows that were wrong before stay so."""
    db.conn.create_function(FUNCTION, -1, crc, deterministic=True)
    for table, columns in tables(db).items():
        which = f" WHERE {COLUMN} = {ANEW}" if only_anew else ""
        db.execute(f"UPDATE {table} SET {COLUMN} = {FUNCTION}({', '.join(columns)}){which}")
        same = " AND ".join(f"{key} = ?" for key in keys(db, table))
        for key in (known_wrong or {}).get(table, ()):
            db.execute(f"UPDATE {table} SET {COLUMN} = {UNKNOWN} WHERE {same}", key)
