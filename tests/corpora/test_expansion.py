"""The guards of what is packed."""

from __future__ import annotations

import bz2
import errno
import functools
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from corpora.archives import read_stream
from corpora.expansion import Members, Xz, check_expansion, temporary_copy, wrapping_errors
from corpora.read_report import ReadReport
from corpora.reading import Limits, ReadOptions
from model.errors import EmptyText, TextTooLarge, UnreadableSource, UnsafeArchive


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_stops_early_and_takes_no_memory(packer: Callable[[bytes], bytes]) -> None:
    data = packer(b"a" * 20_000_000)
    options = ReadOptions("bomb.gz", limits=Limits(ratio_from=3_000_000))
    report = ReadReport()
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeArchive, match="as a bomb does"):
            for _ in read_stream(io.BytesIO(data), options, report):
                pass
        assert report.bytes_read < 4_000_000
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_repeats_itself_is_no_bomb() -> None:
    data = gzip.compress(b"all work and no play\n" * 100_000)
    assert len(data) * 100 < 2_100_000
    assert sum(map(len, read_stream(io.BytesIO(data), ReadOptions("a.gz"), ReadReport()))) == 2_100_000


def test_limits() -> None:
    options = ReadOptions("a", limits=Limits(expanded=1000, ratio=10, ratio_from=100, members=2))
    check_expansion(1000, 100, options)
    check_expansion(100, 1, options)
    with pytest.raises(UnsafeArchive, match="1,000 bytes, the limit"):
        check_expansion(1001, 1000, options)
    with pytest.raises(UnsafeArchive, match="10 times"):
        check_expansion(101, 10, options)


def test_members_are_limited_in_number_and_in_names() -> None:
    options = ReadOptions("a", limits=Limits(members=5, members_from=3, member=10, name=12, names=30))
    members = Members(options, lambda: 40)
    members.admit("a..b/..c/c:d")
    with pytest.raises(UnsafeArchive, match="has 13 characters, more than 12"):
        members.admit("a" * 13)
    members = Members(options, lambda: 50)
    for _ in range(5):
        members.admit("a")
    with pytest.raises(UnsafeArchive, match="more than 5 members"):
        members.admit("a")
    members = Members(options, lambda: 39)
    for _ in range(3):
        members.admit("a")
    with pytest.raises(UnsafeArchive, match="take less than 10 bytes each"):
        members.admit("a")
    members = Members(options, lambda: 40)
    members.admit("a" * 12), members.admit("b" * 12)
    with pytest.raises(UnsafeArchive, match="more than 30 characters together"):
        members.admit("c" * 7)


def test_xz_may_have_several_streams_with_zeros_between_them() -> None:
    random = Random(1)
    texts = [random.randbytes(size) for size in (0, 1, 1000, 300_000)]
    packed = b"".join(lzma.compress(text) + bytes(4 * random.randrange(3)) for text in texts)

    class Slow(io.BytesIO):
        """Returns few bytes at a time."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, random.randrange(1, 5000)))

    unpacked = Xz(Slow(packed), ReadOptions("a.xz"))
    found = b""
    while data := unpacked.read(random.randrange(1, 5000)):
        found += data
    assert found == b"".join(texts)


def test_xz_takes_no_more_memory_than_allowed() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 200 * 2**20, "preset": 0}]
    packed = lzma.compress(b"text " * 1000, filters=filters)
    with pytest.raises(UnsafeArchive, match="69,206,016 bytes of memory, the limit"):
        Xz(io.BytesIO(packed), ReadOptions("a.xz")).read(10)
    highest = lzma.compress(b"text " * 1000, preset=9)
    assert Xz(io.BytesIO(highest), ReadOptions("a.xz")).read(10) == b"text text "


@pytest.mark.parametrize(("preset", "expected"), [(0, [10]), (6, [10]), (9, [10, 56])])
def test_xz_takes_the_memory_that_its_header_asks_for(preset: int, expected: list[int]) -> None:
    """Before it is used: a decompressor of the size that was taken must do."""
    taken: list[int] = []
    packed = lzma.compress(b"text " * 1000, preset=preset)

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1)

    for stream in (io.BytesIO(packed), Trickle(packed), io.BytesIO(packed + packed)):
        taken.clear()
        unpacked = Xz(stream, ReadOptions("a.xz", take=taken.append))
        found = b"".join(iter(functools.partial(unpacked.read, 1000), b""))
        assert found in (b"text " * 1000, b"text " * 2000)
        assert [size // 2**20 for size in taken] == expected
        memory = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=sum(taken))
        assert memory.decompress(packed) == b"text " * 1000


def test_who_gets_no_memory_unpacks_nothing(tmp_path: Path) -> None:
    def refuse(size: int) -> None:
        raise MemoryError(size)

    names = io.BytesIO()
    with zipfile.ZipFile(names, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.txt", "text")
    for packed in (lzma.compress(b"text"), names.getvalue()):
        with pytest.raises(MemoryError):
            list(read_stream(io.BytesIO(packed), ReadOptions("a", take=refuse, scratch=str(tmp_path)), ReadReport()))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_members_of_an_archive_take_what_was_counted(kind: str, tmp_path: Path) -> None:
    file, count = io.BytesIO(), 4000
    names = [f"a folder/of many files/{number:06}.txt" for number in range(count)]
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, "text of a file")
    else:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 4
                tar.addfile(member, io.BytesIO(b"text"))
    taken: list[int] = []
    data = file.getvalue()
    tracemalloc.start()
    try:
        list(read_stream(io.BytesIO(data), ReadOptions("a", take=taken.append, scratch=str(tmp_path)), ReadReport()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 * peak < sum(taken) + 2**21 < 3 * peak + 2**21


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data + b"more", lambda data: data[:40] + b"x" * 40 + data[80:]])
def test_damaged_xz_is_told(damage: Callable[[bytes], bytes]) -> None:
    packed = damage(lzma.compress(Random(2).randbytes(1000)))
    with pytest.raises(UnreadableSource, match="damaged or incomplete"):
        list(read_stream(io.BytesIO(packed), ReadOptions("a.xz"), ReadReport()))


def test_the_disk_is_not_blamed_on_the_file() -> None:
    with pytest.raises(UnreadableSource, match="a cannot be read: No space left"), wrapping_errors("a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UnreadableSource, match="damaged"), wrapping_errors("a"):
        raise EOFError
    with pytest.raises(EmptyText), wrapping_errors("a"):
        raise EmptyText("a")


def test_copies_are_limited() -> None:
    options = ReadOptions("a", limits=Limits(size=4))
    with temporary_copy(io.BytesIO(b"1234"), options) as file:
        assert file.read() == b"1234"
    with pytest.raises(TextTooLarge), temporary_copy(io.BytesIO(b"12345"), options):
        pass
