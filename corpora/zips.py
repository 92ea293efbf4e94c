"""Reads the members of a zip, each of which can be opened on its own and more than once."""

from __future__ import annotations

import contextlib
import functools
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from corpora.decoding import Readable
from corpora.expansion import check_expansion, check_member, wrapping_errors
from corpora.naming import order
from corpora.read_report import ReadReport
from corpora.reading import Document, ReadOptions
from model.errors import UnreadableSource

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
        archive = zipfile.ZipFile(file)
    with archive:
        members = {}
        expanded = 0
        for number, member in enumerate(archive.infolist(), 1):
            check_member(member.filename, number, options)
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
