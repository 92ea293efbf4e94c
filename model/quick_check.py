"""Decides from a text's characters what need not be normalised: the quick check of UAX #15, section 9.

Most texts are in a normal form already, or nearly. If the set of a text's characters is known, it can be counted and encoded while only
the few parts that need it are normalised.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from model.functions import CODE_POINTS
from model.normalization import normalize

Form = Literal["NFC", "NFD"]

LAST = 0x20000  # no composed characters from there on
KOREAN_VOWELS, KOREAN_FINALS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)  # composed by an algorithm, not by decompositions
BLOCK = 2**16  # characters checked together: few enough for a processor's cache
GAP = 256  # characters in normal form between two stretches that are not: enough to pay for a cut


def is_normal(characters: Iterable[str], normalization: str) -> bool:
    """Whether every text of these characters, in any order, is already in the form `nfc`, `nfd` or `none`."""
    if normalization == "none":
        return True
    form = _form(normalization)
    untouched = "\u00c0" if form == "NFD" else "\u0300"  # the form changes no character below
    return all(c < untouched or _is_inert(c, form) for c in characters)


def normalized(pieces: Iterable[str], normalization: str, characters: Iterable[str]) -> Iterator[str]:
    """Does `normalization.normalized` for a text that has only these characters: in a tenth of the time if few need it."""
    characters = list(characters)
    if is_normal(characters, normalization):
        yield from pieces
        return
    form = _form(normalization)
    boundary, inert = np.zeros(CODE_POINTS, bool), np.zeros(CODE_POINTS, bool)
    boundary[[ord(c) for c in characters if _has_boundary_before(c, form)]] = True
    inert[[ord(c) for c in characters if _is_inert(c, form)]] = True
    rest = ""
    for piece in pieces:
        for start in range(0, len(piece), BLOCK):
            text = rest + piece[start : start + BLOCK]
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
            cut = len(text) - 1 - int(boundary.take(codes[::-1]).argmax())  # characters behind it may compose with the next piece
            cut = cut if boundary[codes[cut]] else 0
            yield "".join(_settled(text[:cut], np.flatnonzero(~inert.take(codes[:cut])), normalization))
            rest = text[cut:]
    yield normalize(rest, normalization)


def keeps_characters(characters: Iterable[str], normalization: str) -> bool:
    """Whether normalising a text of these characters at most reorders them, so that their counts stay the same."""
    if normalization == "none":
        return True
    form = _form(normalization)
    return all(c < "\u00c0" or (unicodedata.is_normalized(form, c) and not (form == "NFC" and c in _seconds())) for c in characters)


class CompositionCounts:
    """Counts by how much composing a text to NFC changes the number of each character, while the text arrives in chunks.

    Only the stretches that need it are composed: for most texts this costs no more than a look at the alphabet of each chunk.
    """

    def __init__(self) -> None:
        # By code point, for those seen so far. NFC changes no character below U+0300, see `is_normal`.
        self._seen, self._boundary, self._inert, self._kept = (np.arange(CODE_POINTS) < 0x300 for _ in range(4))
        self._tail = ""  # the text after the last place to cut: the next chunk may compose with it
        self._changes: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
        self.complete = True  # False if a row of marks became too long to hold back

    def add(self, chunk: str, characters: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        """Count a chunk. `characters` are its different code points."""
        if not (chunk and self.complete):
            return
        for code in characters[~self._seen[characters]].tolist():
            c = chr(code)
            self._seen[code], self._boundary[code], self._inert[code] = True, _has_boundary_before(c, "NFC"), _is_inert(c, "NFC")
            self._kept[code] = keeps_characters(c, "nfc")
        text = self._tail + chunk
        cut = next((i for i in range(len(text) - 1, max(-1, len(text) - 1 - GAP), -1) if self._boundary[ord(text[i])]), None)
        kept = bool(self._kept[characters].all() and all(self._kept[ord(c)] for c in self._tail))
        if cut is None or not kept:
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
            if cut is None:
                cut = len(text) - 1 - int(self._boundary.take(codes[::-1]).argmax())
                cut = cut if self._boundary[codes[cut]] else 0
            if not kept:
                self._compose(text[:cut], codes[:cut])
        self._tail = text[cut:]
        self.complete = len(self._tail) <= BLOCK

    def _compose(self, text: str, codes: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> None:
        stretches = list(_stretches(np.flatnonzero(~self._inert.take(codes))))
        if not stretches:
            return
        if self._changes is None:
            self._changes = np.zeros(CODE_POINTS, np.int64)
        after = "".join([normalize(text[first:stop], "nfc") for first, stop in stretches])
        for found, sign in (
            (np.concatenate([codes[first:stop] for first, stop in stretches]), -1),
            (np.frombuffer(after.encode("utf-32-le", "surrogatepass"), np.dtype("<u4")), 1),
        ):
            times = np.bincount(found)
            self._changes[: len(times)] += sign * times

    def finish(self) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
        """Returns the changes (CODE_POINTS,) once the text has ended; None if no character's number may have changed."""
        self._compose(self._tail, np.frombuffer(self._tail.encode("utf-32-le", "surrogatepass"), np.dtype("<u4")))
        self._tail = ""
        return self._changes


def _settled(text: str, changing: np.ndarray[tuple[int], np.dtype[np.intp]], normalization: str) -> Iterator[str]:
    """Yields a text in parts and normalises those around the places `changing`; the others need no change."""
    done = 0
    for first, stop in _stretches(changing):
        yield text[done:first]
        yield normalize(text[first:stop], normalization)
        done = stop
    yield text[done:]


def _stretches(changing: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Iterator[tuple[int, int]]:
    """Yields where the stretches around the places `changing` (N,) begin and end."""
    if len(changing):
        gaps = np.flatnonzero(np.diff(changing) > GAP)
        firsts = np.maximum(changing[np.concatenate([[0], gaps + 1])] - 1, 0)  # a mark changes the letter before it
        lasts = changing[np.concatenate([gaps, [len(changing) - 1]])]
        yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)


def _form(normalization: str) -> Form:
    return "NFD" if normalization == "nfd" else "NFC"


def _is_inert(c: str, form: Form) -> bool:
    """Whether normalisation never changes a character, neither alone nor because of the character before it."""
    return _has_boundary_before(c, form) and unicodedata.is_normalized(form, c)


def _has_boundary_before(c: str, form: Form) -> bool:
    """Whether a text may be cut before a character, since it neither moves nor composes with the one before it."""
    first = unicodedata.normalize("NFD", c)[0]
    return unicodedata.combining(first) == 0 and (form == "NFD" or first not in _seconds())


@functools.cache
def _seconds() -> frozenset[str]:
    """Returns the characters that may compose with the one before them: the second part of each composed character."""
    composed = (c for c in _decomposable() if unicodedata.decomposition(c)[:1] not in ("", "<"))
    seconds = [unicodedata.decomposition(c).split()[-1] for c in composed if unicodedata.is_normalized("NFC", c)]
    return frozenset([chr(int(second, 16)) for second in seconds] + [chr(code) for code in (*KOREAN_VOWELS, *KOREAN_FINALS)])


def _decomposable() -> Iterator[str]:
    """Yields the characters of the blocks of 256 with any decomposition: checking each character takes ten times as long."""
    for start in range(0, LAST, 256):
        block = "".join(map(chr, range(start, start + 256)))
        if (
            not "\uac00" <= block[0] <= "\ud7ff" and unicodedata.normalize("NFD", block) != block
        ):  # Korean syllables are composed by an algorithm
            yield from block
