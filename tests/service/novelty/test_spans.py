"""Maximal spans, against every pair of places."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.novelty.index import Index
from service.novelty.spans import Span, covered, fewest, maximal

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
    found = list(maximal(index_of(corpus), text))
    assert found == expected
    long = [span for span in expected if span.length >= least]
    shown, joined = fewest(long), covered(long)
    assert set(shown) <= set(long)
    assert places(shown) == places(long) == places(joined)
    assert sum(span.length for span in joined) == len(places(long))
    assert all(a.stop < b.start for a, b in pairwise(joined))
    assert joined == covered(shown)
    if long:  # none of them can be spared
        assert all(places([*shown[:index], *shown[index + 1 :]]) != places(long) for index in range(len(shown)))


def test_a_text_of_nothing_that_is_known_has_no_spans(index_of: Indexer) -> None:
    assert list(maximal(index_of("abc"), "xyz")) == list(maximal(index_of("abc"), "")) == []


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
    spans = list(maximal(index, text))
    assert spans == [Span(0, 8000), Span(8001, 11001)]
    assert asked < 200


def test_overlaps_are_covered_by_as_few_as_can_be() -> None:
    spans = [Span(0, 10), Span(2, 12), Span(8, 20), Span(20, 25), Span(22, 26), Span(30, 31)]
    assert fewest(spans) == [Span(0, 10), Span(8, 20), Span(20, 25), Span(22, 26), Span(30, 31)]
    assert covered(spans) == [Span(0, 26), Span(30, 31)]
