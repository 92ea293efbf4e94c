"""Reads the members of a tar once: keeps the selected ones in one nameless temporary file.

A compressed tar can be read only once and in its own order. So the selected text (10 MB of the 1.5 GB of a Linux kernel) is kept until
all names are known and can be sorted.
"""

from __future__ import annotations

import contextlib
import functools
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from corpora.decoding import AUTO, BLOCK, Readable, decoded
from corpora.expansion import Members, wrapping_errors
from corpora.naming import order, printable
from corpora.read_report import ReadReport
from corpora.reading import Document, PeekedStream, ReadOptions
from model.errors import BinaryText, CharloomError, TextTooLarge, UndecodableText, UnreadableSource, UnsafeArchive, UnsuitableFile, shown

_HEADER = 4 * 1024**2  # bytes that a member's headers may take; tarfile holds them in memory, and real names stay below 1 MiB


@contextlib.contextmanager
def tar_documents(stream: Readable, packed: Callable[[], int], options: ReadOptions, report: ReadReport) -> Iterator[Iterator[Document]]:
    """Yields the selected text files of a tar, sorted; if a name comes twice, the last one counts, as when unpacking.

    `packed()` returns the bytes read so far, still compressed. Undecodable files are skipped already here.
    Raises `UnsafeArchive`, `UnreadableSource`, `TextTooLarge`.
    """
    with tempfile.TemporaryFile(dir=options.scratch) as kept:
        places: dict[str, tuple[int, int]] = {}
        watched = _Headers(stream, options)
        try:
            with (
                wrapping_errors(options.origin),
                tarfile.open(fileobj=cast(Any, watched), mode="r|", bufsize=BLOCK, encoding="utf-8") as archive,
            ):
                _keep(archive, watched, kept, places, Members(options, packed), options, report)
        except CharloomError:
            raise
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise UnreadableSource(options.origin, f"it is damaged or incomplete ({error})") from None
        yield (Document(name, functools.partial(_part, kept, *places[name])) for name in sorted(places, key=order))


def _keep(
    archive: tarfile.TarFile,
    watched: _Headers,
    kept: IO[bytes],
    places: dict[str, tuple[int, int]],
    members: Members,
    options: ReadOptions,
    report: ReadReport,
) -> None:
    while True:
        watched.left = _HEADER
        if (member := archive.next()) is None:
            return
        cast(Any, archive).members.clear()  # tarfile keeps every header: 100 MB for a Linux kernel
        watched.left = None
        members.admit(member.name)
        if member.issparse():
            raise UnsafeArchive(options.origin, f"its member {shown(printable(member.name))} is a file with holes")
        if member.isdir():
            continue
        selected = options.selection.takes(member.name)
        if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:  # POSIX: read an unknown type as a file
            body = archive.extractfile(member)
            if body is not None:
                if selected:
                    _keep_text(body, member.name, kept, places, options, report)
                while body.read(BLOCK):
                    pass
        elif selected:
            report.links.add(member.name)


def _keep_text(
    body: Readable, name: str, kept: IO[bytes], places: dict[str, tuple[int, int]], options: ReadOptions, report: ReadReport
) -> None:
    places.pop(name, None)
    start = kept.tell()
    try:
        whole = PeekedStream.of(_Kept(body, kept, options))
        if options.type_of(whole.head, name):
            while whole.read(BLOCK):
                pass
        else:
            # With `auto` the encoding is chosen when it is read again, and counted only then.
            guesses = None if options.encoding == AUTO else report.guesses
            for _ in decoded(whole, name, options.encoding, options.errors, guesses=guesses):
                pass
        places[name] = start, kept.tell() - start
    except (BinaryText, UndecodableText, UnsuitableFile) as error:
        report.skip(name, error)
        kept.seek(start)


class _Headers:
    """The tar's bytes; `left` more may be read before the next member begins (None while one is being read)."""

    def __init__(self, stream: Readable, options: ReadOptions) -> None:
        self.stream, self.options = stream, options
        self.left: int | None = _HEADER

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                raise UnsafeArchive(self.options.origin, f"a header in it is larger than {_HEADER:,} bytes")
        return data


class _Kept:
    """Copies to `kept` the bytes that it reads, up to the limit."""

    def __init__(self, body: Readable, kept: IO[bytes], options: ReadOptions) -> None:
        self.body, self.kept, self.options = body, kept, options

    def read(self, size: int, /) -> bytes:
        data = self.body.read(size)
        self.options.check_room(len(data))
        self.kept.write(data)
        if self.kept.tell() > self.options.limits.size:
            raise TextTooLarge(self.options.origin, self.options.limits.size)
        return data


class _Part:
    """One member's bytes in the temporary file."""

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
