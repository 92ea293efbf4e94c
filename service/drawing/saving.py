"""Sheets into files."""

from __future__ import annotations

from pathlib import Path

from model.errors import FileUnwritable
from service.drawing.sheets import cells_sheet, inspection_sheet
from service.files import check_writable, write_whole
from service.findings import CellReport, Inspection


def check(place: Path, *, folder: bool = False, overwrite: bool = False) -> None:
    """What can be refused before long work; where a `folder` will do, too, only a file can be. Raises `FileTaken`, `FileUnwritable`."""
    if not folder or _is_file(place):
        check_writable(place, overwrite=overwrite)


def save(found: Inspection | CellReport, place: Path, columns: int, *, overwrite: bool = False) -> list[Path]:
    """Draw what was found, in lines of `columns` characters; returns the files. Raises `FileTaken` and `FileUnwritable`.

    Of cells, those that are worth a picture go to one file where `place` ends with .svg, else to a folder, each to a file of its own.
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
