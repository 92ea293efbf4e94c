"""Opens a text that a user names, or an upload, as a `Source` that yields it piece by piece."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from functools import partial
from typing import BinaryIO

from corpora.archives import read_stream
from corpora.builtin import BUILTINS, TABLE
from corpora.decoding import check_encoding
from corpora.documents.reader import Answers, Bounds, DocumentReader, wait_for
from corpora.downloads import Progress, check_sha256, check_url, download, file_name_of, is_url
from corpora.expansion import temporary_copy
from corpora.folders import documents_of
from corpora.naming import printable, suggested_name
from corpora.read_report import ReadReport
from corpora.reading import MAX_SIZE, PIECE, Limits, ReadOptions, in_pieces, read_documents, untaken
from corpora.selection import selection
from model.errors import InvalidSetting, SourceNotFound, UnreadableSource

MOST_ALIKE = 10_000  # files of a folder that are compared with a name that is missing
ALIKE = 0.7  # how much of two names must be the same; difflib's own 0.6 finds "notes" for "tests"


@dataclass
class Source:
    """A text that can be read. Nothing is opened, downloaded or unpacked before `pieces` is iterated.

    `name` is a suggested corpus name; `origin` is what the user named (an absolute path, URL, ``stdin``, ``built-in python (CPython
    3.11.7)``); `report` describes the latest reading.
    """

    name: str
    origin: str
    read: Callable[[ReadReport], Iterator[str]] = field_of(repr=False)
    report: ReadReport = field_of(default_factory=ReadReport)

    def pieces(self) -> Iterator[str]:
        """Yields the text in pieces of 1,048,576 characters (the last one shorter), with LF line ends, without a byte order mark.

        Memory does not grow with the size. Every piece can be encoded as UTF-8. Raises the `TextError`s and `SourceError`s of
        `model.errors`, possibly after some pieces, which must then be discarded; `EmptyText` if there is no text.
        """
        self.report = ReadReport()
        return self.read(self.report)


def open_source(
    what: str,
    *,
    glob: str | Sequence[str] = (),
    encoding: str | None = None,
    errors: str = "strict",
    sha256: str | None = None,
    max_size: int = MAX_SIZE,
    mirror: str | None = None,
    progress: Progress | None = None,
    scratch: str | None = None,
    room: Callable[[int], object] | None = None,
    piece: int = PIECE,
    column: str | None = None,
    field: str | None = None,
    raw: bool = False,
    apart: bool = False,
) -> Source:
    """Opens the text that `what` names: a built-in corpus, ``-`` (stdin), an http(s) URL, a file, a folder.

    A file, stdin and a download may be packed (``.gz .bz2 .xz .zip .tar``). Documents become text, also inside of folders and archives.

    - `glob` selects files of a folder or archive.
    - `encoding` is that of every file; by default UTF-8 unless a byte order mark says otherwise; `auto` takes the likeliest.
    - `errors` says what becomes of bytes that cannot be decoded: `replace` reads U+FFFD in their places, `skip` nothing.
    - `sha256` is that of the bytes of a file or URL before unpacking.
    - `max_size` limits the bytes of text and of a download.
    - `mirror` reads the built-in linux or shakespeare from another place.
    - `progress(bytes, total)` is called during a download.
    - `scratch` is the folder for temporary files, which have no name; `room(bytes)` is called before they grow, and may raise.
    - `piece` is the size of a piece in characters.
    - `column` is that of tables, `field` that of JSON objects, whose values are read alone; `raw` reads documents as they are.
    - `apart`: U+001E stands after each file of a folder or archive, so that each is a record.

    Raises at once `InvalidSetting`, `UnknownEncoding`, `SourceNotFound` and `UnreadableSource`, if they show without reading.
    """
    check_encoding(encoding, errors)
    if max_size < 1:
        raise InvalidSetting("max_size", max_size, "1 or more")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InvalidSetting("sha256", sha256, "64 hexadecimal digits")
    chosen = selection(glob)
    expected = sha256.lower() if sha256 else None
    builtin = TABLE.get(what)
    if builtin is None:
        if mirror is not None:
            raise InvalidSetting("mirror", mirror, "left out unless the source is linux or shakespeare", "it names another place for those")
        place, origin = what, _origin(what)
        name = _name(what)
    else:
        if mirror is not None and builtin.sha256 is None:
            raise InvalidSetting("mirror", mirror, f"left out for {what}", "it is on this machine already")
        place, name = mirror or builtin.place, what
        origin = f"{builtin.origin.partition(' (')[0]} (from {_origin(mirror)})" if mirror else builtin.origin
        chosen = replace(chosen, globs=chosen.globs or builtin.globs, without=builtin.without)
        if mirror is None or not builtin.packed:
            expected = expected or builtin.sha256
    _check_place(place, expected)
    options = ReadOptions(origin, chosen, encoding, errors, _limits(max_size), scratch, room=room, apart=apart)
    documents = _documents(options, column, field, raw)

    def read(report: ReadReport) -> Iterator[str]:
        with documents() as reader:
            opened = replace(options, documents=reader)
            yield from in_pieces(_texts(place, opened, expected, progress, report), opened, report, piece)

    return Source(name, origin, read)


def open_stream(
    stream: BinaryIO,
    file_name: str,
    *,
    glob: str | Sequence[str] = (),
    encoding: str | None = None,
    errors: str = "strict",
    max_size: int = MAX_SIZE,
    scratch: str | None = None,
    room: Callable[[int], object] | None = None,
    piece: int = PIECE,
    take: Callable[[int], None] = untaken,
    wait: Callable[[Answers], None] = wait_for,
    column: str | None = None,
    field: str | None = None,
    raw: bool = False,
    apart: bool = False,
) -> Source:
    """Opens a file that arrives as a stream, such as an upload; it can be read once. The options are those of `open_source`.

    `take(bytes)` is called before memory is used for unpacking, and may raise. `wait` is that of `DocumentReader`. Only the
    stream's `read`, `seek` and `seekable` are used.
    Raises `UnknownEncoding` and `InvalidSetting`.
    """
    check_encoding(encoding, errors)
    name = suggested_name(file_name, frozenset(BUILTINS))
    options = ReadOptions(
        printable(file_name) or "the file", selection(glob), encoding, errors, _limits(max_size), scratch, take, room=room, apart=apart
    )
    documents = _documents(options, column, field, raw, wait)

    def read(report: ReadReport) -> Iterator[str]:
        with documents() as reader:
            opened = replace(options, documents=reader)
            yield from in_pieces(read_stream(stream, opened, report), opened, report, piece)

    return Source(name, options.origin, read)


def _documents(
    options: ReadOptions, column: str | None, field: str | None, raw: bool, wait: Callable[[Answers], None] = wait_for
) -> Callable[[], contextlib.AbstractContextManager[DocumentReader | None]]:
    """Returns what opens a reader of documents for one reading. Raises `InvalidSetting`."""
    if column is not None and field is not None:
        raise InvalidSetting("field", field, "left out with a column", "a column is of a table, a field of JSON objects")
    if raw and (column is not None or field is not None):
        raise InvalidSetting("raw", raw, "left out with a column or field")
    if raw:
        return contextlib.nullcontext
    bounds = Bounds(size=options.limits.size, ratio=options.limits.ratio, ratio_from=options.limits.ratio_from)
    return partial(DocumentReader, bounds, column, field, options.scratch, options.take, options.room, wait)


def _limits(max_size: int) -> Limits:
    return Limits(size=max_size, expanded=max(Limits.expanded, 4 * max_size))


def _check_place(place: str, sha256: str | None) -> None:
    if place == "-":
        return
    if is_url(place):
        check_url(place)
        return
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place):
            raise UnreadableSource(
                printable(place), "only http and https URLs are fetched; give one of those, or the path of a file or folder"
            ) from None
        raise SourceNotFound(printable(place), BUILTINS, alike=_alike(place)) from None
    except OSError as error:
        raise UnreadableSource(printable(place), error.strerror or str(error)) from None
    if sha256 is not None and os.path.isdir(place):
        raise InvalidSetting("sha256", sha256, "left out for a folder", "it is the hash of one file")


def _alike(place: str) -> list[str]:
    """Returns the files beside a path that is missing, and the built-in corpora, whose names are like it, the most alike first."""
    folder, name = os.path.split(place.rstrip("/"))
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError), os.scandir(folder or ".") as entries:
        names = [printable(entry.name) for entry in itertools.islice(entries, MOST_ALIKE)]
    known = {each.lower(): os.path.join(folder, each) for each in names} | ({} if folder else {each: each for each in BUILTINS})
    wished = printable(name).lower()
    near = (each for each in difflib.get_close_matches(wished, known, 10, ALIKE) if _stems_alike(wished, each))  # not by ".txt" alone
    return [known[each] for each in itertools.islice(near, 2)]


def _stems_alike(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, os.path.splitext(name)[0], os.path.splitext(other)[0]).ratio() >= ALIKE


def _texts(place: str, options: ReadOptions, sha256: str | None, progress: Progress | None, report: ReadReport) -> Iterator[str]:
    if place != "-" and os.path.isdir(place):
        yield from read_documents(documents_of(place, options, report), options, report)
        return
    with contextlib.ExitStack() as stack:
        if is_url(place):
            file = stack.enter_context(download(place, options, sha256, progress))
        else:
            file = _checked(_opened(place, stack), options, sha256, stack)
        yield from read_stream(file, options, report)


def _opened(place: str, stack: contextlib.ExitStack) -> BinaryIO:
    if place == "-":
        if sys.stdin is None:
            raise UnreadableSource("stdin", "it is closed")
        return sys.stdin.buffer
    try:
        return stack.enter_context(open(place, "rb"))
    except OSError as error:
        raise UnreadableSource(printable(place), error.strerror or str(error)) from None


def _checked(file: BinaryIO, options: ReadOptions, sha256: str | None, stack: contextlib.ExitStack) -> BinaryIO:
    if sha256 is None:
        return file
    if not file.seekable():
        file = stack.enter_context(temporary_copy(file, options))
    check_sha256(file, options.origin, sha256)
    return file


def _origin(what: str) -> str:
    if what == "-":
        return "stdin"
    return what if is_url(what) else printable(os.path.abspath(what))


def _name(what: str) -> str:
    taken = frozenset(BUILTINS)
    if what == "-":
        return "stdin"
    if is_url(what):
        return suggested_name(file_name_of(what), taken)
    return suggested_name(os.path.basename(os.path.abspath(what)), taken, folder=os.path.isdir(what))
