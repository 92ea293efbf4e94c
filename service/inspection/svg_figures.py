"""Draws figures as SVG, and stacks them in one document.

Tinted texts have one cell for each character: the activation of a unit from blue to red, or surprise in amber. Scatter plots show how often
gates are saturated, and the map of characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import NamedTuple

from service.inspection.results import FULL_SURPRISE, TINT_LEVELS, surprise_level
from service.system.formatting import columns, safe

# ── canvas ───────────────────────────────────────────────────────────────────────────────────────────────────────────

MARGIN = 16
GAP = 28  # between two pictures
LINE = 18  # height of a line of words
# Dark on light and light on dark: text keeps a contrast of at least 4.5 on the background and on the strongest tint.
STYLES = """
.paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.rule{stroke:#59636e}
.hot{fill:#d6452b}.cold{fill:#2f6fde}.warm{fill:#e8a200}.mark{stroke:#1f2328}
.a{fill:#2f6fde}.b{fill:#c93a22}.c{fill:#1a7f37}.d{fill:#8250df}.e{fill:#9a6700}
@media (prefers-color-scheme:dark){
.paper{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}.rule{stroke:#9198a1}
.hot{fill:#d04a38}.cold{fill:#3b74d8}.warm{fill:#9a6c00}.mark{stroke:#e6edf3}
.a{fill:#6ea8ff}.b{fill:#ff7b6b}.c{fill:#56d364}.d{fill:#c297ff}.e{fill:#e3b341}
}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}
.bold{font-weight:600}
.mono{font:14px ui-monospace,"SFMono-Regular",Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
.middle{text-anchor:middle}.end{text-anchor:end}
""".replace("\n", "")
COLORS = "abcde"  # CSS classes of series


@dataclass(frozen=True)
class Picture:
    """A figure in its own coordinates."""

    width: float
    height: float
    parts: Sequence[str]  # SVG elements


def document(title: str, pictures: Sequence[Picture]) -> str:
    """Returns an SVG document with pictures below each other."""
    width = max(picture.width for picture in pictures) + 2 * MARGIN
    height = sum(picture.height for picture in pictures) + GAP * (len(pictures) - 1) + 2 * MARGIN
    size = f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" style="max-width:100%;height:auto">',
        f"<title>{escaped(title)}</title>",
        f"<style>{STYLES}</style>",
        '<rect class="paper" width="100%" height="100%" rx="6"/>',
    ]
    top: float = MARGIN
    for picture in pictures:
        parts += [f'<g transform="translate({MARGIN} {number(top)})">', *picture.parts, "</g>"]
        top += picture.height + GAP
    return "\n".join([*parts, "</svg>", ""])


def escaped(text: str) -> str:
    """Escapes text for XML; replaces control characters and the two code points that XML cannot hold."""
    return escape(safe(text).translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}))


def words(x: float, y: float, text: str, classes: str = "ink") -> str:
    """Returns a line of text; y is its baseline."""
    return f'<text class="{classes}" x="{number(x)}" y="{number(y)}">{escaped(text)}</text>'


def heading(lines: Sequence[str], width: float) -> tuple[list[str], float]:
    """Returns a title and the lines below it, broken to fit the width, and the height of all."""
    parts, y = [], 0.0
    for index, line in enumerate(lines):
        for row in _broken(line, width):
            y += LINE
            parts.append(words(0, y - 5, row, "faint" if index else "ink bold"))
    return parts, y + 6


def number(value: float) -> str:
    """Formats a number with at most two decimals, without trailing zeros."""
    return f"{value:z.2f}".rstrip("0").rstrip(".")


def _broken(text: str, width: float) -> list[str]:
    rows = [""]
    for word in text.split():
        if rows[-1] and 7 * (len(rows[-1]) + 1 + len(word)) > width:  # about the width of a letter in a wide font
            rows.append(word)
        else:
            rows[-1] = f"{rows[-1]} {word}".strip()
    return rows


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

WIDE, HIGH = 8.43, 20.0  # of a cell in px: the advance of most monospaced fonts at 14 px, and the height of a line
BASE = 14.5  # from the top of a line to the baseline
TAB = 8
STRONGEST = 0.75  # opacity of the strongest tint: text on it stays legible
MOST = 5_000  # characters that are drawn


class GlyphPlace(NamedTuple):
    """The cell of a character."""

    row: int
    column: int
    width: int  # columns; 0 for a combining character
    glyph: str  # empty for a blank


class Mark(NamedTuple):
    """The look of a character."""

    tint: str = ""  # a CSS class
    level: int = 0  # strength of the tint, 0 to `TINT_LEVELS`
    underlined: bool = False
    tip: str = ""  # shown when the pointer is on it


def laid_out(text: str, width: int) -> list[GlyphPlace]:
    """Returns the cells of all characters in lines of `width` columns. A line end is visible, and may stand after the last column."""
    places, row, column = [], 0, 0
    for c in text:
        if c == "\n":
            places.append(GlyphPlace(row, column, 1, "↵"))
            row, column = row + 1, 0
            continue
        wide = TAB - column % TAB if c == "\t" else columns(c)
        if column + wide > width and column:
            row, column, wide = row + 1, 0, TAB if c == "\t" else wide
        places.append(GlyphPlace(row, column, wide, _glyph(c)))
        column += wide
    return places


def _glyph(c: str) -> str:
    return "" if c.isspace() else safe(c)


class Scale(NamedTuple):
    """The legend of tints."""

    low: str
    marks: Sequence[Mark]
    high: str


def tinted(lines: Sequence[str], scale: Scale, text: str, marks: Sequence[Mark], width: int) -> Picture:
    """Draws a heading, a scale, and a text with a mark for each character, in lines of `width` columns."""
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
    return number(STRONGEST * mark.level / TINT_LEVELS)


def _cell(x: float, y: float, wide: float, mark: Mark) -> str:
    place = f'x="{number(x)}" y="{number(y)}" width="{number(wide)}" height="{number(HIGH)}"'
    shape = f'<rect class="{mark.tint}" fill-opacity="{_opacity(mark)}" {place}'
    return f"{shape}><title>{escaped(mark.tip)}</title></rect>" if mark.tip else f"{shape}/>"


def _written(places: Sequence[GlyphPlace], y: float) -> list[str]:
    """Draws the glyphs of one row, each at its own x, so that the widths of the font do not matter."""
    parts = []
    for kind, group in groupby((place for place in places if place.glyph), _together):
        run = list(group)
        xs = " ".join(number(place.column * WIDE) for place in run)
        text = escaped("".join(place.glyph for place in run))
        tone = "faint" if kind == "↵" else "ink"
        # The pointer on a glyph counts as on the cell behind it, which has the tip.
        parts.append(f'<text class="mono {tone}" pointer-events="none" x="{xs}" y="{number(y)}">{text}</text>')
    return parts


def _together(place: GlyphPlace) -> object:
    """Is equal for glyphs that may share an element. Programs disagree on how many x a character beyond U+FFFF takes: it stands alone."""
    return place if place.glyph > "\uffff" else place.glyph == "↵" and place.glyph


def heat(lines: Sequence[str], text: str, activations: Sequence[float], width: int, holds: Sequence[bool] = ()) -> Picture:
    """Draws the activation of a unit once each character was read, from blue (-1) to red (1), as Karpathy, Johnson and Li (2015) do.

    If an activation exceeds 1, the strongest tint is for the largest one. The characters for which a feature `holds` are underlined.
    """
    most = max([1.0, *map(abs, activations)])
    marks = [
        _hot_or_cold(round(value / most * TINT_LEVELS))._replace(underlined=underlined)
        for value, underlined in zip(activations, holds or [False] * len(activations), strict=True)
    ]
    scale = Scale(number(-most), [_hot_or_cold(level) for level in range(-TINT_LEVELS, TINT_LEVELS + 1)], number(most))
    return tinted(lines, scale, text, marks, width)


def _hot_or_cold(level: int) -> Mark:
    return Mark("hot" if level > 0 else "cold", abs(level))


def surprise(lines: Sequence[str], text: str, bits: Sequence[float], tips: Sequence[str], width: int) -> Picture:
    """Draws how surprising each character was, by the tint scale of `results`. The tip of a character shows when it is pointed at."""
    marks = [Mark("warm", surprise_level(each), tip=tip) for each, tip in zip(bits, tips, strict=True)]
    scale = Scale("0", [Mark("warm", level) for level in range(1, TINT_LEVELS + 1)], f"{FULL_SURPRISE}+ bits")
    return tinted(lines, scale, text, marks, width)


# ── scatter plots ────────────────────────────────────────────────────────────────────────────────────────────────────

SQUARE = 176.0  # side of a plot of gates, px
SPACE = 46.0  # between two plots, with the numbers of the axis
LARGEST_MAP = 560.0
INSIDE = 18.0  # distance of characters from the map's edge


class Points(NamedTuple):
    """A series of points with x and y from 0 to 1."""

    label: str
    places: Sequence[tuple[float, float]]


class Plot(NamedTuple):
    """A square with points."""

    title: str
    series: Sequence[Points]


class Sign(NamedTuple):
    """A character on the map."""

    text: str
    x: float
    y: float
    color: str  # a CSS class


def saturation(lines: Sequence[str], plots: Sequence[Plot], width: float) -> Picture:
    """Draws a square for each kind of gate, in which every unit is a point.

    x is the share of the text in which the gate was nearly shut, y the share in which it was nearly open; x + y is at most 1.
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
    """Draws characters at their two coordinates; `legend` has the meaning of colours, as (CSS class, text)."""
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
    """Returns the function that maps the values onto a side, without its margins."""
    found = list(values) or [0.0]
    low, high, inside = min(found), max(found), side - 2 * INSIDE
    return lambda value: INSIDE + inside * ((value - low) / (high - low) if high > low else 0.5)
