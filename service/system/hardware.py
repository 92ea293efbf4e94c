"""Measures processors and memory, and decides how a run uses them and which models fit."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from model.cells import CELLS
from model.config import ModelConfig
from model.kernels.library import library
from model.optimizer import RULES
from model.parameters import count
from service.system.errors import ModelTooLarge

GROUP = Path("/sys/fs/cgroup")  # limits of this process's container
M_MMAP_THRESHOLD = -3  # of mallopt(3)
LARGE_BLOCK = 4 << 20  # bytes


def cores() -> int:
    """Returns how many processors this process may use: those it is bound to, at most its container's share of processor time."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        found = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # cgroup v2; without a limit it says "max"
        microseconds, period = (GROUP / "cpu.max").read_text().split()
        found = min(found, max(1, round(int(microseconds) / int(period))))
    return found


def training_threads(given: int = 0, sharing: int = 1) -> int:
    """Returns the threads that share the work of a training step: `given`, else this machine's cores divided among `sharing` processes.

    Without the kernels it is one thread of BLAS. Threads of BLAS wait for each other: beside a busy program, two of them made 362
    characters a second and one made 25,000.
    """
    return given or (max(1, cores() // sharing) if library() else 1)


def environment(threads: int, ranks: int = 1) -> dict[str, Any]:
    """Returns what is stored with a run: `arithmetic`, `threads`, `ranks` of MPI, and versions.

    The weights depend on the arithmetic and on the ranks; with the kernels, neither on the threads nor on the instruction set.
    """
    return {
        "arithmetic": arithmetic(),
        "threads": threads,
        **({"ranks": ranks} if ranks > 1 else {}),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def arithmetic() -> str:
    """Names what computes models: ``kernels avx2``, or ``numpy 2.4.6 openblas 0.3.31 SkylakeX``."""
    kernels = library()
    return f"kernels {kernels.name}" if kernels else f"numpy {np.__version__} {blas()}"


def blas() -> str:
    """Names the BLAS that numpy uses: ``openblas 0.3.31 SkylakeX``."""
    for found in ThreadpoolController().info():
        if found.get("user_api") == "blas":
            parts = (found.get("internal_api"), found.get("version"), found.get("architecture"))
            return " ".join(str(part) for part in parts if part)
    return "unknown"


def free_memory() -> int | None:
    """Returns the bytes that this process may still take: what the system has, or its container allows; None if unknown."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # cgroup v2; without a limit it says "max"
        found.append(int((GROUP / "memory.max").read_text()) - int((GROUP / "memory.current").read_text()))
    return min(found) if found else None


def give_memory_back() -> None:
    """Makes large blocks of memory return to the system as soon as they are freed, from now on.

    The C library of Linux otherwise learns to keep blocks as large as the largest that was ever freed, such as a checkpoint's.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # other libraries have no such habit
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limits BLAS to `count` threads inside."""
    with ThreadpoolController().limit(limits=count, user_api="blas"):
        yield


# ── whether a model fits ─────────────────────────────────────────────────────────────────────────────────────────────


def refuse_too_large(config: ModelConfig, optimizer: str, V: int, symbols: int, largest: int) -> None:
    """Raises `ModelTooLarge` if memory or database cannot hold a model over V symbols that learns from `symbols` of them in each step.

    `largest` is the most bytes that one part of a stored checkpoint may have.
    """
    parameters = count(config, V)
    vectors = len(RULES[optimizer].memory)
    stored = 4 * parameters * max(1, vectors)
    if stored > largest:
        raise ModelTooLarge(config.hidden_size, parameters, stored, largest, "in one part of a checkpoint")
    # A step keeps about two rows of gates and six of states a layer, and the logits twice; weights are there with their
    # gradients, the optimizer's memory, and once more while a checkpoint is stored.
    row = config.num_layers * config.hidden_size * (2 * len(CELLS[config.cell].gates) + 6) + 2 * V
    needed = 4 * (parameters * (3 + 2 * vectors) + symbols * row)
    free = free_memory()
    if free is not None and needed > free:
        raise ModelTooLarge(config.hidden_size, parameters, needed, free, "of memory")
