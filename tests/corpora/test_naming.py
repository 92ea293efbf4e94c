"""Names made from file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpora.naming import order, printable, suggested_name


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("my play.txt", "my-play"),
        ("my.play.v2.txt", "my.play.v2"),
        ("linux-6.12.tar.xz", "linux-6.12"),
        ("linux-6.12", "linux-6.12"),
        ("plays.tgz", "plays"),
        ("Café & Thé.md", "Café-Thé"),
        ("홍길동전 (1).txt", "홍길동전-1"),
        (".hidden", "hidden"),
        ("---", "corpus"),
        ("", "corpus"),
        ("latest.txt", "latest-text"),
        ("python.txt", "python-text"),
        ("a" * 99 + ".txt", "a" * 64),
    ],
)
def test_names(given_name: str, name: str) -> None:
    assert suggested_name(given_name, frozenset({"python"})) == name


def test_a_folder_keeps_its_ending() -> None:
    assert suggested_name("tales.old", folder=True) == "tales.old"


@given(st.text())
def test_any_name_becomes_valid(text: str) -> None:
    name = suggested_name(text)
    assert 1 <= len(name) <= 64
    assert not name.startswith((".", "-", "_"))
    assert not any(c.isspace() or c in "/\\@?#%" for c in name)


def test_paths_that_are_no_utf_8() -> None:
    printable("a\udcffb").encode()
    assert printable("가.txt") == "가.txt"


def test_order_is_that_of_code_points_of_the_composed_form() -> None:
    decomposed = "e\u0301.txt"
    assert sorted(["é.txt", "z", "f", "B", "a/c", "a-b", "😀", "\uffee", decomposed], key=order) == [
        "B", "a-b", "a/c", "f", "z", decomposed, "é.txt", "\uffee", "😀",
    ]  # fmt: skip
