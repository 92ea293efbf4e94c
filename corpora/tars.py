"""The members of a tar, read once from front to back: what is wanted goes into one nameless temporary file.

A compressed tar cannot be read in another order than its own, and its members can be read only once. So the selected
text (10 MB of the 1.5 GB of a Linux kernel) is kept aside until all names are known and can be sorted.
"""

from __future__ import annotations

import contextlib
import functools
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO, Any, cast

from corpora.decoding import BLOCK, Readable, decoded
from corpora.expansion import check_member, worded
from corpora.naming import order, printable
from corpora.read_report import ReadReport
from corpora.reading import Document, How
from model.errors import BinaryText, CharloomError, TextTooLarge, UndecodableText, UnreadableSource, UnsafeArchive, shown

_HEADER = 4 * 1024**2  # bytes that a member's headers may take: names of 1 MiB were never seen, and tarfile holds them in memory


@contextlib.contextmanager
def tar_documents(stream: Readable, how: How, report: ReadReport) -> Iterator[Iterator[Document]]:
    """The selected text files of a tar, sorted; of a name that comes twice the last one counts, as when unpacking.

    What cannot be decoded is skipped already here. Raises `UnsafeArchive`, `UnreadableSource`, `TextTooLarge`.
    """
    with tempfile.TemporaryFile(dir=how.scratch) as kept:
        places: dict[str, tuple[int, int]] = {}
        watched = _Headers(stream, how)
        try:
            with worded(how.origin), tarfile.open(fileobj=cast(Any, watched), mode="r|", bufsize=BLOCK, encoding="utf-8") as archive:
                _keep(archive, watched, kept, places, how, report)
        except CharloomError:
            raise
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise UnreadableSource(how.origin, f"it is damaged or incomplete ({error})") from None
        yield (Document(name, functools.partial(_part, kept, *places[name])) for name in sorted(places, key=order))


def _keep(
    archive: tarfile.TarFile, watched: _Headers, kept: IO[bytes], places: dict[str, tuple[int, int]], how: How, report: ReadReport
) -> None:
    number = 0
    while True:
        watched.left = _HEADER
        if (member := archive.next()) is None:
            return
        cast(Any, archive).members.clear()  # tarfile keeps every header: 100 MB for a kernel
        watched.left = None
        number += 1
        check_member(member.name, number, how)
        if member.issparse():
            raise UnsafeArchive(how.origin, f"its member {shown(printable(member.name))} is a file with holes")
        if member.isdir():
            continue
        wanted = how.selection.takes(member.name)
        if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:  # POSIX: an unknown type is to be read as a file
            body = archive.extractfile(member)
            if body is not None:
                if wanted:
                    _keep_text(body, member.name, kept, places, how, report)
                while body.read(BLOCK):
                    pass
        elif wanted:
            report.links.add(member.name)


def _keep_text(body: Readable, name: str, kept: IO[bytes], places: dict[str, tuple[int, int]], how: How, report: ReadReport) -> None:
    places.pop(name, None)
    start = kept.tell()
    try:
        for _ in decoded(_Kept(body, kept, how), name, how.encoding):
            pass
        places[name] = start, kept.tell() - start
    except (BinaryText, UndecodableText) as error:
        report.skip(name, error)
        kept.seek(start)


class _Headers:
    """The tar's bytes; `left` of them may still be read before the next member begins (None while one is being read)."""

    def __init__(self, stream: Readable, how: How) -> None:
        self.stream, self.how = stream, how
        self.left: int | None = _HEADER

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                raise UnsafeArchive(self.how.origin, f"a header in it is larger than {_HEADER:,} bytes")
        return data


class _Kept:
    """Writes down what it reads, up to the limit."""

    def __init__(self, body: Readable, kept: IO[bytes], how: How) -> None:
        self.body, self.kept, self.how = body, kept, how

    def read(self, size: int, /) -> bytes:
        data = self.body.read(size)
        self.kept.write(data)
        if self.kept.tell() > self.how.limits.size:
            raise TextTooLarge(self.how.origin, self.how.limits.size)
        return data


class _Part:
    """A stretch of the temporary file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self.file, self.start, self.end = file, start, start + size

    def read(self, size: int, /) -> bytes:
        self.file.seek(self.start)
        data = self.file.read(min(size, self.end - self.start))
        self.start += len(data)
        return data


@contextlib.contextmanager
def _part(file: IO[bytes], start: int, size: int) -> Iterator[Readable]:
    yield _Part(file, start, size)
