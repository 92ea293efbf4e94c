"""Treats the database as a file: notices if it is moved, deleted, replaced or overwritten while it is in use, and exchanges it.

SQLite does not notice: it would go on writing to a file that has no name any more, or mix its log with foreign pages. What the file is:
its device and inode, and in its header (https://sqlite.org/fileformat.html, 1.3) a random number that each database has of its own,
also each copy that `backup` makes, and the change counter, which only grows. A copy of the database that another program made has
the same number, but an older counter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import struct
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from service.system.disk import sync_folder
from service.system.errors import DatabaseInUse, DatabaseUnusable

# ── what the file is ──────────────────────────────────────────────────────────────────────────────────────────────────

HEADER = 100  # bytes
COUNTER, NUMBER = slice(24, 28), slice(60, 64)  # of the header; SQLite calls the latter the user version
SECOND_LOOKS, PAUSE = 3, 0.002  # a header may be read while it is written; seconds


class _Descriptor:
    """An open file, shared by all that use it in this process, and closed with the last of them.

    Closing any descriptor of a file gives up all locks that the process holds on it (POSIX), SQLite's among them.
    """

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.number)


_descriptors: weakref.WeakValueDictionary[tuple[int, int], _Descriptor] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class FileIdentity:
    """What the file at `path` is now. An object that has a connection to the file keeps this, too. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = path.stat()
        self._inode = found.st_dev, found.st_ino
        with _lock:
            descriptor = _descriptors.get(self._inode)
            if descriptor is None:
                descriptor = _Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                opened = os.fstat(descriptor.number)
                self._inode = opened.st_dev, opened.st_ino
                _descriptors[self._inode] = descriptor
        self._descriptor = descriptor
        self._number = b""
        self._counter = b""
        self._fixed: bytes | None = None

    def settle(self, number: int, *, growing: bool, fixed: bool = False) -> bool:
        """Takes the number that the database has as a whole, its log included; returns whether the file itself has it, or none yet.

        `growing` says that the change counter never goes back: only where a write-ahead log keeps what is not committed. `fixed` says
        that nothing may write to the file.
        """
        header = self.header()
        self._number = number.to_bytes(4, "big")
        self._counter = header[COUNTER] if growing else b""
        self._fixed = header if fixed else None
        return self._has_number(header)

    def why_gone(self) -> str | None:
        """Returns what happened to the file, or None if it is still the same."""
        try:
            found = os.stat(self._path)
        except OSError:
            return "it was moved or deleted"
        if (found.st_dev, found.st_ino) != self._inode:
            return "another file took its place"
        for _ in range(SECOND_LOOKS):
            if self._is_same():
                return None
            time.sleep(PAUSE)
        return "it was overwritten"

    @property
    def size(self) -> int:
        """The bytes of the file, without the log."""
        return os.fstat(self._descriptor.number).st_size

    @property
    def overwritten(self) -> bool:
        """Whether it is the same file with other contents, so that the log beside it must not be written into it."""
        return not self._is_same()

    def _is_same(self) -> bool:
        header = self.header()
        if self._fixed is not None and header != self._fixed:
            return False
        if not self._has_number(header) or (self._counter and header[COUNTER] < self._counter):
            return False
        if self._counter:
            self._counter = header[COUNTER]
        return True

    def _has_number(self, header: bytes) -> bool:
        if len(header) < HEADER:
            return not self._counter.strip(b"\0")  # a new file in WAL mode, whose first page is still in the log
        return header[NUMBER] in (self._number, b"\0\0\0\0")

    def header(self) -> bytes:
        """Returns the file's header as it lies on the disk, without the log."""
        return os.pread(self._descriptor.number, HEADER, 0)


# ── exchanging it ─────────────────────────────────────────────────────────────────────────────────────────────────────

# The bytes that SQLite locks, and its processes with them (https://sqlite.org/lockingv3.html): each that has a database in WAL mode open
# holds one of them shared.
LOCKS, HOW_MANY = 0x40000000, 512
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file, under its name


def exchange(new: Path, path: Path, word: str) -> Path | None:
    """Puts ``new``, a whole database, at ``path``; returns where the file is kept that was there, if one was.

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
