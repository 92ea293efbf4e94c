"""Prints what was found inside a model: texts in tints, or with bars below them on a terminal without colours; and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from service.inspection.results import (
    FULL_SURPRISE,
    SIGNS,
    CellReport,
    FoundCell,
    Gate,
    Inspection,
    Neighbour,
    surprise_level,
    visible,
)
from service.inspection.svg_figures import GlyphPlace, laid_out
from service.system.formatting import counted, safe
from service.terminal.text import sentence, table

ROWS = 16  # of a text that are printed
LISTED = 5  # surprises
NEIGHBOURS = 10  # characters with their neighbours that are listed
CELLS = 15  # that are listed
WIDE = 76  # columns that the table of cells needs; on a narrower terminal it is a list
SHOWN = 3  # cells that are printed over an excerpt
BARS = "▁▂▃▄▅▆▇█"
BARS_FROM_ZERO = " ▁▂▃▄▅▆▇█"  # one for each level of surprise
# Backgrounds of the 256 colours from weak to strong, on which black text is legible; the weakest value has none.
AMBER = (230, 229, 223, 222, 221, 215, 214, 208)  # one for each tint of surprise
RED = (224, 217, 210, 209, 203, 203)
BLUE = (195, 189, 153, 117, 111, 75)


def report(found: CellReport | Inspection, width: int, *, colors: bool) -> str:
    """Returns the report in lines of `width` columns."""
    return cells_report(found, width, colors) if isinstance(found, CellReport) else inspection_report(found, width, colors)


def inspection_report(found: Inspection, width: int, colors: bool) -> str:
    """Returns the parts of an inspection in lines of `width` columns."""
    mean = f"{found.bits_per_char:.2f} bits per character over " if found.bits_per_char is not None else ""
    lines = [sentence(f"{found.model}, {found.network}: {mean}{counted(found.characters, 'character')}", width)]
    if found.unknown:
        lines.append(sentence(f"outside its alphabet: {found.unknown:,} of them, which cost as much as any character could", width))
    if found.bits is not None and found.alternatives is not None:
        lines += ["", sentence(f"How surprising each character was, from 0 to {FULL_SURPRISE} bits and more", width)]
        lines += _text(found.text, [*map(_surprise, found.bits)], width, colors)
        lines += ["", _surprises(found.text, found.bits, found.alternatives, width)] if found.text else []
    for unit in found.units:
        most = _most(unit.activations)
        lines += ["", sentence(f"The activation of unit {unit.unit} (layer:unit) after each character, from {-most:g} to {most:g}", width)]
        lines += _text(found.text, [_activation(value / most) for value in unit.activations], width, colors)
    if found.gates:
        lines += ["", _gates(found.gates, width)]
    if found.neighbours is not None:
        lines += ["", _neighbours(found.neighbours, width)]
    return "\n".join(lines)


def cells_report(found: CellReport, width: int, colors: bool) -> str:
    """Returns the units of a model that follow a readable feature, in lines of `width` columns."""
    told = "that it never learned from" if found.held_out else "of its corpus, which keeps too little for validation"
    lines = [
        sentence(f"{found.model}, {found.network}: single units that follow a readable feature of corpus {found.corpus}", width),
        sentence(f"F1 on {found.characters:,} characters {told}; unit and threshold were found on as many others", width),
    ]
    if not found.cells:
        return "\n".join([*lines, "", sentence("no feature occurs often enough in them; take a longer text with --corpus", width)])
    lines += ["", _listed(found, width), ""]
    lines.append(sentence("fresh: the best unit of the network before training; yes: saying yes always", width))
    lines.append(sentence("● good: F1 0.8 or more, and at least half of the way from yes to 1; ○ as good, but so is a fresh one", width))
    if found.gauges:
        lines += ["", sentence("The share of a number's variance that a straight line from one unit explains", width)]
        lines.append(_measured(found, width))
    for cell in found.drawn[:SHOWN]:
        lines += ["", *_cell(cell, width, colors)]
    return "\n".join(lines)


def _listed(found: CellReport, width: int) -> str:
    cells = found.cells[:CELLS]
    if width >= WIDE:
        rows = [[_mark(cell), *map(_share, (cell.f1, cell.fresh, cell.always)), cell.unit, cell.meaning] for cell in cells]
        return table(["", "F1", "fresh", "yes", "unit", "it tells"], rows, width)
    lines = [f"{cell.f1:.2f} (fresh {cell.fresh:.2f}, yes {cell.always:.2f}) {cell.unit} {cell.meaning}" for cell in cells]
    return "\n".join(sentence(line, width, f"{_mark(cell) or ' '} ") for cell, line in zip(cells, lines, strict=True))


def _measured(found: CellReport, width: int) -> str:
    if width >= WIDE:
        rows = [[_share(each.explained), _share(each.fresh), each.unit, each.meaning] for each in found.gauges]
        return table(["share", "fresh", "unit", "number"], rows, width)
    lines = [f"{_share(each.explained)} (fresh {_share(each.fresh)}) {each.unit} {each.meaning}" for each in found.gauges]
    return "\n".join(sentence(line, width) for line in lines)


def _mark(cell: FoundCell) -> str:
    return "" if not cell.found else "●" if cell.learned else "○"


def _cell(cell: FoundCell, width: int, colors: bool) -> Iterator[str]:
    yield sentence(
        f"Unit {cell.unit} is {'at or above' if cell.above else 'below'} {cell.threshold:.2f} {cell.meaning} (F1 {cell.f1:.2f})", width
    )
    most = _most(cell.excerpt.activations)
    looks = [_activation(value / most) for value in cell.excerpt.activations]
    yield from _text(cell.excerpt.text, looks, width, colors, cell.excerpt.holds)


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Look(NamedTuple):
    """How the value of a character is shown."""

    ground: str  # a background of the 256 colours; empty for none
    bar: str  # on a terminal without colours, below the character


def _surprise(bits: float) -> Look:
    level = surprise_level(bits)
    return Look(str(AMBER[level - 1]) if level else "", BARS_FROM_ZERO[level])


def _activation(value: float) -> Look:
    """Returns the look of a value from -1 to 1."""
    shades = RED if value > 0 else BLUE
    level = round(min(1.0, abs(value)) * len(shades))
    bar = BARS[min(len(BARS) - 1, max(0, int((value + 1) / 2 * len(BARS))))]
    return Look(str(shades[level - 1]) if level else "", bar)


def _most(activations: Sequence[float]) -> float:
    return max([1.0, *map(abs, activations)])


def _text(text: str, looks: Sequence[Look], width: int, colors: bool, holds: Sequence[bool] = ()) -> Iterator[str]:
    """Yields the first rows of a text: with backgrounds, underlined where a feature `holds`; or without colours, with bars below."""
    places = laid_out(text, max(10, width - 1))
    cells = zip(places, looks, holds or [False] * len(places), strict=True)
    for row, group in groupby(cells, lambda cell: cell[0].row):
        if row == ROWS:
            yield "…"
            return
        found = list(group)
        if colors:
            runs = groupby(found, lambda cell: (cell[1].ground, cell[2]))
            yield "".join(_painted(*style, "".join(_shown(place) for place, _, _ in run)) for style, run in runs)
        else:
            yield "".join(_shown(place) for place, _, _ in found).rstrip()
            yield "".join(look.bar * place.width for place, look, _ in found).rstrip()


def _shown(place: GlyphPlace) -> str:
    return place.glyph or " " * place.width


def _painted(ground: str, underlined: bool, text: str) -> str:
    codes = [*(["4"] if underlined else []), *([f"38;5;16;48;5;{ground}"] if ground else [])]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _surprises(text: str, bits: Sequence[float], alternatives: Sequence[Sequence[tuple[str, float]]], width: int) -> str:
    places = sorted((place for place in range(len(bits)) if alternatives[place]), key=lambda place: -bits[place])[:LISTED]
    rows = [
        [
            f"{bits[place]:.1f}",
            _visible(text[place]),
            _visible(text[max(0, place - 16) : place]),
            "  ".join(f"{visible(symbol)} {probability:.0%}" for symbol, probability in alternatives[place][:4]),
        ]
        for place in places
    ]
    return table(["bits", "character", "after", "expected"], rows, width)


def _visible(text: str) -> str:
    return safe("".join(SIGNS.get(c, c) for c in text))


def _gates(gates: Sequence[Gate], width: int) -> str:
    rows = [[str(gate.layer), gate.name, *map(_mean, (gate.left, gate.right))] for gate in gates]
    head = "How much of the text gates are nearly shut (below 0.1) and nearly open (above 0.9): the mean of all units"
    return f"{sentence(head, width)}\n{table(['layer', 'gate', 'shut', 'open'], rows, width)}"


def _mean(shares: Sequence[float]) -> str:
    return f"{sum(shares) / max(1, len(shares)):.0%}"


def _neighbours(neighbours: Sequence[Neighbour], width: int) -> str:
    rows = [[visible(each.symbol), "  ".join(map(visible, each.nearest))] for each in neighbours[:NEIGHBOURS]]
    head = "The most frequent characters, and those with the most similar embeddings"
    return f"{sentence(head, width)}\n{table(['', ''], rows, width).lstrip(chr(10))}"


def _share(value: float) -> str:
    """Formats a share with two decimals; a negative one as 0."""
    return f"{max(0.0, value):.2f}"
