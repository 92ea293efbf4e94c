"""Looks texts up in a corpus by binary search over its suffix array (Manber and Myers 1990).

The text is kept as UTF-8, whose order is that of code points, and only suffixes that begin a character are sorted. A valid text in
UTF-8 occurs in another only at whole characters, so what is found in bytes is exact in characters.

One array of bytes holds everything, in this order (n bytes of text, c characters, b blocks of `BLOCK` bytes):

    suffixes   c numbers of 4 bytes, of 8 if n is too large for them: where each suffix begins, in alphabetical order
    text       n bytes
    marks      b pairs of 8 bytes each: characters and line ends before a block
    ending     n and c, of 8 bytes each
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 2**16  # bytes; counting the characters of one takes 20 us
COMPARED = 64  # bytes that are compared at first: few texts have more in common with a corpus
CACHED = 2**14  # sets of followers that are kept: those of short texts take long to collect, and are asked for repeatedly
NEWLINE = 10
FIRST_OF = 10_000  # occurrences among which the first one is searched
# A list has at least so many lines, at most these shares of blank and indented ones, and at most that mean length.
LINES, BLANK, INDENTED, LENGTH = 20, 0.01, 0.01, 100


def offsets_of(size: int) -> np.dtype[Any]:
    """Returns the type of offsets in a text of `size` bytes."""
    return np.dtype(np.int32 if size < 2**31 else np.int64)


def file_size(size: int, characters: int) -> int:
    """Returns the bytes that the array takes."""
    return characters * offsets_of(size).itemsize + size + 16 * (-(-size // BLOCK) + 1)


def starts_character(text: Array) -> NDArray[np.bool_]:
    """Returns a mask of the bytes of UTF-8 that begin a character."""
    starts: NDArray[np.bool_] = (text & 0xC0) != 0x80
    return starts


class CorpusPosition(NamedTuple):
    """A place in a corpus, with what surrounds it."""

    offset: int  # characters before it, in the NFC form
    line: int  # the first is 1
    before: str  # characters that stand before it
    after: str  # and after it


class Index:
    """Look-ups in a corpus in NFC. Texts must be in NFC, too. Safe for use by several threads."""

    def __init__(self, array: Array) -> None:
        """`array` has the layout above (`index_builder.index_parts` builds it), and may be memory-mapped."""
        self.bytes, self.characters = array[-16:].view(np.int64).tolist()
        dtype = offsets_of(self.bytes)
        begin = self.characters * dtype.itemsize
        end = begin + self.bytes
        # A memoryview returns one number in a fifth of the time that an array takes.
        self._suffixes = array[:begin].view(dtype).data
        self._text = array[begin:end].data
        self._marks = np.frombuffer(array[end:-16].tobytes(), np.int64).reshape(-1, 2)
        self._followers: dict[str, frozenset[str]] = {}

    # ── occurrences ──

    def occurs(self, pattern: bytes) -> bool:
        """Tells whether a text in UTF-8 occurs in the corpus."""
        rank = self._rank(pattern)
        return rank < self.characters and self._begins(rank, pattern)

    def ranks(self, pattern: bytes) -> range:
        """Returns the ranks of the suffixes that begin with a text in UTF-8: one for each of its occurrences."""
        first = self._rank(pattern)
        return range(first, bisect_right(self._suffixes, pattern, first, key=self._prefix_of(len(pattern))))

    def count(self, text: str) -> int:
        """Returns how often a text occurs in the corpus, overlaps included."""
        return len(self.ranks(text.encode("utf-8", "surrogatepass")))

    def common(self, data: bytes, start: int) -> int:
        """Returns the length of the longest copied span from byte `start` of a text in UTF-8, in bytes of whole characters."""
        size = COMPARED
        while True:
            pattern = data[start : start + size]
            rank = self._rank(pattern)  # the suffix with the longest common prefix is one of its two neighbours
            found = max(self._common_prefix(each, pattern) for each in (rank - 1, rank) if 0 <= each < self.characters)
            if found < size or start + size >= len(data):
                break
            size *= 4
        while found and start + found < len(data) and data[start + found] & 0xC0 == 0x80:
            found -= 1
        return found

    def followers(self, text: str) -> frozenset[str]:
        """Returns the characters that follow `text` directly somewhere in the corpus."""
        known = self._followers.get(text)
        if known is None:
            if len(self._followers) >= CACHED:
                self._followers.clear()
            known = self._followers[text] = self._find_followers(text.encode("utf-8", "surrogatepass"))
        return known

    def known_suffix(self, text: str) -> int:
        """Returns the length of the longest suffix of `text` that occurs in the corpus."""
        if self.occurs(text.encode("utf-8", "surrogatepass")):
            return len(text)
        starts = range(1, len(text))
        return len(text) - 1 - bisect_left(starts, True, key=lambda start: self.occurs(text[start:].encode("utf-8", "surrogatepass")))

    def _rank(self, pattern: bytes) -> int:
        """Returns how many suffixes are alphabetically before a text."""
        return bisect_left(self._suffixes, pattern, key=self._prefix_of(len(pattern)))

    def _prefix_of(self, size: int) -> Callable[[int], bytes]:
        """Returns a function that gives the first `size` bytes of the suffix that begins at a byte."""
        return lambda start: bytes(self._text[start : start + size])

    def _begins(self, rank: int, pattern: bytes) -> bool:
        start = self._suffixes[rank]
        return bytes(self._text[start : start + len(pattern)]) == pattern

    def _common_prefix(self, rank: int, pattern: bytes) -> int:
        """Returns the length of the common prefix of a suffix and a text, in bytes."""
        start = self._suffixes[rank]
        suffix = bytes(self._text[start : start + len(pattern)])
        pattern = pattern[: len(suffix)]
        different = int.from_bytes(suffix) ^ int.from_bytes(pattern)
        return len(pattern) - (different.bit_length() + 7) // 8

    def _find_followers(self, pattern: bytes) -> frozenset[str]:
        found = set()
        ranks = self.ranks(pattern)
        rank = ranks.start
        while rank < ranks.stop:
            end = self._suffixes[rank] + len(pattern)
            c = bytes(self._text[end : end + 4]).decode("utf-8", "ignore")[:1]
            if not c:  # at the end of the corpus
                rank += 1
                continue
            found.add(c)
            longer = pattern + c.encode()
            rank = bisect_right(self._suffixes, longer, rank, ranks.stop, key=self._prefix_of(len(longer)))
        return frozenset(found)

    # ── lines and positions ──

    @property
    def is_list(self) -> bool:
        """Whether the corpus is a list of records, such as a name a line: short lines, hardly any of them empty or indented."""
        lines = self.count("\n")
        blank, indented = self.count("\n\n"), self.count("\n ") + self.count("\n\t")
        return lines >= LINES and blank <= BLANK * lines and indented <= INDENTED * lines and self.characters <= LENGTH * lines

    def has_line(self, line: str) -> bool:
        """Tells whether a text without line ends is a line of the corpus."""
        data = line.encode("utf-8", "surrogatepass")
        first, last = self._text[: len(data) + 1], self._text[-len(data) - 1 :]
        return self._text == data or first == data + b"\n" or last == b"\n" + data or self.occurs(b"\n" + data + b"\n")

    def first(self, ranks: range) -> int:
        """Returns the byte at which the first of some occurrences begins; of more than `FIRST_OF`, the first of these many."""
        return int(np.frombuffer(self._suffixes[ranks.start : min(ranks.stop, ranks.start + FIRST_OF)], self._suffixes.format).min())

    def position(self, start: int, stop: int, context: int) -> CorpusPosition:
        """Returns the position of a part of the corpus, given in bytes, with up to `context` characters on either side."""
        characters, lines = self._count_before(start)
        before = bytes(self._text[max(0, start - 4 * context) : start]).decode("utf-8", "ignore")
        after = bytes(self._text[stop : stop + 4 * context]).decode("utf-8", "ignore")
        return CorpusPosition(characters, lines + 1, before[-context:] if context else "", after[:context])

    def _count_before(self, start: int) -> tuple[int, int]:
        """Returns (characters, line ends) before a byte."""
        block = min(start // BLOCK, len(self._marks) - 1)
        rest = np.frombuffer(self._text[block * BLOCK : start], np.uint8)
        characters, lines = self._marks[block].tolist()
        return characters + int(np.count_nonzero(starts_character(rest))), lines + int(np.count_nonzero(rest == NEWLINE))
