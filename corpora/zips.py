"""Reads the members of a zip, each of which can be opened on its own and more than once."""

from __future__ import annotations

import contextlib
import functools
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from corpora.decoding import Readable
from corpora.expansion import Members, check_expansion, wrapping_errors
from corpora.naming import order
from corpora.read_report import ReadReport
from corpora.reading import Document, ReadOptions
from model.errors import UnreadableSource, UnsafeArchive

TABLE = 10  # bytes of memory for each of a table of contents: measured in CPython 3.11
_ENCRYPTED = 0x1  # bit 0 of a member's flags (APPNOTE.TXT 4.4.4)
_DAMAGES = (zipfile.BadZipFile, struct.error, ValueError, OverflowError, NotImplementedError, RuntimeError)


@contextlib.contextmanager
def zip_documents(file: BinaryIO, options: ReadOptions, report: ReadReport) -> Iterator[Iterator[Document]]:
    """Yields the selected files of a zip, sorted; if a name comes twice, the last one counts, as when unpacking.

    Encrypted members are skipped. Raises `UnsafeArchive` and `UnreadableSource`.
    """
    size = file.seek(0, 2)
    file.seek(0)
    with _wrapping_errors(options):
        reader = _Reader(file, options)
        archive = zipfile.ZipFile(cast(BinaryIO, reader))
        reader.opening = False
    with archive:
        members, admitted = {}, Members(options, lambda: size)
        expanded = 0
        for member in archive.infolist():
            admitted.admit(member.filename)
            expanded += member.file_size  # no more than this is read of a member
            if member.is_dir() or not options.selection.takes(member.filename):
                continue
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                report.links.add(member.filename)
            elif member.flag_bits & _ENCRYPTED:
                report.encrypted.add(member.filename)
            else:
                members[member.filename] = member
        check_expansion(expanded, size, options)
        yield (Document(name, functools.partial(_opened, archive, members[name], options)) for name in sorted(members, key=order))


@contextlib.contextmanager
def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, options: ReadOptions) -> Iterator[Readable]:
    with _wrapping_errors(options):
        body = archive.open(member)
    with body:
        yield _Body(body, options)


class _Reader:
    """The bytes of a zip. Its table of contents is read at once and becomes objects of ten times its size, so that has a limit."""

    def __init__(self, file: BinaryIO, options: ReadOptions) -> None:
        self.file, self.options = file, options
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close
        self.opening = True

    def read(self, size: int = -1, /) -> bytes:
        """Raises `UnsafeArchive`."""
        most = self.options.limits.table
        if size > most:
            raise UnsafeArchive(self.options.origin, f"its table of contents is larger than {most:,} bytes, the limit")
        if self.opening:
            self.options.take(TABLE * max(0, size))
        return self.file.read(size)


class _Body:
    def __init__(self, body: Readable, options: ReadOptions) -> None:
        self.body, self.options = body, options

    def read(self, size: int, /) -> bytes:
        with _wrapping_errors(self.options):
            return self.body.read(size)


@contextlib.contextmanager
def _wrapping_errors(options: ReadOptions) -> Iterator[None]:
    try:
        with wrapping_errors(options.origin):
            yield
    except _DAMAGES as error:
        raise UnreadableSource(options.origin, f"it is damaged or packed in a way that is not supported ({error})") from None
