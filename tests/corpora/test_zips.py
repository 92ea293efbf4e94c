"""Zips: what is hostile or odd in them."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import decoding, open_source
from corpora.read_report import ReadReport
from corpora.reading import Limits, ReadOptions
from corpora.zips import zip_documents
from model.errors import NothingToRead, TextTooLarge, UnreadableSource, UnsafeArchive

Text = Callable[..., str]
Pack = Callable[..., bytes]


@pytest.mark.parametrize("name", ["../a", "x/../../a", "/etc/a", "C:\\a", "..\\a"])
def test_paths_that_escape_are_refused(name: str, tmp_path: Path, text_of: Text, zip_of: Pack) -> None:
    (tmp_path / "z.zip").write_bytes(zip_of({"a": b"a", name: b"b"}))
    with pytest.raises(UnsafeArchive, match="lies outside of it"):
        text_of(tmp_path / "z.zip")


def test_links_folders_and_doubles(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # the zip module's own, of the name that comes twice
        archive.writestr("d/", b"")
        archive.writestr("a", b"old")
        archive.writestr("a", b"new")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    source = open_source(str(path))
    assert "".join(source.pieces()) == "new\n"
    assert source.report.warnings == ["one link or device was not followed: link"]


def test_encrypted_members_are_skipped(tmp_path: Path, text_of: Text, zip_of: Pack) -> None:
    path = tmp_path / "z.zip"
    data = bytearray(zip_of({"a": b"secret", "b": b"open"}, zipfile.ZIP_STORED))
    data[data.index(b"PK\3\4") + 6] |= 1  # the flag stands in the member's header ...
    data[data.index(b"PK\1\2") + 8] |= 1  # ... and in the table
    path.write_bytes(data)
    source = open_source(str(path))
    assert "".join(source.pieces()) == "open\n"
    assert source.report.warnings == ["one encrypted file was skipped: a"]
    with pytest.raises(NothingToRead):
        text_of(path, glob="a")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(ratio_from=1_000_000), "more than 100 times its size, as a bomb does"),
        (Limits(expanded=1_000_000), "more than 1,000,000 bytes"),
        (Limits(members=1), "more than 1 members"),
    ],
)
def test_bombs(limits: Limits, why: str, zip_of: Pack) -> None:
    data = zip_of({"a.txt": b"a" * 2_000_000, "b.txt": b"b"})
    with zip_documents(io.BytesIO(data), ReadOptions("z.zip"), ReadReport()) as documents:
        assert [document.name for document in documents] == ["a.txt", "b.txt"]
    with pytest.raises(UnsafeArchive, match=why), zip_documents(io.BytesIO(data), ReadOptions("z.zip", limits=limits), ReadReport()):
        pass


def test_a_member_never_gives_more_than_it_says(tmp_path: Path, text_of: Text, zip_of: Pack) -> None:
    data = bytearray(zip_of({"a.txt": b"a" * 1_000_000}))
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.index(mark) + place
        data[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "z.zip").write_bytes(data)
    with pytest.raises(UnreadableSource, match="damaged"):  # by its checksum
        text_of(tmp_path / "z.zip", max_size=1001)


def test_the_limit(tmp_path: Path, text_of: Text, zip_of: Pack) -> None:
    (tmp_path / "z.zip").write_bytes(zip_of({"a": b"x" * 600, "b": b"x" * 600, "c": b"\0" * 9000}))
    with pytest.raises(TextTooLarge):
        text_of(tmp_path / "z.zip", max_size=1000)
    assert len(text_of(tmp_path / "z.zip", max_size=11_000)) == 1202


def test_long_members_are_opened_again(tmp_path: Path, zip_of: Pack, text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK", 100)
    (tmp_path / "z.zip").write_bytes(zip_of({"a": b"line\r\n" * 500, "b": b"x" * 999 + b"\xff"}))
    assert text_of(tmp_path / "z.zip") == "line\n" * 500


def test_damaged_members_and_tables(tmp_path: Path, text_of: Text, zip_of: Pack) -> None:
    path = tmp_path / "z.zip"
    data = bytearray(zip_of({"a": b"some text that is stored"}, zipfile.ZIP_STORED))
    data[data.index(b"some")] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableSource, match="CRC"):
        text_of(path)
    path.write_bytes(data[:-30])
    with pytest.raises(UnreadableSource, match="not a zip file"):
        text_of(path)
    data[data.index(b"PK\1\2") + 10] = 99  # a way of packing that is not known
    data[data.index(b"PK\3\4") + 8] = 99
    path.write_bytes(data)
    with pytest.raises(UnreadableSource, match="not supported"):
        text_of(path)
    path.write_bytes(zip_of({}))
    with pytest.raises(NothingToRead):
        text_of(path)


def test_a_large_table_of_contents_is_not_read() -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number:060}.txt", "")
    options = ReadOptions("a.zip", limits=Limits(table=200_000))
    with pytest.raises(UnsafeArchive, match="table of contents is larger than 200,000 bytes"), zip_documents(data, options, ReadReport()):
        pass
