"""The chart, read back as XML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.svg import HEIGHT, WIDTH, Line, chart, y_ticks

SVG = "{http://www.w3.org/2000/svg}"
ACROSS = [(1, "1s"), (10, "10s"), (100, "100s")]
UP = [(1.0, "1"), (2.0, "2"), (3.0, "3")]


def drawn(*lines: Line) -> ElementTree.Element:
    return ElementTree.fromstring(chart("a title", "x", "y", lines, ACROSS, UP))


def places(element: ElementTree.Element) -> list[tuple[float, ...]]:
    return [tuple(map(float, point.split(","))) for point in element.attrib["points"].split()]


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_equal_factors_are_equally_far_apart_across() -> None:
    curve = next(iter(drawn(Line("a", "#fff", [(1, 3), (10, 2), (100, 1)])).iter(f"{SVG}polyline")))
    (x1, y1), (x2, y2), (x3, y3) = places(curve)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.02)
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.02)
    assert 0 < x1 < x3 < WIDTH
    assert 0 < y1 < y3 < HEIGHT, "what is larger stands higher"


def test_a_curve_meets_the_labels_of_its_values() -> None:
    root = drawn(Line("a", "#fff", [(10, 2)]))
    ((x, y),) = places(next(iter(root.iter(f"{SVG}polyline"))))
    label = {element.text: element.attrib for element in root.iter(f"{SVG}text")}
    assert float(label["10s"]["x"]) == x
    assert float(label["2"]["y"]) == pytest.approx(y, abs=5)


def test_what_is_told_is_text_and_never_markup() -> None:
    title = "a < b & c > 'd'"
    root = ElementTree.fromstring(chart(title, "<x>", "&y", [Line("<l>", "#fff", [(1, 1)], note="<n>")], ACROSS, UP))
    assert {title, "<x>", "&y", "<l>", "<n>", "10s", "3"} <= set(texts(root))


def test_lines_of_one_label_share_its_entry_in_the_legend() -> None:
    root = drawn(Line("ours", "#00f", [(1, 1)]), Line("ours", "#00f", [(2, 2)]), Line("theirs", "#f00", [(1, 2)], dashed=True))
    assert texts(root).count("ours") == 1
    assert texts(root).count("theirs") == 1
    dashed = [element.attrib["stroke"] for element in root.iter(f"{SVG}polyline") if "stroke-dasharray" in element.attrib]
    assert dashed == ["#f00", "#f00"], "the curve and its entry"


@pytest.mark.parametrize("end", [(1000, 2), (50, 9)])
def test_an_end_outside_the_plot_is_not_marked(end: tuple[float, float]) -> None:
    root = drawn(Line("a", "#fff", [(1, 2), end], note="the end"))
    assert not list(root.iter(f"{SVG}circle"))
    assert "the end" not in texts(root)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.45, 2.4, ["1.4", "1.6", "1.8", "2.0", "2.2", "2.4"]),
        (1.47, 1.52, ["1.47", "1.48", "1.49", "1.50", "1.51", "1.52"]),
        (0, 30, ["0", "5", "10", "15", "20", "25", "30"]),
        (3, 480, ["0", "100", "200", "300", "400", "500"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, expected: list[str]) -> None:
    ticks = y_ticks(low, high)
    assert [text for _, text in ticks] == expected
    assert [value for value, _ in ticks] == pytest.approx([float(text) for text in expected])


def test_notes_of_ends_that_meet_stand_apart() -> None:
    ends = [
        Line("a", "#00f", [(100, 2.0)], note="one"),
        Line("b", "#f00", [(100, 2.01)], note="two"),
        Line("c", "#f00", [(10, 2)], note="far"),
    ]
    root = drawn(*ends)
    height = {element.text: float(element.attrib["y"]) for element in root.iter(f"{SVG}text") if "y" in element.attrib}
    assert height["one"] - height["two"] == 15, "the higher end keeps its place"
    dots = [float(element.attrib["cy"]) for element in root.iter(f"{SVG}circle")]
    assert height["two"] == pytest.approx(min(dots) + 4.5)
    assert height["far"] == pytest.approx(dots[2] + 4.5)
