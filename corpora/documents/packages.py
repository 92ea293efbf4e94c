"""Opens documents that are a zip of XML: Word, OpenDocument, EPUB and Excel. No entity is expanded and nothing is unpacked to the disk."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, cast
from urllib.parse import unquote
from xml.parsers import expat

from model.errors import LockedFile, UnreadableDocument

BLOCK = 64 * 1024  # bytes that are parsed at once
MAIN_PART = "/relationships/officeDocument"  # how the type of the relationship to an Office file's main part ends (ECMA-376, part 1, 15.2)
_ENCRYPTED = 0x1  # bit 0 of a member's flags (APPNOTE.TXT 4.4.4)

Start = Callable[[str, Mapping[str, str]], None]


class Package:
    """The members of a document; `what` names the type in errors."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        """Raises `UnreadableDocument` if the file is no zip."""
        self.what = what
        try:
            self._zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile:
            raise UnreadableDocument("", what, "it is damaged or incomplete") from None
        self.names = frozenset(self._zip.namelist())

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a member. Raises `UnreadableDocument` if there is none, and `LockedFile`."""
        if name not in self.names:
            raise UnreadableDocument("", self.what, f"its part {name} is missing")
        if self._zip.getinfo(name).flag_bits & _ENCRYPTED:
            raise LockedFile("", self.what)
        return cast(AbstractContextManager[BinaryIO], self._zip.open(name))

    def elements(self, name: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Yields the local name and the attributes of each element of a small member."""
        found: list[tuple[str, dict[str, str]]] = []
        with self.open(name) as member:
            parse(member, start=lambda tag, attributes: found.append((tag.rpartition(" ")[2], dict(attributes))))
        yield from found

    def main_part(self) -> str:
        """Returns the name of the part that an Office file begins with. Raises `UnreadableDocument`."""
        for tag, attributes in self.elements("_rels/.rels"):
            if tag == "Relationship" and attributes.get("Type", "").endswith(MAIN_PART):
                return posixpath.normpath(attributes.get("Target", "").lstrip("/"))
        raise UnreadableDocument("", self.what, "it names no main part")

    def chapters(self) -> Iterator[str]:
        """Yields the names of a book's chapters in their order (EPUB 3.3, sections 4.2.6.3.1 and 5). Raises `LockedFile`."""
        root = next((each["full-path"] for tag, each in self.elements("META-INF/container.xml") if tag == "rootfile"), "")
        folder = posixpath.dirname(root)
        locked = set()
        if "META-INF/encryption.xml" in self.names:  # fonts may be there in any book
            locked = {unquote(each.get("URI", "")) for tag, each in self.elements("META-INF/encryption.xml") if tag == "CipherReference"}
        items: dict[str, dict[str, str]] = {}
        for tag, attributes in self.elements(root):
            if tag == "item":
                items[attributes.get("id", "")] = attributes
            elif tag == "itemref" and attributes.get("linear") != "no":
                item = items.get(attributes.get("idref", ""), {})
                name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
                if "html" in item.get("media-type", "") and "nav" not in item.get("properties", "").split():
                    if name in locked:
                        raise LockedFile("", self.what)
                    yield name


def parse(file: BinaryIO, *, start: Start, end: Callable[[str], None] | None = None, text: Callable[[str], None] | None = None) -> None:
    """Parses XML, whose names become ``namespace name``. Raises `ValueError` if it is damaged or declares entities, as a bomb does."""
    for _ in parsing(file, start=start, end=end, text=text):
        pass


def parsing(
    file: BinaryIO, *, start: Start, end: Callable[[str], None] | None = None, text: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Does what `parse` does block by block, so that the caller can pass on what was found so far."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = _refuse_entity
    try:
        while data := file.read(BLOCK):
            parser.Parse(data, False)
            yield
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    yield


def _refuse_entity(*_: object) -> None:
    raise ValueError("it declares entities of its own, as a bomb does")
