"""SQLite's errors as sentences: the one place where `sqlite3.Error` becomes a `StoreError`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from model.errors import DatabaseBusy, DatabaseUnusable, StoreError

# Primary result codes (https://sqlite.org/rescode.html); the interpreter's module does not name them all.
PERM, BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, TOOBIG, NOTADB = 3, 5, 6, 8, 10, 11, 13, 14, 18, 26

WHY = {
    PERM: "access is denied; give write permission to the file and its folder, or name another with --db",
    READONLY: "it is read-only; give write permission to the file and its folder, or name another with --db",
    CORRUPT: "it is damaged; restore a backup (what can be read of it: sqlite3 FILE .recover)",
    FULL: "the disk is full; make room and try again, nothing that was stored is lost",
    TOOBIG: "what should be stored is larger than SQLite can hold (1,000,000,000 bytes); choose a smaller model",
    NOTADB: "it is not an SQLite database; name another file with --db",
}


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error came from the Python module."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


@contextlib.contextmanager
def translated(path: Path, busy_timeout: float) -> Iterator[None]:
    """Whatever SQLite raises inside leaves as a `StoreError` about ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        raise sentence(path, error, busy_timeout) from error


def sentence(path: Path, error: sqlite3.Error, busy_timeout: float) -> StoreError:
    """The `StoreError` for what SQLite reported about ``path`` after waiting up to ``busy_timeout`` seconds for a lock."""
    result = code(error)
    if result in (BUSY, LOCKED):
        return DatabaseBusy(str(path), busy_timeout)
    if result == CANTOPEN:
        return DatabaseUnusable(str(path), _why_not_opened(path))
    if result == IOERR:
        return DatabaseUnusable(str(path), f"reading or writing it failed ({error}); check the disk")
    return DatabaseUnusable(str(path), WHY.get(result, str(error)))


def _why_not_opened(path: Path) -> str:
    folder = path.absolute().parent
    try:
        if not folder.is_dir():
            return f"its folder {folder} does not exist; make it first, or name another file"
        if path.is_dir():
            return "it is a folder; name a file"
    except PermissionError:
        pass
    return "it cannot be opened; the file and its folder must be readable and writable (SQLite keeps its log beside the file)"
