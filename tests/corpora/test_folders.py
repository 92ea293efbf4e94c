"""Folders: order, what is left out, and what must not hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import open_source
from model.errors import EmptyText, NothingToRead, UnreadableSource

Text = Callable[..., str]


def fill(folder: Path, **files: str | bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_files_come_by_path_whatever_the_file_system_says(tmp_path: Path, text_of: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, b_txt="b", a__z_txt="az", a__b__c_txt="abc", Z_txt="Z", é_txt="é", A__x_txt="Ax")
    expected = "Ax\nZ\nabc\naz\nb\né\n"
    assert text_of(tmp_path) == expected
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert text_of(tmp_path) == expected


def test_glob_and_hidden(tmp_path: Path, text_of: Text) -> None:
    fill(tmp_path, a_c="c", a_h="h", x__a_c="xc", a_txt="t", _git__a_c="git", _hidden_c="hidden")
    assert text_of(tmp_path) == "c\nh\nt\nxc\n"
    assert text_of(tmp_path, glob="*.c") == "c\nxc\n"
    assert text_of(tmp_path, glob=["*.h", "x/*"]) == "h\nxc\n"
    with pytest.raises(NothingToRead, match=r"'\*\.py'"):
        text_of(tmp_path, glob="*.py")


def test_what_is_no_text_is_skipped_and_counted(tmp_path: Path) -> None:
    fill(tmp_path, a_txt="a", b_bin=b"\0", c_bin=b"x\0", d_txt=b"\xff", e_txt="é".encode("utf-16"), f_gz=b"\x1f\x8b\x08\0")
    source = open_source(str(tmp_path))
    assert "".join(source.pieces()) == "a\né\n"
    assert source.report.warnings == [
        "3 binary files were skipped: b.bin, c.bin, f.gz",
        "one file was skipped that could not be decoded: d.txt",
    ]
    assert "".join(source.pieces()) == "a\né\n"  # again, with a new report
    assert source.report.files == 2


def test_an_encoding_is_that_of_every_file(tmp_path: Path, text_of: Text) -> None:
    fill(tmp_path, a_txt="é".encode("latin-1"), b_txt="à".encode("latin-1"))
    assert text_of(tmp_path, encoding="latin-1") == "é\nà\n"


def test_links(tmp_path: Path) -> None:
    fill(tmp_path, x__a_txt="a", other__b_txt="b")
    folder = tmp_path / "x"
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "broken").symlink_to(folder / "nothing")
    (folder / "file.txt").symlink_to(tmp_path / "other" / "b.txt")
    source = open_source(str(folder))
    assert "".join(source.pieces()) == "a\nb\n"
    assert source.report.links.count == 3
    assert source.report.warnings == ["3 links or devices were not followed: " + ", ".join(source.report.links.names)]


def test_pipes_do_not_block(tmp_path: Path, text_of: Text) -> None:
    fill(tmp_path, a_txt="a")
    os.mkfifo(tmp_path / "pipe")
    assert text_of(tmp_path) == "a\n"


def test_names_that_are_no_utf_8(tmp_path: Path, text_of: Text) -> None:
    try:
        with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb") as file:
            file.write(b"text")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert text_of(tmp_path) == "text\n"


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, a_txt="a", b_txt="b", x__c_txt="c")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    source = open_source(str(tmp_path))
    assert "".join(source.pieces()) == "a\nb\n"
    assert source.report.warnings == ["one file or folder could not be read: x"]
    monkeypatch.undo()

    (tmp_path / "b.txt").chmod(0)
    if not os.access(tmp_path / "b.txt", os.R_OK):  # root may read everything
        assert "".join(source.pieces()) == "a\nc\n"
        assert source.report.unreadable.names == ["b.txt"]

    monkeypatch.setattr(os, "scandir", lambda path: guarded("x"))
    with pytest.raises(UnreadableSource, match="Permission denied"):
        list(source.pieces())


def test_nothing_in_it(tmp_path: Path, text_of: Text) -> None:
    with pytest.raises(NothingToRead):
        text_of(tmp_path)
    fill(tmp_path, a_txt="")
    with pytest.raises(EmptyText, match="holds no text"):
        text_of(tmp_path)
