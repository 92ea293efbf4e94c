"""Draws an inspection or cells on sheets of figures, and writes them to SVG files."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from service.inspection.results import SIGNS, CellReport, FoundCell, Gate, Inspection, Neighbour, visible
from service.inspection.svg_figures import (
    COLORS,
    WIDE,
    Picture,
    Plot,
    Points,
    Sign,
    document,
    heading,
    heat,
    saturation,
    sign_map,
    surprise,
)
from service.system.disk import check_writable, write_whole
from service.system.errors import FileUnwritable

SORTS = ("letter", "capital", "digit", "other sign", "blank")  # of characters, in the order of the colours


def inspection_sheet(found: Inspection, width: int) -> str:
    """Draws the parts of an inspection below each other: surprise, units, gates and the map. Lines of text have `width` columns."""
    across = WIDE * (width + 1)
    pictures = []
    if found.bits is not None and found.alternatives is not None:
        mean = f"{found.network}, {found.bits_per_char:.2f} bits per character over {found.characters:,}."
        lines = [f"{found.model}: how surprising each character was", f"{mean} Point at one to see what was expected in its place."]
        pictures.append(surprise(lines, found.text, found.bits, [*map(_tip, found.text, found.bits, found.alternatives)], width))
    for unit in found.units:
        lines = [f"Unit {unit.unit}", f"The activation of unit {unit.unit} (layer:unit) once each character was read."]
        pictures.append(heat(lines, found.text, unit.activations, width))
    if found.gates:
        pictures.append(_gates(found.gates, across))
    if found.neighbours is not None:
        pictures.append(_map(found.neighbours, found.map_shares or [], across))
    return document(f"Inside {found.model}", pictures)


def cells_sheet(report: CellReport, cells: Sequence[FoundCell], width: int) -> str:
    """Draws cells, each on an excerpt in which its feature comes and goes."""
    pictures = [_cell(report, cell, width) for cell in cells]
    return document(f"Cells of {report.model}", pictures or [_none(report, WIDE * (width + 1))])


def _none(report: CellReport, width: float) -> Picture:
    parts, height = heading([f"Cells of {report.model}", f"No feature occurs often enough in corpus {report.corpus}."], width)
    return Picture(width, height, parts)


def _cell(report: CellReport, cell: FoundCell, width: int) -> Picture:
    side = "at or above" if cell.above else "below"
    text = "on text that it never learned from" if report.held_out else "on text that was not used to find it"
    title = f"Unit {cell.unit} is {side} {cell.threshold:.2f} {cell.meaning}"
    measured = (
        f"F1 {cell.f1:.2f} {text} (precision {cell.precision:.2f}, recall {cell.recall:.2f}); always saying yes {cell.always:.2f};"
        f" the best unit of a fresh network {cell.fresh:.2f}. {report.model}, {report.network}, corpus {report.corpus}."
        " Underlined: where the feature holds."
    )
    return heat([title, measured], cell.excerpt.text, cell.excerpt.activations, width, cell.excerpt.holds)


def _tip(character: str, bits: float, alternatives: Sequence[tuple[str, float]]) -> str:
    if not alternatives:
        return "a further character of the separator before it"
    expected = ", ".join(f"{visible(symbol)} {probability:.1%}" for symbol, probability in alternatives)
    return f"{character if character.isprintable() else repr(character)}: {bits:.1f} bits. Expected: {expected}"


def _gates(gates: Sequence[Gate], width: float) -> Picture:
    layers = sorted({gate.layer for gate in gates})
    plots = [
        Plot(
            f"{name} gate",
            [
                Points(f"layer {layer}", list(zip(gate.left, gate.right, strict=True)))
                for layer in layers
                for gate in gates
                if gate.layer == layer and gate.name == name
            ],
        )
        for name in dict.fromkeys(gate.name for gate in gates)
    ]
    lines = [
        "How often gates are saturated",
        "Every unit is a point: the share of the text in which its gate was below 0.1 (nearly shut) and above 0.9 (nearly open).",
    ]
    return saturation(lines, plots, width)


def _map(neighbours: Sequence[Neighbour], shares: Sequence[float], width: float) -> Picture:
    lines = [
        "Characters by the direction of their embeddings",
        f"Characters near each other have similar embeddings. The map shows {sum(shares):.1%} of the variance.",
    ]
    sorts = [_sort(each.symbol) for each in neighbours]
    signs = [Sign(visible(each.symbol), each.x, each.y, COLORS[sort]) for each, sort in zip(neighbours, sorts, strict=True)]
    return sign_map(lines, signs, [(COLORS[sort], SORTS[sort]) for sort in sorted(set(sorts))], width)


def _sort(symbol: str) -> int:
    if symbol in SIGNS:
        return 4
    category = unicodedata.category(symbol[0])
    return 1 if category == "Lu" else 0 if category[0] in "LM" else 2 if category[0] == "N" else 3


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(place: Path, *, folder: bool = False, overwrite: bool = False) -> None:
    """Refuses before long work a file that cannot be written; a `folder` is not checked. Raises `FileTaken`, `FileUnwritable`."""
    if not folder or _is_file(place):
        check_writable(place, overwrite=overwrite)


def save(found: Inspection | CellReport, place: Path, columns: int, *, overwrite: bool = False) -> list[Path]:
    """Draws an inspection or cells in lines of `columns` characters; returns the files. Raises `FileTaken` and `FileUnwritable`.

    The cells that are worth a picture go to one file if `place` ends with .svg, else to a folder with a file for each.
    """
    if isinstance(found, Inspection):
        sheets = {place: inspection_sheet(found, columns)}
    elif _is_file(place):
        sheets = {place: cells_sheet(found, found.drawn, columns)}
    else:
        sheets = {place / f"{cell.feature}.svg": cells_sheet(found, [cell], columns) for cell in found.drawn}
        _make(place)
    for file in sheets:
        check_writable(file, overwrite=overwrite)
    for file, sheet in sheets.items():
        write_whole(file, sheet.encode("utf-8", "replace"), overwrite=overwrite)
    return list(sheets)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileUnwritable(str(folder), error.strerror or str(error)) from None


def _is_file(place: Path) -> bool:
    return place.suffix.lower() == ".svg" and not place.is_dir()
