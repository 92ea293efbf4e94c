"""Detects compressed files and archives by their content and reads them as text.

Nothing is ever unpacked to the disk under a member's name. Members come in the order of a folder's files, so that an archive gives
the same text as the folder that was packed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from corpora.decoding import Readable
from corpora.expansion import Expanding, Xz, temporary_copy
from corpora.file_types import BZIP2, GZIP, XZ, ZIP, FileType, recognise
from corpora.read_report import ReadReport
from corpora.reading import PeekedStream, ReadOptions, read_documents, read_file
from corpora.tars import tar_documents
from corpora.zips import zip_documents

_HEAD = 512  # bytes: the header of a tar


def read_stream(stream: BinaryIO, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    """Yields the text of a file: plain, a document, ``.gz .bz2 .xz``, ``.tar`` (also compressed) or ``.zip``.

    Raises `UnsafeArchive`, `UnreadableSource` if the file is damaged, and the errors of `read_file` and `read_documents`.
    """
    whole = PeekedStream.of(stream)
    kind = recognise(whole.head, options.origin)
    if kind is ZIP:
        with _seekable(whole, stream, options) as file, zip_documents(file, options, report) as documents:
            yield from read_documents(documents, options, report)
    elif kind in _OPENED:
        with _OPENED[kind](whole, options) as inner:
            yield from _unpacked(Expanding(inner, whole, options), options, report)
    else:
        yield from _unpacked(Expanding(whole, whole, options), options, report)


def _unpacked(stream: Expanding, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    whole = PeekedStream.of(stream)
    if _is_tar(whole.head[:_HEAD]):
        with tar_documents(whole, lambda: stream.packed.count, options, report) as documents:
            yield from read_documents(documents, options, report)
    else:
        yield from read_file(whole, options, report)


# These classes need only read(), but their types ask for more.
_OPENED: Mapping[FileType | None, Callable[[Any, ReadOptions], contextlib.AbstractContextManager[Readable]]] = {
    GZIP: lambda packed, options: gzip.GzipFile(fileobj=packed, mode="rb"),
    BZIP2: lambda packed, options: bz2.BZ2File(packed),
    XZ: lambda packed, options: contextlib.nullcontext(Xz(packed, options)),
}


def _is_tar(head: bytes) -> bool:
    if len(head) < _HEAD or b"\0" not in head or not head.strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # checks the header's sum
    except (tarfile.HeaderError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _seekable(whole: Readable, stream: BinaryIO, options: ReadOptions) -> Iterator[BinaryIO]:
    """Yields the stream itself if it is seekable, else a temporary copy: the table of a zip stands at its end."""
    if stream.seekable():
        stream.seek(0)
        yield stream
    else:
        with temporary_copy(whole, options) as file:
            yield file
