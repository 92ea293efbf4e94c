"""The ground of all pictures: sizes, escapes, words that are broken, and colours that can be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from service.drawing.canvas import COLORS, GAP, MARGIN, STYLES, Picture, document, heading, number, words
from service.drawing.texts import STRONGEST

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
