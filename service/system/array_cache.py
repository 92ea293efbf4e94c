"""Caches arrays beside the database: memory-mapped files that can be made again, are bounded and safe to delete.

A file is written under a temporary name and then renamed, so no reader sees half of one. It ends with what it was made from and a
checksum, so a damaged or foreign file is made again rather than trusted. Nothing waits for the disk: the checksum finds what a power
cut took. Readers and writers of a file hold a lock on it (flock(2), as long as the mapping lives), so that it is not removed to make
room. If it is deleted all the same, the mapping stays good until it is let go.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import re
import struct
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from service.system.disk import PART, Room

Array = NDArray[Any]

LIMIT = 8 * 2**30  # bytes of the folder: two encoded corpora of the default --max-size
FORMAT = 1  # of the files; a change of what the arrays mean for the same key needs another
FOOTER = struct.Struct("<8s32sQI")  # MAGIC, digest of the key, bytes of the array, their CRC-32
MAGIC = b"charloom"
BLOCK = 2**20  # bytes read at once
ABANDONED = 60.0  # seconds; a younger file without a lock may be about to take it
OURS = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.\w+")  # the text's hash and the key's, then the kind


class CacheKey(NamedTuple):
    """Names what an array was made from. Equal keys mean equal arrays."""

    text: str  # SHA-256 of the corpus
    kind: str  # what of it is kept, as the file's ending: "ids", "counts"
    facts: tuple[object, ...]  # all else that the array depends on, ready for JSON

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the key and the format."""
        return hashlib.sha256(json.dumps([FORMAT, *self]).encode()).digest()

    @property
    def file_name(self) -> str:
        """``<text>-<key>.<kind>``, with 16 digits of each hash."""
        return f"{self.text[:16]}-{self.digest.hex()[:16]}.{self.kind}"


class Cache:
    """The folder ``<database>.cache``. It need not exist, nor be writable; several processes may use it at once."""

    def __init__(self, database: Path, limit: int = LIMIT, room: Room | None = None) -> None:
        self.folder = Path(f"{database}.cache")
        self._limit = limit
        self._room = room or Room(database)

    def load(self, key: CacheKey, dtype: DTypeLike) -> Array | None:
        """Returns the array (N,) of that key, or None if it is missing or its file is damaged.

        It is a read-only `np.memmap`; other processes may open its `filename`, too.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                _lock(file, fcntl.LOCK_SH)
                if not _is_sound(file, key):
                    return None
                with contextlib.suppress(OSError):  # the time of the last use; fails if the folder is read-only
                    os.utime(path)
                return _mapped(file, dtype)
        except OSError:
            return None

    def store(self, key: CacheKey, dtype: DTypeLike, parts: Iterable[Array], size: int, *, keep: bool = True) -> Array:
        """Stores the array that `parts` make up, of about `size` bytes, and returns it as `load` does.

        Without `keep` it is for the caller only: its file has no name and goes with the array. Raises `OSError` if the folder
        cannot be written or has no room, and what `parts` raise; then nothing is stored.
        """
        self.folder.mkdir(mode=0o700, exist_ok=True)  # as private as a text may be
        self._make_room(size)
        path = self._path(key)
        handle, name = tempfile.mkstemp(PART, f"{path.name}.", self.folder)
        try:
            with open(handle, "w+b") as file:
                _lock(file, fcntl.LOCK_EX)
                _write(file, key, dtype, parts)
                _lock(file, fcntl.LOCK_SH)
                with contextlib.suppress(FileNotFoundError):  # the folder was deleted meanwhile: the open file is as good
                    if not keep:
                        os.unlink(name)
                    else:
                        os.replace(name, path)
                        with path.open("rb") as published:
                            _lock(published, fcntl.LOCK_SH)
                            return _mapped(published, dtype)
                return _mapped(file, dtype)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def _path(self, key: CacheKey) -> Path:
        return self.folder / key.file_name

    def tidy(self, texts: Iterable[str]) -> None:
        """Removes arrays of texts that are not among `texts` (their SHA-256), and what killed writers left behind.

        An array holds the text itself. So it goes also if it is in use: it stays readable where it is mapped, and has no name any more.
        """
        kept = {text[:16] for text in texts}
        for path, found in self._files():
            if path.name[:16] not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()
            elif path.suffix == PART and time.time() - found.st_mtime > ABANDONED:
                _remove_unused(path)

    def has_room(self, size: int) -> bool:
        """Returns whether `store` could make room for `size` bytes if no file were in use. Removes nothing."""
        return size <= self._bound(size, sum(found.st_size for _, found in self._files()))

    def _bound(self, size: int, used: int) -> int:
        """Returns the bytes that all files may have together; `used` are there, `size` are to come."""
        beside = self._room.beside(used)
        return min(max(self._limit, size), beside, (self._room.free + used) // 2)

    def _make_room(self, size: int) -> None:
        """Removes the longest unused files until `size` bytes more are within the bounds.

        These are the limit, which a single file may exceed if it is alone, half of the disk space that is free without the
        cache, and what must be left of it. Raises `OSError` if that is not enough.
        """
        files = sorted(self._files(), key=lambda each: each[1].st_mtime)
        used = sum(found.st_size for _, found in files)
        bound = self._bound(size, used)
        for path, found in files if size <= bound else ():
            if used + size <= bound:
                break
            if _remove_unused(path):
                used -= found.st_size
        if used + size > bound:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yields the files of this module; others in the folder are left alone."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if OURS.match(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        yield path, path.stat()


def release(array: Array) -> None:
    """Gives back the memory of a mapped array: its file is read again when it is used. Does nothing for other arrays."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def _write(file: BinaryIO, key: CacheKey, dtype: DTypeLike, parts: Iterable[Array]) -> None:
    size = checksum = 0
    for part in parts:
        data = np.ascontiguousarray(part, dtype).data
        file.write(data)
        checksum = zlib.crc32(data, checksum)
        size += data.nbytes
    file.write(FOOTER.pack(MAGIC, key.digest, size, checksum))
    file.flush()


def _is_sound(file: BinaryIO, key: CacheKey) -> bool:
    """Returns whether a file is complete and holds the array of that key; reads it to its end, block by block."""
    size = os.fstat(file.fileno()).st_size - FOOTER.size
    if size < 0:
        return False
    file.seek(size)
    magic, digest, stated, checksum = FOOTER.unpack(file.read(FOOTER.size))
    if (magic, digest, stated) != (MAGIC, key.digest, size):
        return False
    file.seek(0)
    block = memoryview(bytearray(BLOCK))
    found = 0
    while size and (count := file.readinto(block[: min(size, BLOCK)])):  # type: ignore[attr-defined]
        found = zlib.crc32(block[:count], found)
        size -= count
    return size == 0 and found == checksum


def _mapped(file: BinaryIO, dtype: DTypeLike) -> Array:
    """Maps what stands before the footer. The mapping keeps the file open, and with it the lock."""
    return np.memmap(file, np.uint8, "r")[: -FOOTER.size].view(dtype)


def _lock(file: BinaryIO, kind: int) -> None:
    """Marks a file as in use. Waits at most while another process removes it, since `_remove_unused` does not wait for locks."""
    with contextlib.suppress(OSError):  # some network file systems have no locks; there a file in use may be removed, which does no harm
        fcntl.flock(file, kind)


def _remove_unused(path: Path) -> bool:
    """Removes a file unless it is in use; returns whether it is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
