"""Copies the database while others write, to one file that opens by itself."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.store import database
from service.store.database import Connections
from service.store.migrations import new_number
from service.system.disk import sync_folder
from service.system.errors import DatabaseUnusable, FileTaken


def backup(connections: Connections, file: str | Path) -> None:
    """Writes the state of this moment to ``file``, which must not exist yet, without texts that are still arriving.

    The file appears when it is complete and on the disk. In WAL mode no other process waits; in other modes, writers do.
    Raises `FileTaken` and `StoreError`.
    """
    target = Path(file)
    if target.exists():
        raise FileTaken(str(target))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with contextlib.suppress(OSError):  # SQLite says what is wrong
            part.touch(mode=0o600)  # as private as the database; SQLite fills an empty file
        with connections.held() as db:
            db.execute("VACUUM INTO ?", (str(part.absolute()),))
        _finish(part)
        with part.open("rb+") as copied:
            os.fsync(copied.fileno())
        _publish(part, target)
        sync_folder(target.absolute().parent)
    except sqlite3.Error as error:
        at_fault = connections.path if database.code(error) in (database.CORRUPT, database.NOTADB, database.BUSY) else target
        raise database.sentence(at_fault, error, connections.busy_timeout) from error
    except OSError as error:
        raise DatabaseUnusable(str(target), f"it cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _finish(part: Path) -> None:
    """Removes what only a live process could finish: arriving texts, and the owners of runs."""
    with contextlib.closing(sqlite3.connect(str(part.absolute()), isolation_level=None)) as conn:
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
