"""Decoding against Python's own decoding of the whole, whatever the size of the blocks."""

from __future__ import annotations

import codecs
import io
import re
import tracemalloc

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from corpora import decoding
from corpora.decoding import check_encoding, decoded, read_exactly
from model.errors import BinaryText, UndecodableText, UnknownEncoding

TEXT = st.text(st.sampled_from("ab\r\n\u0085\u2028é가각가나다語😀\ufeff~+"), max_size=40) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40
)
MARKED = {
    "utf-8": b"",
    "utf-8-sig": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
NAMED = [*MARKED, "utf-16", "utf-32", "utf-7", "latin-1", "cp949", "euc-kr", "shift_jis", "gb18030", "iso2022_jp", "cp1252"]


class Dripping:
    """A stream that gives at most a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int = 3) -> None:
        self.file, self.most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, self.most))


def with_blocks(data: bytes, block: int, encoding: str | None = None) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", block)
        pieces = list(decoded(Dripping(data), "f.txt", encoding))
    for piece in pieces:
        assert piece
        piece.encode()
    return "".join(pieces)


def lf(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


def offset_in(error: Exception) -> int:
    found = re.search(r"offset ([\d,]+)", str(error))
    assert found
    return int(found[1].replace(",", ""))


def first_wrong_byte(data: bytes, codec: str) -> int | None:
    try:
        data.decode(codec)
    except UnicodeDecodeError as error:
        return error.start
    return None


@given(TEXT, st.sampled_from(sorted(MARKED)), st.integers(1, 9))
@example("\r\n", "utf-16-le", 3)
@example("\r", "utf-8", 1)
@example("\ufeff\ufeff", "utf-8", 1)
@example("\ufeff", "utf-8-sig", 1)
def test_a_mark_or_utf_8_needs_no_name(text: str, codec: str, block: int) -> None:
    if not MARKED[codec]:
        text = text.lstrip("\ufeff")  # the first would be taken for a mark
    data = MARKED[codec] + text.encode("utf-8" if codec == "utf-8-sig" else codec)
    assert with_blocks(data, max(block, 4)) == lf(text)


@given(TEXT, st.sampled_from(NAMED), st.integers(1, 9))
def test_a_named_encoding(text: str, codec: str, block: int) -> None:
    data = text.encode(codec, "ignore")
    assume(first_wrong_byte(data, codec) is None)  # a bare escape character is no ISO 2022
    expected = data.decode(codec).removeprefix("" if codec in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff")
    assert with_blocks(data, max(block, 4), codec) == lf(expected)


@given(st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"\xff")), st.sampled_from(NAMED), st.integers(4, 9))
def test_the_offset_is_that_of_the_original_bytes(data: bytes, codec: str, block: int) -> None:
    if codec in ("utf-16", "utf-32", "utf-8-sig", "utf-7"):  # whose whole decoder counts from behind the mark, or loosely
        codec = "utf-8"
    wrong = first_wrong_byte(data, codec)
    if wrong is not None:
        with pytest.raises(UndecodableText, match=r"f\.txt") as caught:
            with_blocks(data, block, codec)
        assert offset_in(caught.value) == wrong
        assert f"0x{data[wrong]:02x}" in str(caught.value)
    elif "\0" not in (expected := data.decode(codec)):
        assert with_blocks(data, block, codec) == lf(expected.removeprefix("\ufeff"))


@given(
    st.text("a가😀", max_size=30), st.text("b나", max_size=9), st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le"]), st.integers(4, 9)
)
def test_a_zero_character_of_a_wide_encoding(before: str, after: str, codec: str, block: int) -> None:
    data = MARKED[codec] + (before + "\0" + after).encode(codec)
    if data.startswith(codecs.BOM_UTF32_LE) and codec == "utf-16-le":
        before += "x"
        data = MARKED[codec] + (before + "\0" + after).encode(codec)
    with pytest.raises(BinaryText) as caught:
        with_blocks(data, block)
    assert offset_in(caught.value) == len(MARKED[codec] + before.encode(codec))


def test_a_zero_byte_is_binary() -> None:
    with pytest.raises(BinaryText, match=r"f\.txt is binary: a zero byte stands at offset 3") as caught:
        with_blocks(b"abc\0def", 100)
    assert offset_in(caught.value) == 3
    with pytest.raises(BinaryText):
        with_blocks("abc".encode("utf-16-le"), 100)  # no mark
    assert with_blocks("abc".encode("utf-16-le"), 100, "utf-16-le") == "abc"
    assert with_blocks("abc".encode("utf-16-le"), 100, "utf-16") == "abc"


def test_zero_tells_more_than_an_undecodable_byte() -> None:
    with pytest.raises(BinaryText):
        with_blocks(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 100)


def test_lone_surrogates_cannot_come_through() -> None:
    for codec in ("utf-8", "utf-16-le", "utf-32-le", "utf-7"):
        data = "abc\ud800def".encode(codec, "surrogatepass" if codec != "utf-7" else "strict")
        with pytest.raises(UndecodableText):
            with_blocks(data, 4, codec)


def test_a_sequence_cut_at_the_end() -> None:
    with pytest.raises(UndecodableText) as caught:
        with_blocks("ab가".encode()[:-1], 100)
    assert offset_in(caught.value) == 2


def test_an_escape_sequence_that_never_ends() -> None:
    with pytest.raises(UndecodableText):
        with_blocks(b"ab\x1b" + b"$" * 30, 4, "iso2022_kr")


@pytest.mark.parametrize(
    "name", ["", "klingon", "base64", "rot13", "hex", "idna", "punycode", "undefined", "unicode_escape", "a\0b", "../x"]
)
def test_encodings_that_are_none(name: str) -> None:
    with pytest.raises(UnknownEncoding, match="one that Python knows"):
        check_encoding(name)
    with pytest.raises(UnknownEncoding):
        list(decoded(io.BytesIO(b"abc"), "f", name))


def test_encodings_that_are_some() -> None:
    check_encoding(None)
    for name in ("UTF-8", "latin1", "utf16", "CP949", "U32"):
        check_encoding(name)


def test_read_exactly() -> None:
    assert read_exactly(Dripping(b"abcdefgh"), 7) == b"abcdefg"
    assert read_exactly(Dripping(b"ab"), 7) == b"ab"


def test_memory_is_flat() -> None:
    class Endless:
        left = 60_000_000

        def read(self, size: int, /) -> bytes:
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

    list(decoded(io.BytesIO(b"warm"), "f"))
    tracemalloc.start()
    try:
        assert sum(map(len, decoded(Endless(), "f"))) == 60_000_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
