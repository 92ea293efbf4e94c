"""Suggests a corpus's name from its source, and makes paths printable and sortable."""

from __future__ import annotations

import re
import unicodedata

_PACKED = re.compile(r"(?i)(\.(tar|gz|bz2|xz|zip|tgz|tbz2?|txz))+$")
_ENDING = re.compile(r"(?i)(?<=.)\.[a-z][a-z0-9]{0,4}$")  # .txt and .md, but not the .12 of linux-6.12
_LOOKED_AT = 1000  # characters of a file's name: a client may send any number
_MOST_MARKS = 100  # of a path that is composed; no language needs them
_RESERVED = {"latest", "rnn", "gru", "lstm"}


def suggested_name(file_name: str, taken: frozenset[str] = frozenset(), folder: bool = False) -> str:
    """Returns a name of letters and digits of any script, and ``._-``: ``my play.txt`` gives ``my-play``.

    A `folder` keeps its ending. A reserved or `taken` name gets ``-text``, so that it hides nothing.
    """
    file_name = file_name[:_LOOKED_AT]
    if not folder:
        file_name = _ENDING.sub("", _PACKED.sub("", file_name))
    plain = "".join(c if c in "._" or unicodedata.category(c)[0] in "LMN" else "-" for c in unicodedata.normalize("NFC", file_name))
    name = re.sub("-+", "-", plain).strip("-._")[:64].rstrip("-._") or "corpus"
    return f"{name}-text" if name in _RESERVED | taken else name


def printable(path: str) -> str:
    """Returns a path as text that can be printed and stored, even if its bytes in the file system are not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def order(path: str) -> tuple[bytes, bytes]:
    """Returns a sort key for paths that is the same on every machine: the composed form, since some file systems decompose accents."""
    marks = sum(unicodedata.combining(c) > 0 for c in path)  # sorting them takes time by the square of their number
    composed = path if marks > _MOST_MARKS else unicodedata.normalize("NFC", path)
    return composed.encode("utf-8", "surrogateescape"), path.encode("utf-8", "surrogateescape")
