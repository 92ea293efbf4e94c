"""What of a text need not be normalised, told from its characters alone: the quick check of UAX #15, section 9.

Most texts are in a normal form already, or nearly. Whoever knows which characters occur in one can count and encode it without
normalising more than the few stretches that need it.
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

LAST = 0x20000  # from there on are no characters of two parts
KOREAN_VOWELS, KOREAN_FINALS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)  # compose by a rule of their own, not by decompositions
BLOCK = 2**16  # characters looked at together: few enough for a processor's cache
GAP = 256  # characters that need nothing, between two stretches that do: many enough to pay for cutting


def is_normal(characters: Iterable[str], normalization: str) -> bool:
    """Whether every text of these characters, in whatever order, is already in the form `nfc`, `nfd` or `none`."""
    if normalization == "none":
        return True
    form = _form(normalization)
    untouched = "\u00c0" if form == "NFD" else "\u0300"  # no form does anything to what comes before
    return all(c < untouched or _is_quiet(c, form) for c in characters)


def normalized(pieces: Iterable[str], normalization: str, characters: Iterable[str]) -> Iterator[str]:
    """As `normalization.normalized`, for a text that has no other than these characters: in a tenth of the time where few need it."""
    characters = list(characters)
    if is_normal(characters, normalization):
        yield from pieces
        return
    form = _form(normalization)
    apart, quiet = np.zeros(CODE_POINTS, bool), np.zeros(CODE_POINTS, bool)
    apart[[ord(c) for c in characters if _stands_apart(c, form)]] = True
    quiet[[ord(c) for c in characters if _is_quiet(c, form)]] = True
    rest = ""
    for piece in pieces:
        for start in range(0, len(piece), BLOCK):
            text = rest + piece[start : start + BLOCK]
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
            cut = len(text) - 1 - int(apart.take(codes[::-1]).argmax())  # what comes next may melt into all behind it
            cut = cut if apart[codes[cut]] else 0
            yield "".join(_settled(text[:cut], np.flatnonzero(~quiet.take(codes[:cut])), normalization))
            rest = text[cut:]
    yield normalize(rest, normalization)


def keeps_characters(characters: Iterable[str], normalization: str) -> bool:
    """Whether normalising a text of these characters at most moves them: then it has as many of each before and after."""
    if normalization == "none":
        return True
    form = _form(normalization)
    return all(c < "\u00c0" or (unicodedata.is_normalized(form, c) and not (form == "NFC" and c in _seconds())) for c in characters)


class CompositionCounts:
    """Counts by how much composing a text to NFC changes the number of each character, while the text arrives in chunks.

    Only the stretches that need it are composed: for most texts this costs no more than a look at the alphabet of each chunk.
    """

    def __init__(self) -> None:
        # Of each code point seen so far. No form changes what comes before U+0300, see `is_normal`.
        self._seen, self._apart, self._quiet, self._kept = (np.arange(CODE_POINTS) < 0x300 for _ in range(4))
        self._tail = ""  # what follows the last place to cut: what comes next may compose with it
        self._changes: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None
        self.complete = True  # False if a row of marks became too long to hold back

    def add(self, chunk: str, characters: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        """Count a chunk. `characters` are its different code points."""
        if not (chunk and self.complete):
            return
        for code in characters[~self._seen[characters]].tolist():
            c = chr(code)
            self._seen[code], self._apart[code], self._quiet[code] = True, _stands_apart(c, "NFC"), _is_quiet(c, "NFC")
            self._kept[code] = keeps_characters(c, "nfc")
        text = self._tail + chunk
        cut = next((i for i in range(len(text) - 1, max(-1, len(text) - 1 - GAP), -1) if self._apart[ord(text[i])]), None)
        kept = bool(self._kept[characters].all() and all(self._kept[ord(c)] for c in self._tail))
        if cut is None or not kept:
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
            if cut is None:
                cut = len(text) - 1 - int(self._apart.take(codes[::-1]).argmax())
                cut = cut if self._apart[codes[cut]] else 0
            if not kept:
                self._compose(text[:cut], codes[:cut])
        self._tail = text[cut:]
        self.complete = len(self._tail) <= BLOCK

    def _compose(self, text: str, codes: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> None:
        stretches = list(_stretches(np.flatnonzero(~self._quiet.take(codes))))
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


def _settled(text: str, loud: np.ndarray[tuple[int], np.dtype[np.intp]], normalization: str) -> Iterator[str]:
    """A text in parts, of which those around the places `loud` are normalised; the others need it not."""
    done = 0
    for first, stop in _stretches(loud):
        yield text[done:first]
        yield normalize(text[first:stop], normalization)
        done = stop
    yield text[done:]


def _stretches(loud: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Iterator[tuple[int, int]]:
    """Where the stretches around the places `loud` (N,) begin and end."""
    if len(loud):
        gaps = np.flatnonzero(np.diff(loud) > GAP)
        firsts = np.maximum(loud[np.concatenate([[0], gaps + 1])] - 1, 0)  # a mark takes the letter before it along
        lasts = loud[np.concatenate([gaps, [len(loud) - 1]])]
        yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)


def _form(normalization: str) -> Form:
    return "NFD" if normalization == "nfd" else "NFC"


def _is_quiet(c: str, form: Form) -> bool:
    """Whether nothing ever happens to a character on account of what stands before it, nor to it alone."""
    return _stands_apart(c, form) and unicodedata.is_normalized(form, c)


def _stands_apart(c: str, form: Form) -> bool:
    """Whether a text may be cut before a character: neither does it move, nor melt into the one before it."""
    first = unicodedata.normalize("NFD", c)[0]
    return unicodedata.combining(first) == 0 and (form == "NFD" or first not in _seconds())


@functools.cache
def _seconds() -> frozenset[str]:
    """The characters that may melt into the one before them: each second part of a character that is composed again."""
    composed = (c for c in _decomposable() if unicodedata.decomposition(c)[:1] not in ("", "<"))
    seconds = [unicodedata.decomposition(c).split()[-1] for c in composed if unicodedata.is_normalized("NFC", c)]
    return frozenset([chr(int(second, 16)) for second in seconds] + [chr(code) for code in (*KOREAN_VOWELS, *KOREAN_FINALS)])


def _decomposable() -> Iterator[str]:
    """The characters of those blocks of 256 in which any is decomposed: to ask each of all takes ten times as long."""
    for start in range(0, LAST, 256):
        block = "".join(map(chr, range(start, start + 256)))
        if (
            not "\uac00" <= block[0] <= "\ud7ff" and unicodedata.normalize("NFD", block) != block
        ):  # Korean syllables have a rule of their own
            yield from block
