"""Copies the database while others write, to one file that opens by itself, and puts it back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.store import row_checksums
from service.store.database import Connections
from service.store.database_file import exchange, scratch
from service.store.integrity import IntegrityReport, check, opened
from service.store.migrations import new_number
from service.store.sqlite_errors import BUSY, CORRUPT, NOTADB, code, sentence
from service.system.disk import sync_folder
from service.system.errors import BackupDamaged, DatabaseUnusable, FileTaken


def backup(connections: Connections, file: str | Path) -> IntegrityReport:
    """Writes the state of this moment to ``file``, which must not exist yet, without texts that are still arriving.

    The file appears when it is complete, checked and on the disk. Returns what the check found in it: what was damaged in the database
    already. In WAL mode no other process waits; in other modes, writers do. Raises `FileTaken` and `StoreError`.
    """
    target = Path(file)
    if target.exists():
        raise FileTaken(str(target))
    try:
        with scratch(target) as part:
            with contextlib.suppress(OSError):  # SQLite says what is wrong
                part.touch(mode=0o600)  # as private as the database; SQLite fills an empty file
            with connections.held() as db:
                db.execute("VACUUM INTO ?", (str(part),))
            _finish(part)
            found = check(part, target)
            with part.open("rb+") as copied:
                os.fsync(copied.fileno())
            _publish(part, target)
        sync_folder(target.absolute().parent)
        return found
    except sqlite3.Error as error:
        at_fault = connections.path if code(error) in (CORRUPT, NOTADB, BUSY) else target
        raise sentence(at_fault, error, connections.busy_timeout) from error
    except OSError as error:
        raise DatabaseUnusable(str(target), f"it cannot be written: {error.strerror or error}") from error


def restore(file: str | Path, path: str | Path) -> Path | None:
    """Puts a copy of ``file`` in the place of the database; returns where the file is kept that was there, if one was.

    Both ``file`` and the copy are checked before. Raises `BackupDamaged`, `DatabaseInUse` while a process has the database open, and
    `StoreError`; then everything is as it was.
    """
    source, path = Path(file), Path(path).resolve()
    refuse_damaged(check(source))
    try:
        with scratch(path) as part:
            part.touch(mode=0o600)
            with opened(source) as db:
                db.execute("VACUUM INTO ?", (str(part),))
            _finish(part)
            refuse_damaged(check(part, source))
            return exchange(part, path, "replaced")
    except sqlite3.Error as error:
        raise sentence(path, error, 0) from error
    except OSError as error:
        raise DatabaseUnusable(str(path), f"a copy of {source} cannot be written beside it: {error.strerror or error}") from error


def refuse_damaged(found: IntegrityReport) -> None:
    """Raises `BackupDamaged` unless a check found nothing."""
    if not found.sound:
        raise BackupDamaged(found.database, [finding.what for finding in found.findings])


def _finish(part: Path) -> None:
    """Removes what only a live process could finish: arriving texts, and the owners of runs. Makes it another file than the original."""
    with contextlib.closing(sqlite3.connect(str(part), isolation_level=None)) as conn:
        db = Database(conn, execute_plugins=False)
        row_checksums.install(db)
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("DELETE FROM texts WHERE state != 'ready'")
        conn.execute(
            """UPDATE runs SET state = 'paused', owner = NULL, heartbeat_at = NULL, message = 'it was being trained when this copy was made'
            WHERE owner IS NOT NULL"""
        )
        conn.execute(f"PRAGMA user_version = {new_number()}")
        conn.execute("COMMIT")


def _publish(part: Path, target: Path) -> None:
    try:
        os.link(part, target)  # unlike rename, it never takes the place of a file that has just been made
    except FileExistsError as error:
        raise FileTaken(str(target)) from error
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileTaken(str(target)) from None
        part.rename(target)
