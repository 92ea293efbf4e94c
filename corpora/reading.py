"""Joins many files into one text: each decoded and ended with a newline, in pieces of equal size."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field

from corpora.decoding import AUTO, BLOCK, DecodingNotes, Readable, decoded, read_exactly
from corpora.documents.reader import DocumentReader, DocumentText
from corpora.file_types import HEAD, HTML, FileType, declared_encoding, recognise
from corpora.read_report import ReadReport
from corpora.records import FILE_SEPARATOR
from corpora.selection import Selection
from model.errors import BinaryText, DocumentError, EmptyText, NothingToRead, SourceError, TextTooLarge, UndecodableText, UnsuitableFile

PIECE = 1024 * 1024  # characters; enough to compress well, small beside the memory of any machine
MAX_SIZE = 4 * 1024**3  # bytes; a thousand times what a small recurrent network can learn from


@dataclass(frozen=True)
class Limits:
    """The largest source that is accepted. `size` is the user's; the others stop archives that were made to harm.

    The archive of a Linux kernel is far below them: 90,000 members with 4 MB of names, 1.5 GB, a ratio of ten, 65 MiB to unpack it.
    """

    size: int = MAX_SIZE  # bytes of text
    expanded: int = 16 * 1024**3  # bytes that an archive expands to, text or not
    ratio: int = 100  # of expanded to compressed bytes; deflate can reach 1032 ...
    ratio_from: int = 256 * 1024**2  # ... and so does an honest file that repeats itself, so the ratio of small ones is not checked
    members: int = 500_000
    members_from: int = 10_000  # with more members than these ...
    member: int = 16  # ... each must take this number of bytes, compressed; a real header takes more than fifty
    name: int = 4096  # characters of a member's path
    names: int = 2**24  # ... and of all paths together
    table: int = 2**24  # bytes of a zip's table of contents, which is read as a whole
    memory: int = 66 * 2**20  # bytes for unpacking xz: 65 MiB at its highest level ...
    usual_memory: int = 10 * 2**20  # ... and 9 MiB at the usual one


def untaken(size: int) -> None:
    """Counts no memory: a user of the command line may take all there is."""


@dataclass(frozen=True)
class ReadOptions:
    """The options for reading a source, the same for all of its files. `origin` names it in errors."""

    origin: str
    selection: Selection = field(default_factory=Selection)
    encoding: str | None = None
    errors: str = "strict"  # what becomes of bytes that cannot be decoded
    limits: Limits = field(default_factory=Limits)
    scratch: str | None = None  # folder for temporary files; None is the system's
    take: Callable[[int], None] = untaken  # called with bytes of memory before they are used for unpacking; may raise
    documents: DocumentReader | None = None  # None: documents are not read, and those that are text come with their markup
    apart: bool = False  # whether files are parted by FILE_SEPARATOR, each a record
    room: Callable[[int], object] | None = None  # is called with the bytes that a temporary file grows by, and raises if there is no room

    def check_room(self, size: int) -> None:
        """Raises what `room` raises if there is no room for `size` bytes."""
        if self.room:
            self.room(size)

    def type_of(self, head: bytes, name: str) -> FileType | None:
        """Returns the type of a document that begins with `head`, None for plain text. Raises `UnsuitableFile` for anything else."""
        if self.documents:
            return self.documents.type_of(head, name)
        kind = recognise(head, name)
        if kind is None or kind.decoded:
            return None
        raise UnsuitableFile(name, kind.what, kind.step or "leave out --raw, and its text is read")


@dataclass(frozen=True)
class Document:
    """One file of a folder or archive, which can be opened more than once."""

    name: str
    open: Callable[[], AbstractContextManager[Readable]]


class PeekedStream:
    """A stream whose first bytes have been read ahead; counts the bytes it returns."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self.head, self.rest, self.count = head, rest, 0

    @classmethod
    def of(cls, stream: Readable) -> PeekedStream:
        """Reads ahead as many bytes as tell the type of a file."""
        return cls(read_exactly(stream, HEAD), stream)

    def read(self, size: int, /) -> bytes:
        """Returns the head first, then the rest."""
        if self.head:
            data, self.head = self.head[:size], self.head[size:]
        else:
            data = self.rest.read(size)
        self.count += len(data)
        return data


