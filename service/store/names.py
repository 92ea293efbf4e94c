"""Checks the names of corpora, runs and keys, and makes free ones up."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from service.system.errors import InvalidName

LONGEST = 64
RESERVED = frozenset({"latest", "rnn", "gru", "lstm"})  # words that commands take in place of a name
ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked(thing: str, name: str) -> str:
    """Returns ``name``. Raises `InvalidName` if it cannot name a ``thing`` ("corpus", "run")."""
    if not ALLOWED.fullmatch(name):
        raise InvalidName(thing, name)
    if name.lower() in RESERVED:
        raise InvalidName(thing, name, reserved=True)
    return name


def free(thing: str, base: str, taken: Callable[[str], bool]) -> str:
    """Returns the first of base, base-2, base-3, ... that is allowed and not ``taken``.

    Characters that no name can hold become a dash; a base of which nothing is left becomes the ``thing`` itself.
    """
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("._-")[:LONGEST] or thing
    name, number = stem, 1
    while name.lower() in RESERVED or taken(name):
        number += 1
        name = f"{stem[: LONGEST - len(str(number)) - 1]}-{number}"
    return name
