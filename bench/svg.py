"""Draws a line chart as SVG: a logarithmic axis across, readable on white and on dark pages. Nothing but text is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 110, 48, 56  # margins around the plot
NOTE_WIDTH, NOTE_HEIGHT = 40, 15  # of what stands beside an end
BEYOND = 8  # how far past the last tick a curve may end and still be marked
INK = "#7d828a"  # text and axes: contrast of at least 3.9 on white and 4.8 on a dark page
FONT = "font-family='system-ui, sans-serif' font-size='13'"

Ticks = Sequence[tuple[float, str]]  # places on an axis and what stands there


@dataclass(frozen=True)
class Line:
    """A curve. Lines of one label share its entry in the legend, and should share its colour."""

    label: str
    color: str
    points: Sequence[tuple[float, float]]  # at least one; x above 0
    note: str = ""  # stands beside the last point
    dashed: bool = False


def chart(title: str, x: str, y: str, lines: Sequence[Line], x_ticks: Ticks, y_ticks: Ticks) -> str:
    """The chart. The axes reach from their first tick to their last; what is outside is not drawn."""
    across = _Scale(math.log(x_ticks[0][0]), math.log(x_ticks[-1][0]), LEFT, WIDTH - RIGHT)
    up = _Scale(y_ticks[0][0], y_ticks[-1][0], HEIGHT - BOTTOM, TOP)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' {FONT} fill='{INK}'>",
        f"<title>{escape(title)}</title>",
        f"<clipPath id='plot'><rect x='{LEFT}' y='{TOP}' width='{WIDTH - LEFT - RIGHT}' height='{HEIGHT - TOP - BOTTOM}'/></clipPath>",
        _text(LEFT, 20, title, "start", "font-weight='600'"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x, "middle"),
        f"<text transform='translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)' text-anchor='middle'>{escape(y)}</text>",
    ]
    for value, text in x_ticks:
        place = across(math.log(value))
        parts += [_rule(place, TOP, place, HEIGHT - BOTTOM, 0.15), _text(place, HEIGHT - BOTTOM + 20, text, "middle")]
    for value, text in y_ticks:
        place = up(value)
        parts += [_rule(LEFT, place, WIDTH - RIGHT, place, 0.15), _text(LEFT - 8, place + 4.5, text, "end")]
    parts += [_rule(LEFT, TOP, LEFT, HEIGHT - BOTTOM, 1), _rule(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, 1)]
    curves = [[(across(math.log(a)), up(b)) for a, b in line.points] for line in lines]
    for line, places, height in zip(lines, curves, _apart([places[-1] for places in curves]), strict=True):
        parts += _drawn(line, places, height)
    legend = {line.label: line for line in lines}
    for index, line in enumerate(legend.values()):
        place = TOP + 14 + 20 * index
        end = WIDTH - RIGHT - 12
        parts += [_curve([(end - 28, place), (end, place)], line), _text(end - 36, place + 4.5, line.label, "end")]
    return "\n".join([*parts, "</svg>", ""])


def y_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round values 1, 2 or 5 times a power of ten apart, about six of them, from at most `low` to at least `high`."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [(index * step, f"{index * step:.{decimals}f}") for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    """Values from..to onto places start..end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def _apart(ends: Sequence[tuple[float, float]]) -> list[float]:
    """The heights of notes beside the ends of curves: those that would cover another one are moved down."""
    heights = [y for _, y in ends]
    order = sorted(range(len(ends)), key=lambda index: heights[index])
    for number, index in enumerate(order):
        for above in order[:number]:
            if abs(ends[index][0] - ends[above][0]) < NOTE_WIDTH:
                heights[index] = round(max(heights[index], heights[above] + NOTE_HEIGHT), 2)
    return heights


def _drawn(line: Line, places: list[tuple[float, float]], height: float) -> list[str]:
    """The curve; a dot marks its end, and the note at its height, where that is inside the plot."""
    parts = [_curve(places, line)]
    x, y = places[-1]
    if LEFT <= x <= WIDTH - RIGHT + BEYOND and TOP <= y <= HEIGHT - BOTTOM:
        parts += [
            f"<circle cx='{x}' cy='{y}' r='3.5' fill='{line.color}'/>",
            _text(x + 8, height + 4.5, line.note, "start", f"fill='{line.color}'"),
        ]
    return parts


def _curve(places: list[tuple[float, float]], line: Line) -> str:
    points = " ".join(f"{x},{y}" for x, y in places)
    dashes = " stroke-dasharray='6 4'" if line.dashed else ""
    return f"<polyline points='{points}' fill='none' stroke='{line.color}' stroke-width='2'{dashes} clip-path='url(#plot)'/>"


def _rule(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='{INK}' stroke-opacity='{opacity}'/>"


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}'{more and ' ' + more}>{escape(text)}</text>"
