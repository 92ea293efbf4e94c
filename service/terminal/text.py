"""Lays text out for a terminal: colours, cuts to its width, tables and paragraphs."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from service.system.formatting import columns, safe


def may_draw(stream: TextIO) -> bool:
    """Whether a stream shows colours and lines that are redrawn: a terminal in UTF-8, unless `TERM=dumb` or `NO_COLOR` is set."""
    plain = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return stream.isatty() and not plain and (stream.encoding or "").lower().replace("-", "") == "utf8"


def terminal_width() -> int:
    """Returns the columns of the terminal; 100 if there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def line_width() -> int:
    """Returns the longest line of a list: lines are cut on a terminal only."""
    return terminal_width() if sys.stdout.isatty() else 10_000


def dim(text: str) -> str:
    """Returns the text in a faint colour."""
    return f"\x1b[2m{text}\x1b[0m"


def green(text: str) -> str:
    """Returns the text in green."""
    return f"\x1b[32m{text}\x1b[0m"


def yellow(text: str) -> str:
    """Returns the text in yellow."""
    return f"\x1b[33m{text}\x1b[0m"


def clipped(text: str, width: int) -> str:
    """Cuts the text to `width` columns, with an ellipsis if something was cut off."""
    if columns(text) <= width:
        return text
    kept, used = [], 0
    for c in text:
        used += columns(c)
        if used > width - 1:
            break
        kept.append(c)
    return "".join(kept) + "…"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int = 10_000) -> str:
    """Lays out columns under a heading, numbers to the right. The last column is cut to fit `width`."""
    cells = [list(head), *[[safe(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]]
    widths = [max(columns(row[index]) for row in cells) for index in range(len(head))]
    right = [bool(rows) and all(_is_number(row[index]) for row in cells[1:]) for index in range(len(head))]
    lines = []
    for row in cells:
        parts = [
            " " * (wide - columns(cell)) + cell if to_right else cell + " " * (wide - columns(cell))
            for cell, wide, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append(clipped("  ".join(parts).rstrip(), width))
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell == "-"


def wrapped(text: str, width: int, indent: int) -> str:
    """Wraps a paragraph to `width` columns; all lines but the first, which follows a label, begin with `indent` spaces."""
    lines = textwrap.wrap(safe(text), max(10, width - indent)) or [""]
    return ("\n" + " " * indent).join(lines)


def sentence(text: str, width: int, first: str = "", rest: str = "    ") -> str:
    """Wraps a sentence to `width` columns; `first` begins the first line, `rest` the others."""
    lines = textwrap.wrap(safe(text), max(10, width), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return "\n".join(lines)


def indented(text: str, width: int, lines: int, by: str = "    ") -> str:
    """Returns the first lines of a text, cut to fit and indented: a sample inside a report."""
    shown = safe(text).expandtabs(4).strip("\n").split("\n")
    cut = [by + clipped(line, max(10, width - len(by))) for line in shown[:lines]]
    return "\n".join(cut + ([by + "…"] if len(shown) > lines else []))
