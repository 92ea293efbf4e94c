"""Protects against harmful archives: decompression bombs, paths that escape, temporary copies that fill the disk."""

from __future__ import annotations

import contextlib
import lzma
import re
import tempfile
import zlib
from collections.abc import Iterator
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


def check_member(name: str, number: int, options: ReadOptions) -> None:
    """Raises `UnsafeArchive` if a member's path leaves the archive's folder, or if there are too many members."""
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name) or ".." in re.split(r"[/\\]", name):
        raise UnsafeArchive(options.origin, f"its member {shown(printable(name))} lies outside of it")
    if number > options.limits.members:
        raise UnsafeArchive(options.origin, f"it has more than {options.limits.members:,} members, the limit")


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
            file.write(data)
        file.seek(0)
        yield cast(BinaryIO, file)
