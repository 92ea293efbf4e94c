"""Normal forms of a text in pieces, and of a stream, are those that unicodedata gives to the whole."""

from __future__ import annotations

import sys
import tracemalloc
import unicodedata
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.normalization import MARKS, Composer, normalize, normalized

FORMS = ("nfc", "nfd", "none")


def whole(text: str, normalization: str) -> str:
    """unicodedata's form of the whole; after each 30 marks in a row a text is taken to begin anew."""
    if normalization == "none":
        return text
    parts, row = [""], 0
    for c in text:
        mark = unicodedata.combining(unicodedata.normalize("NFD", c)[0]) != 0
        if mark and row == 30:
            parts.append("")
            row = 0
        row = row + 1 if mark else 0
        parts[-1] += c
    return "".join(unicodedata.normalize(normalization.upper(), part) for part in parts)  # type: ignore[arg-type]


# What moves, joins, comes apart or stands between: marks of many classes, jamo, syllables, signs that are no marks but join,
# characters that decompose to marks or to another single character, ideographs, emoji with joiners.
TRICKY = (
    "aeoAKq \n"
    "\u0300\u0301\u0308\u0323\u0327\u0345\u0344\u034f\u05b0\u0591\u0f71\u0f72\u0f73\u0f74\u0f75\u0f81\u3099\u302a"
    "\u1100\u1112\u1161\u1175\u11a7\u11a8\u11c2가각힣"
    "\u0915\u093c\u0958\u09c7\u09be\u09d7\u0b47\u0b3e\u0bc6\u0bbe\u0cc6\u0cc2\u0cd5\u0dd9\u0dcf\u0dca\u1025\u102e\u1b35\u1b05"
    "\u212b\u2126\u1e9b\u0390\u1fb3\u0344\ufb1d\ufb2c\uf900\U0002f800\ufa10中か\u304b\u3099"
    "\U0001f468\u200d\U0001f469\ufe0f\U0001f3fd\u0d4a\U00011131\U00011127\U000114b9\U000114ba\U0001d15e\U0001d165"
)
characters = st.one_of(st.sampled_from(TRICKY), st.characters())
marks = st.text(characters, min_size=1, max_size=3)
crowds = st.builds(lambda letter, marks, more: letter + (marks * 50)[: 28 + more], characters, marks, st.integers(0, 40))
pieces_of_text = st.lists(st.one_of(st.text(characters, max_size=6), crowds), max_size=8)


@given(pieces_of_text, st.sampled_from(FORMS))
@example(["a", "\u0301"], "nfc")
@example(["\u1100", "\u1161", "\u11a8"], "nfc")
@example(["x\u0344", "\u0323"], "nfd")
def test_pieces_joined_are_the_whole_text_normalised(pieces: list[str], normalization: str) -> None:
    assert "".join(normalized(pieces, normalization)) == whole("".join(pieces), normalization)
    assert normalize("".join(pieces), normalization) == whole("".join(pieces), normalization)


def composed(pieces: Iterable[str]) -> str:
    composer = Composer()
    return "".join([composer.push(piece) for piece in pieces]) + composer.flush()


@given(pieces_of_text)
def test_a_stream_is_composed_as_the_whole_text_would_be(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert composed(pieces) == composed(text) == whole(text, "nfc")


@given(st.text(st.sampled_from(TRICKY), max_size=MARKS))
def test_up_to_thirty_marks_are_exactly_unicode(text: str) -> None:
    for normalization in ("nfc", "nfd"):
        assert normalize(text, normalization) == unicodedata.normalize(normalization.upper(), text)  # type: ignore[arg-type]
    marks = "\u0301\u0323" * 15
    assert normalize("q" + marks, "nfc") == unicodedata.normalize("NFC", "q" + marks)


@pytest.mark.parametrize("text", ["\u212b", "\uf900", "\u0958", "\u2126", "か", "ж", "ก", "\u1100", "\u0dd9"])
def test_many_letters_one_after_the_other_hide_no_mark_from_the_last(text: str) -> None:
    for count in range(1, 2 * MARKS):
        for mark in ("\u0301", "\u3099", "\u1161", "\u0dcf"):
            assert composed(text * count + mark) == whole(text * count + mark, "nfc")


def test_every_character_after_every_kind_of_letter() -> None:
    """All of Unicode, each after letters that it may join."""
    before = ("a", "\u1100", "\u1100\u1161", "\u0dd9", "\u09c7", "\u0f71")
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        mark = unicodedata.combining(c) or unicodedata.category(c) in ("Mc", "Mn", "Me")
        if mark or unicodedata.decomposition(c) or 0x1100 <= code < 0x1200:
            for letter in before:
                assert composed(letter + c) == whole(letter + c, "nfc")
                assert "".join(normalized([letter, c], "nfc")) == whole(letter + c, "nfc")
                assert "".join(normalized([letter, c], "nfd")) == whole(letter + c, "nfd")


def test_a_stream_lets_go_as_soon_as_nothing_can_join() -> None:
    composer = Composer()
    assert composer.push("a") == ""
    assert composer.push("b") == "a"
    assert composer.push("\u0301") == ""
    assert composer.push("か") == "b\u0301"
    assert composer.push("き") == "か"
    assert composer.push("\u1112\u1161\u11ab") == "き"
    assert composer.push(" ") == "한"
    assert composer.flush() == " "
    assert composer.flush() == ""


def test_a_million_marks_on_one_letter_are_held_in_little_memory() -> None:
    composer, shown = Composer(), 0
    composer.push("q")
    tracemalloc.start()
    for _ in range(1000):
        shown += len(composer.push("\u0301\u0323" * 50))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000
    assert 100_001 - shown <= 1 + MARKS
    assert len(composer.flush()) == 100_001 - shown


def test_a_million_marks_in_pieces_are_normalised_in_one_go() -> None:
    """Looking for a place to cut from the beginning each time would take hours, and so would putting all of them in order."""
    text = "q" + "\u0301\u0323" * 500_000
    joined = "".join(normalized(text, "nfc"))
    assert joined == normalize(text, "nfc")
    assert joined[:31] == "q" + "\u0323" * 15 + "\u0301" * 15
    assert len(joined) == len(text)


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("normalization", FORMS)
def test_ascii_flows_through_piece_by_piece(normalization: str, size: int) -> None:
    """What is held back of a long text is a character, not the text, however small the pieces are."""
    given_so_far = seen = 0

    def pieces() -> Iterator[str]:
        nonlocal given_so_far
        for _ in range(50):
            assert given_so_far - seen <= 1
            given_so_far += size
            yield "x" * size

    for piece in normalized(pieces(), normalization):
        seen += len(piece)
    assert seen == 50 * size
