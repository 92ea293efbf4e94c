"""Points in squares: how often gates are saturated, and the map of characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from service.drawing.canvas import COLORS, LINE, Picture, escaped, heading, number, words

SQUARE = 176.0  # side of a plot of gates
SPACE = 46.0  # between two of them, with the numbers of the axis
LARGEST_MAP = 560.0
INSIDE = 18.0  # of the map's edge


class Points(NamedTuple):
    """A series of points with x and y from 0 to 1."""

    label: str
    places: Sequence[tuple[float, float]]


class Plot(NamedTuple):
    """A square."""

    title: str
    series: Sequence[Points]


class Sign(NamedTuple):
    """A character on the map."""

    text: str
    x: float
    y: float
    color: str  # a class


def saturation(lines: Sequence[str], plots: Sequence[Plot], width: float) -> Picture:
    """For each kind of gate a square in which every unit is a point.

    Across: the share of the text in which the gate was nearly shut; up: nearly open. No point lies above the diagonal.
    """
    parts, top = heading(lines, width)
    labels = [series.label for series in plots[0].series] if plots else []
    if len(labels) > 1:
        parts += _legend(labels, top)
        top += LINE + 8
    in_row = max(1, min(len(plots), int((width - 20 + SPACE) // (SQUARE + SPACE))))
    tall = SQUARE + 48
    for index, plot in enumerate(plots):
        x, y = 20 + (index % in_row) * (SQUARE + SPACE), top + (index // in_row) * tall
        parts += [f'<g transform="translate({number(x)} {number(y)})">', *_square(plot), "</g>"]
    rows = -(-len(plots) // in_row)
    return Picture(width, top + rows * tall, parts)


def _legend(labels: Sequence[str], top: float) -> list[str]:
    parts, x = [], 0.0
    for index, label in enumerate(labels):
        color = COLORS[index % len(COLORS)]
        parts += [f'<circle class="{color}" cx="{number(x + 4)}" cy="{number(top + 8)}" r="4"/>', words(x + 14, top + 13, label, "faint")]
        x += 30 + 7 * len(label)
    return parts


def _square(plot: Plot) -> list[str]:
    top, bottom = 22.0, 22.0 + SQUARE
    frame = f'<rect x="0" y="{top}" width="{SQUARE}" height="{SQUARE}"/><path stroke-dasharray="3 4" d="M0 {top}L{SQUARE} {bottom}"/>'
    parts = [words(SQUARE / 2, 14, plot.title, "ink bold middle"), f'<g class="rule" fill="none" stroke-opacity=".45">{frame}</g>']
    for index, series in enumerate(plot.series):
        color = COLORS[index % len(COLORS)]
        for left, right in series.places:
            place = f'cx="{number(left * SQUARE)}" cy="{number(bottom - right * SQUARE)}"'
            parts.append(f'<circle class="{color}" fill-opacity=".55" {place} r="2.6"/>')
    for share in (0.0, 1.0):
        parts.append(words(share * SQUARE, bottom + 15, number(share), "faint middle"))
        parts.append(words(-6, bottom - share * SQUARE + 4, number(share), "faint end"))
    parts.append(words(SQUARE / 2, bottom + 15, "nearly shut →", "faint middle"))
    parts.append(f'<text class="faint middle" transform="translate(-8 {top + SQUARE / 2}) rotate(-90)">nearly open →</text>')
    return parts


def sign_map(lines: Sequence[str], signs: Sequence[Sign], legend: Sequence[tuple[str, str]], width: float) -> Picture:
    """Characters where their two coordinates are; `legend`: what the colours mean, as (class, words)."""
    parts, top = heading(lines, width)
    x = 0.0
    for color, label in legend:
        parts.append(words(x, top + 10, label, color))
        x += 22 + 7 * len(label)
    top += LINE + 4
    side = min(width, LARGEST_MAP)
    across, up = _fitted((sign.x for sign in signs), side), _fitted((sign.y for sign in signs), side)
    parts.append(
        f'<rect class="rule" fill="none" stroke-opacity=".45" x="0" y="{number(top)}" width="{number(side)}" height="{number(side)}"/>'
    )
    for sign in signs:
        place = f'x="{number(across(sign.x))}" y="{number(top + side - up(sign.y) + 5)}"'
        parts.append(f'<text class="mono bold middle {sign.color}" {place}>{escaped(sign.text)}</text>')
    return Picture(width, top + side, parts)


def _fitted(values: Iterable[float], side: float) -> Callable[[float], float]:
    """From the least and the largest of the values to just inside of a side."""
    found = list(values) or [0.0]
    low, high, inside = min(found), max(found), side - 2 * INSIDE
    return lambda value: INSIDE + inside * ((value - low) / (high - low) if high > low else 0.5)
