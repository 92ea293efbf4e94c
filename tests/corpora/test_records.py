"""Texts are cut into records: as other programs cut them, whatever the pieces in which they arrive."""

from __future__ import annotations

import csv
import io
import itertools
import random
import re
from collections import Counter
from statistics import median_low

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpora import records as module
from corpora.escapes import escaped
from corpora.records import AUTO, CHOICES, LONGEST, RecordCounter, RecordCutter, RecordFormat, chosen
from model.errors import InvalidSetting, RecordTooLong

KINDS = [kind for kind in CHOICES if kind not in ("auto", "none")]


def cut(form: RecordFormat, *pieces: str) -> list[str]:
    return [record for some in form.cut(pieces) for record in some]


def of(kind: str, *pieces: str) -> list[str]:
    return cut(RecordFormat.of_kind(kind), *pieces)


FORMS = [*map(RecordFormat.of_kind, KINDS), RecordFormat(kind="separator", separator="\n--\n")]


@settings(max_examples=200)
@given(
    form=st.sampled_from(FORMS),
    text=st.text(alphabet=["a", "b", '"', ",", "\n", "\n", "%", "-", "\x1e", " "], max_size=60),
    cuts=st.lists(st.integers(0, 60)),
)
@example(form=RecordFormat.of_kind("blocks"), text="a\n\n  \nb\n\n  c\n ", cuts=[3, 9])
@example(form=RecordFormat.of_kind("fortune"), text="a\n%\nb\n% ", cuts=[3, 7])
def test_the_pieces_of_a_text_do_not_matter(form: RecordFormat, text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[first:last] for first, last in itertools.pairwise(bounds)]
    found = cut(form, *pieces)
    assert found == cut(form, text)
    assert all(record.strip() for record in found)
    kept = Counter(re.sub(r"[\s%\x1e-]", "", text))
    assert Counter("".join(found)) & kept == kept, "nothing visible is lost but separators"


def test_each_kind() -> None:
    assert of("lines", "Anna\n\nBo b\n  \nCy") == of("jsonl", "Anna\n\nBo b\n  \nCy") == ["Anna", "Bo b", "Cy"]
    assert of("blocks", "\na\nb\n\n\n \nc\n", "\nd\n") == ["a\nb", "c", "d"]
    assert of("blocks", " \na\n\n", "\t \n  b\n", " c \n ") == ["a", "  b\n c "]
    assert of("fortune", "%\na\n%\nb %\n%c\n% \nd\n%") == of("fortune", "a\n%\nb %\n%c\n%\nd\n% ") == ["a", "b %\n%c", "d"]
    assert of("files", "one\ntwo\n\x1ethree\n\x1e") == ["one\ntwo", "three"]
    assert cut(RecordFormat(kind="separator", separator="||"), "a||", "||b|c") == ["a", "b|c"]
    assert cut(RecordFormat(kind="separator", separator="---").fitted("a\n---\nb"), "---\na\n---\nb--- c\n---") == ["a", "b--- c"]
    assert cut(RecordFormat.of_kind("csv", header=True), 'id,name\n1,"a\n', 'b"\n2,c') == ['1,"a\nb"', "2,c"]


@given(st.lists(st.lists(st.text(alphabet='ab", \n', max_size=5), min_size=2, max_size=3), min_size=1, max_size=9), st.integers(1, 20))
def test_rows_of_a_table_are_those_of_the_csv_module(rows: list[list[str]], size: int) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    text = file.getvalue()
    found = of("csv", *(text[start : start + size] for start in range(0, len(text), size)))
    assert [row for record in found for row in csv.reader(io.StringIO(record, newline=""))] == rows
    assert len(found) == len(rows)


@given(
    lines=st.lists(st.text(alphabet=["a", "b", '"', '"', "D", " "], max_size=7), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "|", "\t"]),
    size=st.integers(1, 60),
)
@example(lines=['10"DMonitor', '11"DMonitor'], delimiter=",", size=60)
@example(lines=['"a', '"', 'b"', "c"], delimiter=",", size=60)
@example(lines=['aD"b', '"D"c" "', '"', 'd"D"'], delimiter=";", size=3)
def test_a_quotation_mark_opens_a_cell_only_at_its_beginning(lines: list[str], delimiter: str, size: int) -> None:
    lines = [line.replace("D", delimiter) for line in lines]
    reader, before, rows = csv.reader([*(f"{line}\n" for line in lines), ""], delimiter=delimiter), 0, list[str]()
    for _ in reader:
        last = min(reader.line_num, len(lines))
        is_open = reader.line_num > len(lines) > before  # it read on to the end
        rows += lines[before:last] if is_open else ["\n".join(lines[before:last])]
        before = last
    text = "\n".join(lines)
    found = of("tsv" if delimiter == "\t" else "csv", *(text[start : start + size] for start in range(0, len(text), size)))
    assert found == [row for row in rows if row.strip()]


