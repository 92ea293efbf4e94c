"""The guards of everything that is packed: bombs, paths that escape, temporary copies that outgrow the disk."""

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
from corpora.reading import How, Prefixed
from model.errors import CharloomError, TextTooLarge, UnreadableSource, UnsafeArchive, shown


class Expanding:
    """Decompressed bytes, watched: they stop when they grow beyond what an honest file would hold, and errors get words."""

    def __init__(self, inner: Readable, packed: Prefixed, how: How) -> None:
        self.inner, self.packed, self.how = inner, packed, how
        self.count = 0  # bytes given out

    def read(self, size: int, /) -> bytes:
        """Raises `UnsafeArchive` and `UnreadableSource`."""
        with worded(self.how.origin):
            data = self.inner.read(size)
        self.count += len(data)
        check_expansion(self.count, self.packed.count, self.how)
        return data


def check_expansion(expanded: int, packed: int, how: How) -> None:
    """Raises `UnsafeArchive` where so many bytes cannot come honestly from so few."""
    limits = how.limits
    if expanded > limits.expanded:
        raise UnsafeArchive(how.origin, f"it expands to more than {limits.expanded:,} bytes, the limit")
    if expanded > limits.ratio_from and expanded > limits.ratio * packed:
        raise UnsafeArchive(how.origin, f"it expands to more than {limits.ratio} times its size, as a bomb does")


def check_member(name: str, number: int, how: How) -> None:
    """Raises `UnsafeArchive` for a member that would land outside of the folder it is unpacked into, or for too many members."""
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name) or ".." in re.split(r"[/\\]", name):
        raise UnsafeArchive(how.origin, f"its member {shown(printable(name))} lies outside of it")
    if number > how.limits.members:
        raise UnsafeArchive(how.origin, f"it has more than {how.limits.members:,} members, the limit")


@contextlib.contextmanager
def worded(origin: str) -> Iterator[None]:
    """Turns whatever a damaged packing makes the standard library raise into `UnreadableSource`."""
    try:
        yield
    except CharloomError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        system = isinstance(error, OSError) and error.strerror  # the disk's own trouble, not the file's
        raise UnreadableSource(origin, system or f"it is damaged or incomplete ({error})") from None


@contextlib.contextmanager
def copied(stream: Readable, how: How) -> Iterator[BinaryIO]:
    """A temporary copy that has no name on the disk and is gone afterwards. Raises `TextTooLarge`."""
    with tempfile.TemporaryFile(dir=how.scratch) as file:
        size = 0
        while data := stream.read(BLOCK):
            size += len(data)
            if size > how.limits.size:
                raise TextTooLarge(how.origin, how.limits.size)
            file.write(data)
        file.seek(0)
        yield cast(BinaryIO, file)
