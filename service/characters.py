"""Characters that are shown somewhere: made harmless, and measured in columns."""

from __future__ import annotations

import unicodedata


def safe(text: str) -> str:
    """The text without control characters that a terminal would obey (a model may have learned some); ends of lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _commands(c) else "\ufffd" for c in text)


def _commands(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs") or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def columns(text: str) -> int:
    """Columns that a text takes: two for wide characters, none for accents."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
