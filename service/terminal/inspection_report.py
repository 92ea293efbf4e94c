"""What was seen inside a model, on a terminal: texts in tints, or with bars below them where there are no colours; and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from service.inspection.results import CellReport, FoundCell, Inspection
from service.inspection.svg_figures import FULL_SURPRISE, GlyphPlace, laid_out
from service.system.formatting import safe
from service.terminal.text import sentence, table

ROWS = 16  # of a text that are shown
LISTED = 5  # surprises
NEIGHBOURS = 10  # characters whose neighbours are listed
CELLS = 15  # that are listed
WIDE = 76  # columns that the whole table of cells takes
SHOWN = 3  # of them, over a text
BARS = "▁▂▃▄▅▆▇█"
BARS_FROM_ZERO = " ▁▂▃▄▅▆▇█"
# Grounds of the 256 colours from weak to strong, on which black stands out; nothing is as weak as none.
AMBER = (230, 229, 223, 222, 215, 214)
RED = (224, 217, 210, 209, 203, 203)
BLUE = (195, 189, 153, 117, 111, 75)


def report(found: CellReport | Inspection, width: int, *, colors: bool) -> str:
    """What was found, in lines of `width` columns."""
    return cells_report(found, width, colors) if isinstance(found, CellReport) else inspection_report(found, width, colors)


def inspection_report(found: Inspection, width: int, colors: bool) -> str:
    """What a model did with a text, in lines of `width` columns."""
    head = f"{found.model}, {found.network}: {found.bits_per_char:.2f} bits per character over {len(found.text):,} characters"
    lines = [sentence(head, width)]
    if found.unknown:
        lines.append(sentence(f"outside its alphabet: {found.unknown:,} of them, which cost as much as any character could", width))
    lines += ["", sentence(f"How surprising each character was, from 0 to {FULL_SURPRISE:g} bits and more", width)]
    lines += _text(found.text, [min(1.0, each / FULL_SURPRISE) for each in found.bits], width, colors, _amber, 0)
    lines += ["", _surprises(found, width)] if found.text else []
    most = max([1.0, *map(abs, found.activations)])
    lines += ["", sentence(f"What unit {found.unit} (layer:unit) held once each was read, from {-most:g} to {most:g}", width)]
    lines += _text(found.text, [each / most for each in found.activations], width, colors, _red_or_blue, -1)
    if found.gates:
        lines += ["", _gates(found, width)]
    lines += ["", _neighbours(found, width)]
    return "\n".join(lines)


def cells_report(found: CellReport, width: int, colors: bool) -> str:
    """The units of a model that follow a readable feature, in lines of `width` columns."""
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
    most = max([1.0, *map(abs, cell.excerpt.activations)])
    values = [each / most for each in cell.excerpt.activations]
    yield from _text(cell.excerpt.text, values, width, colors, _red_or_blue, -1, cell.excerpt.holds)


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(
    text: str, values: Sequence[float], width: int, colors: bool, style: Callable[[float], str], low: float, holds: Sequence[bool] = ()
) -> Iterator[str]:
    """The first rows of a text, with a value from `low` to 1 for each character: as its ground, or as the height of a bar below it."""
    places = laid_out(text, max(10, width - 1))
    cells = zip(places, values, holds or [False] * len(places), strict=True)
    for row, group in groupby(cells, lambda cell: cell[0].row):
        if row == ROWS:
            yield "…"
            return
        found = list(group)
        if colors:
            runs = groupby(found, lambda cell: (style(cell[1]), cell[2]))
            yield "".join(_painted(*look, "".join(_shown(place) for place, _, _ in run)) for look, run in runs)
        else:
            yield "".join(_shown(place) for place, _, _ in found).rstrip()
            yield "".join(_bar(value, low) * place.width for place, value, _ in found).rstrip()


def _shown(place: GlyphPlace) -> str:
    return place.glyph or " " * place.width


def _bar(value: float, low: float) -> str:
    bars = BARS if low else BARS_FROM_ZERO
    return bars[min(len(bars) - 1, max(0, int((value - low) / (1 - low) * len(bars))))]


def _painted(ground: str, underlined: bool, text: str) -> str:
    codes = [*(["4"] if underlined else []), *([f"38;5;16;48;5;{ground}"] if ground else [])]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text


def _amber(value: float) -> str:
    return _shade(AMBER, value)


def _red_or_blue(value: float) -> str:
    return _shade(RED if value > 0 else BLUE, abs(value))


def _shade(shades: Sequence[int], value: float) -> str:
    level = round(min(1.0, value) * len(shades))
    return str(shades[level - 1]) if level else ""


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _surprises(found: Inspection, width: int) -> str:
    places = sorted(range(len(found.bits)), key=lambda place: -found.bits[place])[:LISTED]
    rows = [
        [
            f"{found.bits[place]:.1f}",
            _visible(found.text[place]),
            _visible(found.text[max(0, place - 16) : place]),
            "  ".join(f"{safe(each.symbol)} {each.probability:.0%}" for each in found.alternatives[place][:4]),
        ]
        for place in places
    ]
    return table(["bits", "came", "behind", "expected"], rows, width)


def _visible(text: str) -> str:
    return safe(text.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣"))


def _gates(found: Inspection, width: int) -> str:
    rows = [[str(gate.layer), gate.name, *map(_mean, (gate.left, gate.right))] for gate in found.gates]
    head = "How much of the text gates are nearly shut (below 0.1) and nearly open (above 0.9): the mean of all units"
    return f"{sentence(head, width)}\n{table(['layer', 'gate', 'shut', 'open'], rows, width)}"


def _mean(shares: Sequence[float]) -> str:
    return f"{sum(shares) / max(1, len(shares)):.0%}"


def _neighbours(found: Inspection, width: int) -> str:
    rows = [[safe(each.symbol), "  ".join(map(safe, each.nearest))] for each in found.neighbours[:NEIGHBOURS]]
    head = "What the network takes for alike: the nearest others of the most frequent characters"
    return f"{sentence(head, width)}\n{table(['', ''], rows, width).lstrip(chr(10))}"


def _share(value: float) -> str:
    """Two digits; what is worse than nothing is shown as nothing."""
    return f"{max(0.0, value):.2f}"
