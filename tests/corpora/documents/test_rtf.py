"""RTF as pandoc writes it, and what Word writes, built by hand."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import open_source
from corpora.documents.rtf import read_rtf

from .conftest import LINES, lines_of


def test_the_text_is_what_was_written(written: Callable[[str], Path]) -> None:
    source = open_source(str(written("rtf")))
    assert lines_of("".join(source.pieces())) == LINES
    assert source.report.warnings == ["tale.rtf: 10 lines of an RTF document"]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (rb"{\rtf1\ansi\ansicpg1251 \'cf\'f0\'e8\par b}", ["При", "b"]),
        (rb"{\rtf1 a \u-10179?\u-8704? b}", ["a 😀 b"]),
        (rb"{\rtf1{\fonttbl{\f0 Times;}}{\*\generator Word;}{\info{\title T}}text}", ["text"]),
        (rb"{\rtf1 a|b\cell c\cell\row d}", ["a|b\tc", "d"]),
        (rb"{\rtf1{\listtext\tab 1.\tab}one\par{\pict\wmetafile8 0102abcdef}two}", ["one", "two"]),
        (rb'{\rtf1 see {\field{\*\fldinst{HYPERLINK "http://x.org"}}{\fldrslt{here}}} now}', ["see here now"]),
    ],
)
def test_what_word_writes(source: bytes, lines: list[str]) -> None:
    assert list(read_rtf(io.BytesIO(source))) == lines
