"""What Charloom runs on, told whatever the state of the machine and the database."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlite_utils.utils import sqlite3
from threadpoolctl import ThreadpoolController

from service.store import Run, Store
from service.system import hardware
from service.terminal import info

CPUINFO = "processor\t: 0\nvendor_id\t: Acme\nmodel name\t: Acme Loom 9000 @ 3.00GHz\n\nprocessor\t: 1\nmodel name\t: other\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose products take no time to measure."""
    monkeypatch.setattr(info, "SIDE", 8)
    monkeypatch.setattr(info, "MEASURING", 0.0)


@pytest.mark.usefixtures("quick")
def test_facts_are_ready_for_json_and_for_people(path: Path, add_model: Callable[..., Run]) -> None:
    add_model("first", steps=(100, 200))
    add_model("second")
    found = info.facts(path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["cores"] == hardware.cores()
    assert (found["arithmetic"], found["threads"], found["blas"]) == (hardware.arithmetic(), hardware.training_threads(), hardware.blas())
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert set(found["versions"]) == {"python", "charloom", "numpy", "flask", "click", "sqlite-utils"}
    assert found["sqlite"]["version"] == sqlite3.sqlite_version
    assert set(found["product_rate"]) == {"1", str(hardware.cores())}
    assert {key: found["database"][key] for key in ("path", "corpora", "runs", "checkpoints")} == {
        "path": str(path),
        "corpora": 0,
        "runs": 2,
        "checkpoints": 3,
    }
    assert found["database"]["bytes"] >= path.stat().st_size
    told = dict(info.lines(found))
    assert told["cores"] == f"{hardware.cores()} usable"
    assert told["database"].startswith(f"{path}: ")
    assert told["database"].endswith(f"journal mode {found['database']['journal_mode']}; 0 corpora, 2 runs, 3 checkpoints")
    assert "\n" not in "".join(told.values())


def test_without_measuring_and_without_a_database_there_is_less_to_tell() -> None:
    found = info.facts(measure=False)
    assert found["product_rate"] == {}
    assert found["database"] is None
    assert [name for name, _ in info.lines(found)] == ["processor", "cores", "memory", "arithmetic", "BLAS", "versions", "SQLite"]


def example(**changes: Any) -> dict[str, str]:
    found = {
        "processor": "Acme",
        "cores": 4,
        "memory_free": None,
        "arithmetic": "kernels avx2",
        "threads": 4,
        "blas": "openblas 1 Haswell",
        "product_rate": {"1": 125.4e9, "4": 1.2345e12},
        "versions": {"python": "3.11", "numpy": "2.4"},
        "sqlite": {"version": "3.53.4", "module": "pysqlite3"},
        "database": {"path": "a.db", "bytes": 12e6, "format": 3, "journal_mode": "wal", "corpora": 1, "runs": 1, "checkpoints": 1200},
    }
    return dict(info.lines(found | changes))


def test_facts_in_words() -> None:
    assert example() == {
        "processor": "Acme",
        "cores": "4 usable",
        "memory": "not known",
        "arithmetic": "kernels avx2, 4 threads for training",
        "BLAS": "openblas 1 Haswell",
        "products": "125 GFLOP/s with 1 thread, 1,234 GFLOP/s with 4 threads (float32, 1024x1024)",
        "versions": "python 3.11, numpy 2.4",
        "SQLite": "3.53.4 of pysqlite3",
        "database": "a.db: 12.0 MB, format 3, journal mode wal; 1 corpus, 1 run, 1,200 checkpoints",
    }
    assert example(sqlite={"version": "3.51.3", "module": "sqlite3"})["SQLite"] == "3.51.3 of Python"
    assert example(arithmetic="numpy 2 mkl 1", threads=1)["arithmetic"] == "numpy 2 mkl 1, 1 thread for training"
    assert example(memory_free=2_500_000_000)["memory"] == "2.5 GB free"


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_processor_is_named_as_the_system_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **options: CPUINFO)
    assert info.processor() == "Acme Loom 9000 @ 3.00GHz"


@pytest.mark.parametrize(("named", "expected"), [("arm", "arm"), ("", "aarch64")])
def test_a_processor_without_a_name_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch, named: str, expected: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **options: "processor\t: 0\nBogoMIPS\t: 50\n")
    monkeypatch.setattr(platform, "processor", lambda: named)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert info.processor() == expected


def test_the_fastest_product_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three products of 2 · 10³ operations in 4 s, 2 s and 5 s: 1000 a second."""
    monkeypatch.setattr(info, "SIDE", 10)
    times = iter([0.0, 0.0, 4.0, 4.0, 6.0, 6.0, 11.0])
    assert info.product_rate(1, seconds=10, clock=lambda: next(times)) == pytest.approx(1000)
    assert next(times, None) is None


def test_products_run_with_as_many_threads_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "SIDE", 8)
    seen: list[int] = []

    def clock() -> float:
        seen.extend(each["num_threads"] for each in ThreadpoolController().info() if each["user_api"] == "blas")
        return len(seen)

    info.product_rate(1, seconds=0, clock=clock)
    assert set(seen) == {1}


# ── the database ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_database_is_not_made(path: Path) -> None:
    found = info.database(path)
    assert "there is no such file yet" in found["problem"]
    assert not list(path.parent.iterdir())
    assert example(database=found)["database"] == found["problem"]


@pytest.fixture
def locked(path: Path) -> Iterator[Path]:
    """A database that another program keeps for itself."""
    Store(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = delete")
    other.execute("BEGIN EXCLUSIVE")
    yield path
    other.close()


def test_a_locked_database_is_told_so(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "PATIENCE", 0.05)
    assert "was locked by another program" in info.database(locked)["problem"]


def test_a_file_that_is_no_database_is_told_so_and_kept(path: Path) -> None:
    path.write_text("a letter to my aunt " * 100)
    assert "it is not an SQLite database" in info.database(path)["problem"]
    assert path.read_text().startswith("a letter")


def test_a_folder_is_told_so(tmp_path: Path) -> None:
    assert "it is a folder" in info.database(tmp_path)["problem"]


def test_a_file_that_may_not_be_looked_at_is_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert "Permission denied" in info.database(path)["problem"]
