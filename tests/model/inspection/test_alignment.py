"""Characters and their symbols, at every level and normalisation."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.inspection.alignment import align
from model.vocabulary import SymbolCounts, Vocabulary

KINDS = [(level, normalization) for level in ("char", "byte") for normalization in ("nfc", "nfd", "none")]
texts = st.text(st.sampled_from("aé가각\u0301\u1100\u1161\n中\U0001f600z"), max_size=12)


@pytest.mark.parametrize(("level", "normalization"), KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts)
def test_each_character_has_its_own_symbols(make_vocabulary: Callable[..., Vocabulary], level: str, normalization: str, text: str) -> None:
    vocabulary = make_vocabulary("aé가각\u0301\u1100\u1161\n中\U0001f600", level, normalization)
    aligned = align(vocabulary, text)
    assert aligned.text == (text if normalization == "none" else unicodedata.normalize("NFC", text))
    assert aligned.ids.tolist() == vocabulary.encode(text).tolist()
    assert len(aligned.starts) == len(aligned.ends) == len(aligned.text)
    places = [list(range(start, end + 1)) for start, end in zip(aligned.starts, aligned.ends, strict=True)]
    assert [place for own in places for place in own] == list(range(len(aligned.ids))), "no symbol belongs to two characters, or to none"
    for c, own in zip(aligned.text, places, strict=True):
        form = c if normalization == "none" else unicodedata.normalize(normalization.upper(), c)
        assert len(own) == len(form.encode() if level == "byte" else form)


def test_line_ends_are_lf(make_vocabulary: Callable[..., Vocabulary]) -> None:
    aligned = align(make_vocabulary("ab\n"), "a\r\nb\rb")
    assert (aligned.text, len(aligned.ids)) == ("a\nb\nb", 5)


def test_a_character_of_several_symbols_ends_with_its_last(make_vocabulary: Callable[..., Vocabulary]) -> None:
    assert align(make_vocabulary(level="byte"), "a가b").ends.tolist() == [0, 3, 4]
    assert align(make_vocabulary(normalization="nfd"), "a각b").ends.tolist() == [0, 3, 4]
    assert align(make_vocabulary(), "").ends.tolist() == []


@pytest.mark.parametrize(("level", "normalization"), KINDS)
@given(text=st.text(st.sampled_from("ab\n%가"), max_size=14), separator=st.sampled_from(["\n", "\n\n", "\n%\n", "ab"]))
def test_the_characters_of_a_separator_share_the_boundary(level: str, normalization: str, text: str, separator: str) -> None:
    vocabulary = Vocabulary.build(SymbolCounts(level, normalization).add(["ab\n%가"]), separator=separator)
    aligned = align(vocabulary, text)
    assert aligned.ids.tolist() == vocabulary.encode(text).tolist()
    owners, symbols = [], 0  # the first and last symbol of each character
    for number, record in enumerate(text.split(separator)):
        if number:
            owners += [(symbols, symbols)] * len(separator)
            symbols += 1
        for c in record:
            size = len(vocabulary.encode_record(c))
            owners.append((symbols, symbols + size - 1))
            symbols += size
    assert list(zip(aligned.starts.tolist(), aligned.ends.tolist(), strict=True)) == owners
    assert aligned.leads.tolist() == [place == 0 or owner != owners[place - 1] for place, owner in enumerate(owners)]
