"""What the quick check calls normal is; and normalising only where it is needed gives the same text."""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model import normalization, quick_check
from model.quick_check import CompositionCounts, is_normal, keeps_characters, normalized

# Letters, marks of several classes, characters that melt, that fall apart, that change alone, Korean in parts and whole, and beyond.
TRICKY = "ab\n éÅ\u0301\u0323\u0316\u0344\u0345\u0f73\u1100\u1161\u11a8가각か\u3099\u0b92\u0bd7\u0958\u2126\uf900中😀\U0001d15e\U00011131"
forms = st.sampled_from(["nfc", "nfd", "none"])
text = st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]))


def whole(text: str, form: str) -> str:
    return text if form == "none" else unicodedata.normalize(form.upper(), text)  # type: ignore[arg-type]


@given(st.lists(text, max_size=6), forms, st.integers(1, 5), st.integers(1, 9))
@example(["\u0301", "\u0323"], "nfc", 1, 1)  # no place to cut in sight
@example(["\u1100\u1161", "\u11a8"], "nfc", 1, 1)
@example(["\u1100", "\u1161\u11a8"], "nfc", 1, 1)
def test_only_where_needed_is_everywhere(pieces: list[str], form: str, gap: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick_check, "GAP", gap)
        patch.setattr(quick_check, "BLOCK", block)
        found = "".join(normalized(pieces, form, set("".join(pieces))))
    assert found == whole("".join(pieces), form)


@given(text, forms)
def test_what_is_called_normal_is(text: str, form: str) -> None:
    if is_normal(text, form):
        assert whole(text, form) == text
        assert whole(text[::-1], form) == text[::-1]


@given(text, forms)
def test_what_keeps_its_characters_does(text: str, form: str) -> None:
    if keeps_characters(text, form):
        assert sorted(whole(text, form)) == sorted(text)
        assert sorted(whole(text[::-1], form)) == sorted(text)


@given(st.lists(text, max_size=6), st.integers(1, 5))
@example(["e", "\u0301"], 1)
@example(["e\u0334", "\u0301"], 1)
@example(["e\u0301", "\u0334", "\u0323 "], 1)
@example(["\u1100", "\u1161", "\u11a8"], 1)
def test_composition_is_counted_as_in_the_whole(pieces: list[str], gap: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick_check, "GAP", gap)
        counts = CompositionCounts()
        for piece in pieces:
            counts.add(piece, np.array(sorted({ord(c) for c in piece}), np.intp))
    changes = counts.finish()
    before = Counter("".join(pieces))
    after = Counter(whole("".join(pieces), "nfc"))
    expected = {ord(c): after[c] - before[c] for c in before | after if after[c] != before[c]}
    assert {code: int(changes[code]) for code in np.flatnonzero(changes)} == expected if changes is not None else not expected
    assert counts.complete


def test_a_row_of_marks_that_never_ends_is_not_held_back() -> None:
    counts = CompositionCounts()
    for _ in range(3):
        counts.add("\u0301" * quick_check.BLOCK, np.array([0x301]))
    assert not counts.complete


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_no_character_that_is_called_normal_joins_or_changes(form: Any) -> None:
    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    normal = {chr(code) for code in codes if is_normal(chr(code), form.lower())}
    for code in codes:
        parts = unicodedata.normalize("NFD", chr(code))
        if form == "NFC" and len(parts) > 1 and unicodedata.normalize("NFC", parts) == chr(code):
            assert parts[-1] not in normal, f"{code:x} ends with a part that composes"
    assert all(unicodedata.is_normalized(form, c) and not unicodedata.combining(c) for c in normal)
    # And it is no excuse: nearly all of Unicode that could be called normal is. (CJK, Korean, letters, signs, unassigned)
    left_out = {chr(code) for code in codes if unicodedata.is_normalized(form, chr(code)) and not unicodedata.combining(chr(code))} - normal
    assert len(left_out) <= (150 if form == "NFC" else 0)


@pytest.mark.parametrize(
    ("characters", "nfc", "nfd"),
    [
        ("plain text\n", True, True),
        ("café", True, False),
        ("…“—”", True, True),
        ("Всё", True, False),
        ("가나다 中文 かな", True, False),
        ("e\u0301", False, False),
        ("か\u3099", False, False),
        ("\u1100\u1161", False, True),
        ("\u2126", False, False),
    ],
)
def test_common_characters(characters: str, nfc: bool, nfd: bool) -> None:
    assert (is_normal(characters, "nfc"), is_normal(characters, "nfd"), is_normal(characters, "none")) == (nfc, nfd, True)


def test_text_that_needs_nothing_is_passed_on_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str, form: str) -> str:
        raise AssertionError(text, form)

    monkeypatch.setattr(quick_check, "normalize", refuse)
    pieces = ["Всё… ", "中文"]
    assert list(normalized(pieces, "nfc", set("".join(pieces)))) == pieces


def test_long_rows_of_marks_are_put_in_order_as_by_the_whole() -> None:
    text = "a" + "\u0301\u0323" * 80 + "b" * 300 + "\u0323\u0301" * 40
    assert "".join(normalized([text[:50], text[50:]], "nfc", set(text))) == normalization.normalize(text, "nfc")


def test_every_character_that_composes_with_the_one_before_it_is_known() -> None:
    composed = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.decomposition(chr(code))[:1] not in ("", "<"))
    found = {unicodedata.normalize("NFD", c)[-1] for c in composed if unicodedata.is_normalized("NFC", c)}
    assert found <= quick_check._seconds()
    assert len(quick_check._seconds() - found) <= 48, "the parts of Korean syllables, and what falls apart itself"
