"""Protects against harmful archives: decompression bombs, paths that escape, temporary copies that fill the disk."""

from __future__ import annotations

import contextlib
import lzma
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from corpora.decoding import BLOCK, Readable
from corpora.naming import printable
from corpora.reading import PeekedStream, ReadOptions
from model.errors import CharloomError, TextTooLarge, UnreadableSource, UnsafeArchive, shown

MEMBER = 400  # bytes of memory for a member that is kept, beside its name: measured in CPython 3.11
XZ_HEADER = 2**11  # bytes, at most: of a stream 12, of its first block 1024 (the .xz file format, sections 2.1.1 and 3.1)
TAKEN = 2**20  # bytes for members that are taken at once


class Expanding:
    """Decompressed bytes; stops a decompression bomb and turns errors into Charloom's."""

    def __init__(self, inner: Readable, packed: PeekedStream, options: ReadOptions) -> None:
        self.inner, self.packed, self.options = inner, packed, options
        self.count = 0  # bytes returned so far

    def read(self, size: int, /) -> bytes:
        """Raises `UnsafeArchive` and `UnreadableSource`."""
        with wrapping_errors(self.options.origin):
            data = self.inner.read(size)
        self.count += len(data)
        check_expansion(self.count, self.packed.count, self.options)
        return data


def check_expansion(expanded: int, packed: int, options: ReadOptions) -> None:
    """Raises `UnsafeArchive` if `packed` bytes expand to more than the limits allow."""
    limits = options.limits
    if expanded > limits.expanded:
        raise UnsafeArchive(options.origin, f"it expands to more than {limits.expanded:,} bytes, the limit")
    if expanded > limits.ratio_from and expanded > limits.ratio * packed:
        raise UnsafeArchive(options.origin, f"it expands to more than {limits.ratio} times its size, as a bomb does")


class Members:
    """Counts the members of an archive, so that reading their names takes no more time and memory than honest archives need."""

    def __init__(self, options: ReadOptions, packed: Callable[[], int]) -> None:
        """`packed()` returns the bytes of the archive read so far, still compressed."""
        self._options, self._packed = options, packed
        self._number = self._names = self._taken = 0

    def admit(self, name: str) -> None:
        """Raises `UnsafeArchive` if a member's path leaves the archive's folder, or if there are too many members, or too long names."""
        limits = self._options.limits
        self._number += 1
        self._names += len(name)
        while self._number * MEMBER + self._names > self._taken:
            self._options.take(TAKEN)
            self._taken += TAKEN
        if len(name) > limits.name:
            raise self._refused(f"a path in it has {len(name):,} characters, more than {limits.name:,}")
        if re.match(r"[/\\]|[A-Za-z]:[/\\]", name) or ".." in re.split(r"[/\\]", name):
            raise self._refused(f"its member {shown(printable(name))} lies outside of it")
        if self._number > limits.members:
            raise self._refused(f"it has more than {limits.members:,} members, the limit")
        if self._number > limits.members_from and self._number * limits.member > self._packed():
            raise self._refused(f"its members take less than {limits.member} bytes each, as those of a bomb do")
        if self._names > limits.names:
            raise self._refused(f"the paths in it have more than {limits.names:,} characters together, the limit")

    def _refused(self, why: str) -> UnsafeArchive:
        return UnsafeArchive(self._options.origin, why)


class Xz:
    """Unpacks the ``.xz`` format, with an upper limit on the memory for it, which `lzma.LZMAFile` has not."""

    def __init__(self, packed: Readable, options: ReadOptions) -> None:
        self._packed, self._options = packed, options
        self._limit = options.limits.usual_memory
        options.take(self._limit)
        self._stream = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        self._head: bytes | None = b""  # what a stream began with, until something of it is unpacked
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._limit)

    def read(self, size: int, /) -> bytes:
        """Raises `UnsafeArchive`, `lzma.LZMAError` and `EOFError`."""
        while True:
            fresh = b""
            if self._stream.eof:  # another stream may follow, behind zeros
                fresh = self._stream.unused_data.lstrip(b"\0")
                while not fresh:
                    if not (more := self._packed.read(BLOCK)):
                        return b""
                    fresh = more.lstrip(b"\0")
                self._stream = self._new()
            elif self._stream.needs_input and not (fresh := self._packed.read(BLOCK)):
                raise EOFError("it ends too early")
            if data := self._unpack(fresh, size):
                return data

    def _unpack(self, fresh: bytes, size: int) -> bytes:
        """Unpacks more, in more memory if the header of the stream asks for it."""
        if self._head is not None:
            self._head += fresh
        try:
            data = self._stream.decompress(fresh, size)
        except lzma.LZMAError as error:
            if "limit" not in str(error):
                raise
            most = self._options.limits.memory
            if self._head is None or self._limit == most:
                raise UnsafeArchive(
                    self._options.origin, f"unpacking it takes more than {self._limit:,} bytes of memory, the limit"
                ) from None
            self._options.take(most - self._limit)
            self._limit, head = most, self._head
            self._stream = self._new()
            return self._unpack(head, size)
        if data or len(self._head or b"") > XZ_HEADER:
            self._head = None
        return data


@contextlib.contextmanager
def wrapping_errors(origin: str) -> Iterator[None]:
    """Turns the standard library's errors about damaged archives into `UnreadableSource`."""
    try:
        yield
    except CharloomError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        system = isinstance(error, OSError) and error.strerror  # an error of the disk, not of the file's content
        raise UnreadableSource(origin, system or f"it is damaged or incomplete ({error})") from None


@contextlib.contextmanager
def temporary_copy(stream: Readable, options: ReadOptions) -> Iterator[BinaryIO]:
    """Yields a nameless temporary copy, which is deleted afterwards. Raises `TextTooLarge`."""
    with tempfile.TemporaryFile(dir=options.scratch) as file:
        size = 0
        while data := stream.read(BLOCK):
            size += len(data)
            if size > options.limits.size:
                raise TextTooLarge(options.origin, options.limits.size)
            options.check_room(len(data))
            file.write(data)
        file.seek(0)
        yield cast(BinaryIO, file)
