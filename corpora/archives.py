"""Compressed files and archives, known by their content: what a stream holds is found out here and read as text.

Nothing is ever unpacked onto the disk under a member's name. Members come in the order of a folder's files, so that an
archive gives the same text as the folder that was packed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from corpora.decoding import Readable, read_exactly
from corpora.expansion import Expanding, copied
from corpora.read_report import ReadReport
from corpora.reading import How, Prefixed, joined, single
from corpora.tars import tar_documents
from corpora.zips import zip_documents
from model.errors import UnreadableSource

_HEAD = 512  # bytes: the header of a tar is the longest thing that must be seen
_COMPRESSED = {
    b"\x1f\x8b\x08": "gzip",
    b"\xfd7zXZ\0": "xz",
    **{b"BZh%d" % level + magic: "bzip2" for level in range(1, 10) for magic in (b"1AY&SY", b"\x17rE8P\x90")},
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an empty one
_UNKNOWN = {b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x04\x22\x4d\x18": "lz4"}


def texts_in(stream: BinaryIO, how: How, report: ReadReport) -> Iterator[str]:
    """The text of a file, whatever it is packed in: plain, ``.gz .bz2 .xz``, ``.tar`` (packed as well) or ``.zip``.

    Raises `UnsafeArchive`, `UnreadableSource` where the packing is damaged, and what `single` and `joined` raise.
    """
    head = read_exactly(stream, _HEAD)
    whole = Prefixed(head, stream)
    if head.startswith(_ZIP):
        with _seekable(whole, stream, how) as file, zip_documents(file, how, report) as documents:
            yield from joined(documents, how, report)
    elif kind := next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None):
        with _opened(kind, whole) as inner:
            yield from _unpacked(Expanding(inner, whole, how), how, report)
    elif kind := next((kind for magic, kind in _UNKNOWN.items() if head.startswith(magic)), None):
        raise UnreadableSource(how.origin, f"it is packed with {kind}; unpack it first")
    else:
        yield from _unpacked(Expanding(whole, whole, how), how, report)


def _unpacked(stream: Expanding, how: How, report: ReadReport) -> Iterator[str]:
    head = read_exactly(stream, _HEAD)
    whole = Prefixed(head, stream)
    if _is_tar(head):
        with tar_documents(whole, how, report) as documents:
            yield from joined(documents, how, report)
    else:
        yield from single(whole, how, report)


def _opened(kind: str, packed: Readable) -> contextlib.AbstractContextManager[Readable]:
    file = cast(Any, packed)  # these classes ask for no more than read() of a file, but their types do
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    return bz2.BZ2File(file) if kind == "bzip2" else lzma.LZMAFile(file)


def _is_tar(head: bytes) -> bool:
    if len(head) < _HEAD or b"\0" not in head or not head.strip(b"\0"):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")  # checks the header's sum
    except (tarfile.HeaderError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _seekable(whole: Readable, stream: BinaryIO, how: How) -> Iterator[BinaryIO]:
    """The stream itself where one can jump in it, else a temporary copy: the table of a zip stands at its end."""
    if stream.seekable():
        stream.seek(0)
        yield stream
    else:
        with copied(whole, how) as file:
            yield file