def read_file(stream: Readable, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    """Yields the text of one file that the user named: undecodable bytes are an error.

    Raises `BinaryText`, `UndecodableText`, `DocumentError`, `EmptyText` and `TextTooLarge`.
    """
    report.files = 1
    report.unused_globs = ", ".join(options.selection.globs)
    notes = DecodingNotes()
    whole = PeekedStream.of(stream)
    counted = _Counted(whole, options, report)
    if kind := options.type_of(whole.head, options.origin):
        text = _document_text(counted, whole.head, options.origin, kind, options, notes, report)
        report.convert(os.path.basename(options.origin) or options.origin, text.type, text.parts, text.empty)
        report.kinds.add(text.records)
        yield from text.pieces()
    else:
        yield from decoded(counted, options.origin, options.encoding, options.errors, notes, report.guesses)
    report.add_notes(notes)


def read_documents(documents: Iterable[Document], options: ReadOptions, report: ReadReport) -> Iterator[str]:
    """Yields the texts of many files, each ended with a newline, or parted by `FILE_SEPARATOR` if they are to be `apart`.

    Undecodable files are skipped and counted in `report`. Raises `NothingToRead` if no file is left, and `TextTooLarge`.
    """
    for document in documents:
        last = ""
        for text in _texts(document, options, report):
            if options.apart:
                report.separators += text.count(FILE_SEPARATOR)
                yield text.replace(FILE_SEPARATOR, "")
            else:
                yield text
            last = text
        if options.apart and last:
            yield FILE_SEPARATOR
        elif last and not last.endswith("\n"):
            yield "\n"
    if not report.files:
        raise NothingToRead(options.origin, ", ".join(options.selection.globs), report.warnings, report.step, report.proposals)


def in_pieces(texts: Iterable[str], options: ReadOptions, report: ReadReport, size: int = PIECE) -> Iterator[str]:
    """Yields the same text in pieces of `size` characters, the last one shorter. Raises `EmptyText` if there is none."""
    parts: list[str] = []
    gathered = 0
    for text in texts:
        report.characters += len(text)
        parts.append(text)
        gathered += len(text)
        if gathered >= size:
            whole = "".join(parts)
            end = gathered - gathered % size
            yield from (whole[i : i + size] for i in range(0, end, size))
            parts, gathered = [whole[end:]], gathered - end
    if gathered:
        yield "".join(parts)
    if not report.characters:
        raise EmptyText(options.origin)


def _texts(document: Document, options: ReadOptions, report: ReadReport) -> Iterator[str]:
    """Yields one file's text. A long file is decoded twice, first to check it: no part of an undecodable file may be used."""
    trial, notes, encoding = ReadReport(bytes_read=report.bytes_read), DecodingNotes(), options.encoding
    found: DocumentText | None = None
    head: list[str] = []
    try:
        with document.open() as stream:
            whole = PeekedStream.of(stream)
            counted = _Counted(whole, options, trial)
            if kind := options.type_of(whole.head, document.name):
                found = _document_text(counted, whole.head, document.name, kind, options, notes, report)
            else:
                with closing(decoded(counted, document.name, encoding, options.errors, notes, report.guesses)) as texts:
                    head = list(itertools.islice(texts, 2))
                    if len(head) == 2:
                        for _ in texts:
                            pass
    except (BinaryText, UndecodableText, DocumentError) as error:
        report.skip(document.name, error)
        return
    except SourceError:
        raise
    except OSError:
        report.unreadable.add(document.name)
        return
    report.files += 1
    report.bytes_read = trial.bytes_read
    report.add_notes(notes, document.name)
    report.kinds.add(found.records if found else "")
    if found:
        report.convert(document.name, found.type, found.parts, found.empty)
        yield from found.pieces()
    elif len(head) < 2:
        yield from head
    else:
        if encoding == AUTO:
            encoding = notes.guess.encoding if notes.guess else None
        with document.open() as stream, closing(decoded(stream, document.name, encoding, options.errors)) as texts:
            yield from texts


def _document_text(
    stream: Readable, head: bytes, name: str, kind: FileType, options: ReadOptions, notes: DecodingNotes, report: ReadReport
) -> DocumentText:
    assert options.documents
    if not kind.decoded:
        return options.documents.read(stream, kind, name)
    declared = declared_encoding(head) if kind is HTML and options.encoding in (None, AUTO) else None
    texts = decoded(stream, name, declared or options.encoding, options.errors, notes, report.guesses)
    return options.documents.read(_Encoded(texts), kind, name)


class _Encoded:
    """The bytes of a text in UTF-8."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts

    def read(self, size: int, /) -> bytes:
        """Returns the next piece, whatever its size; nothing at the end."""
        return next(self._texts, "").encode()


class _Counted:
    """Counts bytes in the report. Raises `TextTooLarge` at the limit."""

    def __init__(self, stream: Readable, options: ReadOptions, report: ReadReport) -> None:
        self.stream, self.options, self.report = stream, options, report

    def read(self, size: int = BLOCK, /) -> bytes:
        data = self.stream.read(size)
        self.report.bytes_read += len(data)
        if self.report.bytes_read > self.options.limits.size:
            raise TextTooLarge(self.options.origin, self.options.limits.size)
        return data
