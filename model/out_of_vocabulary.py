"""Finds the closest known form of a character that the model's alphabet lacks.

A prompt can never fail: a character outside the alphabet is replaced by its closest known form (a typographic quote by a plain one,
é by e, a capital by a small letter), and only then by the unknown symbol. The substitutions are reported to the caller.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Characters that no Unicode decomposition turns into those of a keyboard.
PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′‹›`´ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("•·‧∙", "*"),
        **{"…": "...", "×": "x", "÷": "/", "⁄": "/", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"},
        **{"đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ı": "i", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D", "€": "EUR", "\t": "    "},
    }
)


class Substitution(NamedTuple):
    """One character of a prompt that was replaced."""

    character: str
    by: str | None  # None: the unknown symbol
    times: int


def candidates(character: str) -> Iterator[str]:
    """Yields forms of a character, the closest first. An empty form leaves it out (an accent on its own)."""
    compatible = unicodedata.normalize("NFKC", character)
    plain = compatible.translate(PLAIN)
    bare = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    for form in (compatible, character.translate(PLAIN), plain, bare):
        yield form
        yield form.lower()
        yield form.upper()
    if character.isspace():
        yield " "
        yield "\n"
    if unicodedata.category(character) in ("Pi", "Pf", "Ps", "Pe", "Po", "Pd", "Sk"):
        yield from ("'", "-", ".", " ")


def closest(character: str, knows: Callable[[str], bool]) -> str | None:
    """Returns the closest form whose characters are all known, or None."""
    for form in dict.fromkeys(candidates(character)):
        if (form or unicodedata.combining(character)) and knows(form):
            return form
    return None
