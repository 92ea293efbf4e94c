"""CopiedSpan spans on a terminal: underlined, never beyond a line, and harmless."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import SamplingConfig
from service.generation.sample import write
from service.novelty import ComparedRecord, CopiedSpan, Indexes, TextNovelty, compare
from service.store import Corpus, Run, Store
from service.system.formatting import columns, safe
from service.terminal.reports import LISTED, compared, index_of, novelty_report, underlined


def span(start: int, stop: int, **facts: int) -> CopiedSpan:
    return CopiedSpan(
        **{"start": start, "stop": stop, "length": stop - start, "times": 1, "offset": 7, "line": 3, "before": "", "after": ""} | facts
    )  # type: ignore[arg-type]


def novelty(*spans: CopiedSpan, longest: CopiedSpan | None = None, records: list[ComparedRecord] | None = None) -> TextNovelty:
    copied = sum(each.length for each in spans)
    return TextNovelty(
        corpus="tale",
        characters=200,
        min_length=5,
        copied=copied,
        share=copied / 200,
        longest=longest or (spans or (None,))[0],
        found=len(spans),
        spans=list(spans),
        records=records,
    )


def test_copied_spans_are_underlined_line_by_line() -> None:
    found = underlined("one two\nthree\n\nfour", [span(4, 15)])
    assert found == "one \x1b[4mtwo\x1b[24m\n\x1b[4mthree\x1b[24m\n\nfour"
    assert underlined("abc", []) == "abc"


@given(st.text("ab\n\x1b한\u2028", max_size=30), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4))
def test_the_text_is_there_and_just_the_spans_are_underlined(text: str, ends: list[tuple[int, int]]) -> None:
    spans = sorted({tuple(sorted((min(a, len(text)), min(b, len(text))))) for a, b in ends})
    found = underlined(text, [span(*each) for each in spans])
    inside, at, marked = False, 0, set()
    for part in re.split(r"(\x1b\[\d+m)", found):
        if part.startswith("\x1b"):
            assert inside is (part == "\x1b[24m")
            inside = not inside
            continue
        marked |= {at + index for index in range(len(part)) if inside}
        at += len(part)
    assert re.sub(r"\x1b\[\d+m", "", found) == safe(text)
    assert marked >= {place for start, stop in spans for place in range(start, stop) if text[place] not in "\n\u2028"}
    assert marked <= {place for start, stop in spans for place in range(start, stop) if text[place] != "\n"}


def test_a_report_says_how_much_and_where() -> None:
    text = "x" * 20 + "it was the best of times\n" + "y" * 155
    found = novelty_report(text, novelty(span(20, 45, times=2, line=1234), span(100, 106)), 100)
    assert found.splitlines() == [
        "31 of these 200 characters (16%) are copied from corpus tale in spans of 5 or more; the longest has",
        "    25 (2 times, line 1,234)",
        "copied  times   line  text",
        "    25      2  1,234  it was the best of times",
        "     6      1      3  yyyyyy",
    ]


def test_little_or_nothing_in_common_is_said() -> None:
    assert novelty_report("", novelty(longest=span(0, 3)), 200) == (
        "nothing of 5 characters or more in a row is copied from corpus tale: the longest span in common with it has 3 (once, line 3)"
    )
    assert novelty_report("", novelty(), 200) == "nothing of these 200 characters stands in corpus tale"


def test_records_are_counted_and_the_known_ones_named() -> None:
    old = [ComparedRecord(start=0, stop=1, text=f"name{number % (LISTED + 2)}", new=False) for number in range(20)]
    new = [ComparedRecord(start=0, stop=1, text="Zed", new=True)]
    last = novelty_report("", novelty(records=new + old), 500).splitlines()[-1]
    names = ", ".join(f"name{number}" for number in range(LISTED))
    assert last == f"1 of 21 lines are new; in the corpus are {names} and 2 more"
    assert novelty_report("", novelty(records=new), 500).splitlines()[-1] == "1 of 1 line is new"


def test_a_table_fits_and_is_harmless() -> None:
    found = novelty_report("\x1b[2J한" * 40, novelty(span(0, 200)), 60)
    assert "\x1b" not in found
    assert all(columns(line) <= 60 for line in found.splitlines())


def test_a_text_on_a_terminal_has_its_copies_underlined(
    store: Store, add_model: Callable[..., Run], corpus: Corpus, tale: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word by word, since a model that knows nothing copies little."""
    run = add_model(corpus=corpus.name, text=tale)
    monkeypatch.setattr("service.novelty.compare", partial(compare, min_length=2))
    echoed: list[str] = []
    with Indexes(store) as indexes:
        texts = write(store, run.name, SamplingConfig(prompt="the", length=40, seed=1, n=2), partial(index_of, indexes, echoed.append))
        found = list(compared(texts))
    again = write(store, run.name, SamplingConfig(prompt="the", length=40, seed=1, n=2))
    assert [whole for whole, _ in found] == list(again.whole())
    for whole, novelty in found:
        shown = underlined(whole.text, novelty.spans)
        assert re.sub(r"\x1b\[\d+m", "", shown) == safe(whole.text)
        marked = re.findall(r"\x1b\[4m(.*?)\x1b\[24m", shown)
        assert marked
        assert all(part in tale for part in marked)
        assert "are copied from corpus tale" in novelty_report(whole.text, novelty, 80)
    assert echoed == []  # standard error is no terminal here
