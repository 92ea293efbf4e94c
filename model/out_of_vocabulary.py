"""The closest known form of a character that the model's alphabet lacks.

A prompt can never fail: what is outside the alphabet is written in the nearest way that the model knows (a typographic quote
as a plain one, é as e, a capital as a small letter), and only then as the unknown symbol. The caller is told which.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

# Typographic characters that no Unicode decomposition leads back to the keyboard.
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
    """Ways to write a character, the closest first. An empty one leaves it out (an accent on its own)."""
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
    """The closest form all of whose characters are known, or None."""
    for form in dict.fromkeys(candidates(character)):
        if (form or unicodedata.combining(character)) and knows(form):
            return form
    return None
