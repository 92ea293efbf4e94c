"""No text copies more than N characters in a row, whatever its symbols are; and nothing is forbidden that need not be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.copy_guard import CopyGuard, CopyRules
from model.normalization import normalize
from model.utf8_constraint import Utf8Guide
from model.vocabulary import SymbolCounts, Vocabulary

# Letters that marks fall on, marks that change order, jamo that make syllables, characters of 1 to 4 bytes, one that NFC takes apart.
TEXTS = st.text("ab eu\u00e9\u0301\u0323\u0308\u0304\u1112\u1161\u11ab한하ȧ😀😁ж\n\u0958", min_size=2, max_size=60)
PLAIN = st.text("ab \n", min_size=2, max_size=60)
KINDS = st.tuples(st.sampled_from(["char", "byte"]), st.sampled_from(["nfc", "nfd", "none"]))


class Naive:
    """A corpus that is searched from beginning to end; it counts what it is asked."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def followers(self, text: str) -> frozenset[str]:
        self.asked += 1
        places = range(len(self.text) - len(text))
        return frozenset(self.text[place + len(text)] for place in places if self.text.startswith(text, place))

    def known_suffix(self, text: str) -> int:
        self.asked += 1
        return max(size for size in range(len(text) + 1) if text[len(text) - size :] in self.text)


def vocabulary_of(text: str, level: str, normalization: str, separator: str | None = None) -> Vocabulary:
    return Vocabulary.build(SymbolCounts(level, normalization).add([text]), 1, separator if level == "char" else None)


def exceeds(text: str, corpus: str, most: int) -> bool:
    """Whether more than `most` characters in a row are copied."""
    return any(text[start : start + most + 1] in corpus for start in range(len(text) - most))


def completions(vocabulary: Vocabulary, data: bytes) -> Iterator[bytes]:
    """All characters of the alphabet's bytes that begin with these; `data` itself where it is one."""
    try:
        data.decode()
        yield data
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return
        for value in vocabulary.symbols:
            yield from completions(vocabulary, data + bytes((value,)))


def must_not_come(vocabulary: Vocabulary, written: list[int], symbol: int, corpus: str, most: int) -> bool:
    """Whether a symbol breaks the promise, or leads to nothing but what breaks it; found out by writing it."""
    ids = np.array([*written, symbol])
    if vocabulary.level == "char":
        return exceeds(normalize(vocabulary.decode(ids), "nfc"), corpus, most)
    data = bytes(vocabulary.symbols[each] for each in ids)
    whole = data.decode("utf-8", "ignore").encode()
    texts = [(whole + each).decode() for each in completions(vocabulary, data[len(whole) :])] if len(whole) < len(data) else [data.decode()]
    return all(exceeds(normalize(text, "nfc"), corpus, most) for text in texts)


@settings(max_examples=300)
@given(
    TEXTS,
    KINDS,
    st.integers(1, 12),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([None, "\n", "\n\n", "\n \n"]),
)
def test_exactly_what_would_copy_too_much_is_forbidden(
    text: str, kind: tuple[str, str], most: int, seed: int, obedience: float, separator: str | None
) -> None:
    vocabulary, corpus = vocabulary_of(text, *kind, separator), normalize(text, "nfc")
    guide = Utf8Guide(vocabulary.symbols) if vocabulary.level == "byte" else None
    guard = CopyGuard(CopyRules(vocabulary), Naive(corpus), most)
    model, rng = vocabulary.encode(text).tolist(), np.random.default_rng(seed)
    written: list[int] = []
    state = at = 0
    for _ in range(25):
        possible = np.flatnonzero(guide.allowed[state]) if guide else np.arange(vocabulary.size)
        expected = {symbol for symbol in possible.tolist() if must_not_come(vocabulary, written, symbol, corpus, most)}
        free, mask = guard.free, guard.forbidden()
        found = set(np.flatnonzero(mask).tolist()) if mask is not None else set()
        assert found & set(possible.tolist()) == expected
        assert not (free and expected)
        assert guide is None or mask is None or not (mask < ~guide.allowed[state]).any()
        allowed = sorted(set(possible.tolist()) - expected)
        if not allowed:
            assert state == 0  # never inside a character
            break
        if rng.random() > obedience or model[at % len(model)] not in allowed:
            at = int(rng.integers(len(model)))
        symbol = model[at % len(model)] if model[at % len(model)] in allowed else int(rng.choice(allowed))
        at += 1
        guard.advance(symbol)
        written.append(symbol)
        state = guide.next_state(state, symbol) if guide else 0
        assert not exceeds(normalize(vocabulary.decode(np.array(written)), "nfc"), corpus, most)


