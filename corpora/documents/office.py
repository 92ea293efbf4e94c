"""Reads the paragraphs of Word documents and OpenDocument texts.

A paragraph is one line (with the line breaks that its author put into it), a row of a table is one line with tabs between its cells,
and notes stand at the end. Left out: what tracked changes have deleted, hidden text, comments, headers and footers, fields, pictures.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from corpora.documents.packages import Package, parsing
from model.errors import LockedFile

_WORD = ("http://schemas.openxmlformats.org/wordprocessingml/2006/main ", "http://purl.oclc.org/ooxml/wordprocessingml/main ")
_NOTES = ("footnotes.xml", "endnotes.xml")
_SEPARATORS = ("separator", "continuationSeparator", "continuationNotice")  # types of footnotes that are lines (ECMA-376, 17.18.33)
_OFF = ("0", "false", "off")
_SPACES = re.compile(r"[ \t\r\n]+")
MOST_SPACES = 1000  # that one element of OpenDocument may stand for


def read_docx(file: BinaryIO) -> Iterator[str]:
    """Yields the paragraphs of a Word document. Raises `UnreadableDocument`."""
    package = Package(file, "a Word document")
    main = package.main_part()
    folder = main.rpartition("/")[0]
    for name in (main, *(f"{folder}/{each}" for each in _NOTES)):
        if name == main or name in package.names:
            with package.open(name) as part:
                for paragraph in _Word().paragraphs(part):
                    yield paragraph if name == main else paragraph.lstrip()  # a space parts a note from its number


def read_odt(file: BinaryIO) -> Iterator[str]:
    """Yields the paragraphs of an OpenDocument text. Raises `UnreadableDocument` and `LockedFile`."""
    package = Package(file, "an OpenDocument text")
    if any(tag == "encryption-data" for tag, _ in package.elements("META-INF/manifest.xml")):
        raise LockedFile("", package.what)
    with package.open("content.xml") as part:
        yield from _OpenDocument().paragraphs(part)


@dataclass
class _Row:
    """A row of a table: its cells so far, each a list of paragraphs."""

    cells: list[list[str]] = field(default_factory=list)


class _Paragraphs(ABC):
    """Collects paragraphs while XML is parsed. Paragraphs may lie inside of others (in a text box), and tables inside of cells."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._open: list[list[str]] = []  # the text of each open paragraph
        self._rows: list[_Row] = []
        self._skipped = 0  # open elements from the first that is left out
        self._path: list[str] = []

    def paragraphs(self, part: BinaryIO) -> Iterator[str]:
        """Yields the paragraphs of a part."""
        for _ in parsing(part, start=self._start, end=self._end, text=self._text):
            found, self._found = self._found, []
            yield from found

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._skipped or self.leaves_out(name, attributes):
            self._skipped += 1
            return
        self.start(name, attributes)
        self._path.append(name)

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        self._path.pop()
        self.end(name)

    def _text(self, data: str) -> None:
        if not self._skipped:
            self.text(data)

    @abstractmethod
    def leaves_out(self, name: str, attributes: Mapping[str, str]) -> bool:
        """Returns whether an element is left out with all that is in it."""

    @abstractmethod
    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """Begins an element that is not left out."""

    @abstractmethod
    def end(self, name: str) -> None:
        """Ends such an element."""

    @abstractmethod
    def text(self, data: str) -> None:
        """Takes text outside of what is left out."""

    def _write(self, text: str) -> None:
        if self._open:
            self._open[-1].append(text)

    def _end_paragraph(self, text: str) -> None:
        if self._rows and self._rows[-1].cells:
            self._rows[-1].cells[-1].append(text)
        else:
            self._found.append(text)

    def _end_row(self) -> None:
        row = self._rows.pop()
        line = "\t".join(" ".join(filter(None, cell)).replace("\n", " ") for cell in row.cells)
        self._end_paragraph(line.rstrip("\t"))


