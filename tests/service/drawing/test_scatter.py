"""Squares of points: every unit and every character stands where its numbers say."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from service.drawing.canvas import document
from service.drawing.scatter import LARGEST_MAP, SQUARE, Plot, Points, Sign, saturation, sign_map

SVG = "{http://www.w3.org/2000/svg}"
Parse = Callable[[str], ElementTree.Element]


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
