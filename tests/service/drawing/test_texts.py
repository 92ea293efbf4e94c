"""Tinted texts: every character in its own place and colour, read back as XML."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.characters import columns
from service.drawing import texts
from service.drawing.canvas import document
from service.drawing.texts import HIGH, LEVELS, STRONGEST, WIDE, heat, laid_out, surprise

SVG = "{http://www.w3.org/2000/svg}"
Parse = Callable[[str], ElementTree.Element]
any_text = st.text(st.one_of(st.characters(), st.sampled_from("ab <&'\"\t\n각\u0301😀中\u202e\ufffe")), max_size=60)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 2, [(0, 0), (0, 1), (1, 0)]),
        ("ab\nc", 2, [(0, 0), (0, 1), (0, 2), (1, 0)]),  # a line end may stand behind the last column
        ("a\tb", 20, [(0, 0), (0, 1), (0, 8)]),
        ("a각b", 2, [(0, 0), (1, 0), (2, 0)]),  # a wide character is not cut in two
        ("e\u0301x", 9, [(0, 0), (0, 1), (0, 1)]),
        ("각", 1, [(0, 0)]),
        ("", 5, []),
    ],
)
def test_places(text: str, width: int, expected: list[tuple[int, int]]) -> None:
    assert [(place.row, place.column) for place in laid_out(text, width)] == expected


@given(any_text, st.integers(2, 12))
def test_characters_follow_each_other_and_stay_within_their_lines(text: str, width: int) -> None:
    places = laid_out(text, width)
    assert len(places) == len(text)
    end = (0, 0)
    for c, place in zip(text, places, strict=True):
        assert (place.row, place.column) in (end, (end[0] + 1, 0))
        if c == "\n":
            end = (place.row + 1, 0)
            continue
        assert place.column + place.width <= max(width, 8 if c == "\t" else 0)
        assert place.width == (8 - place.column % 8 if c == "\t" else columns(c))
        end = (place.row, place.column + place.width)


def cells(root: ElementTree.Element, *classes: str) -> list[ElementTree.Element]:
    return [each for each in root.iter(f"{SVG}rect") if each.get("class") in classes and each.get("height") == str(int(HIGH))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_text)
def test_any_text_makes_a_sound_picture(parse: Parse, text: str) -> None:
    values = [(-1) ** place * place / 30 for place in range(len(text))]
    root = parse(document(text, [heat([text], text, values, 10), surprise([text], text, values, list(text), 10)]))
    written = "".join("".join(each.itertext()) for each in root.iter(f"{SVG}text") if "mono" in each.get("class", ""))
    visible = [c for c in text if not c.isspace() and c.isprintable() and c not in "\ufffe\uffff"]
    assert [c for c in written if c in visible] == visible * 2


def test_a_cell_has_the_colour_and_the_strength_of_its_value(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "abcd", [1, -1, 0, 0.5], 10)]))
    found = [(each.get("class"), float(each.get("fill-opacity", "")), float(each.get("x", ""))) for each in cells(root, "hot", "cold")]
    assert found == [
        ("hot", STRONGEST, 0),
        ("cold", STRONGEST, pytest.approx(WIDE)),
        ("hot", pytest.approx(STRONGEST / 2, abs=0.01), 3 * 8.43),
    ]


def test_equal_neighbours_are_one_cell(parse: Parse) -> None:
    (cell,) = cells(parse(document("t", [heat(["t"], "abcd", [0.5] * 4, 10)])), "hot", "cold")
    assert float(cell.get("width", "")) == pytest.approx(4 * WIDE)


def test_units_without_bounds_are_shown_by_their_own_largest(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "ab", [50, -25], 10)]))
    assert [each.get("fill-opacity") for each in cells(root, "hot", "cold")] == [f"{STRONGEST}", f"{STRONGEST / 2:.2f}"]
    assert "50" in [each.text for each in root.iter(f"{SVG}text")]


def test_what_a_feature_holds_for_is_underlined(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "abcdef", [0.0] * 6, 10, [False, True, True, False, True, False])]))
    assert [each.get("d", "").split("h")[1] for each in root.iter(f"{SVG}path")] == [f"{2 * WIDE:.2f}", f"{WIDE:.2f}"]


def test_surprise_says_what_was_expected_where_it_is_pointed_at(parse: Parse) -> None:
    root = parse(document("t", [surprise(["t"], "ab", [0, 99], ["<nothing>", "a & b"], 10)]))
    assert [each.findtext(f"{SVG}title") for each in cells(root, "warm")] == ["<nothing>", "a & b"]
    assert [each.get("fill-opacity") for each in cells(root, "warm")] == ["0", f"{STRONGEST}"]
    assert max(float(each.get("fill-opacity", "")) for each in root.iter(f"{SVG}rect") if each.get("fill-opacity")) == STRONGEST


def test_glyphs_stand_on_their_cells_whatever_the_font(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "a 각b😀c", [0.0] * 6, 20)]))
    runs = [(each.text, each.get("x", "").split()) for each in root.iter(f"{SVG}text") if "mono" in each.get("class", "")]
    places = {c: float(x) for text, xs in runs for c, x in zip(text or "", xs, strict=True)}
    assert places == {c: pytest.approx(column * WIDE, abs=0.01) for c, column in {"a": 0, "각": 2, "b": 4, "😀": 5, "c": 7}.items()}
    assert ("😀", [f"{5 * WIDE:.2f}"]) in runs, "on its own"


def test_a_long_text_is_cut_and_that_is_said(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST", 6)
    root = parse(document("t", [heat(["t"], "abcdefghi", [0.5] * 9, 60)]))
    assert sum(float(each.get("width", "")) for each in cells(root, "hot", "cold")) == pytest.approx(6 * WIDE, abs=0.1)
    assert "The first 6 characters; 3 more are not drawn." in [each.text for each in root.iter(f"{SVG}text")]


def test_the_scale_has_every_tint_that_occurs(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "", [], 10)]))
    scale = [(each.get("class"), each.get("fill-opacity")) for each in root.iter(f"{SVG}rect") if each.get("width") == "7"]
    assert len(scale) == len(set(scale)) == 2 * LEVELS + 1
