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
        self._number = self._names = 0

    def admit(self, name: str) -> None:
        """Raises `UnsafeArchive` if a member's path leaves the archive's folder, or if there are too many members, or too long names."""
        limits = self._options.limits
        self._number += 1
        self._names += len(name)
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
        self._stream = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._options.limits.memory)

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
            try:
                data = self._stream.decompress(fresh, size)
            except lzma.LZMAError as error:
                if "limit" not in str(error):
                    raise
                most = self._options.limits.memory
                raise UnsafeArchive(self._options.origin, f"unpacking it takes more than {most:,} bytes of memory, the limit") from None
            if data:
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
