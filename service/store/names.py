"""Checks the names of corpora, runs and keys, and makes free ones up. A name may be in any script and is stored in NFC."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from service.system.errors import InvalidName

LONGEST = 64  # characters
DECOMPOSED = 4 * LONGEST  # characters that such a name may come as; more are no name, and many marks take long to compose
RESERVED = frozenset({"latest", "rnn", "gru", "lstm"})  # words that commands take in place of a name
# Letters and marks that have no shape (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt): two names would look the same.
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def stored(name: str) -> str:
    """Returns a name as it is stored: some keyboards and file systems take accents and Korean syllables apart."""
    return name if name.isascii() or len(name) > DECOMPOSED else unicodedata.normalize("NFC", name)


def checked(thing: str, name: str) -> str:
    """Returns ``name`` as it is stored. Raises `InvalidName` if it cannot name a ``thing`` ("corpus", "run")."""
    name = stored(name)
    if not (name and _begins(name[0]) and all(map(_belongs, name)) and len(name) <= LONGEST):
        raise InvalidName(thing, name)
    if name.lower() in RESERVED:
        raise InvalidName(thing, name, reserved=True)
    return name


def free(thing: str, base: str, taken: Callable[[str], bool]) -> str:
    """Returns the first of base, base-2, base-3, ... that is allowed and not ``taken``.

    Characters that no name can hold become a dash; a base of which nothing is left becomes the ``thing`` itself.
    """
    stem = re.sub("-+", "-", "".join(c if _belongs(c) else "-" for c in stored(base)))
    start = next((place for place, c in enumerate(stem) if _begins(c)), len(stem))
    stem = stem[start:].rstrip("._-")[:LONGEST] or thing
    name, number = stem, 1
    while name.lower() in RESERVED or taken(name):
        number += 1
        name = f"{stem[: LONGEST - len(str(number)) - 1]}-{number}"
    return name


def _belongs(c: str) -> bool:
    """Whether a name may hold a character: a letter, a digit, a mark on one of these, or one of ``._-``."""
    return c in "._-" or (unicodedata.category(c)[0] in "LNM" and not INVISIBLE.match(c))


def _begins(c: str) -> bool:
    return unicodedata.category(c)[0] in "LN" and not INVISIBLE.match(c)
