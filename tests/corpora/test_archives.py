"""Packed files, known by their content."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpora.archives import read_stream
from corpora.read_report import ReadReport
from corpora.reading import Limits, ReadOptions
from model.errors import BinaryText, CharloomError, EmptyText, NothingToRead, UnreadableSource, UnsuitableFile

Text = Callable[..., str]
Pack = Callable[..., bytes]
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
FILES = {"b.txt": b"b\r\nb", "x/a.txt": "가".encode(), "a.txt": b"a", "x/pic": b"\x89PNG\0"}
JOINED = "a\nb\nb\n가\n"


@pytest.mark.parametrize("kind", PACKERS)
def test_one_compressed_file(kind: str, tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "no ending"
    path.write_bytes(PACKERS[kind]("Ein Stück\r\nText".encode()))
    assert text_of(path) == "Ein Stück\nText"
    path.write_bytes(PACKERS[kind](b"one ") + PACKERS[kind](b"two"))  # as `cat a.gz b.gz` makes
    assert text_of(path) == "one two"


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zip"])
@pytest.mark.parametrize("way", ["file", "stdin"])
def test_archives_give_the_text_of_the_folder(
    kind: str, way: str, tmp_path: Path, text_of: Text, tar_of: Pack, zip_of: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = zip_of(FILES) if kind == "zip" else tar_of(FILES, "w" if kind == "tar" else f"w:{kind}")
    folder = tmp_path / "folder"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    assert text_of(folder) == JOINED
    if way == "stdin":
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe(data)))
        assert text_of("-") == JOINED
    else:
        (tmp_path / "archive").write_bytes(data)
        assert text_of(tmp_path / "archive") == JOINED
        assert text_of(tmp_path / "archive", glob="x/*") == "가\n"
        with pytest.raises(NothingToRead):
            text_of(tmp_path / "archive", glob="*.py")


class Pipe(io.RawIOBase):
    """Bytes that cannot be jumped in and come in odd portions."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self.file.read(min(size, 1000))


def test_a_text_that_begins_like_an_archive(tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a.txt"
    for text in ("BZh9 is what bzip2 begins with", "PK\n", "ustar" * 200, "Rar"):
        path.write_text(text)
        assert text_of(path) == text


@pytest.mark.parametrize(("magic", "kind"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x00", "rar")])
def test_kinds_that_are_not_unpacked(magic: bytes, kind: str, tmp_path: Path, text_of: Text) -> None:
    (tmp_path / "a").write_bytes(magic + b"\0" * 99)
    with pytest.raises(UnsuitableFile, match=f"packed with {kind}; unpack it first"):
        text_of(tmp_path / "a")


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_and_cut(kind: str, tmp_path: Path, text_of: Text) -> None:
    path = tmp_path / "a"
    data = bytearray(PACKERS[kind](bytes(32 + i * i % 90 for i in range(5000))))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableSource, match="damaged or incomplete"):
        text_of(path)
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises((UnreadableSource, BinaryText)):
        text_of(path)


def test_nothing_and_no_text_in_it(tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(EmptyText):
        text_of(path)
    path.write_bytes(gzip.compress(gzip.compress(b"text")))
    with pytest.raises(UnsuitableFile, match="gunzip"):
        text_of(path)
    path.write_bytes(b"\0" * 10240)  # a tar of nothing, or just zeros
    with pytest.raises(BinaryText):
        text_of(path)


@pytest.fixture(scope="module")
def sound(tar_of: Pack, zip_of: Pack) -> dict[str, bytes]:
    files = {"a.txt": b"some text " * 9, "x/" + "n" * 120: b"more\n" * 30}
    return {"tar": tar_of(files), "gz": tar_of(files, "w:gz"), "xz": tar_of(files, "w:xz"), "zip": zip_of(files), "plain": b"text" * 99}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_makes_a_traceback(data: st.DataObject, sound: dict[str, bytes], tmp_path: Path) -> None:
    broken = bytearray(sound[data.draw(st.sampled_from(sorted(sound)))])
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(broken) - 1), st.integers(0, 255)), max_size=4)):
        broken[place] = value
    del broken[data.draw(st.integers(0, 2 * len(broken))) :]
    with io.BytesIO(broken) as file:
        said = "file was sound"
        try:
            for text in read_stream(file, ReadOptions("file", limits=Limits(size=10**6), scratch=str(tmp_path)), ReadReport()):
                text.encode()
        except CharloomError as error:
            said = str(error)
        assert said.startswith("file ")


def test_temporary_files_have_no_name(tmp_path: Path, text_of: Text, tar_of: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made: list[Any] = []
    temporary = tempfile.TemporaryFile

    def counted(**options: Any) -> Any:
        made.append(options["dir"])
        return temporary(**options)

    monkeypatch.setattr(tempfile, "TemporaryFile", counted)
    (tmp_path / "a.tar").write_bytes(tar_of(FILES))
    assert text_of(tmp_path / "a.tar", scratch=str(scratch)) == JOINED
    assert made == [str(scratch)]
    assert list(scratch.iterdir()) == []


def test_temporary_files_ask_for_room(tmp_path: Path, text_of: Text, tar_of: Pack) -> None:
    class Refused(CharloomError):
        pass

    def room(size: int) -> None:
        asked.append(size)
        if sum(asked) > 100:
            raise Refused("no room")

    (tmp_path / "a.tar").write_bytes(tar_of({"a.txt": b"some text " * 9}))
    asked: list[int] = []
    assert text_of(tmp_path / "a.tar", room=room) == "some text " * 9 + "\n"
    assert sum(asked) == 90
    (tmp_path / "b.tar").write_bytes(tar_of({"a.txt": b"some text " * 11}))
    asked.clear()
    with pytest.raises(Refused):
        text_of(tmp_path / "b.tar", room=room)
