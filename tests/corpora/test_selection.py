"""Patterns of files."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.selection import selection
from model.errors import InvalidSetting


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", "x/y/a.txt", True),
        ("*.txt", "a.TXT", False),
        ("a.txt", "x/a.txt", True),
        ("./a.txt", "x/a.txt", False),
        ("./a.txt", "a.txt", True),
        ("src/*.c", "src/a.c", True),
        ("src/*.c", "src/x/a.c", False),
        ("src/**/*.c", "src/a.c", True),
        ("src/**/*.c", "src/x/y/a.c", True),
        ("src/**/*.c", "lib/src/a.c", False),
        ("**/*", "a", True),
        ("**/src/**", "x/src/a", True),
        ("src/", "src/a/b", True),
        ("src/", "a/src/b", False),
        ("*.[ch]", "a.h", True),
        ("*.?", "a.cc", False),
    ],
)
def test_patterns(pattern: str, path: str, taken: bool) -> None:
    assert selection(pattern).takes(path) is taken


@given(
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["**", "a", "*", "?b"]), min_size=2, max_size=6),
)
def test_patterns_with_folders_match_as_glob_does(parts: list[str], pattern: list[str]) -> None:
    def naive(names: list[str], wanted: list[str]) -> bool:
        if not wanted:
            return not names
        if wanted[0] == "**":
            return any(naive(names[i:], wanted[1:]) for i in range(len(names) + 1))
        fits = {"a": "a", "*": None, "?b": "ab"}[wanted[0]]
        return bool(names) and fits in (None, names[0]) and naive(names[1:], wanted[1:])

    assert selection("/".join(pattern)).takes("/".join(parts)) == naive(parts, pattern)


def test_as_the_standard_library_on_a_real_folder(tmp_path: Path) -> None:
    for path in ("a.c", "x/a.c", "x/y/a.c", "x/y/b.h", "z/a.c"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    files = [str(path.relative_to(tmp_path).as_posix()) for path in tmp_path.rglob("*") if path.is_file()]
    for pattern in ("x/*.c", "x/**/*.c", "**/*.c", "*/*", "x/y/?.[ch]"):
        expected = {name for name in glob.glob(pattern, root_dir=tmp_path, recursive=True) if os.path.isfile(tmp_path / name)}
        assert {name for name in files if selection(pattern).takes(name)} == expected


def test_several_patterns_and_none() -> None:
    assert selection(["*.c", "*.h"]).takes("x/a.h")
    assert selection(()).takes("anything")
    assert str(selection(["*.c", "*.h"])) == "*.c, *.h"
    assert str(selection(())) == "**/*"


def test_hidden_and_excluded() -> None:
    chosen = selection("*.py", without=["test", "_sys*"])
    assert chosen.takes("a/b.py")
    for path in (".git/a.py", "a/.b.py", "test/a.py", "x/test/a.py", "_sysdata.py"):
        assert not chosen.takes(path)


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a/../b"])
def test_patterns_that_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidSetting, match="glob is"):
        selection(pattern)


def test_patterns_are_few_and_short() -> None:
    selection(["a" * 200] * 16)
    with pytest.raises(InvalidSetting, match=r"glob is 'aaa.*at most 200 characters"):
        selection("a" * 201)
    with pytest.raises(InvalidSetting, match="glob is given 17 times; it must be given at most 16 times"):
        selection(["a"] * 17)
