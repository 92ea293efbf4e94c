"""Reads the text of PDF documents, page by page, with pypdf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from model.errors import LockedFile, NoTextInside

# A word that was broken at the end of a line stays broken: whether its hyphen belongs to it cannot be known.
_LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
# Typographic forms of several letters, which some programs write instead of the letters: U+FB00 to U+FB06 (Unicode, Latin ligatures)
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}


def read_pdf(file: BinaryIO) -> Iterator[str]:
    """Yields the text of each page that has some. Raises `LockedFile`, and `NoTextInside` if no page has."""
    from pypdf import PasswordType, PdfReader

    reader = PdfReader(file)
    if reader.is_encrypted:
        try:
            opened = reader.decrypt("") != PasswordType.NOT_DECRYPTED  # many only forbid to print, and open without a password
        except Exception:  # pypdf decrypts AES only with a further package
            opened = False
        if not opened:
            raise LockedFile("", "a PDF document")
    found = False
    for page in reader.pages:
        text = _LINE_END.sub("", page.extract_text()).translate(_LIGATURES).strip("\n")
        if text:
            found = True
            yield text
    if not found:
        raise NoTextInside("", "a PDF document", len(reader.pages))
