"""The guards of what is packed."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import tracemalloc
from collections.abc import Callable

import pytest

from corpora.archives import read_stream
from corpora.expansion import check_expansion, check_member, temporary_copy, wrapping_errors
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
    check_member("a..b/..c/c:d", 2, options)
    with pytest.raises(UnsafeArchive, match="more than 2 members"):
        check_member("a", 3, options)


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
