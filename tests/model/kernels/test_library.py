"""The library that is loaded is whole, of the present sources, and of this processor; else a sentence says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import KernelsUnusable
from model.kernels import library as module
from model.kernels.library import VARIABLE, instruction_sets, library, path_of, shortcoming
from model.kernels.record import flaw, record_of

ROOT = Path(__file__).parents[3]
HERE = [name for name in instruction_sets() if flaw(path_of(name)) is None]

pytestmark = pytest.mark.skipif(not HERE, reason="there is no library of kernels here")


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with copies of the libraries, from which they are loaded; no choice is made."""
    for name in HERE:
        for file in (path_of(name), record_of(path_of(name))):
            shutil.copy(file, tmp_path)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    library.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    library.cache_clear()


def harm(name: str, how: str) -> str:
    """Harms one library; returns what is said of it."""
    path = path_of(name)
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])  # loading it would end the process with SIGBUS
            return "is damaged"
        case "changed":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            return "is damaged"
        case "stale":
            record = record_of(path)
            own, sources = record.read_text().splitlines()
            record.write_text(f"{own}\n{'0' * 64}{sources[64:]}\n")
            return "was built from other sources"
        case "unrecorded":
            record_of(path).unlink()
            return "was not built"
        case _:
            path.unlink()
            return "was not built"


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("how", ["cut", "changed", "stale", "unrecorded", "gone"])
def test_a_library_that_cannot_be_used_is_not_loaded(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library() is not None
    assert shortcoming() is None
    why = harm(HERE[0], how)
    library.cache_clear()
    found = library()
    assert (found.name if found else None) == (HERE[1] if len(HERE) > 1 else None)
    for name in HERE[1:]:
        harm(name, how)
    library.cache_clear()
    assert library() is None
    assert shortcoming() == (
        "numpy computes, several times slower than the C library:"
        f" {path_of(HERE[0]).name} {why}; build it with: python -m model.kernels.build"
    )
    monkeypatch.setenv(VARIABLE, "numpy")
    assert shortcoming() is None
    monkeypatch.setenv(VARIABLE, HERE[0])
    library.cache_clear()
    with pytest.raises(KernelsUnusable, match=f"its library {why}; build it with: python -m model.kernels.build; usable here: numpy; or"):
        library()


@pytest.mark.usefixtures("copies")
def test_a_library_that_the_system_does_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str) -> None:
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(module.ctypes, "CDLL", refused)
    assert library() is None
    assert "cannot be loaded (" in (shortcoming() or "")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("nonsense", "which is no instruction set"), (["neon", "avx2"]["neon" in HERE], "which this processor does not have")],
)
def test_a_wrong_choice_is_told_before_anything_begins(wanted: str, why: str, tmp_path: Path) -> None:
    for command in (["serve", "--port", "18765"], ["train", "python", "--steps", "1"], ["info"]):
        done = subprocess.run(
            [sys.executable, "cli.py", *command, "--db", str(tmp_path / "a.db")],
            cwd=ROOT,
            env={**os.environ, VARIABLE: wanted},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"CHARLOOM_KERNELS is '{wanted}', {why}; usable here: {', '.join(HERE)}, numpy; or leave it out" in done.stderr
