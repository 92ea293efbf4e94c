"""Characters that are shown do no harm, and their width is known."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.characters import columns, safe

ANYTHING = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\t\x9b한é😀\u0301\u202e\ud800"))
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "sequence",
    ["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x1bc", "\r", "\x08", "\x7f", "\x00", "\x85", "\u202e", "\u2066", "\udc80"],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_made_harmless(sequence: str) -> None:
    found = safe(f"a{sequence}b")
    assert found[0] + found[-1] == "ab"
    assert not set(found) & set("\x1b\x07\x9b\r\x08\x7f\x00\x85\u202e\u2066\udc80")
    assert len(found) == len(sequence) + 2


@given(ANYTHING)
def test_safe_text_holds_no_command_and_loses_nothing_else(text: str) -> None:
    found = safe(text)
    assert len(found) == len(text)
    for before, after in zip(text, found, strict=True):
        if before == after:
            assert after in "\n\t" or (unicodedata.category(after) not in ("Cc", "Cs") and after not in BIDI)
        else:
            assert after == "\ufffd"
    assert safe(found) == found
    found.encode()


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("한글", 4), ("e\u0301", 1), ("😀", 2), ("Ａ", 2), ("", 0)])
def test_columns_are_counted(text: str, width: int) -> None:
    assert columns(text) == width