class _Word(_Paragraphs):
    def __init__(self) -> None:
        super().__init__()
        self._runs: list[bool] = []  # whether each open run is hidden
        self._preserved = False

    def leaves_out(self, name: str, attributes: Mapping[str, str]) -> bool:
        # What was moved away, and what a program reads that does not know the newer form before it.
        local = name.rpartition(" ")[2]
        if local in ("footnote", "endnote"):
            return any(key.endswith(" type") and value in _SEPARATORS for key, value in attributes.items())
        return local in ("moveFrom", "del", "Fallback", "delText")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = _local(name)
        parent = _local(self._path[-1]) if self._path else ""
        if local == "p":
            self._open.append([])
        elif local == "r":
            self._runs.append(False)
        elif local == "tr":
            self._rows.append(_Row())
        elif local == "tc":
            self._rows[-1].cells.append([])
        elif local == "vanish" and parent == "rPr" and len(self._path) > 1 and _local(self._path[-2]) == "r":
            self._runs[-1] = _value(attributes, "val") not in _OFF
        elif local == "t":
            self._preserved = _value(attributes, "space") == "preserve"
        elif parent == "r" and not self._runs[-1]:
            if local == "tab":
                self._write("\t")
            elif (local == "br" and _value(attributes, "type") not in ("page", "column")) or local == "cr":
                self._write("\n")
            elif local == "noBreakHyphen":
                self._write("\u2011")

    def end(self, name: str) -> None:
        local = _local(name)
        if local == "p" and self._open:
            self._end_paragraph("".join(self._open.pop()))
        elif local == "r" and self._runs:
            self._runs.pop()
        elif local == "tr":
            self._end_row()

    def text(self, data: str) -> None:
        if self._path and _local(self._path[-1]) == "t" and not (self._runs and self._runs[-1]):
            self._write(data if self._preserved else _SPACES.sub(" ", data))


class _OpenDocument(_Paragraphs):
    _LEFT_OUT = frozenset(
        "office annotation, text tracked-changes, text note-citation, svg title, svg desc, office forms, text ruby-text,"
        " text sequence-decls, office binary-data".split(", ")
    )

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[str] = []
        self._in_note = 0

    def leaves_out(self, name: str, attributes: Mapping[str, str]) -> bool:
        return _prefixed(name) in self._LEFT_OUT

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        match _prefixed(name):
            case "text p" | "text h":
                self._open.append([])
            case "text s":
                count = _value(attributes, "c") or "1"
                self._write("\u001f" * min(MOST_SPACES, int(count) if count.isdecimal() else 1))
            case "text tab":
                self._write("\u001d")
            case "text line-break":
                self._write("\u001c")
            case "text note-body":
                self._in_note += 1
            case "table table-row":
                self._rows.append(_Row())
            case "table table-cell" | "table covered-table-cell" if self._rows:
                self._rows[-1].cells.append([])

    def end(self, name: str) -> None:
        match _prefixed(name):
            case "text p" | "text h" if self._open:
                text = _SPACES.sub(" ", "".join(self._open.pop())).strip(" ")
                text = text.translate({0x1F: " ", 0x1D: "\t", 0x1C: "\n"})
                if self._in_note:
                    self._notes.append(text)
                else:
                    self._end_paragraph(text)
            case "text note-body":
                self._in_note -= 1
            case "table table-row":
                self._end_row()
            case "office body":
                self._found += self._notes

    def text(self, data: str) -> None:
        self._write(data)


def _local(name: str) -> str:
    """Returns the name of an element of Word without its namespace; others keep theirs."""
    for namespace in _WORD:
        if name.startswith(namespace):
            return name[len(namespace) :]
    return "t" if name.endswith("/math t") else name


def _prefixed(name: str) -> str:
    """Returns ``text p`` for OpenDocument's ``urn:oasis:names:tc:opendocument:xmlns:text:1.0 p``."""
    namespace, _, local = name.rpartition(" ")
    return f"{(namespace.split(':') or [''])[-2] if ':' in namespace else namespace} {local}"


def _value(attributes: Mapping[str, str], name: str) -> str:
    """Returns the value of the attribute with this local name, "" if there is none."""
    return next((value for key, value in attributes.items() if key.rpartition(" ")[2] == name), "")
