"""Quotations and comments: against Python's own tokenizer on generated programs, and by hand in prose and in other languages."""

from __future__ import annotations

import io
import tokenize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.inspection.quoting import Kind, kinds

SHORT = {Kind.SINGLE: "s", Kind.DOUBLE: "d", Kind.BLOCK: "b", Kind.TYPOGRAPHIC: "t", Kind.HASH: "#", Kind.SLASH: "/", Kind.PLAIN: "."}


def shown(text: str) -> str:
    return "".join(SHORT[Kind(kind)] for kind in kinds(text).tolist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a 'b' c", "..ss..."),
        ('a "b" c', "..dd..."),
        ("a'b'c don't", "..........."),  # behind a letter it is an apostrophe
        ("f'x' r'y'", ".ss...ss."),  # but a prefix of Python's strings is none
        (r"'\'' 'a'", "sss..ss."),
        (r"'\\' 'a'", "sss..ss."),  # an escaped backslash escapes nothing
        ("rb'x' FR'y'", "..ss....ss."),
        ("'a\nb", "ss.."),  # to the end of the line
        ('"a\nb" c', "dddd..."),  # lines of prose are broken
        ('"a\n\nb c', "dd....."),  # a paragraph ends what was never closed
        ("'''a'b\n\nc''' d", "bbbbbbbbbbb..."),
        ("x = 1  # don't 'a'\ny", ".......###########.."),
        ('#include "a.h"\n', ".........dddd.."),  # no comment: its quotation counts
        ("a /* it's */ b", "../////////..."),
        ("a; // it's\nb", "...///////.."),
        ("a // b 'c'", ".......ss."),  # divides
        ("“a” „b“ «c» 「d」", "tt..tt..tt..tt."),
        ("“it's”", "ttttt."),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert shown(text) == expected


PLAIN = st.sampled_from(["x", " = ", "(", ")", "\n", " + ", "12", "  ", ", "])
STRINGS = st.builds(
    lambda prefix, mark, content: f"{prefix}{mark}{content}{mark}",
    st.sampled_from(["", "r", "b"]),
    st.sampled_from(["'", '"', '"""', "'''"]),
    st.lists(st.sampled_from(["a", " b", "#", r"\\", r"\n", "(", "//", "x=1"]), max_size=4).map("".join),
)
COMMENTS = st.sampled_from(["# it's\n", '# a "b\n', "#: (\n"])


def by_tokenizer(program: str) -> list[int]:
    """What Python says of each character of a program."""
    found = [int(Kind.PLAIN)] * len(program)
    starts = [0]
    for line in program.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        stop = starts[token.end[0] - 1] + token.end[1]
        if token.type == tokenize.COMMENT:
            found[stop - len(token.string) : stop] = [int(Kind.HASH)] * len(token.string)
        elif token.type == tokenize.STRING:
            bare = token.string.lstrip("rb")
            kind = Kind.BLOCK if bare[:3] in ('"""', "'''") else Kind.DOUBLE if bare[0] == '"' else Kind.SINGLE
            found[stop - len(bare) : stop - 1] = [int(kind)] * (len(bare) - 1)
    return found


@given(st.lists(st.one_of(PLAIN, STRINGS.map(lambda text: f" {text} "), COMMENTS), max_size=20))
def test_python_is_read_as_python_does(parts: list[str]) -> None:
    program = "(" + "".join(part for part in parts if part not in "()") + "\n)\n"  # in brackets, where indentation means nothing
    assert kinds(program).tolist() == by_tokenizer(program)


def test_a_piece_that_begins_inside_a_block_is_read_from_there() -> None:
    program = 'def f():\n    """It\'s "said" right here."""\n    return [1, 2, 3] + g(5) * 7 - x\n' * 20
    whole = kinds(program)
    for start in (17, 25, 34):
        assert whole[start] == Kind.BLOCK
        assert (kinds(program[start:], piece=True) == whole[start:]).all()


def test_a_piece_without_marks_is_outside() -> None:
    assert not kinds("plain words, (brackets) and no marks\n" * 9, piece=True).any()
    assert not kinds("", piece=True).any()


def test_a_comment_goes_on_to_the_line_end_and_no_further() -> None:
    text = "a # b\nc"
    assert np.flatnonzero(kinds(text) == Kind.HASH).tolist() == [2, 3, 4]
