"""The search for cells, and its process: what it writes, what it refuses, and that it does not outlive its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from model.errors import MissingSetting
from service.generation.model_cache import LoadedCheckpoint, load
from service.inspection import cell_search
from service.inspection.cell_search import REFUSED, find_cells
from service.inspection.results import CellReport
from service.store import Corpus, Run, Store
from service.system.errors import CorpusNotFound

AddModel = Callable[..., Run]
ROOT = Path(__file__).resolve().parents[3]


def test_the_cell_that_was_built_in_is_found_on_text_that_was_kept(store: Store, trained: LoadedCheckpoint) -> None:
    report = find_cells(store, trained)
    first = report.cells[0]
    assert (report.model, report.corpus, report.held_out) == ("weaver@7", "knots", False), "too little is kept"
    assert (first.feature, first.unit, first.f1) == ("round_brackets", "0:2", 1.0)
    assert first.found
    assert first.learned
    assert first.fresh < 0.9
    assert report.best[0] == first
    assert 0.8 < report.gauges[0].explained <= 1
    assert json.loads(json.dumps(asdict(report)))["cells"][0]["excerpt"]["holds"] == first.excerpt.holds


def test_what_was_kept_for_validation_is_read_where_it_is_enough(
    store: Store, trained: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_search, "ENOUGH", 1000)
    report = find_cells(store, trained)
    whole = "".join(store.corpora.pieces("knots"))
    assert report.held_out
    assert report.characters < len(whole) // 10
    kept = whole[round(len(whole) * 0.9) - 1 :]
    assert all(cell.excerpt.text in kept for cell in report.cells)


def test_another_corpus_is_read_as_a_whole(store: Store, trained: LoadedCheckpoint) -> None:
    store.corpora.add("other", ["no bracket at all, 724 times\n" * 100], "other.txt")
    report = find_cells(store, trained, "other")
    assert (report.corpus, report.held_out) == ("other", True)
    assert "round_brackets" not in {cell.feature for cell in report.cells}


def test_an_imported_model_needs_to_be_told_a_corpus(store: Store, add_model: AddModel, tale: str) -> None:
    add_model(text=tale)
    with pytest.raises(MissingSetting, match="first was imported without its own"):
        find_cells(store, load(store))
    with pytest.raises(CorpusNotFound, match="none is stored yet"):
        find_cells(store, load(store), "tale")
    store.corpora.add("tale", [tale], "tale.txt")
    assert find_cells(store, load(store), "tale").corpus == "tale"


@pytest.mark.parametrize(("level", "normalization"), [("byte", "nfc"), ("char", "nfd")])
def test_other_levels_are_searched_as_well(store: Store, add_model: AddModel, level: str, normalization: str) -> None:
    text = "가각 (é), 한글\n" * 400
    store.corpora.add("hangul", [text], "hangul.txt")
    add_model(text=text, level=level, normalization=normalization)
    report = find_cells(store, load(store), "hangul")
    assert {"round_brackets", "line_ends"} <= {cell.feature for cell in report.cells}
    assert all(len(cell.excerpt.text) == len(cell.excerpt.holds) for cell in report.cells)
    assert all(c in text for c in report.cells[0].excerpt.text)


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def open_end() -> Iterator[int]:
    """Standard input that has not ended."""
    theirs, ours = os.pipe()
    yield theirs
    os.close(theirs)
    os.close(ours)


def run(stdin: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "service.inspection.cell_search", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, stdin=stdin, capture_output=True, cwd=ROOT, env=environment, check=False, timeout=60)


def test_it_writes_the_report(store: Store, corpus: Corpus, tale: str, add_model: Callable[..., Run], open_end: int) -> None:
    model = add_model("one", text=tale)
    done = run(open_end, str(store.path), str(model.id), "100", str(corpus.id))
    assert (done.returncode, done.stderr) == (0, b"")
    assert msgspec.json.decode(done.stdout, type=CellReport) == find_cells(store, load(store, "one"), "tale")


def test_it_says_why_not(store: Store, corpus: Corpus, open_end: int) -> None:
    done = run(open_end, str(store.path), "7", "100", str(corpus.id))
    assert (done.returncode, done.stdout) == (REFUSED, b"")
    assert done.stderr.startswith(b"there is no run")


def test_it_ends_with_whoever_started_it(store: Store, corpus: Corpus, tale: str, add_model: Callable[..., Run]) -> None:
    model = add_model("one", text=tale)
    done = run(subprocess.DEVNULL, str(store.path), str(model.id), "100", str(corpus.id))
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
