"""Reports what Charloom runs on: processor, BLAS, measured speed, versions and database, for `charloom info` and for bug reports.

Nothing here fails because of what it finds: a fact that cannot be read is replaced by the reason.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import CharloomError
from service.store import Store
from service.store.database import sqlite_facts
from service.store.migrations import KNOWN
from service.system import hardware
from service.system.formatting import counted, size

SIDE = 1024  # of the matrices that are multiplied: packing them costs little, and the slowest machine takes no second
MEASURING = 0.4  # seconds for each number of threads
PATIENCE = 1.0  # seconds to wait for a locked database
PACKAGES = ("charloom", "numpy", "flask", "click", "sqlite-utils")


def facts(db: Path | None = None, *, measure: bool = True) -> dict[str, Any]:
    """Returns all facts, ready for JSON, in the order in which they are shown. Takes about a second, and a moment without `measure`.

    `memory_free` is in bytes, `product_rate` in floating-point operations per second, by the number of threads (float32).
    `arithmetic` names what computes models, and `threads` are those of a training run. `database` has either what is in the file or,
    as `problem`, a sentence that says why it cannot be read; no file is ever made.
    """
    return {
        "processor": processor(),
        "cores": hardware.cores(),
        "memory_free": hardware.free_memory(),
        "arithmetic": hardware.arithmetic(),
        "threads": hardware.training_threads(),
        "blas": hardware.blas(),
        "product_rate": {str(threads): product_rate(threads) for threads in sorted({1, hardware.cores()})} if measure else {},
        "versions": {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}},
        "sqlite": sqlite_facts(),
        "database": database(db) if db is not None else None,
    }


def lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns facts as pairs of a name and its value in words."""
    free, sqlite = found["memory_free"], found["sqlite"]
    told = [
        ("processor", found["processor"]),
        ("cores", f"{found['cores']} usable"),
        ("memory", f"{size(free)} free" if free is not None else "not known"),
        ("arithmetic", f"{found['arithmetic']}, {counted(found['threads'], 'thread')} for training"),
        ("BLAS", found["blas"]),
    ]
    if found["product_rate"]:
        rates = [f"{rate / 1e9:,.0f} GFLOP/s with {counted(int(count), 'thread')}" for count, rate in found["product_rate"].items()]
        told.append(("products", f"{', '.join(rates)} (float32, {SIDE}x{SIDE})"))
    told += [
        ("versions", ", ".join(f"{package} {version}" for package, version in found["versions"].items())),
        ("SQLite", f"{sqlite['version']} of {'Python' if sqlite['module'] == 'sqlite3' else sqlite['module']}"),
    ]
    if found["database"]:
        told.append(("database", _database_line(found["database"])))
    return told


def processor() -> str:
    """Returns the processor's name, if the system tells it."""
    with suppress(OSError, StopIteration):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return platform.processor() or platform.machine() or "not known"


def product_rate(threads: int, seconds: float = MEASURING, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measures float32 matrix products for about `seconds` and returns the floating-point operations per second of the fastest."""
    a, b, out = (np.ones((SIDE, SIDE), np.float32) for _ in range(3))
    fastest = np.inf
    with hardware.blas_threads(threads):
        np.dot(a, b, out=out)  # the first one wakes threads and makes BLAS's buffers
        end = clock() + seconds
        while True:
            began = clock()
            np.dot(a, b, out=out)
            ended = clock()
            fastest = min(fastest, ended - began)
            if ended >= end:
                return float(2 * SIDE**3 / max(fastest, 1e-9))


def database(path: Path) -> dict[str, Any]:
    """Returns what is in a database file; `bytes` are those on the disk, with its log. Makes no file."""
    found: dict[str, Any] = {"path": str(path)}
    try:
        taken = sum(part.stat().st_size for part in (path, path.with_name(f"{path.name}-wal")) if part.is_file())
        with Store(path, create=False, busy_timeout=PATIENCE) as store:
            runs = store.runs.list()
            return found | {
                "bytes": taken,
                "format": len(KNOWN),  # opening it has brought it to this release's
                "journal_mode": store.journal_mode,
                "corpora": len(store.corpora.list()),
                "runs": len(runs),
                "checkpoints": sum(run.checkpoints for run in runs),
            }
    except (CharloomError, OSError) as error:
        return found | {"problem": str(error)}


def _database_line(found: dict[str, Any]) -> str:
    if "problem" in found:
        return str(found["problem"])
    counts = (counted(found["corpora"], "corpus", "corpora"), counted(found["runs"], "run"), counted(found["checkpoints"], "checkpoint"))
    return f"{found['path']}: {size(found['bytes'])}, format {found['format']}, journal mode {found['journal_mode']}; {', '.join(counts)}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
