"""Figures, read back as XML: their canvas, tinted texts, and points where their numbers say."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.inspection import svg_figures
from service.inspection.results import TINT_LEVELS
from service.inspection.svg_figures import (
    COLORS,
    GAP,
    HIGH,
    LARGEST_MAP,
    MARGIN,
    SQUARE,
    STRONGEST,
    STYLES,
    WIDE,
    Picture,
    Plot,
    Points,
    Sign,
    document,
    heading,
    heat,
    laid_out,
    number,
    saturation,
    sign_map,
    surprise,
    words,
)
from service.system.formatting import columns

# ── canvas ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SVG = "{http://www.w3.org/2000/svg}"
Parse = Callable[[str], ElementTree.Element]


def test_pictures_stand_below_each_other(parse: Parse) -> None:
    root = parse(document("t", [Picture(100, 30, []), Picture(60, 50, [])]))
    assert root.get("viewBox") == f"0 0 {100 + 2 * MARGIN} {30 + 50 + GAP + 2 * MARGIN}"
    places = [each.get("transform") for each in root.iter(f"{SVG}g")]
    assert places == [f"translate({MARGIN} {MARGIN})", f"translate({MARGIN} {MARGIN + 30 + GAP})"]


def test_words_are_text_and_never_markup(parse: Parse) -> None:
    text = "a < b & c > 'd' \"e\""
    root = parse(document(text, [Picture(10, 10, [words(0, 0, text)])]))
    assert root.findtext(f"{SVG}title") == text
    assert [each.text for each in root.iter(f"{SVG}text")] == [text]


def test_a_heading_is_broken_where_it_is_wide_and_no_word_is_lost() -> None:
    said = "one two three four five six seven eight nine ten"
    parts, height = heading(["title", said], 100)
    rows = [re.sub("<[^>]*>", "", part) for part in parts]
    assert rows[0] == "title"
    assert len(rows) > 3
    assert " ".join(rows[1:]) == said
    _, less = heading(["title", said], 1000)
    assert less < height


@pytest.mark.parametrize(("value", "expected"), [(1.0, "1"), (0.5, "0.5"), (1 / 3, "0.33"), (-0.001, "0"), (120.0, "120"), (0.0, "0")])
def test_numbers_have_no_digits_that_nobody_sees(value: float, expected: str) -> None:
    assert number(value) == expected


# ── contrast, by the formula of WCAG 2 ────────────────────────────────────────────────────────────────────────────────


def rgb(color: str) -> tuple[int, ...]:
    digits = color.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return tuple(int(digits[place : place + 2], 16) for place in (0, 2, 4))


def luminance(color: tuple[float, ...]) -> float:
    parts = [each / 255 for each in color]
    r, g, b = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    bright, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def colors(scheme: str) -> dict[str, tuple[int, ...]]:
    light, dark = STYLES.split("@media (prefers-color-scheme:dark)")
    return {name: rgb(color) for name, color in re.findall(r"\.(\w+)\{(?:fill|stroke):(#\w+)\}", light if scheme == "light" else dark)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read(scheme: str) -> None:
    found = colors(scheme)
    assert {"paper", "ink", "faint", "hot", "cold", "warm", *COLORS} <= found.keys()
    for name in ("ink", "faint", *COLORS):
        assert contrast(found[name], found["paper"]) >= 4.5, name
    for tint in ("hot", "cold", "warm"):
        blend = tuple(STRONGEST * a + (1 - STRONGEST) * b for a, b in zip(found[tint], found["paper"], strict=True))
        assert contrast(found["ink"], blend) >= 4.5, tint


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

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
    root = parse(document("t", [surprise(["t"], "abc", [0, 2.9, 99], ["<nothing>", "", "a & b"], 10)]))
    assert [each.findtext(f"{SVG}title") for each in cells(root, "warm")] == ["<nothing>", None, "a & b"]
    assert [each.get("fill-opacity") for each in cells(root, "warm")] == ["0", number(STRONGEST * 3 / 8), f"{STRONGEST}"]
    assert max(float(each.get("fill-opacity", "")) for each in root.iter(f"{SVG}rect") if each.get("fill-opacity")) == STRONGEST


def test_glyphs_stand_on_their_cells_whatever_the_font(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "a 각b😀c", [0.0] * 6, 20)]))
    runs = [(each.text, each.get("x", "").split()) for each in root.iter(f"{SVG}text") if "mono" in each.get("class", "")]
    places = {c: float(x) for text, xs in runs for c, x in zip(text or "", xs, strict=True)}
    assert places == {c: pytest.approx(column * WIDE, abs=0.01) for c, column in {"a": 0, "각": 2, "b": 4, "😀": 5, "c": 7}.items()}
    assert ("😀", [f"{5 * WIDE:.2f}"]) in runs, "on its own"


def test_a_long_text_is_cut_and_that_is_said(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_figures, "MOST", 6)
    root = parse(document("t", [heat(["t"], "abcdefghi", [0.5] * 9, 60)]))
    assert sum(float(each.get("width", "")) for each in cells(root, "hot", "cold")) == pytest.approx(6 * WIDE, abs=0.1)
    assert "The first 6 characters; 3 more are not drawn." in [each.text for each in root.iter(f"{SVG}text")]


def test_the_scale_has_every_tint_that_occurs(parse: Parse) -> None:
    root = parse(document("t", [heat(["t"], "", [], 10)]))
    scale = [(each.get("class"), each.get("fill-opacity")) for each in root.iter(f"{SVG}rect") if each.get("width") == "7"]
    assert len(scale) == len(set(scale)) == 2 * TINT_LEVELS + 1


def test_the_scale_of_surprise_goes_from_the_weakest_tint_to_seven_bits(parse: Parse) -> None:
    root = parse(document("t", [surprise(["t"], "", [], [], 10)]))
    scale = [float(each.get("fill-opacity", "")) for each in root.iter(f"{SVG}rect") if each.get("width") == "7"]
    assert scale == [pytest.approx(STRONGEST * level / TINT_LEVELS, abs=0.01) for level in range(1, TINT_LEVELS + 1)]
    assert "7+ bits" in texts(root)


# ── scatter ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def texts(root: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def test_every_unit_is_a_point_to_the_right_by_shut_and_upwards_by_open(parse: Parse) -> None:
    root = parse(document("t", [saturation(["t"], [Plot("forget gate", [Points("layer 0", [(0, 1), (1, 0), (0.25, 0.5)])])], 300)]))
    points = [(float(each.get("cx", "")), float(each.get("cy", ""))) for each in root.iter(f"{SVG}circle")]
    top = points[0][1]
    assert points == [(0, top), (SQUARE, top + SQUARE), (SQUARE / 4, top + SQUARE / 2)]
    assert "forget gate" in texts(root)
    assert "layer 0" not in texts(root), "one layer needs no legend"


def test_layers_have_colours_and_a_legend(parse: Parse) -> None:
    series = [Points(f"layer {layer}", [(0.5, 0.5)]) for layer in range(7)]
    root = parse(document("t", [saturation(["t"], [Plot("input gate", series)], 600)]))
    colors = [each.get("class") for each in root.iter(f"{SVG}circle")]
    assert colors == list("abcdeab") * 2, "in the legend, then in the square"
    assert [text for text in texts(root) if text.startswith("layer")] == [f"layer {layer}" for layer in range(7)]


@pytest.mark.parametrize(("width", "rows"), [(700, 1), (450, 2), (250, 3)])
def test_squares_stand_below_each_other_where_it_is_narrow(parse: Parse, width: float, rows: int) -> None:
    plots = [Plot(name, [Points("layer 0", [(0.5, 0.5)])]) for name in ("input gate", "forget gate", "output gate")]
    picture = saturation(["t"], plots, width)
    tops = {each.get("transform", "").split()[1] for each in parse(document("t", [picture])).iter(f"{SVG}g") if each.get("transform")}
    assert len(tops) - 1 == rows  # the picture itself is one
    assert picture.height > rows * SQUARE


def test_signs_stand_where_their_coordinates_are(parse: Parse) -> None:
    signs = [Sign("<", -3, 0, "a"), Sign("&", 1, 2, "b"), Sign("x", -1, 1, "c")]
    root = parse(document("t", [sign_map(["t"], signs, [("a", "small letter")], 2000)]))
    places = {
        each.text: (float(each.get("x", "")), float(each.get("y", "")))
        for each in root.iter(f"{SVG}text")
        if "mono" in each.get("class", "")
    }
    assert places["<"][0] < places["x"][0] < places["&"][0] <= LARGEST_MAP
    assert places["x"][0] == pytest.approx((places["<"][0] + places["&"][0]) / 2)
    assert places["<"][1] > places["x"][1] > places["&"][1], "what is larger stands higher"
    assert "small letter" in texts(root)


@pytest.mark.parametrize("count", [0, 1])
def test_few_signs_are_no_trouble(parse: Parse, count: int) -> None:
    parse(document("t", [sign_map(["t"], [Sign("a", 1, 1, "a")] * count, [], 100)]))
