"""PDF documents that Chromium prints, and those that hold no text."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from corpora import open_source
from corpora.documents.pdf import read_pdf
from model.errors import NoTextInside
from tests.browser.conftest import chromium

from .conftest import lines_of


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, skip: Callable[[str], None]) -> Path:
    """A page with two pages, as Chromium prints it."""
    folder = tmp_path_factory.mktemp("printed")
    browser = chromium()
    if not browser:
        skip("no Chromium is installed (Debian: apt install chromium)")
    page = "<p>The loom stood still.<p>An office &amp; a fluffy naïve café — 12 €.<p style='break-before: page'>Its second page."
    (folder / "a.html").write_text(f"<!doctype html><meta charset=utf-8><body style='font-family: serif'>{page}", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile"]
    subprocess.run([str(browser), *flags, f"--print-to-pdf={folder}/a.pdf", f"{folder}/a.html"], check=True, capture_output=True)
    return folder / "a.pdf"


def test_the_text_is_what_was_printed(printed: Path) -> None:
    source = open_source(str(printed))
    text = "".join(source.pieces())
    assert lines_of(text) == ["The loom stood still.", "An office & a fluffy naïve café — 12 €.", "Its second page."]
    assert source.report.warnings == ["a.pdf: 2 pages of a PDF document"]


def test_one_that_only_forbids_printing_is_read(printed: Path) -> None:
    writer = PdfWriter(clone_from=PdfReader(printed))
    writer.encrypt("", "owner", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    assert next(read_pdf(file)).startswith("The loom stood still.")


def test_one_without_text_is_refused_saying_so(tmp_path: Path) -> None:
    writer = PdfWriter()
    for _ in range(3):
        writer.add_blank_page(99, 99)
    writer.write(str(tmp_path / "scan.pdf"))
    with pytest.raises(NoTextInside, match=r"scan\.pdf is a PDF document of 3 pages without text, as a scanner makes them; recognise"):
        list(open_source(str(tmp_path / "scan.pdf")).pieces())
