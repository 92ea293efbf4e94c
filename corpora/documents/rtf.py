"""Reads the text of RTF documents, with striprtf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

# striprtf writes a bar for the end of a cell; a tab tells it from a bar in the text.
CELL = re.compile(r"(?:\\par[ \r\n]*+(\}?)[ \r\n]*+)?\\(?:nest)?cell(?![a-z])")
_PICTURE = re.compile(r"\{\\pict\b[^{}]*\}")  # hexadecimal digits, most of many files
# Marks of lists: a group of their own in Word and LibreOffice, in other programs only the character.
_LIST_MARK, _BULLET = re.compile(r"\{\\listtext\b"), re.compile(r"^[\u2022\u2013\u25e6]\t")
_LINK = re.compile(r"\{\\\*\\fldinst\b")


def read_rtf(file: BinaryIO) -> Iterator[str]:
    """Yields the lines of a document."""
    from striprtf.striprtf import rtf_to_text

    source = file.read().decode("latin-1")
    source = _LIST_MARK.sub(r"{\\*\\listtext", source)
    source = _LINK.sub(r"{\\*\\charloominst", source)  # striprtf would write the address of a link beside its text
    text: str = rtf_to_text(CELL.sub(r"\1\\tab", _PICTURE.sub("{}", source)), errors="replace")  # type: ignore[no-untyped-call]
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # characters beyond U+FFFF are written as two halves
    for line in text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n"):
        yield _BULLET.sub("", line.rstrip("\t "))
