"""Folders: order, what is left out, and what must not hang."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import decoding, encodings, open_source
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
        "2 binary files were skipped: b.bin, c.bin",
        'one file was skipped that could not be decoded: d.txt; it seems to be cp1252 ("ÿ") (choose with --encoding)',
        "one file was skipped, packed with gzip: f.gz; unpack it first (gunzip FILE)",
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


LINE = "아침 안개가 강 위에 낮게 깔려 있었다.\n"


def test_a_folder_in_one_encoding_is_told_as_one_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, **{f"f{number:02}_txt": f"{number} {LINE}".encode("cp949") for number in range(30)})
    fact = 'cp949 ("0 아침 안개가 강 위에 낮게 깔려 있었다.")'
    with pytest.raises(NothingToRead, match=re.escape(f"and 27 more; they seem to be {fact} (choose with --encoding)")):
        list(open_source(str(tmp_path)).pieces())
    fill(tmp_path, z_txt="z\n")
    source = open_source(str(tmp_path))
    assert "".join(source.pieces()) == "z\n"
    assert source.report.warnings == [
        (
            "30 files were skipped that could not be decoded: f00.txt, f01.txt, f02.txt and 27 more;"
            f" they seem to be {fact} (choose with --encoding)"
        )
    ]
    source = open_source(str(tmp_path), encoding="auto")
    weighed = []
    monkeypatch.setattr(encodings, "proposals", lambda *given, real=encodings.proposals, **how: weighed.append(1) or real(*given, **how))
    assert "".join(source.pieces()) == "".join(f"{number} {LINE}" for number in range(30)) + "z\n"
    assert source.report.warnings == [
        f"it was read in the likeliest encoding, {fact} in 30 files; if that is wrong, name the right one with --encoding"
    ]
    assert len(weighed) == 20  # then it is known


def test_a_short_file_is_read_in_the_encoding_of_its_folder(tmp_path: Path) -> None:
    polish = "Łódź, Kraków, Gdańsk: zażółć gęślą jaźń.\n"
    fill(tmp_path, a_txt=polish.encode("cp1250"), b_txt=(polish * 3).encode("cp1250"), c_txt="Renée\n".encode("cp1250"))
    assert "".join(open_source(str(tmp_path), encoding="auto").pieces()).endswith("Renée\n")
    fill(tmp_path, c_txt="dół\n".encode("cp1250"))
    assert "".join(open_source(str(tmp_path), encoding="auto").pieces()).endswith("dół\n")


def test_bad_places_are_told_with_their_files_and_lines(tmp_path: Path) -> None:
    fill(tmp_path, a_txt="é\n".encode() * 20 + b"\xff\n", b_txt="one\n\ufefftwo\né".encode() + b"\xe2\x82\n")
    source = open_source(str(tmp_path), errors="replace")
    assert "".join(source.pieces()) == "é\n" * 20 + "\ufffd\none\ntwo\né\ufffd\n"
    assert source.report.warnings == [
        "2 places that cannot be decoded were read as U+FFFD: a.txt line 21, b.txt line 3",
        "one byte order mark (U+FEFF) inside the text was left out: b.txt line 2",
    ]
    source = open_source(str(tmp_path / "a.txt"), errors="skip")
    assert "".join(source.pieces()) == "é\n" * 20 + "\n"
    assert source.report.warnings == ["one place that cannot be decoded was left out: line 21"]


def test_a_long_file_of_a_folder_is_guessed_once_and_read_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK", 64)
    fill(tmp_path, a_txt=(LINE * 9).encode("cp949"))
    source = open_source(str(tmp_path), encoding="auto")
    assert "".join(source.pieces()) == LINE * 9
    assert source.report.guessed == {"cp949": 1}


def test_a_glob_for_one_file_is_told(tmp_path: Path) -> None:
    fill(tmp_path, a_txt="text\n")
    source = open_source(str(tmp_path / "a.txt"), glob="*.md")
    assert "".join(source.pieces()) == "text\n"
    assert source.report.warnings == ["glob *.md was ignored: this is one file, and glob selects files of a folder or archive"]
