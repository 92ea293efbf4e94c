"""Notebooks as pandoc writes them, and the older form."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

from corpora import open_source
from corpora.documents.notebooks import read_notebook


def test_what_was_written_and_no_results(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A\n", "words"]},
        {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": "1 + 1", "outputs": [{"data": {"text/plain": ["TWO"]}}]},
        {"cell_type": "code", "metadata": {}, "source": [], "outputs": []},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    source = open_source(str(tmp_path / "a.ipynb"))
    assert "".join(source.pieces()) == "# A\nwords\n\n1 + 1\n"
    assert source.report.warnings == ["a.ipynb: 2 cells of a Jupyter notebook"]


def test_one_of_pandoc(written: Callable[[str], Path]) -> None:
    text = "".join(open_source(str(written("ipynb"))).pieces())
    assert "한국어 😀" in text
    assert "cell_type" not in text
    assert "\\n" not in text


def test_the_older_form() -> None:
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["x = 1\n", "x"]}]}]}
    assert list(read_notebook(io.BytesIO(json.dumps(old).encode()))) == ["x = 1\nx"]
