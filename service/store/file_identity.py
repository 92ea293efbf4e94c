"""Notices if the database file is moved, deleted, replaced or overwritten while it is in use.

SQLite does not: it would go on writing to a file that has no name any more, or mix its log with foreign pages. What the file is:
its device and inode, and in its header (https://sqlite.org/fileformat.html, 1.3) a random number that each database has of its own,
also each copy that `backup` makes, and the change counter, which only grows. A copy of the database that another program made has
the same number, but an older counter.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path

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
        self._place = found.st_dev, found.st_ino
        with _lock:
            descriptor = _descriptors.get(self._place)
            if descriptor is None:
                descriptor = _Descriptor(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                opened = os.fstat(descriptor.number)
                self._place = opened.st_dev, opened.st_ino
                _descriptors[self._place] = descriptor
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
        if (found.st_dev, found.st_ino) != self._place:
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
