"""The process that looks for cells: what it writes, what it refuses, and that it does not outlive whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from service.generation.model_cache import load
from service.inspection.cell_search import REFUSED
from service.inspection.inspector import find_cells
from service.inspection.results import CellReport
from service.store import Corpus, Run, Store

ROOT = Path(__file__).resolve().parents[3]


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
    add_model("one", text=tale)
    done = run(open_end, str(store.path), "one@100", corpus.name)
    assert (done.returncode, done.stderr) == (0, b"")
    assert msgspec.json.decode(done.stdout, type=CellReport) == find_cells(store, load(store, "one"), "tale")


def test_it_says_why_not(store: Store, corpus: Corpus, open_end: int) -> None:
    done = run(open_end, str(store.path), "none@100", corpus.name)
    assert (done.returncode, done.stdout) == (REFUSED, b"")
    assert done.stderr.startswith(b"there is no run")


def test_it_ends_with_whoever_started_it(store: Store, corpus: Corpus, tale: str, add_model: Callable[..., Run]) -> None:
    add_model("one", text=tale)
    done = run(subprocess.DEVNULL, str(store.path), "one@100", corpus.name)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
