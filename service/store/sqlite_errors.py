"""Words SQLite's errors, and remembers the damage that is found while rows are read.

This is the one place where `sqlite3.Error` becomes a `StoreError`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Hashable, Iterator
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.system.disk import Room
from service.system.errors import DatabaseBusy, DatabaseDamaged, DatabaseUnusable, DiskFull, StoreError, proposed

# Primary result codes (https://sqlite.org/rescode.html); the interpreter's module does not name them all.
PERM, BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, TOOBIG, NOTADB = 3, 5, 6, 8, 10, 11, 13, 14, 18, 26

WHY = {
    PERM: "access is denied; give write permission to the file and its folder, or name another with --db",
    READONLY: "it is read-only; give write permission to the file and its folder, or name another with --db",
    TOOBIG: "what should be stored is larger than SQLite can hold (1,000,000,000 bytes); choose a smaller model",
    NOTADB: "it is not an SQLite database; name another file with --db",
}
SMALLEST = 2**16  # bytes of the shared memory and of the log of a database that is opened, about


def code(error: BaseException) -> int:
    """Returns SQLite's primary result code; 0 if the error is not SQLite's own."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


@contextlib.contextmanager
def translated(path: Path, busy_timeout: float) -> Iterator[None]:
    """Turns SQLite's errors inside into a `StoreError` about ``path``."""
    try:
        yield
    except sqlite3.Error as error:
        raise sentence(path, error, busy_timeout) from error
    except UnicodeDecodeError as error:  # in SQLite's message about a name that is damaged
        raise DatabaseDamaged(str(path)) from error


def sentence(path: Path, error: sqlite3.Error, busy_timeout: float) -> StoreError:
    """Returns the `StoreError` for what SQLite reported about ``path`` after waiting up to ``busy_timeout`` seconds for a lock."""
    result = code(error)
    if result in (BUSY, LOCKED):
        return DatabaseBusy(str(path), busy_timeout)
    if result == FULL or (result in (IOERR, CANTOPEN) and _is_full(path)):
        return DiskFull(str(path))
    if result == CANTOPEN:
        return DatabaseUnusable(str(path), _why_not_opened(path))
    if result == CORRUPT:
        return DatabaseDamaged(str(path))
    if result == IOERR:
        return DatabaseUnusable(str(path), f"reading or writing it failed ({error}); check the disk")
    return DatabaseUnusable(str(path), WHY.get(result, str(error)))


def _is_full(path: Path) -> bool:
    """Returns whether not even the files fit that SQLite keeps beside a database."""
    with contextlib.suppress(OSError):
        return Room(path).free < SMALLEST
    return False


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


# ── damage ────────────────────────────────────────────────────────────────────────────────────────────────────────────

MOST = 100  # damaged things that are remembered

log = logging.getLogger("charloom")


class DamageLog:
    """What of one database was found damaged since this process began. May be used from any thread."""

    def __init__(self, database: Path) -> None:
        self._remedy = f"{proposed('check', database)} says what is lost and how it is mended"
        self._found: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def note(self, thing: str, why: str, key: Hashable = None) -> None:
        """Remembers that a thing, such as ``checkpoint first@100``, is damaged; logs it if that was not known. `key` names it, too."""
        key = thing if key is None else key
        with self._lock:
            if key in self._found or len(self._found) >= MOST:
                return
            self._found[key] = thing
        log.error("damaged in the database: %s (%s); %s", thing, why, self._remedy)

    def is_sound(self, key: Hashable) -> None:
        """Forgets the damage of a thing that was replaced, or was read whole."""
        if self._found:
            with self._lock:
                self._found.pop(key, None)

    def found(self) -> list[str]:
        """Returns what is damaged, as things."""
        with self._lock:
            return list(self._found.values())
