"""Exchanges the database file while no process uses it, and keeps the one that was there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.store.file_identity import NUMBER, FileIdentity
from service.system.disk import sync_folder
from service.system.errors import DatabaseInUse, DatabaseUnusable

# The bytes that SQLite locks, and its processes with them (https://sqlite.org/lockingv3.html): each that has a database in WAL mode open
# holds one of them shared.
LOCKS, HOW_MANY = 0x40000000, 512
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file, under its name


def exchange(new: Path, path: Path, word: str) -> Path | None:
    """Puts ``new``, a whole database, in the place of ``path``; returns where the file is kept that was there, if one was.

    Raises `DatabaseInUse` if a process has the database open, and `DatabaseUnusable`.
    """
    if path.exists():
        _write_log(path)
    with alone(path):
        return put(new, path, word)


def put(new: Path, path: Path, word: str) -> Path | None:
    """As `exchange`, for a caller that is `alone`.

    At every moment one of the two is at its place, also after a crash. ``word`` says why, in the name of the file that is kept.
    """
    try:
        with new.open("rb+") as written:
            os.fsync(written.fileno())
        kept = None
        if path.exists():
            shutil.copymode(path, new)
            kept = _keep(path, word)
        os.replace(new, path)
        sync_folder(path.parent)
    except OSError as error:
        raise DatabaseUnusable(str(path), f"another file cannot be put in its place: {error.strerror or error}") from error
    return kept


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps all other processes from the database. Raises `DatabaseInUse` if one has it open.

    This process must have no connection to it. Does nothing if there is no such file.
    """
    if not path.exists():
        yield
        return
    try:
        opened = path.open("rb+")
    except OSError as error:
        raise DatabaseUnusable(str(path), error.strerror or str(error)) from error
    with opened as file:
        try:
            if platform.system() == "Linux":  # whose kind of lock also excludes connections of this process
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCKS, HOW_MANY, 0))
            else:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, HOW_MANY, LOCKS)
        except (BlockingIOError, PermissionError):
            raise DatabaseInUse(str(path)) from None
        yield


def _write_log(path: Path) -> None:
    """Writes the log into the file, if it can be, and if it is the log of this file."""
    number = FileIdentity(path).header()[NUMBER]
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(str(path.absolute()), timeout=0)) as conn:
        if number in (b"\0\0\0\0", conn.execute("PRAGMA user_version").fetchone()[0].to_bytes(4, "big")):
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _keep(path: Path, word: str) -> Path:
    """Gives the file a second name, and moves what lies beside it there."""
    name = f"{path.name}.{word}-{time.strftime('%Y%m%dT%H%M%S')}"
    tries = (path.with_name(name if number == 1 else f"{name}-{number}") for number in range(1, 1000))
    kept = next(each for each in tries if not each.exists())
    try:
        os.link(path, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(path, kept)
    for ending in BESIDE:
        beside = Path(f"{path}{ending}")
        if beside.exists():
            if beside.stat().st_size and ending != "-shm":
                beside.replace(f"{kept}{ending}")
            else:
                beside.unlink()
    return kept


@contextlib.contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Gives the name of a file beside ``target`` that is there for a while: it goes at the end, also if this process is killed."""
    part = target.absolute().with_name(f".{target.name}.{os.getpid()}.part")
    names = [str(part), *(f"{part}{ending}" for ending in BESIDE)]
    watcher = None
    with contextlib.suppress(OSError):  # without a shell it stays after a kill
        # A process of its own, in its own session so that no signal for this one reaches it, waits for the end of its input.
        command = ["/bin/sh", "-c", 'cat > /dev/null; rm -f -- "$@"', "sh", *names]
        output = subprocess.DEVNULL
        watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, cwd="/")
    try:
        yield part
    finally:
        for name in names:
            Path(name).unlink(missing_ok=True)
        if watcher is not None:
            watcher.communicate()
