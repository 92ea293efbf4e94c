"""Which names are allowed, and that a made-up one always is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import names
from service.system.errors import InvalidName


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-d", "x" * 64, "lstm-2", "latest1", "이름-목록", "é", "हिन्दी.2", "٣", "한" * 64])
def test_allowed(name: str) -> None:
    assert names.checked("run", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "x" * 65,
        "한" * 65,
        "a\n",
        "a@1",
        "a€",
        "☃",
        "a\u200bb",
        "a\ufe0f",
        "\u3164",
        "\u0301a",
        "a\udcff",
    ],
)
def test_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="1 to 64 letters"):
        names.checked("run", name)


@pytest.mark.parametrize("name", ["latest", "rnn", "gru", "lstm", "LSTM"])
def test_reserved(name: str) -> None:
    with pytest.raises(InvalidName, match="reserved"):
        names.checked("corpus", name)


@pytest.mark.parametrize(
    ("base", "taken", "expected"),
    [
        ("tale", (), "tale"),
        ("tale", ("tale", "tale-2"), "tale-3"),
        ("lstm", (), "lstm-2"),
        ("my first tale.txt", (), "my-first-tale.txt"),
        ("../café", (), "café"),
        ("이름 목록", (), "이름-목록"),
        ("소설", ("소설",), "소설-2"),
        ("☃ ❤️ \u0301", (), "run"),
        ("x" * 70, ("x" * 64,), "x" * 62 + "-2"),
    ],
)
def test_made_up(base: str, taken: tuple[str, ...], expected: str) -> None:
    assert names.free("run", base, taken.__contains__) == expected


def test_a_name_is_stored_composed() -> None:
    assert names.checked("run", unicodedata.normalize("NFD", "이름-é")) == unicodedata.normalize("NFC", "이름-é")
    assert names.free("run", unicodedata.normalize("NFD", "이름"), ().__contains__) == "이름"


@given(st.text(), st.integers(0, 12))
def test_a_made_up_name_is_always_allowed_and_free(base: str, collisions: int) -> None:
    taken: set[str] = set()
    for _ in range(collisions + 1):
        name = names.free("corpus", base, taken.__contains__)
        assert name not in taken
        assert names.checked("corpus", name) == name
        taken.add(name)


def test_a_name_that_is_far_too_long_is_refused_as_it_is() -> None:
    marks = "\u0301\u0316" * 2**19  # sorting them would take hours
    with pytest.raises(InvalidName):
        names.checked("run", f"a{marks}")
    assert names.stored(marks) == marks
