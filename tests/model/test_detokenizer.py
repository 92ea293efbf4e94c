"""A text written symbol by symbol is the decoded whole."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.detokenizer import Detokenizer
from model.normalization import normalize
from model.utf8_constraint import Utf8Guide
from model.vocabulary import SymbolCounts, Vocabulary

KINDS = [(level, normalization) for level in ("char", "byte") for normalization in ("nfc", "nfd", "none")]
TEXT = "ab e\u0301\u0323o\u0308 가각힣 \u1100\u1161\u11a8 中文 か\u3099 \U0001f468\u200d\U0001f469 \u0dd9\u0dcf\u0dca \u212b"


def vocabulary(kind: tuple[str, str]) -> Vocabulary:
    return Vocabulary.build(SymbolCounts(*kind).add([TEXT]))


def written(words: Vocabulary, ids: list[int]) -> tuple[list[str], str]:
    writer = Detokenizer(words)
    pieces = [writer.push(symbol) for symbol in ids]
    return pieces, "".join(pieces) + writer.flush()


@given(st.sampled_from(KINDS), st.data())
def test_any_symbols_joined_are_the_decoded_whole(kind: tuple[str, str], data: st.DataObject) -> None:
    """Also bytes that are no UTF-8: they show as U+FFFD in the same places."""
    words = vocabulary(kind)
    ids = data.draw(st.lists(st.integers(0, words.size - 1), max_size=60))
    assert written(words, ids)[1] == words.decode(np.array(ids, words.dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_itself_comes_back(kind: tuple[str, str]) -> None:
    words = vocabulary(kind)
    ids = words.encode(TEXT).tolist()
    pieces, text = written(words, ids)
    assert text == words.decode(words.encode(TEXT))
    assert "\ufffd" not in text
    assert all(len(piece) < 6 for piece in pieces), "characters come as they are final, not all at the end"


@given(st.sampled_from([kind for kind in KINDS if kind[0] == "byte"]), st.integers(0, 2**32))
def test_allowed_bytes_are_always_valid_utf8(kind: tuple[str, str], seed: int) -> None:
    words, rng = vocabulary(kind), random.Random(seed)
    guide = Utf8Guide(words.symbols)
    writer, text, data = Detokenizer(words), "", bytearray()
    for _ in range(100):
        assert writer.inside_character == (writer.utf8_state != 0)
        symbol = rng.choice([s for s in range(words.size) if guide.allowed[writer.utf8_state, s]])
        data.append(words.symbols[symbol])
        text += writer.push(symbol)
    while writer.inside_character:
        symbol = rng.choice([s for s in range(words.size) if guide.allowed[writer.utf8_state, s]])
        data.append(words.symbols[symbol])
        text += writer.push(symbol)
    text += writer.flush()
    assert text == normalize(data.decode("utf-8"), "none" if kind[1] == "none" else "nfc")


def test_a_korean_syllable_is_not_cut_after_its_first_consonant() -> None:
    words = Vocabulary.build(SymbolCounts("char", "nfd").add(["각 a"]))
    writer = Detokenizer(words)
    inside = []
    for symbol in words.encode("각 a").tolist():
        writer.push(symbol)
        inside.append(writer.inside_character)
    assert inside == [True, False, False, False, False]


def test_composed_letters_are_not_inside_a_character() -> None:
    words = Vocabulary.build(SymbolCounts("char", "nfc").add(["\u1100 a"]))
    writer = Detokenizer(words)
    for symbol in words.encode("a\u1100").tolist():
        writer.push(symbol)
        assert not writer.inside_character