def test_a_quotation_mark_that_is_never_closed_is_no_quotation_mark() -> None:
    lines = ['5" pipe,1', *(f"part {number},{number}" for number in range(500))]
    assert of("csv", "\n".join(lines)) == lines


def test_a_record_that_never_ends_is_refused() -> None:
    with pytest.raises(RecordTooLong, match="if the text is cut into lines, a record has more than 1,048,576 characters"):
        of("lines", *["a" * 2**19] * 3)
    assert len(of("lines", "a" * LONGEST, "\nb")) == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_of_a_record_is_the_same_for_all_kinds_and_pieces(form: RecordFormat, more: int) -> None:
    text = form.separator.join(["b", "a" * (LONGEST + more), "c", ""])
    inside = len(f"b{form.separator}") + LONGEST + 1  # the separator after the long record
    for pieces in ([text], [text[:LONGEST], text[LONGEST:]], [text[:inside], text[inside:]]):
        if more:
            with pytest.raises(RecordTooLong):
                cut(form, *pieces)
        else:
            assert [len(record) for record in cut(form, *pieces)] == [1, LONGEST, 1]


def test_what_the_user_chooses() -> None:
    assert chosen("auto") == AUTO
    assert chosen("none") is None
    for kind in KINDS:
        form = chosen(kind)
        assert isinstance(form, RecordFormat)
        assert form == RecordFormat.of_kind(kind) == RecordFormat.from_dict({**form.to_dict(), "count": 3})
    form = chosen(r"\n---\n\\x")
    assert isinstance(form, RecordFormat)
    assert (form.separator, escaped(form.separator)) == ("\n---\n\\x", r"\n---\n\\x")
    for written, separator in (
        (r"\r\n", "\n"),
        (r"\r\n--\r", "\n--\n"),
        ("\r\n\r\n", "\n\n"),
        (r"\x6cine", "line"),
        (" ;", " ;"),
        ("Seite", "Seite"),
    ):
        form = chosen(written)
        assert isinstance(form, RecordFormat)
        assert (form.separator, form.words) == (separator, f"texts between '{escaped(separator)}'")
    for mistyped in ("line", "Lines", "BLOCKS", "json", "jsonlines", "cvs", "file", "Fortunes", "non"):
        with pytest.raises(InvalidSetting, match=r"\(did you mean \w+\? if it is the separator itself, write \\x") as refused:
            chosen(mistyped)
        form = chosen(str(refused.value).removesuffix(")").rpartition(" ")[2])
        assert isinstance(form, RecordFormat)
        assert form.separator == mistyped
    for wrong in ("", "x" * 101, "a\ud800"):
        with pytest.raises(InvalidSetting, match=r"records is .*; it must be one of auto, none, lines, blocks"):
            chosen(wrong)


@pytest.mark.parametrize("most", [2**18, 500])
def test_records_are_counted(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACTLY", most)
    rng = random.Random(1)
    records = [f"{rng.randrange(8000)}" * rng.randrange(1, 90) for _ in range(9000)]
    counter = RecordCounter(RecordFormat.of_kind("lines"))
    for start in range(0, 9000, 700):
        counter.add(records[start : start + 700])
    facts = counter.facts()
    assert (facts["count"], facts["kind"], facts["separator"]) == (9000, "lines", "\n")
    assert facts["median"] == median_low(map(len, records))
    assert facts["longest"] == max(map(len, records))
    different = len(set(records))
    assert facts["estimated"] == (most < different)
    assert facts["different"] == pytest.approx(different, rel=0.25 if facts["estimated"] else 0)
    assert len(facts["examples"]) == 3
    assert all(len(example) <= 200 and any(record.startswith(example.rstrip("…")) for record in records) for example in facts["examples"])


@pytest.mark.parametrize("text", ["a\n\n" * 300_000, "\n \t" * 300_000, "ab\n" * 300_000])
def test_a_piece_is_cut_in_slices_and_no_part_of_it_many_times(text: str) -> None:
    cutter = RecordCutter(RecordFormat.of_kind("blocks"))
    split, seen = cutter._split, []
    cutter._split = lambda part: seen.append(len(part)) or split(part)  # type: ignore[func-returns-value]
    records = cutter.push(text) + cutter.finish()
    assert records == [block.strip("\n") for block in split(text) if block.strip()]
    assert sum(seen) <= 3 * len(text)
    assert max(seen) <= 2**17 or len(records) == 1
