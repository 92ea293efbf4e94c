"""The index finds what a naive search finds, for characters of all kinds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.normalization import normalize
from service.novelty import suffix_array as module
from service.novelty.suffix_array import CorpusPosition, Index, file_size

Indexer = Callable[[str], Index]

# 1 to 4 bytes that share their first ones, marks, and characters at the ends of what UTF-8 has.
LETTERS = "ab\nжзи한할😀😁e\u0301\u00e9\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"
TEXTS = st.text(LETTERS, min_size=1, max_size=50)
SMALL = st.text("ab\n😀", min_size=1, max_size=50)


def pairs(texts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, str]]:
    """A corpus, and a text that is partly made of its pieces."""

    def with_text(corpus: str) -> st.SearchStrategy[tuple[str, str]]:
        places = st.integers(0, len(corpus))
        pieces = st.lists(st.tuples(places, places).map(lambda ends: corpus[min(ends) : max(ends)]) | texts, max_size=5)
        return st.tuples(st.just(corpus), pieces.map("".join))

    return texts.map(lambda text: normalize(text, "nfc")).flatmap(with_text)


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@given(pairs(TEXTS) | pairs(SMALL))
def test_a_text_occurs_where_a_naive_search_finds_it(index_of: Indexer, both: tuple[str, str]) -> None:
    corpus, text = both
    index = index_of(corpus)
    places = [place for place in range(len(corpus)) if corpus.startswith(text, place)]
    assert index.count(text) == len(places)
    assert index.occurs(utf8(text)) == (text in corpus)
    if places:
        start = index.first(index.ranks(utf8(text)))
        assert index.position(start, start, 0).offset == min(places)
    assert index.characters == len(corpus)
    assert index.bytes == len(utf8(corpus))


@given(pairs(TEXTS) | pairs(SMALL))
def test_the_longest_common_beginning_is_found(index_of: Indexer, both: tuple[str, str]) -> None:
    corpus, text = both
    index = index_of(corpus)
    for start in range(len(text)):
        longest = max(size for size in range(len(text) - start + 1) if text[start : start + size] in corpus)
        assert index.common(utf8(text), len(utf8(text[:start]))) == len(utf8(text[start : start + longest]))


@given(pairs(TEXTS) | pairs(SMALL))
def test_it_knows_what_follows_and_how_much_of_an_end_is_known(index_of: Indexer, both: tuple[str, str]) -> None:
    corpus, text = both
    index = index_of(corpus)
    behind = {corpus[place + len(text)] for place in range(len(corpus) - len(text)) if corpus.startswith(text, place)}
    assert index.followers(text) == behind == index.followers(text)
    assert index.known_suffix(text) == max(size for size in range(len(text) + 1) if text[len(text) - size :] in corpus)


@pytest.mark.parametrize("length", [63, 64, 65, 255, 256, 257, 1200])
def test_long_spans_are_compared_to_their_end(index_of: Indexer, length: int) -> None:
    corpus = "".join(map(chr, np.random.default_rng(1).integers(0x400, 0x500, 2000)))
    index = index_of(corpus)
    for behind in ("!", "\u0500", ""):  # a byte that differs, one that differs inside a character, and the end
        data = utf8(corpus[300 : 300 + length] + behind)
        assert index.common(data, 0) == 2 * length
    assert index.common(utf8(corpus[-length:] + "!"), 0) == 2 * length


def test_halves_of_surrogate_pairs_are_nowhere(index_of: Indexer) -> None:
    index = index_of("ab?\ufffd")
    assert [index.count("\ud800"), index.known_suffix("a\udc80"), index.common(utf8("a\ud800"), 0)] == [0, 0, 1]
    assert index.followers("\udc80") == frozenset()
    assert not index.has_line("\udc80")


def test_followers_are_remembered_but_not_all_for_ever(index_of: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", 2)
    index = index_of("abcabd")
    found = [index.followers(text) for text in ("a", "b", "ab", "a", "b", "")]
    assert found == [{"b"}, set("cd"), set("cd"), {"b"}, set("cd"), set("abcd")]


@given(st.lists(st.text("ab한", max_size=3), min_size=1, max_size=8), st.text("ab한", min_size=1, max_size=3), st.booleans())
def test_a_line_is_known_wherever_it_stands(index_of: Indexer, lines: list[str], line: str, ended: bool) -> None:
    corpus = "\n".join(lines) + ("\n" if ended else "")
    if corpus:
        assert index_of(corpus).has_line(line) == (line in corpus.split("\n"))


@given(st.text("ab\n한😀", min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
def test_places_are_counted_in_characters_and_lines(index_of: Indexer, text: str, block: int, context: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.novelty.index_builder.BLOCK", block)
        patch.setattr(module, "BLOCK", block)
        index = index_of(text)
        for start in range(len(text)):
            stop = min(start + 2, len(text))
            place = index.position(len(utf8(text[:start])), len(utf8(text[:stop])), context)
            assert place == CorpusPosition(
                start, text.count("\n", 0, start) + 1, text[max(0, start - context) : start], text[stop : stop + context]
            )


@pytest.mark.parametrize(
    ("text", "is_list"),
    [
        ("Ann\nBob\n" * 10, True),
        ("Ann\nBob\n" * 9, False),  # few lines
        ("Ann\n\nBob\n" * 20, False),  # blank ones
        ("if a:\n    b\n" * 20, False),
        ("if a:\n\tb\n" * 20, False),
        (("a" * 120 + "\n") * 30, False),
        ("Ann\nBob\n" * 100 + "\n", True),
    ],
)
def test_a_list_is_told_by_its_lines(index_of: Indexer, text: str, is_list: bool) -> None:
    assert index_of(text).is_list is is_list


@pytest.mark.parametrize("text", ["a", "한", "ab" * 40000])
def test_the_size_of_the_file_is_known_before(text: str) -> None:
    from service.novelty.index_builder import index_parts

    assert sum(len(part) for part in index_parts([text], 1)) == file_size(len(utf8(text)), len(text))


def test_a_very_large_text_has_wide_numbers(index_of: Indexer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("service.novelty.index_builder", "service.novelty.suffix_array"):
        monkeypatch.setattr(f"{name}.offsets_of", lambda size: np.dtype(np.int64))
    index = index_of("banana 한")
    assert [index.count("ana"), index.known_suffix("xana 한")] == [2, 5]


def test_suffixes_are_in_the_order_of_code_points(index_of: Indexer) -> None:
    text = "b\uffff\U00010000a\ue000ab한"
    index = index_of(text)
    suffixes = sorted(text[start:] for start in range(len(text)))
    for character in text:
        assert index.ranks(utf8(character)).start == bisect_left(suffixes, character)
