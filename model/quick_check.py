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

FIRST, LAST = 0xC0, 0x20000  # no composed characters outside
KOREAN_VOWELS, KOREAN_FINALS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)  # composed by an algorithm, not by decompositions
BLOCK = 2**16  # characters checked together: few enough for a processor's cache
GAP = 256  # characters in normal form between two parts that are not: enough to pay for a cut


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


def reachable(characters: Iterable[str], normalization: str) -> set[str]:
    """Returns a superset of the characters that a text of these characters may have after normalisation."""
    found = set(characters)
    if normalization == "none":
        return found
    parts = set(unicodedata.normalize("NFD", "".join(found)))
    if normalization == "nfd":
        return parts
    alone = {changed for c in found for changed in unicodedata.normalize("NFC", c)}
    composed = (c for c in map(chr, range(FIRST, LAST)) if parts.issuperset(unicodedata.normalize("NFD", c)))
    return parts | alone | set(composed)


def _settled(text: str, changing: np.ndarray[tuple[int], np.dtype[np.intp]], normalization: str) -> Iterator[str]:
    """Yields a text in parts and normalises those around the places `changing`; the others need no change."""
    done = 0
    if len(changing):
        gaps = np.flatnonzero(np.diff(changing) > GAP)
        firsts = np.maximum(changing[np.concatenate([[0], gaps + 1])] - 1, 0)  # a mark changes the letter before it
        lasts = changing[np.concatenate([gaps, [len(changing) - 1]])]
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            yield text[done:first]
            done = last + 1
            yield normalize(text[first:done], normalization)
    yield text[done:]


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
    composed = (c for c in map(chr, range(FIRST, LAST)) if unicodedata.decomposition(c)[:1] not in ("", "<"))
    seconds = [unicodedata.decomposition(c).split()[-1] for c in composed if unicodedata.is_normalized("NFC", c)]
    return frozenset([chr(int(second, 16)) for second in seconds] + [chr(code) for code in (*KOREAN_VOWELS, *KOREAN_FINALS)])
