"""Tars: what is hostile, odd or doubled in them."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import open_source
from corpora.archives import read_stream
from corpora.read_report import ReadReport
from corpora.reading import Limits, ReadOptions
from corpora.selection import selection
from corpora.tars import tar_documents
from model.errors import NothingToRead, TextTooLarge, UnreadableSource, UnsafeArchive

Text = Callable[..., str]
Pack = Callable[..., bytes]


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize("name", ["../a", "x/../../a", "/etc/a", "C:\\a", "..\\a", "\\\\server\\a"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE])
def test_paths_that_escape_are_refused(name: str, kind: bytes, tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"a": b"a", name: special(name, kind, "x")}))
    with pytest.raises(UnsafeArchive, match="lies outside of it; unpack it yourself"):
        text_of(path)


def test_links_and_devices_are_skipped(tmp_path: Path, tar_of: Pack) -> None:
    kinds = {"s": tarfile.SYMTYPE, "l": tarfile.LNKTYPE, "f": tarfile.FIFOTYPE, "c": tarfile.CHRTYPE, "b": tarfile.BLKTYPE}
    members: dict[str, bytes | tarfile.TarInfo] = {name: special(name, kind, "/etc/passwd") for name, kind in kinds.items()}
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"d": special("d", tarfile.DIRTYPE), **members, "z": b"text"}))
    source = open_source(str(path))
    assert "".join(source.pieces()) == "text\n"
    assert source.report.warnings == ["5 links or devices were not followed: s, l, f and 2 more"]


@pytest.mark.parametrize(("new", "text"), [(b"new", "new\nother\n"), (b"\0", "other\n")])
def test_of_a_name_that_comes_twice_the_last_counts(new: bytes, text: str, tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("a", b"old"), ("b", b"other"), ("a", new)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert text_of(path) == text


def test_binary_members_leave_nothing_behind(tmp_path: Path, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"c": b"c" * 3, "b": b"x" * 300_000 + b"\0", "a": b"\xff" * 99, ".git/x": b"hidden"}))
    source = open_source(str(path))
    assert "".join(source.pieces()) == "ccc\n"
    assert (source.report.files, source.report.bytes_read, source.report.skipped) == (1, 3, 2)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_forms_and_long_names(form: int, tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"x" * 90 + "/" + "y" * 90: b"long", "가": "나".encode()}, format=form))
    assert text_of(path) == "long\n나\n"


def test_an_unknown_type_is_a_file(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        member = special("a", b"Z")
        member.size = 600
        archive.addfile(member, io.BytesIO(b"a" * 600))
    assert text_of(path) == "a" * 600 + "\n"


def test_too_many_members(tar_of: Pack) -> None:
    options = ReadOptions("t.tar", limits=Limits(members=3))
    data = tar_of({str(i): b"x" for i in range(4)})
    with pytest.raises(UnsafeArchive, match="more than 3 members"), tar_documents(io.BytesIO(data), data.__len__, options, ReadReport()):
        pass


@pytest.mark.parametrize("first", [True, False])
def test_a_giant_header_is_not_read_into_memory(first: bool, tar_of: Pack) -> None:
    header = special("a", tarfile.XHDTYPE)
    header.size = 50_000_000

    class Endless:
        head = (b"" if first else tar_of({"a": b"text"})[:1024]) + header.tobuf()
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += size
            assert self.given < 30_000_000, "it goes on reading"
            data, self.head = self.head[:size], self.head[size:]
            return data + b"1" * (size - len(data))

    tracemalloc.start()
    try:
        with pytest.raises(UnsafeArchive, match="a header in it"), tar_documents(Endless(), lambda: 0, ReadOptions("t.tar"), ReadReport()):
            pass
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_files_with_holes_are_refused(tmp_path: Path, text_of: Text) -> None:
    member = special("hole", tarfile.GNUTYPE_SPARSE)
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = b"%011o\0" % 0  # offset of the only stretch of data ...
    block[398:410] = b"%011o\0" % 0  # ... its length ...
    block[483:495] = b"%011o\0" % 8**10  # ... and the size with all holes
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "t.tar"
    path.write_bytes(block + b"\0" * 1024)
    with pytest.raises(UnsafeArchive, match="with holes"):
        text_of(path)


def test_the_limit_holds_before_the_disk_is_full(tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"a": b"x" * 600, "b": b"x" * 600}))
    with pytest.raises(TextTooLarge, match=r"1,000 bytes, the limit; raise it with --max-size"):
        text_of(path, max_size=1000)
    assert len(text_of(path, max_size=1200)) == 1202
    path.write_bytes(tar_of({"a": b"\0" * 600, "b": b"x" * 600}))  # what is skipped takes no room
    assert len(text_of(path, max_size=1000)) == 601


def test_cut_inside_a_member(tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"a": b"x" * 6000})[:3000])
    with pytest.raises(UnreadableSource, match="damaged or incomplete"):
        text_of(path)


def test_a_tar_of_a_kernel_keeps_no_headers(tar_of: Pack) -> None:
    data = tar_of({f"drivers/{i}.c": b"" for i in range(4000)})
    tracemalloc.start()
    try:
        with tar_documents(io.BytesIO(data), data.__len__, ReadOptions("t.tar", selection("*.h")), ReadReport()) as documents:
            assert list(documents) == []
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def test_only_folders_in_it(tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar_of({"d": special("d", tarfile.DIRTYPE)}))
    with pytest.raises(NothingToRead):
        text_of(path)


def test_a_small_archive_of_very_many_members_is_refused_early() -> None:
    """A header takes 512 bytes, but those that are alike take four when they are packed: 600,000 of them took 39 s."""
    header = tarfile.TarInfo("a").tobuf()
    data = gzip.compress(header * 50_000)
    assert len(data) < 250_000
    report = ReadReport()
    with pytest.raises(UnsafeArchive, match="its members take less than 16 bytes each"):
        list(read_stream(io.BytesIO(data), ReadOptions("t.tar.gz"), report))


def test_the_encoding_of_a_skipped_member_is_proposed(tmp_path: Path, tar_of: Pack) -> None:
    other = "吾輩は猫である。名前はまだ無い。\n".encode("cp932") * 9
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"a.txt": b"plain\n" * 9, "b.txt": other}))
    source = open_source(str(path))
    assert "".join(source.pieces()) == "plain\n" * 9
    assert 'it seems to be cp932 ("吾輩は猫' in source.report.warnings[0]
    source = open_source(str(path), encoding="auto")
    assert "吾輩は猫" in "".join(source.pieces())
    assert source.report.proposals == []
    assert source.report.guessed == {"cp932": 1}
