"""Many files as one text, in even pieces."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora import decoding
from corpora.read_report import ReadReport
from corpora.reading import Document, Limits, PeekedStream, ReadOptions, in_pieces, read_documents, read_file
from model.errors import BinaryText, EmptyText, NothingToRead, TextTooLarge, UndecodableText

OPTIONS = ReadOptions("place")


def documents(*contents: bytes) -> Iterator[Document]:
    @contextlib.contextmanager
    def opened(data: bytes) -> Iterator[io.BytesIO]:
        yield io.BytesIO(data)

    return (Document(f"file{i}", functools.partial(opened, data)) for i, data in enumerate(contents))


@given(st.lists(st.text("abc\n", max_size=9), max_size=9), st.integers(1, 7))
def test_pieces_are_even_and_lose_nothing(texts: list[str], size: int) -> None:
    report = ReadReport()
    whole = "".join(texts)
    if not whole:
        with pytest.raises(EmptyText, match="place holds no text"):
            list(in_pieces(texts, OPTIONS, report, size))
        return
    pieces = list(in_pieces(texts, OPTIONS, report, size))
    assert pieces == [whole[i : i + size] for i in range(0, len(whole), size)]
    assert report.characters == len(whole)


@given(st.lists(st.text("aé\r\n", max_size=12), min_size=1, max_size=5), st.integers(4, 6))
def test_every_file_ends_with_a_newline(contents: list[str], block: int) -> None:
    lines = [content.replace("\r\n", "\n").replace("\r", "\n") for content in contents]
    report = ReadReport()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", block)
        text = "".join(read_documents(documents(*(content.encode() for content in contents)), OPTIONS, report))
    assert text == "".join(line if not line or line.endswith("\n") else line + "\n" for line in lines)
    assert report.files == len(contents)
    assert report.bytes_read == sum(len(content.encode()) for content in contents)


@pytest.mark.parametrize("bad", [b"long enough\xff", b"long enough\0"])
def test_no_half_of_a_file_comes_through(bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK", 4)
    report = ReadReport()
    assert "".join(read_documents(documents(b"one", bad, b"two"), OPTIONS, report)) == "one\ntwo\n"
    assert (report.files, report.skipped, report.bytes_read) == (2, 1, 6)
    assert "file1" in report.warnings[0]


def test_a_single_file_is_as_it_is_or_an_error() -> None:
    report = ReadReport()
    assert "".join(read_file(io.BytesIO(b"no line end"), OPTIONS, report)) == "no line end"
    assert report.files == 1
    with pytest.raises(BinaryText, match=r"^place is binary"):
        list(read_file(io.BytesIO(b"a\0"), OPTIONS, report))
    with pytest.raises(UndecodableText, match=r"^place is not utf-8"):
        list(read_file(io.BytesIO(b"a\xff"), OPTIONS, report))


def test_nothing_to_read() -> None:
    with pytest.raises(NothingToRead, match="place has no text file: one binary file was skipped: file0; one file was skipped that"):
        list(read_documents(documents(b"\0", b"\xff"), OPTIONS, ReadReport()))


def test_the_limit_is_that_of_all_files_together(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ReadOptions("place", limits=Limits(size=10))
    assert "".join(read_documents(documents(b"12345", b"12345"), options, ReadReport())) == "12345\n12345\n"
    with pytest.raises(TextTooLarge, match="larger than 10 bytes"):
        list(read_documents(documents(b"12345", b"123456"), options, ReadReport()))
    with pytest.raises(TextTooLarge):
        list(read_file(io.BytesIO(b"12345678901"), options, ReadReport()))
    monkeypatch.setattr(decoding, "BLOCK", 4)
    with pytest.raises(TextTooLarge):
        list(read_documents(documents(b"12345", b"123456"), options, ReadReport()))
    list(read_documents(documents(b"12345", b"\0" + b"x" * 99, b"12345"), options, ReadReport()))


def test_prefixed() -> None:
    stream = PeekedStream(b"abc", io.BytesIO(b"defg"))
    assert [stream.read(2), stream.read(2), stream.read(3), stream.read(9), stream.read(9)] == [b"ab", b"c", b"def", b"g", b""]
    assert stream.count == 7
