"""Makes documents with programs that share no code with the readers: pandoc writes them, and Chromium prints a PDF."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# What is written, in pandoc's Markdown, and the lines that every reader must give.
MARKDOWN = """\
The *loom* stood **still**. It said "naïve" & 한국어 😀 <b>.

A second paragraph, with a [link](http://example.com/page).

- one
- two

| name | city   |
|------|--------|
| Anna | Köln   |
| Bo   | Ürümqi |

> A quotation with `code`.

Line one\\
line two.
"""
LINES = [
    'The loom stood still. It said "naïve" & 한국어 😀 <b>.',
    "A second paragraph, with a link.",
    "one",
    "two",
    "name\tcity",
    "Anna\tKöln",
    "Bo\tÜrümqi",
    "A quotation with code.",
    "Line one",
    "line two.",
]


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not empty."""
    return [line for line in text.split("\n") if line]


@pytest.fixture(scope="session")
def skip() -> Callable[[str], None]:
    """Skips a test for a reason, or fails it if CHARLOOM_NO_SKIP is set."""
    return pytest.fail if os.environ.get("CHARLOOM_NO_SKIP") else pytest.skip


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, skip: Callable[[str], None]) -> Callable[[str], Path]:
    """The document above in a format of pandoc, as a file with that ending."""
    if not shutil.which("pandoc"):
        skip("pandoc is not installed (Debian: apt install pandoc)")
    folder = tmp_path_factory.mktemp("written")

    def write(form: str) -> Path:
        path = folder / f"tale.{form}"
        if not path.exists():
            command = ["pandoc", "--from=markdown-smart-raw_html", "--standalone", "--metadata=title:", "--output", str(path)]
            subprocess.run(command, input=MARKDOWN.encode(), check=True, capture_output=True)
        return path

    return write