@given(PLAIN, st.integers(1, 10), st.integers(0, 2**32))
def test_a_guard_need_not_be_asked_while_symbols_are_free(text: str, most: int, seed: int) -> None:
    vocabulary = vocabulary_of(text, "char", "nfc")
    guard, rng = CopyGuard(CopyRules(vocabulary), Naive(text), most), np.random.default_rng(seed)
    written: list[int] = []
    while len(written) < 60:
        free = guard.free
        mask = None if free else guard.forbidden()
        if mask is not None and mask.all():
            break
        for _ in range(max(1, free)):
            symbol = int(rng.choice(np.flatnonzero(~mask))) if mask is not None else int(rng.integers(vocabulary.size))
            guard.advance(symbol)
            written.append(symbol)
    assert not exceeds(vocabulary.decode(np.array(written)), text, most)


def test_a_copied_span_ends_at_the_limit_and_another_begins() -> None:
    text = "abcdefgh"
    vocabulary = vocabulary_of(text, "char", "nfc")
    guard = CopyGuard(CopyRules(vocabulary), Naive(text), 3)
    written = ""
    for _ in range(8):
        mask = guard.forbidden()
        following = vocabulary.symbols.index(ord(text[(text.index(written[-1]) + 1) % 8])) if written else 0
        symbol = 0 if mask is not None and mask[following] else following
        guard.advance(symbol)
        written += text[symbol]
    assert written == "abcabcab"


@pytest.mark.parametrize("level", ["char", "byte"])
def test_where_everything_is_forbidden_the_mask_is_full(level: str) -> None:
    vocabulary = vocabulary_of("aaaa", level, "nfc")
    guard = CopyGuard(CopyRules(vocabulary), Naive("aaaa"), 2)
    for _ in range(2):
        assert guard.forbidden() is None
        guard.advance(0)
    mask = guard.forbidden()
    assert mask is not None
    assert mask.tolist() == [True]


def test_a_first_byte_is_forbidden_only_where_all_of_its_characters_are() -> None:
    corpus = "aа" + "aб"  # both letters behind an a begin with the byte D0
    for more, doomed in (("", True), ("в", False)):
        vocabulary = vocabulary_of(corpus + more, "byte", "nfc")
        guard = CopyGuard(CopyRules(vocabulary), Naive(corpus), 1)
        guard.advance(vocabulary.symbols.index(ord("a")))
        mask = guard.forbidden()
        assert (mask is not None and bool(mask[vocabulary.symbols.index(0xD0)])) is doomed


def test_the_corpus_is_asked_seldom_while_nothing_is_copied() -> None:
    corpus = Naive("abcdefghij" * 3)
    vocabulary = vocabulary_of(corpus.text, "char", "nfc")
    guard = CopyGuard(CopyRules(vocabulary), corpus, 20)
    for symbol in [9, 8, 7, 6, 5, 4, 3, 2, 1, 0] * 20:
        assert guard.forbidden() is None
        guard.advance(symbol)
    assert corpus.asked < 200 / 10


def test_texts_do_not_share_what_they_have_written() -> None:
    vocabulary = vocabulary_of("abc", "char", "nfc")
    rules = CopyRules(vocabulary)
    first, second = (CopyGuard(rules, Naive("abc"), 1) for _ in range(2))
    first.advance(0)
    assert first.forbidden() is not None
    assert second.forbidden() is None
