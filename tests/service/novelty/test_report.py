"""A text held against its corpus: plain data that says what is the same, and where."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.copying import CopyGuard, CopyRules
from model.errors import InvalidSetting
from model.utf8 import Utf8Guide
from model.vocabulary import SymbolCounts, Vocabulary
from service.novelty import Copied, Index, Record, compare

Indexer = Callable[[str], Index]
CORPUS = "It was the best of times,\nit was the worst of times,\nit was the age of wisdom\n"
NAMES = "".join(
    f"{name}\n" for name in "Ann Bob Cleo Dora Emil Fay Gus Hal Ida Jo Kim Lea Max Ned Ole Pia Quin Rob Sue Tom Uma Zoë".split()
)


def test_what_is_copied_is_found_with_its_place(index_of: Indexer) -> None:
    text = "He said: it was the worst of all, the age of wisdom!"
    novelty = compare(index_of(CORPUS), text, corpus="tale", min_length=12)
    assert [text[each.start : each.stop] for each in novelty.spans] == ["it was the worst of ", " the age of wisdom"]
    assert novelty.longest == novelty.spans[0]
    assert novelty.longest == Copied(
        start=9,
        stop=29,
        length=20,
        times=1,
        offset=26,
        line=2,
        before="It was the best of times,\n",
        after="times,\nit was the age of wisdom\n",
    )
    assert (novelty.copied, novelty.characters, novelty.share) == (38, 52, 38 / 52)
    assert novelty.records is None


def test_the_longest_is_told_even_where_it_is_short(index_of: Indexer) -> None:
    novelty = compare(index_of(CORPUS), "the beasts", corpus="tale")
    assert novelty.spans == ()
    assert (novelty.copied, novelty.share) == (0, 0.0)
    assert novelty.longest is not None
    assert (novelty.longest.start, novelty.longest.stop, novelty.longest.times) == (0, 6, 1)


@pytest.mark.parametrize("text", ["", "XYZ"])
def test_nothing_in_common_is_no_span(index_of: Indexer, text: str) -> None:
    novelty = compare(index_of(CORPUS), text, corpus="tale")
    assert (novelty.longest, novelty.spans, novelty.copied, novelty.share) == (None, (), 0, 0.0)


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
    assert novelty.records == (
        Record(start=0, stop=1, text="Max", new=False),
        Record(start=2, stop=5, text="Bob", new=False),
        Record(start=6, stop=10, text="Bobo", new=True),
        Record(start=12, stop=16, text="Zoe\u0308", new=False),
    )
    ended = compare(index_of(NAMES), text, corpus="names")
    assert ended.records is not None
    assert [(each.text, each.new) for each in ended.records][::5] == [("x", True)]
    assert ended.records[-1] == Record(start=18, stop=20, text="An", new=True)


def test_a_record_that_the_prompt_had_finished_is_not_of_the_text(index_of: Indexer) -> None:
    novelty = compare(index_of(NAMES), "\nIda\n", corpus="names", prompt="Bob")
    assert novelty.records == (Record(start=1, stop=4, text="Ida", new=False),)


def test_records_can_be_asked_for_or_left_out(index_of: Indexer) -> None:
    assert compare(index_of(NAMES), "Bob", corpus="names", records=False).records is None
    assert compare(index_of(CORPUS), "Bob", corpus="tale", records=True).records == (Record(start=0, stop=3, text="Bob", new=True),)


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
    values = json.loads(json.dumps(compare(index_of(NAMES), "Bob\nIdb\n", corpus="names", min_length=3).to_dict()))
    assert values.keys() == {"corpus", "characters", "min_length", "copied", "share", "longest", "found", "spans", "records"}
    assert values["spans"][0].keys() == {"start", "stop", "length", "times", "offset", "line", "before", "after"}
    assert values["records"] == [{"start": 0, "stop": 3, "text": "Bob", "new": False}, {"start": 4, "stop": 7, "text": "Idb", "new": True}]
    assert values["share"] == round(values["copied"] / 8, 4)
