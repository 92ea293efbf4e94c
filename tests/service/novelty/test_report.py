"""Copied spans equal those of a naive search, texts are compared in NFC with LF, and the report counts in the original text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.copy_guard import CopyGuard, CopyRules
from model.errors import InvalidSetting
from model.utf8_constraint import Utf8Guide
from model.vocabulary import SymbolCounts, Vocabulary
from service.novelty import ComparedRecord, CopiedSpan, compare
from service.novelty.report import NormalizedText, Span, maximal_spans, merged, minimal_cover
from service.novelty.suffix_array import Index

# ── copied spans ─────────────────────────────────────────────────────────────────────────────────────────────────────

Indexer = Callable[[str], Index]
TEXTS = st.text("ab한😀\n", min_size=1, max_size=30) | st.text("ab", min_size=1, max_size=30)


def naive(corpus: str, text: str) -> list[Span]:
    """Every copied span that cannot be made longer on either side."""
    size = len(text)
    every = [(start, stop) for start in range(size) for stop in range(start + 1, size + 1) if text[start:stop] in corpus]
    return [Span(a, b) for a, b in every if not any((c, d) != (a, b) and c <= a and b <= d for c, d in every)]


def places(spans: list[Span]) -> set[int]:
    return {place for span in spans for place in range(span.start, span.stop)}


@given(TEXTS, st.lists(TEXTS, max_size=3), st.integers(1, 6))
def test_spans_are_those_that_a_naive_search_finds(index_of: Indexer, corpus: str, more: list[str], least: int) -> None:
    text = "".join([corpus[3:20], *more, corpus[:5]])
    expected = naive(corpus, text)
    found = list(maximal_spans(index_of(corpus), text))
    assert found == expected
    long = [span for span in expected if span.length >= least]
    shown, joined = minimal_cover(long), merged(long)
    assert set(shown) <= set(long)
    assert places(shown) == places(long) == places(joined)
    assert sum(span.length for span in joined) == len(places(long))
    assert all(a.stop < b.start for a, b in pairwise(joined))
    assert joined == merged(shown)
    if long:  # none of them can be spared
        assert all(places([*shown[:index], *shown[index + 1 :]]) != places(long) for index in range(len(shown)))


def test_a_text_of_nothing_that_is_known_has_no_spans(index_of: Indexer) -> None:
    assert list(maximal_spans(index_of("abc"), "xyz")) == list(maximal_spans(index_of("abc"), "")) == []


def test_a_whole_copy_is_one_span_found_in_few_searches(index_of: Indexer) -> None:
    corpus = "".join(f"{number} " for number in range(5000))
    index = index_of(corpus)
    asked = 0
    occurs = index.occurs

    def counted(pattern: bytes) -> bool:
        nonlocal asked
        asked += 1
        return occurs(pattern)

    index.occurs = counted  # type: ignore[method-assign]
    text = corpus[1000:9000] + "#" + corpus[12000:15000]
    spans = list(maximal_spans(index, text))
    assert spans == [Span(0, 8000), Span(8001, 11001)]
    assert asked < 200


def test_overlaps_are_covered_by_as_few_as_can_be() -> None:
    spans = [Span(0, 10), Span(2, 12), Span(8, 20), Span(20, 25), Span(22, 26), Span(30, 31)]
    assert minimal_cover(spans) == [Span(0, 10), Span(8, 20), Span(20, 25), Span(22, 26), Span(30, 31)]
    assert merged(spans) == [Span(0, 26), Span(30, 31)]


# ── normalization ────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS_FORMS = st.text("ab\r\n\u0301\u0323\u1112\u1161\u11ab한é가😀", max_size=20)


@given(TEXTS_FORMS)
def test_a_text_is_composed_and_has_plain_line_ends(text: str) -> None:
    expected = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    assert NormalizedText(text).text == expected


@given(TEXTS_FORMS)
def test_every_character_leads_back_to_what_it_came_from(text: str) -> None:
    form = NormalizedText(text)
    places = [form.original(Span(place, place + 1)) for place in range(len(form.text))]
    for place, span in enumerate(places):
        assert form.text[place] in NormalizedText(text[span.start : span.stop]).text
    assert "".join(NormalizedText(text[span.start : span.stop]).text for span in dict.fromkeys(places)) == form.text
    assert {each for span in places for each in range(span.start, span.stop)} == set(range(len(text)))


def test_spans_grow_to_whole_characters() -> None:
    form = NormalizedText("ab\r\ncafe\u0301 \u1112\u1161\u11ab!")
    assert form.text == "ab\ncafé 한!"
    assert form.original(Span(2, 7)) == Span(2, 9)
    assert form.original(Span(8, 10)) == Span(10, 14)
    assert NormalizedText("café").original(Span(1, 3)) == Span(1, 3)


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────────────

CORPUS = "It was the best of times,\nit was the worst of times,\nit was the age of wisdom\n"
NAMES = "".join(
    f"{name}\n" for name in "Ann Bob Cleo Dora Emil Fay Gus Hal Ida Jo Kim Lea Max Ned Ole Pia Quin Rob Sue Tom Uma Zoë".split()
)


def test_what_is_copied_is_found_with_its_place(index_of: Indexer) -> None:
    text = "He said: it was the worst of all, the age of wisdom!"
    novelty = compare(index_of(CORPUS), text, corpus="tale", min_length=12)
    assert [text[each.start : each.stop] for each in novelty.spans] == ["it was the worst of ", " the age of wisdom"]
    assert novelty.longest == novelty.spans[0]
    assert novelty.longest == CopiedSpan(
        start=9,
        stop=29,
        length=20,
        times=1,
        offset=26,
        line=2,
        before="It was the best of times,\n",
        after="times,\nit was the age of wisdom\n",
    )
    assert (novelty.copied, novelty.characters, novelty.share) == (38, 52, round(38 / 52, 4))
    assert novelty.records is None


def test_the_longest_is_told_even_where_it_is_short(index_of: Indexer) -> None:
    novelty = compare(index_of(CORPUS), "the beasts", corpus="tale")
    assert novelty.spans == []
    assert (novelty.copied, novelty.share) == (0, 0.0)
    assert novelty.longest is not None
    assert (novelty.longest.start, novelty.longest.stop, novelty.longest.times) == (0, 6, 1)


@pytest.mark.parametrize("text", ["", "XYZ"])
def test_nothing_in_common_is_no_span(index_of: Indexer, text: str) -> None:
    novelty = compare(index_of(CORPUS), text, corpus="tale")
    assert (novelty.longest, novelty.spans, novelty.copied, novelty.share) == (None, [], 0, 0.0)


@given(st.text("ab\u0301é한\n😀", min_size=1, max_size=40), st.integers(0, 39), st.integers(1, 20), st.sampled_from(["NFC", "NFD"]))
def test_a_copy_is_found_in_whatever_form_it_is(index_of: Indexer, corpus: str, start: int, size: int, form: str) -> None:
    composed = unicodedata.normalize("NFC", corpus)
    text = unicodedata.normalize(form, composed[start : start + size]).replace("\n", "\r\n" if form == "NFD" else "\n")
    novelty = compare(index_of(corpus), text, corpus="any", min_length=1)
    whole = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    if whole and whole in composed:
        assert novelty.copied == novelty.characters == len(whole)
        assert [(each.start, each.stop) for each in novelty.spans] == [(0, len(text))]
        assert novelty.longest is not None
        assert composed.startswith(whole, novelty.longest.offset)
        assert novelty.longest.offset == composed.index(whole)


def test_a_span_of_no_length_is_refused(index_of: Indexer) -> None:
    with pytest.raises(InvalidSetting, match="min_length is 0"):
        compare(index_of(CORPUS), "x", corpus="tale", min_length=0)


def test_new_records_are_told_from_those_of_the_list(index_of: Indexer) -> None:
    text = "x\nBob\nBobo\n\nZoe\u0308\r\nAn"
    novelty = compare(index_of(NAMES), text, corpus="names", prompt="Kim\nMa", ended=False)
    assert novelty.records == [
        ComparedRecord(start=0, stop=1, text="Max", new=False),
        ComparedRecord(start=2, stop=5, text="Bob", new=False),
        ComparedRecord(start=6, stop=10, text="Bobo", new=True),
        ComparedRecord(start=12, stop=16, text="Zoe\u0308", new=False),
    ]
    ended = compare(index_of(NAMES), text, corpus="names")
    assert ended.records is not None
    assert [(each.text, each.new) for each in ended.records][::5] == [("x", True)]
    assert ended.records[-1] == ComparedRecord(start=18, stop=20, text="An", new=True)


def test_a_record_that_the_prompt_had_finished_is_not_of_the_text(index_of: Indexer) -> None:
    novelty = compare(index_of(NAMES), "\nIda\n", corpus="names", prompt="Bob")
    assert novelty.records == [ComparedRecord(start=1, stop=4, text="Ida", new=False)]


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("normalization", ["nfc", "nfd"])
@pytest.mark.parametrize("most", [1, 5, 17])
def test_a_guarded_text_has_nothing_longer_in_common(index_of: Indexer, tale: str, level: str, normalization: str, most: int) -> None:
    """The guard, over the index, against a writer who would do nothing but copy."""
    corpus = tale.replace("the", "한글").replace("knots", "é")
    index = index_of(corpus)
    vocabulary = Vocabulary.build(SymbolCounts(level, normalization).add([corpus]), 1)
    guard, ids = CopyGuard(CopyRules(vocabulary), index, most), vocabulary.encode(corpus).tolist()
    guide = Utf8Guide(vocabulary.symbols) if level == "byte" else None
    written: list[int] = []
    at = state = 0
    for _ in range(300):
        mask = guard.forbidden()
        allowed = np.ones(vocabulary.size, bool) if guide is None else guide.allowed[state].copy()
        if mask is not None:
            allowed &= ~mask
        symbol = ids[at % len(ids)]
        if not allowed[symbol]:
            symbol = int(np.random.default_rng(at).choice(np.flatnonzero(allowed)))
            at += 31
        guard.advance(symbol)
        written.append(symbol)
        state = guide.next_state(state, symbol) if guide else 0
        at += 1
    text = vocabulary.decode(np.array(written)).removesuffix("\ufffd")
    longest = compare(index, text, corpus="tale").longest
    assert longest is not None
    assert most - 1 <= longest.length <= most


def test_it_is_ready_for_json(index_of: Indexer) -> None:
    values = msgspec.to_builtins(compare(index_of(NAMES), "Bob\nIdb\n", corpus="names", min_length=3))
    assert values.keys() == {"corpus", "characters", "min_length", "copied", "share", "longest", "found", "spans", "records", "kind"}
    assert values["spans"][0].keys() == {"start", "stop", "length", "times", "offset", "line", "before", "after"}
    assert values["records"] == [{"start": 0, "stop": 3, "text": "Bob", "new": False}, {"start": 4, "stop": 7, "text": "Idb", "new": True}]
    assert values["share"] == round(values["copied"] / 8, 4)
