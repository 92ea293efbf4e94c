"""Reads the cells of Jupyter notebooks: what their author wrote, words and code, without results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO


def read_notebook(file: BinaryIO) -> Iterator[str]:
    """Yields the source of each cell that has some (Jupyter's nbformat 3 and 4)."""
    content = json.loads(file.read())
    sheets = content.get("worksheets", [content])  # of nbformat 3
    for sheet in sheets:
        for cell in sheet["cells"]:
            source = cell.get("source", cell.get("input", ""))
            if text := (source if isinstance(source, str) else "".join(source)).strip("\n"):
                yield text
