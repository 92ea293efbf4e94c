"""Decoding against Python's own decoding of the whole, whatever the size of the blocks."""

from __future__ import annotations

import base64
import codecs
import io
import re
import tracemalloc

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from corpora import decoding, encodings
from corpora.decoding import DecodingNotes, check_encoding, decoded, read_exactly
from corpora.encodings import Guesses, Proposal
from model.errors import BinaryText, UndecodableText, UnknownEncoding, ZeroCharacters

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


def with_blocks(data: bytes, block: int, encoding: str | None = None, errors: str = "strict", notes: DecodingNotes | None = None) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", block)
        pieces = list(decoded(Dripping(data), "f.txt", encoding, errors, notes))
    for piece in pieces:
        assert piece
        piece.encode()
    return "".join(pieces)


def lf(text: str) -> str:
    """What a corpus keeps: LF line ends, and no byte order mark."""
    return re.sub("\r\n|\r", "\n", text).replace("\ufeff", "")


@pytest.fixture
def without_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that name no other encoding: what they cost would be most of the time of a thousand examples."""
    monkeypatch.setattr(Guesses, "proposals", lambda self, data, tried, whole: [])


def offset_in(error: Exception) -> int:
    found = re.search(r"offset ([\d,]+)", str(error))
    assert found
    return int(found[1].replace(",", ""))


def line_of(before: bytes, codec: str) -> int:
    return 1 + len(re.findall("\r\n|\r|\n", before.decode(codec)))


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


@pytest.mark.usefixtures("without_proposals")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"\xff")), st.sampled_from(NAMED), st.integers(4, 9))
def test_the_offset_is_that_of_the_original_bytes(data: bytes, codec: str, block: int) -> None:
    if codec in ("utf-16", "utf-32", "utf-8-sig", "utf-7"):  # whose whole decoder counts from behind the mark, or loosely
        codec = "utf-8"
    wrong = first_wrong_byte(data, codec)
    if wrong is not None:
        with pytest.raises(UndecodableText, match=r"f\.txt") as caught:
            with_blocks(data, block, codec)
        assert offset_in(caught.value) == wrong
        assert f"0x{data[wrong]:02x} in line {line_of(data[:wrong], codec)} " in str(caught.value)
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
        with_blocks(b"abc\0def\1\2", 100)
    assert offset_in(caught.value) == 3
    with pytest.raises(UndecodableText, match=r'it may be utf-16-le \("It was'):
        with_blocks("It was a quiet morning.\n".encode("utf-16-le"), 100)  # no mark
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


# ── other encodings, bad bytes ───────────────────────────────────────────────────────────────────────────────────────

KOREAN = "아침 안개가 강 위에 낮게 깔려 있었다.\n할머니는 손자에게 천천히 걸으라고 말했다.\n"
ENGLISH = "a plain line\nI don’t know – it’s late.\n"


def test_the_error_names_the_likeliest_encodings_with_what_they_read() -> None:
    with pytest.raises(UndecodableText) as caught:
        with_blocks(ENGLISH.encode("cp1252"), 1000)
    assert str(caught.value).startswith(
        'f.txt is not utf-8: byte 0x92 in line 2 (offset 18) cannot be decoded; it may be cp1252 ("don’t know – it’s late."),'
    )
    assert "--encoding (auto takes the first)" in str(caught.value)
    assert "--errors replace" in str(caught.value)
    names = [name for name, _ in caught.value.proposals]
    assert "utf-8" not in names
    assert not {"latin-1", "iso8859-1"} & set(names)


def test_an_encoding_that_was_tried_is_not_proposed() -> None:
    for tried, data in (("cp949", "깔려 있었다\n".encode()), ("euc_kr", "똠방각하\n펲시콜라\n".encode("cp949") * 9)):
        with pytest.raises(UndecodableText) as caught:
            with_blocks(data, 1000, tried)
        names = [codecs.lookup(name).name for name, _ in caught.value.proposals]
        assert names[0] in ("utf-8", "cp949")
        assert tried not in names


@pytest.mark.parametrize("codec", ["cp949", "cp1252", "koi8_r", "utf-16-le", "utf-16-be", "utf-8", "iso2022_jp"])
@pytest.mark.parametrize("block", [7, 64, 10**6])
def test_auto_takes_the_likeliest(codec: str, block: int) -> None:
    text = {"cp949": KOREAN, "cp1252": ENGLISH, "iso2022_jp": "plain\n日本語のテキスト\n"}.get(
        codec, "Утром на реке ещё стоял туман.\nСтарик молчал.\n"
    )
    notes = DecodingNotes()
    block = max(block, 64) if codec.startswith(("utf-16", "iso")) else block  # what must be seen at once
    assert with_blocks(text.encode(codec), block, "auto", notes=notes) == text
    if codec == "utf-8":
        assert notes.guess is None
    else:
        assert notes.guess is not None
        assert notes.guess.encoding.replace("-", "_").startswith(codec.replace("-", "_"))
        assert notes.guess.sample in text.replace("\n", " ") or notes.guess.sample.endswith("…")


def test_many_files_are_detected_only_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"cp949": "한국의 글이다\n", "cp1251": "Это русский текст\n", "cp1253": "Αυτό είναι κείμενο\n"}
    files = [(codec, words[codec].encode(codec)) for codec in words]
    detected = []

    def proposals(data: bytes, tried: list[str], *, whole: bool) -> list[Proposal]:
        detected.append(data)
        return [Proposal(codec, "") for codec, content in files if content == data]

    monkeypatch.setattr(encodings, "proposals", proposals)
    guesses = Guesses()
    for index in range(50):
        (found, *_) = guesses.proposals(files[index % 3][1], "utf-8", whole=True)
        assert found.encoding == files[index % 3][0]
    assert len(detected) == 50
    for codec, content in files:
        assert "".join(decoded(io.BytesIO(content), "f", "auto", guesses=guesses)) == words[codec]
    assert guesses.proposals(b"\x90\x98\xff\x81\n", "utf-8", whole=True) == []  # of none of them
    with pytest.raises(UndecodableText):
        "".join(decoded(io.BytesIO(b"\x90\x98\xff\x81\n"), "f", "auto", guesses=guesses))
    assert len(detected) == 50


def test_auto_finds_an_encoding_that_shows_late() -> None:
    notes = DecodingNotes()
    text = "plain text\n" * 200_000 + KOREAN  # more than two megabytes of ASCII
    assert "".join(decoded(io.BytesIO(text.encode("cp949")), "f", "auto", notes=notes)) == text
    assert notes.guess is not None
    assert notes.guess.encoding == "cp949"


def test_a_text_in_utf_8_with_a_bad_byte_is_not_taken_for_another_encoding() -> None:
    data = ("é è ê\n" * 50).encode() + b"caf\xe9\n" + "ü\n".encode()
    for encoding in (None, "auto"):
        with pytest.raises(UndecodableText, match=r"f\.txt is utf-8, but not throughout: byte 0xe9 in line 51 \(offset 453\)") as caught:
            with_blocks(data, 10**6, encoding)
        assert caught.value.proposals == []
    for errors, expected in (("replace", "caf\ufffd\nü\n"), ("skip", "caf\nü\n")):
        for block in (5, 10**6):
            notes = DecodingNotes()
            assert with_blocks(data, block, "auto", errors, notes) == "é è ê\n" * 50 + expected
            assert (notes.bad.count, notes.bad.lines, notes.guess) == (1, [51], None)


@pytest.mark.usefixtures("without_proposals")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([b"ab", "가".encode(), b"\n", b"\xff", b"\xc3", b"\r\n", "é".encode(), b"\xe2\x82"]), max_size=30),
    st.sampled_from(["utf-8", "cp949", "utf-16-le", "shift_jis"]),
    st.integers(4, 9),
)
def test_bad_bytes_are_replaced_as_python_replaces_them(parts: list[bytes], codec: str, block: int) -> None:
    data = b"".join(parts)
    expected = lf(data.decode(codec, "replace"))
    notes = DecodingNotes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_FEW_BAD", 10**6)
        assert with_blocks(data, block, codec, "replace", notes) == expected
        assert with_blocks(data, block, codec, "skip") == expected.replace("\ufffd", "")
    assert notes.bad.count == expected.count("\ufffd")
    wrong = [number for number, line in enumerate(expected.split("\n"), 1) if "\ufffd" in line]
    assert notes.bad.lines == wrong[:3]


def test_errors_do_not_get_past_a_wrong_encoding_or_a_binary_file() -> None:
    with pytest.raises(UndecodableText, match=r"nor can \d\d% of what follows; it may be cp949"):
        with_blocks(KOREAN.encode("cp949"), 10**6, None, "replace")
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10" + bytes(range(256))
    for errors in ("replace", "skip"):
        with pytest.raises(BinaryText):
            with_blocks(picture, 10**6, None, errors)


def test_a_zero_byte_on_its_own_can_be_left_out() -> None:
    data = b"one\ntwo\0three\n" + b"more\n" * 99
    with pytest.raises(ZeroCharacters, match=r"f\.txt has 1 NUL character \(U\+0000\), the first at offset 7, in line 2; --errors"):
        with_blocks(data, 10**6)
    notes = DecodingNotes()
    assert with_blocks(data, 10**6, None, "skip", notes).startswith("one\ntwothree\n")
    assert (notes.bad.count, notes.bad.lines) == (1, [2])
    wide = codecs.BOM_UTF16_LE + "ab\0c".encode("utf-16-le")
    assert with_blocks(wide, 10**6, None, "replace") == "ab\ufffdc"


@pytest.mark.parametrize("line", ["hello \0 world line\n", "가나다 \0 라마바\n"])
def test_zero_characters_in_many_lines_of_utf_8_are_no_utf_16(line: str) -> None:
    data = line.encode() * 50
    for encoding in (None, "utf-8", "auto"):
        for block in (10**6, 7):
            with pytest.raises(ZeroCharacters, match=r"U\+0000.*; --errors replace"):
                with_blocks(data, block, encoding)
        with pytest.raises(ZeroCharacters, match=r"has 50 NUL characters \(U\+0000\), the first at offset \d+, in lines 1, 2, 3 and more;"):
            with_blocks(data, 10**6, encoding)
        notes = DecodingNotes()
        assert with_blocks(data, 10**6, encoding, "skip", notes) == line.replace("\0", "") * 50
        assert with_blocks(data, 10**6, encoding, "replace") == line.replace("\0", "\ufffd") * 50
        assert (notes.bad.count, notes.guess) == (50, None)


@pytest.mark.parametrize("line", ["Привет, мир. Как дела?\n", "It was a quiet morning.\n", "नमस्ते दुनिया कैसे\n", "吾輩は猫である。\n"])
def test_utf_16_without_a_mark_is_no_utf_8_with_zero_characters(line: str) -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        with pytest.raises((BinaryText, UndecodableText)) as caught:
            with_blocks((line * 30).encode(codec), 10**6)
        assert not isinstance(caught.value, ZeroCharacters)


def test_half_a_surrogate_pair_of_utf_16_is_replaced_and_counted() -> None:
    data = codecs.BOM_UTF16_LE + "ab\n\ud800c\n".encode("utf-16-le", "surrogatepass") + "나".encode("utf-16-le") * 99
    with pytest.raises(UndecodableText, match=r"f\.txt is utf-16-le, but not throughout: .* in line 2 \(offset 8\)"):
        with_blocks(data, 10**6)
    notes = DecodingNotes()
    assert with_blocks(data, 10**6, None, "replace", notes).startswith("ab\n\ufffdc\n나")
    assert (notes.bad.count, notes.bad.lines) == (1, [2])


def test_a_byte_order_mark_inside_a_text_is_left_out_and_noted() -> None:
    for block in (4, 10**6):
        notes = DecodingNotes()
        assert with_blocks("\ufeffone\n\ufefftwo\nthr\ufeffee\n".encode(), block, notes=notes) == "one\ntwo\nthree\n"
        assert (notes.marks.count, notes.marks.lines) == (2, [2, 3])


def test_memory_is_flat_also_for_a_text_in_another_encoding() -> None:
    class Endless:
        """The same lines over and over, 6 MB of them."""

        data = KOREAN.encode("cp949") * 1000
        place, left = 0, 6_000_000 // len(data) * len(data)

        def read(self, size: int, /) -> bytes:
            found = self.data[self.place : self.place + min(size, self.left)]
            self.left -= len(found)
            self.place = (self.place + len(found)) % len(self.data)
            return found

    list(decoded(io.BytesIO(KOREAN.encode("cp949")), "warm", "auto"))
    tracemalloc.start()
    try:
        assert sum(map(len, decoded(Endless(), "f", "auto"))) == Endless.left // len(Endless.data) * len(KOREAN) * 1000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_the_lines_of_what_is_counted_are_found_by_one_reading() -> None:
    class Counted(str):
        """A text that knows how many of its characters were looked at."""

        seen = 0

        def count(self, what: str, start: int = 0, end: int = 0) -> int:  # type: ignore[override]
            Counted.seen += end - start
            return super().count(what, start, end)

    marks = decoding.Occurrences()
    marks.add(Counted("\ufeff" * 1000 + "\n\n\ufeff\ufeff\n\ufeff\n\ufeff"), re.compile("\ufeff"), 4)
    assert (marks.count, marks.lines) == (1004, [5, 7, 8])
    assert Counted.seen <= 1010


def test_an_endless_row_of_utf_7_is_not_read_again_and_again() -> None:
    def row(text: str) -> bytes:
        return b"a\n+" + base64.b64encode(text.encode("utf-16-be", "surrogatepass")).rstrip(b"=") + b"-"

    with pytest.raises(UndecodableText, match=r"offset 2\b"):  # took many minutes
        list(decoded(io.BytesIO(row("\u3042" * 90_000 + "\ud800")), "f", "utf-7"))
    with pytest.raises(UndecodableText):
        list(decoded(io.BytesIO(row("\u3042" * 900_000)), "f", "utf-7"))
    assert "".join(decoded(io.BytesIO(row("\u3042" * 200_000)), "f", "utf-7")) == "a\n" + "\u3042" * 200_000
