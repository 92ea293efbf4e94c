"""Detects compressed files and archives by their content and reads them as text.

Nothing is ever unpacked to the disk under a member's name. Members come in the order of a folder's files, so that an archive gives
the same text as the folder that was packed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from corpora.decoding import Readable, read_exactly
from corpora.expansion import Expanding, Xz, temporary_copy
from corpora.read_report import ReadReport
from corpora.reading import PeekedStream, ReadOptions, read_documents, read_file
from corpora.tars import tar_documents
from corpora.zips import zip_documents
from model.errors import UnreadableSource

_HEAD = 512  # bytes: the header of a tar, the longest that is needed to tell formats apart
_COMPRESSED = {
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\0": "xz",
    **{b"BZh%d" % level + magic: "bzip2" for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")},
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an empty one
_UNKNOWN = {b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x04\x22\x4d\x18": "lz4"}


def read_stream(stream: BinaryIO, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    """Yields the text of a file: plain, ``.gz .bz2 .xz``, ``.tar`` (also compressed) or ``.zip``.

    Raises `UnsafeArchive`, `UnreadableSource` if the file is damaged, and the errors of `read_file` and `read_documents`.
    """
    head = read_exactly(stream, _HEAD)
    whole = PeekedStream(head, stream)
    if head.startswith(_ZIP):
        with _seekable(whole, stream, options) as file, zip_documents(file, options, report) as documents:
            yield from read_documents(documents, options, report)
    elif kind := next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None):
        with _opened(kind, whole, options) as inner:
            yield from _unpacked(Expanding(inner, whole, options), options, report)
    elif kind := next((kind for magic, kind in _UNKNOWN.items() if head.startswith(magic)), None):
        raise UnreadableSource(options.origin, f"it is packed with {kind}; unpack it first")
    else:
        yield from _unpacked(Expanding(whole, whole, options), options, report)


def _unpacked(stream: Expanding, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    head = read_exactly(stream, _HEAD)
    whole = PeekedStream(head, stream)
    if _is_tar(head):
        with tar_documents(whole, lambda: stream.packed.count, options, report) as documents:
            yield from read_documents(documents, options, report)
    else:
        yield from read_file(whole, options, report)


def _opened(kind: str, packed: Readable, options: ReadOptions) -> contextlib.AbstractContextManager[Readable]:
    if kind == "xz":
        return contextlib.nullcontext(Xz(packed, options))
    file = cast(Any, packed)  # these classes need only read(), but their types ask for more
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    return bz2.BZ2File(file)


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
