"""Texts in tinted cells, one for each character: the activation of a unit from blue to red, or surprise in amber."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from service.characters import columns, safe
from service.drawing.canvas import Picture, escaped, heading, number, words

WIDE, HIGH = 8.43, 20.0  # of a cell: the advance of most monospaced fonts at 14 px, and a line
BASE = 14.5  # from the top of a line to where letters stand on
TAB = 8
LEVELS = 12  # shades of a tint
STRONGEST = 0.75  # opacity of the strongest: what is written on it stays legible
MOST = 5_000  # characters that are drawn
FULL_SURPRISE = 10.0  # bits that have the strongest tint


class Place(NamedTuple):
    """Where a character stands."""

    row: int
    column: int
    width: int  # columns; 0 for what stands on the character before it
    glyph: str  # nothing for a blank


class Mark(NamedTuple):
    """How a character is shown."""

    tint: str = ""  # a class
    level: int = 0  # shade, 0 to `LEVELS`
    underlined: bool = False
    tip: str = ""  # what is said when it is pointed at


def laid_out(text: str, width: int) -> list[Place]:
    """The places of all characters in lines of `width` columns; line ends are seen, and may stand behind the last column."""
    places, row, column = [], 0, 0
    for c in text:
        if c == "\n":
            places.append(Place(row, column, 1, "↵"))
            row, column = row + 1, 0
            continue
        wide = TAB - column % TAB if c == "\t" else columns(c)
        if column + wide > width and column:
            row, column, wide = row + 1, 0, TAB if c == "\t" else wide
        places.append(Place(row, column, wide, _glyph(c)))
        column += wide
    return places


def _glyph(c: str) -> str:
    return "" if c.isspace() else safe(c)


class Scale(NamedTuple):
    """What the tints mean."""

    low: str
    marks: Sequence[Mark]
    high: str


def tinted(lines: Sequence[str], scale: Scale, text: str, marks: Sequence[Mark], width: int) -> Picture:
    """A heading, a scale, and a text with a mark for each character, in lines of `width` columns."""
    left_out = len(text) - MOST
    text, marks = text[:MOST], marks[:MOST]
    if left_out > 0:
        lines = [*lines, f"The first {MOST:,} characters; {left_out:,} more are not drawn."]
    places = laid_out(text, width)
    parts, top = heading(lines, WIDE * (width + 1))
    parts += _scaled(scale, top)
    top += HIGH + 8
    cells = [(place, mark) for place, mark in zip(places, marks, strict=True) if place.width]
    for _, group in groupby(cells, lambda cell: (cell[0].row, cell[1])):
        run = list(group)
        (first, mark), (last, _) = run[0], run[-1]
        x, y, wide = first.column * WIDE, top + first.row * HIGH, (last.column + last.width - first.column) * WIDE
        if mark.level or mark.tip:
            parts.append(_cell(x, y, wide, mark))
        if mark.underlined:
            bottom = number(y + HIGH - 1.5)
            parts.append(f'<path class="mark" stroke-width="1.5" d="M{number(x)} {bottom}h{number(wide)}"/>')
    for row, cells_of_row in groupby(places, lambda place: place.row):
        parts += _written(list(cells_of_row), top + row * HIGH + BASE)
    rows = places[-1].row + 1 if places else 0
    return Picture(WIDE * (width + 1), top + rows * HIGH, parts)


def _scaled(scale: Scale, top: float) -> list[str]:
    parts, x = [words(0, top + 12, scale.low, "faint")], 7.5 * len(scale.low) + 8
    for mark in scale.marks:
        place = f'x="{number(x)}" y="{number(top + 2)}"'
        parts.append(f'<rect class="{mark.tint}" fill-opacity="{_opacity(mark)}" {place} width="7" height="12"/>')
        x += 7
    return [*parts, words(x + 8, top + 12, scale.high, "faint")]


def _opacity(mark: Mark) -> str:
    return number(STRONGEST * mark.level / LEVELS)


def _cell(x: float, y: float, wide: float, mark: Mark) -> str:
    place = f'x="{number(x)}" y="{number(y)}" width="{number(wide)}" height="{number(HIGH)}"'
    shape = f'<rect class="{mark.tint}" fill-opacity="{_opacity(mark)}" {place}'
    return f"{shape}><title>{escaped(mark.tip)}</title></rect>" if mark.tip else f"{shape}/>"


def _written(places: Sequence[Place], y: float) -> list[str]:
    """The glyphs of one row, each at its own place, whatever the font's widths are."""
    parts = []
    for kind, group in groupby((place for place in places if place.glyph), _together):
        run = list(group)
        xs = " ".join(number(place.column * WIDE) for place in run)
        text = escaped("".join(place.glyph for place in run))
        tone = "faint" if kind == "↵" else "ink"
        # What points at a glyph points at the cell behind it.
        parts.append(f'<text class="mono {tone}" pointer-events="none" x="{xs}" y="{number(y)}">{text}</text>')
    return parts


def _together(place: Place) -> object:
    """Equal for glyphs that one element may hold: programs differ in how many places a character beyond U+FFFF takes."""
    return place if place.glyph > "\uffff" else place.glyph == "↵" and place.glyph


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────────────────────────


def heat(lines: Sequence[str], text: str, activations: Sequence[float], width: int, holds: Sequence[bool] = ()) -> Picture:
    """What a unit held once each character was read, from blue (-1) to red (1), as Karpathy, Johnson and Li (2015) draw it.

    Where a unit holds more than 1, the strongest tint is for the most that it holds. Where a feature `holds`, the text is underlined.
    """
    most = max([1.0, *map(abs, activations)])
    marks = [
        _hot_or_cold(round(value / most * LEVELS))._replace(underlined=underlined)
        for value, underlined in zip(activations, holds or [False] * len(activations), strict=True)
    ]
    scale = Scale(number(-most), [_hot_or_cold(level) for level in range(-LEVELS, LEVELS + 1)], number(most))
    return tinted(lines, scale, text, marks, width)


def _hot_or_cold(level: int) -> Mark:
    return Mark("hot" if level > 0 else "cold", abs(level))


def surprise(lines: Sequence[str], text: str, bits: Sequence[float], tips: Sequence[str], width: int) -> Picture:
    """How surprising each character was: no bits have no tint, 10 and more the strongest. A tip is shown where one is pointed at."""
    levels = [min(LEVELS, round(each / FULL_SURPRISE * LEVELS)) for each in bits]
    marks = [Mark("warm", level, tip=tip) for level, tip in zip(levels, tips, strict=True)]
    scale = Scale("0", [Mark("warm", level) for level in range(LEVELS + 1)], f"{FULL_SURPRISE:g} bits and more")
    return tinted(lines, scale, text, marks, width)
