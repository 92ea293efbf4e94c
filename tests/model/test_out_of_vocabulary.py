"""What a model does not know is written in the nearest way that it does."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.out_of_vocabulary import candidates, closest


def knows(alphabet: str) -> Callable[[str], bool]:
    return lambda text: set(text) <= set(alphabet)


LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = LOWER.upper()


@pytest.mark.parametrize(
    ("character", "alphabet", "expected"),
    [
        ("’", LOWER + "'", "'"),
        ("“", LOWER + '"', '"'),
        ("—", "-", "-"),
        ("…", ".", "..."),
        ("é", LOWER, "e"),
        ("É", LOWER + UPPER, "E"),
        ("É", LOWER, "e"),
        ("é", UPPER, "E"),
        ("Q", LOWER, "q"),
        ("q", UPPER, "Q"),
        ("ﬁ", LOWER, "fi"),
        ("ｅ", LOWER, "e"),
        ("ß", LOWER, "ss"),
        ("ø", LOWER, "o"),
        ("ﬀ", UPPER, "FF"),
        ("①", "123", "1"),
        ("\u00a0", " ", " "),
        ("\u2003", "\n", "\n"),
        ("\t", " ", "    "),
        ("\t", "\n", "\n"),
        ("€", UPPER, "EUR"),
        ("?", LOWER + ".", "."),
        ("(", LOWER + " ", " "),
        ("\u0301", LOWER, ""),
        ("\u0301", "", ""),
        ("中", LOWER, None),
        ("\ud800", LOWER, None),
        ("\x00", LOWER + " ", None),
        ("a", "", None),
        ("é", "é", "é"),
    ],
)
def test_the_closest_known_form(character: str, alphabet: str, expected: str | None) -> None:
    assert closest(character, knows(alphabet)) == expected


def test_the_closer_form_comes_first() -> None:
    forms = list(candidates("Ｅ"))
    assert forms.index("E") < forms.index("e")
    forms = list(candidates("É"))
    assert forms.index("É") < forms.index("é") < forms.index("E") < forms.index("e")


@given(st.characters(), st.text())
def test_a_form_is_known_and_empty_only_for_a_mark(character: str, alphabet: str) -> None:
    form = closest(character, knows(alphabet))
    if form is not None:
        assert set(form) <= set(alphabet)
        assert form or unicodedata.combining(character)
    if character in alphabet and unicodedata.is_normalized("NFKC", character):
        assert form == character


def test_every_character_has_candidates_without_a_failure() -> None:
    for code in range(0, sys.maxunicode + 1, 7):
        assert all(isinstance(form, str) for form in candidates(chr(code)))
