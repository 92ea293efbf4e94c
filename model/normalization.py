"""Normalises text to Unicode normal forms while it arrives in pieces.

Cutting a text anywhere could separate a letter from its accent, or the parts of a Korean syllable. For input, `normalized` cuts only
where it is safe; for output, `Composer` releases a character as soon as nothing can be added to it any more.

The forms are those of Unicode Standard Annex #15 for text with at most 30 marks on a letter, which no language exceeds. Sorting n
marks takes n² steps, and a prompt could contain a million: a longer row of marks is normalised `MARKS` at a time.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.functions import CODE_POINTS

MARKS = 30  # marks in a row that are sorted together: the limit of UAX #15 for stream-safe text


def with_lf(text: str) -> str:
    """Returns a whole text with LF line ends, as corpora have them: CRLF and CR become LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def normalize(text: str, normalization: str) -> str:
    """Returns a whole text in the form `nfc`, `nfd` or `none`."""
    if normalization == "none" or text.isascii():
        return text
    form: Literal["NFC", "NFD"] = "NFD" if normalization == "nfd" else "NFC"
    cuts = _cuts_between_marks(text) if len(text) > MARKS else []
    return "".join(unicodedata.normalize(form, text[start:stop]) for start, stop in pairwise([0, *cuts, len(text)]))


def _cuts_between_marks(text: str) -> list[int]:
    """Returns where to cut a text so that at most `MARKS` marks in a row stay together."""
    marks = _is_mark()[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))]
    if np.count_nonzero(marks) <= MARKS:
        return []
    edges = np.concatenate([[-1], np.flatnonzero(~marks), [len(text)]])  # a row of marks stands between two of them
    rows = np.flatnonzero(np.diff(edges) > MARKS + 1)
    return [cut for row in rows for cut in range(int(edges[row]) + 1 + MARKS, int(edges[row + 1]), MARKS)]


@functools.cache
def _is_mark() -> NDArray[np.bool_]:
    """Returns, for each code point, whether it is a mark or its decomposition begins with one. (CODE_POINTS,)"""
    first, last = 0x300, 0x20000  # beyond are ideographs, tags and private use
    table = np.zeros(CODE_POINTS, bool)
    table[first:last] = [unicodedata.combining(unicodedata.normalize("NFD", chr(code))[0]) > 0 for code in range(first, last)]
    return table


def normalized(pieces: Iterable[str], normalization: str) -> Iterator[str]:
    """Yields the pieces of a text in a normal form: joined, they are `normalize` of the whole.

    Text after the last safe place to cut is held back: seldom more than a word.
    """
    if normalization == "none":
        yield from pieces
        return
    rest = ""
    for piece in pieces:
        searched = len(rest)
        rest += piece
        cut = _last_boundary(rest, searched)
        if cut:
            yield normalize(rest[:cut], normalization)
            rest = rest[cut:]
    if rest:
        yield normalize(rest, normalization)


def _last_boundary(text: str, start: int) -> int:
    """Returns the last place from `start` on where the text may be cut, since the character there changes nothing before it; else 0."""
    for index in range(len(text) - 1, max(start, 1) - 1, -1):
        if _is_inert(text[index]):
            return index
    return 0


def _is_inert(c: str) -> bool:
    """Whether a character certainly neither moves before the previous one nor composes with it; false for some that do neither."""
    return c < "\u0300" or "\u3400" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3"  # Latin, CJK ideographs, Korean syllables


class Composer:
    """Composes a stream of characters to NFC: the pushed and flushed text, joined, is `normalize` of the whole."""

    def __init__(self) -> None:
        self._pending = ""
        self._marks = 0  # in a row, at the end of the pending text

    @property
    def pending(self) -> str:
        """The text that is held back, composed."""
        return unicodedata.normalize("NFC", self._pending)

    def push(self, text: str) -> str:
        """Adds characters; returns those that are final."""
        if text.isascii() and text:  # none of them joins another
            done = self.flush() + text[:-1]
            self._pending = text[-1]
            return done
        return "".join([self._push_one(c) for c in text])

    def _push_one(self, c: str) -> str:
        alone = c if _is_inert(c) else unicodedata.normalize("NFC", c)
        mark = unicodedata.combining(alone[0]) > 0
        final = self._marks == MARKS if mark else self._pending != "" and self._stands_apart(c, alone)
        done = self.flush() if final else ""
        self._pending += c
        self._marks = self._marks + 1 if mark else 0
        return done

    def _stands_apart(self, c: str, alone: str) -> bool:
        """Whether a character, not a mark, does not compose with the pending text; `alone` is its own NFC."""
        return _is_inert(c) or unicodedata.normalize("NFC", self._pending + c) == unicodedata.normalize("NFC", self._pending) + alone

    def flush(self) -> str:
        """Returns the text that is still held back."""
        text, self._pending, self._marks = self._pending, "", 0
        return unicodedata.normalize("NFC", text)
