"""The front door: everything a user may name."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpora import decoding, open_source
from model.errors import (
    BinaryText,
    ChecksumMismatch,
    EmptyText,
    InvalidSetting,
    SourceNotFound,
    TextTooLarge,
    UndecodableText,
    UnknownEncoding,
    UnreadableSource,
)

Text = Callable[..., str]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=9), max_size=6),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=6, max_size=6),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp949"]),
    block=st.integers(4, 12),
    piece=st.integers(1, 12),
)
def test_any_text_in_any_encoding_and_size_of_pieces(
    lines: list[str], ends: list[str], codec: str, block: int, piece: int, tmp_path: Path
) -> None:
    lines = [line.encode(codec, "ignore").decode(codec) for line in lines]
    whole = "".join(line + end for line, end in zip(lines, ends, strict=False))
    expected = re.sub("\r\n|\r", "\n", whole)
    path = tmp_path / "any.txt"
    path.write_bytes(whole.encode(codec))
    named = codec if codec in ("latin-1", "cp949") else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", block)
        source = open_source(str(path), encoding=named, piece=piece)
        if not expected:
            with pytest.raises(EmptyText):
                list(source.pieces())
            return
        pieces = list(source.pieces())
    assert "".join(pieces) == expected
    assert {len(each) for each in pieces[:-1]} <= {piece}
    for each in pieces:
        each.encode()


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my play.txt").write_bytes(b"one\r\ntwo")
    source = open_source("my play.txt")
    assert (source.name, source.origin) == ("my-play", str(tmp_path / "my play.txt"))
    assert list(source.pieces()) == ["one\ntwo"]
    assert (source.report.files, source.report.bytes_read, source.report.characters) == (1, 8, 7)
    assert open_source(".").name == open_source(str(tmp_path)).name


def test_files_that_are_no_text(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.txt"
    for content, error in ((b"a\0", BinaryText), (b"ab\xff", UndecodableText), (b"", EmptyText), (b"\xef\xbb\xbf", EmptyText)):
        path.write_bytes(content)
        with pytest.raises(error, match=f"^{path} "):
            text_of(path)


def test_stdin(text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"from\r\na pipe")))
    source = open_source("-")
    assert (source.name, source.origin) == ("stdin", "stdin")
    assert "".join(source.pieces()) == "from\na pipe"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UnreadableSource, match="stdin cannot be read: it is closed"):
        text_of("-")


def test_a_named_pipe(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for options in ({}, {"sha256": hashlib.sha256(b"piped").hexdigest()}):
        writer = threading.Thread(target=path.write_bytes, args=(b"piped",))
        writer.start()
        assert text_of(path, **options) == "piped"
        writer.join()


def test_a_hash_of_a_file(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\nb")
    assert text_of(path, sha256=hashlib.sha256(b"a\r\nb").hexdigest()) == "a\nb"
    with pytest.raises(ChecksumMismatch):
        text_of(path, sha256="1" * 64)
    for what, sha256 in ((path, "12"), (path, "x" * 64), (tmp_path, "1" * 64), ("python", "1" * 64)):
        with pytest.raises(InvalidSetting, match="sha256 is"):
            open_source(str(what), sha256=sha256)


def test_what_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for what in ("", "no such thing", str(tmp_path / "no"), str(tmp_path / "file" / "no"), "a\0b"):
        with pytest.raises(SourceNotFound, match=r"no built-in one \(python, shakespeare, linux\)"):
            open_source(what)
    with pytest.raises(UnreadableSource, match="too long"):
        open_source("x" * 5000)


@pytest.mark.parametrize("what", ["file:///etc/passwd", "ftp://host/x", "data:text/plain,hello", "s3://bucket/key"])
def test_other_schemes_are_refused(what: str) -> None:
    with pytest.raises(UnreadableSource, match="only http and https URLs are fetched"):
        open_source(what)


def test_a_colon_in_a_file_name(tmp_path: Path, text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data:x").write_text("text")
    assert text_of("data:x") == "text"


def test_settings_are_checked_at_once(tmp_path: Path) -> None:
    for options, error in (({"encoding": "klingon"}, UnknownEncoding), ({"max_size": 0}, InvalidSetting), ({"glob": ""}, InvalidSetting)):
        with pytest.raises(error):
            open_source(str(tmp_path), **options)


def test_a_file_that_cannot_be_opened(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(UnreadableSource, match="No such file"):
        list(source.pieces())


def test_the_limit_of_a_file(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1001)
    with pytest.raises(TextTooLarge, match="1,000 bytes, the limit"):
        text_of(path, max_size=1000)
    assert len(text_of(path, max_size=1001)) == 1001


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    line = "The same line, over and over, é\r\n".encode()
    with open(path, "wb") as file:
        file.writelines([line * 30_000] * 100)
    list(open_source(__file__).pieces())
    tracemalloc.start()
    try:
        source = open_source(str(path))
        assert sum(map(len, source.pieces())) == 100 * 30_000 * (len(line) - 2)
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()
    assert source.report.bytes_read == path.stat().st_size > 90_000_000
    path.unlink()


def test_giving_up_half_way_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3_000_000)
    pieces = open_source(str(path)).pieces()
    assert len(next(pieces)) == 1_048_576
    pieces.close()  # type: ignore[attr-defined]


def test_names_that_share_little_but_their_ending_are_not_offered(tmp_path: Path) -> None:
    for name in ("names.txt", "one.txt"):
        (tmp_path / name).write_text("text\n")
    with pytest.raises(SourceNotFound, match=r"did you mean \S*/names\.txt\?$"):
        open_source(str(tmp_path / "nmes.txt"))
