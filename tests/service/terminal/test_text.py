"""Text on a terminal is never too wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.system.formatting import columns
from service.terminal.text import clipped, dim, green, indented, sentence, table, wrapped, yellow

ANYTHING = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\t\x9b한é😀\u0301\u202e\ud800"))


@given(ANYTHING, st.integers(1, 30))
def test_clipped_text_fits(text: str, width: int) -> None:
    found = clipped(text, width)
    assert columns(found) <= width
    assert found == text or (found.endswith("…") and text.startswith(found[:-1]))
    assert found == text or columns(found) >= width - 1


@given(st.lists(st.tuples(ANYTHING, ANYTHING), max_size=5), st.integers(10, 60))
def test_a_table_has_a_line_a_row_and_fits(rows: list[tuple[str, str]], width: int) -> None:
    lines = table(["one", "two"], rows, width).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(columns(line) <= width for line in lines)


def test_numbers_stand_to_the_right() -> None:
    assert table(["run", "step"], [["a", "1,000"], ["b", "-"], ["한", "7"]]).split("\n") == [
        "run   step",
        "a    1,000",
        "b        -",
        "한       7",
    ]
    assert table(["run", "step"], []) == "run  step"


@given(ANYTHING, st.integers(15, 60), st.integers(1, 4))
def test_indented_text_fits_in_width_and_height(text: str, width: int, lines: int) -> None:
    found = indented(text, width, lines).split("\n")
    assert len(found) <= lines + 1
    assert all(line.startswith("    ") and columns(line) <= width for line in found)


def test_a_longer_text_says_that_it_goes_on() -> None:
    assert indented("\na\n\tb\nc\n", 20, 2) == "    a\n        b\n    …"
    assert indented("a\nb", 20, 2) == "    a\n    b"


@given(st.text("abc ,é한", max_size=200), st.integers(25, 60))
def test_a_wrapped_paragraph_keeps_its_words(text: str, width: int) -> None:
    lines = wrapped(text, width, 12).split("\n")
    assert all(len(line) <= width - (0 if index else 12) for index, line in enumerate(lines))
    assert all(line.startswith(" " * 12) for line in lines[1:])
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_sentence_takes_the_lines_it_needs_and_keeps_hyphens_together() -> None:
    assert sentence("one two three", 80) == "one two three"
    assert sentence("better than a 5-gram model", 16, first="  ") == "  better than a\n    5-gram model"
    assert sentence("", 80) == ""


def test_colours_end_where_they_began() -> None:
    assert dim("a") == "\x1b[2ma\x1b[0m"
    assert green("a") == "\x1b[32ma\x1b[0m"
    assert yellow("a") == "\x1b[33ma\x1b[0m"
