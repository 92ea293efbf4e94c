"""Writes files that appear whole and survive a power cut, and keeps room on the disk. Imports no numpy."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from service.system.errors import FileTaken, FileUnwritable, NoRoomLeft

# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_whole(file: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Writes a file under another name and renames it, so that no reader sees a part of it; a power cut takes none of it, either.

    Raises `FileTaken` and `FileUnwritable`.
    """
    check_writable(file, overwrite=overwrite)
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as written:
            written.write(data)
            written.flush()
            os.fsync(written.fileno())
        part.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise FileUnwritable(str(file), error.strerror or str(error)) from None
    finally:
        with contextlib.suppress(OSError):  # there may not even be a folder
            part.unlink()


def check_writable(file: Path, *, overwrite: bool = False) -> None:
    """Raises what `write_whole` would raise at once: call it before long work that ends in a file."""
    if file.is_dir():
        raise FileUnwritable(str(file), "it is a folder")
    if file.exists() and not overwrite:
        raise FileTaken(str(file))


def sync_folder(folder: Path) -> None:
    """Makes names that were given or taken in a folder survive a power cut. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that keeps no folders of its own cannot sync them
            raise
    finally:
        os.close(handle)


# ── room ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

LEAST = 200_000_000  # bytes that what is stored leaves by default: some checkpoints, and what other programs write meanwhile
RESERVE = 2 * 2**20  # bytes: what cancelling a job or deleting a run of a gigabyte writes to SQLite's log is below a tenth of it
PART = ".part"  # how the name of a file ends that is being written
PLENTY = 8  # times the reserve must be free before it is made: on a disk with less, it is smaller
SMALLEST = 2**17  # bytes of a reserve: what removing the models and texts of so small a disk writes to the log, and some more


class Room:
    """The room on the disk of a database: what grows leaves `least` bytes of it (`RESERVE` at least), what makes room has a reserve.

    A database on a full disk can free nothing, since SQLite writes every change to its log first. So what may grow is refused
    before that; and if other programs fill the disk, a file beside the database (`<database>.reserve`) is given up for what makes room.
    """

    def __init__(self, database: Path, least: int = 0) -> None:
        self._database, self._asked, self.least = database, least, max(least, RESERVE)
        self._reserve = Path(f"{database.absolute()}.reserve")

    @property
    def free(self) -> int:
        """The bytes that may be written to the disk."""
        return shutil.disk_usage(self._reserve.parent).free

    def check(self, extra: int = 0) -> None:
        """Raises `NoRoomLeft` if fewer than `least` bytes would be left once `extra` more are written."""
        if (free := self.free) - extra < self.least:
            raise NoRoomLeft(self._database.name, free, self.least, extra, lower=free - extra >= RESERVE)

    def shortage(self) -> str | None:
        """Returns why nothing may grow now, or None if it may."""
        try:
            self.check()
        except NoRoomLeft as error:
            return str(error)
        return None

    def beside(self, size: int) -> int:
        """Returns the bytes that something of `size` bytes, which lies on the disk already or can be removed, may have on it."""
        return max(0, self.free + size - self.least)

    def give_up_reserve(self) -> bool:
        """Removes the reserve if the disk is nearly full; returns whether that made room."""
        try:
            if self.free >= RESERVE:
                return False
            self._reserve.unlink()
        except OSError:
            return False
        return True

    @property
    def reserve(self) -> int:
        """The bytes of the reserve; 0 if there is none."""
        with contextlib.suppress(OSError):
            return self._reserve.stat().st_size
        return 0

    def no_reserve(self) -> str | None:
        """Returns why there is no reserve, or None if there is one, or nothing can be written at all."""
        try:
            if self.reserve or not os.access(self._reserve.parent, os.W_OK):
                return None
            free = self.free
        except OSError:
            return None
        return (
            f"there is no reserve on the disk of {self._database.name}: {free / 1e6:,.1f} MB are free, and it is made from"
            f" {PLENTY * SMALLEST / 1e6:,.1f} MB on; make room, or cancelling and deleting may have to wait for it, once the disk is full"
        )

    def notes(self) -> list[str]:
        """Returns what the operator of a service should know about its room."""
        found = [note] if (note := self.no_reserve()) else []
        if 0 < self._asked < self.least:
            found.append(f"min_disk is {self._asked:,} bytes; {self.least:,} bytes are left at least, the size of the reserve")
        return found

    def keep_reserve(self) -> None:
        """Makes the reserve if it is missing, as large as the room allows. A disk that is full or cannot be written has none."""
        with contextlib.suppress(OSError):
            held = self.reserve
            size = min(RESERVE, (self.free + held) // PLENTY)
            if held >= size or size < SMALLEST:
                if held:
                    self._reserve.chmod(0o600)  # earlier releases gave it the rights of any new file
                return
            # Random, so that a file system that compresses keeps the room, too; under another name, so that no reserve is shorter.
            part = Path(f"{self._reserve}{PART}")
            try:
                part.unlink(missing_ok=True)
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # as private as the database
                    file.write(os.urandom(size))
                part.replace(self._reserve)
            except OSError:
                part.unlink(missing_ok=True)
