"""Measures processors, BLAS and memory, and decides how a run uses them and which models fit.

The bits of a run depend on its settings and on what `environment` returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from model.cells import CELLS
from model.config import ModelConfig, TrainingConfig
from model.optimizer import RULES
from model.parameters import count
from service.system.errors import ModelTooLarge

# Units of one layer times streams, per process: with fewer, a second process would mostly repeat the first one's overhead.
WORTH_A_PROCESS = 2048
FEWEST_STREAMS = 16  # of a process: with fewer, matrix products lose more speed than another processor adds
SUPPORTED = sys.platform != "win32"  # several processes for one model: descriptors can be handed on
GROUP = Path("/sys/fs/cgroup")  # limits of this process's container
M_MMAP_THRESHOLD = -3  # of mallopt(3)
LARGE_BLOCK = 4 << 20  # bytes


class Workers(NamedTuple):
    """How a run uses the processors. Its bits depend on both numbers."""

    processes: int
    threads: int  # BLAS threads of each process


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


def workers_for(model: ModelConfig, training: TrainingConfig, processes: int = 0, threads: int = 0) -> Workers:
    """Returns the processes and BLAS threads for a run: a fixed rule on sizes and cores, so that the same command gives the same weights.

    Streams are split over processes with one BLAS thread each, since what is not a matrix product runs in parallel there, too, and
    threads of several programs on one processor wait for each other: beside a busy program, two threads made 362 characters a second
    and one made 25,000. A number that is not 0 was chosen by the user and stays.
    """
    if not processes:
        rows = min(training.batch_size // FEWEST_STREAMS, training.batch_size * model.hidden_size // WORTH_A_PROCESS)
        processes = max(1, min(cores() // (threads or 1), rows)) if SUPPORTED else 1
    return Workers(processes, threads or 1)


def environment(workers: Workers, ranks: int = 1) -> dict[str, Any]:
    """Returns what is stored with a run: `threads`, `processes`, `ranks` of MPI, `kernels` (BLAS, version and kernel set), and versions."""
    return {
        "threads": workers.threads,
        "processes": workers.processes,
        **({"ranks": ranks} if ranks > 1 else {}),
        "kernels": kernels(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def kernels() -> str:
    """Names the BLAS in use: ``openblas 0.3.31 SkylakeX``."""
    for library in ThreadpoolController().info():
        if library.get("user_api") == "blas":
            parts = (library.get("internal_api"), library.get("version"), library.get("architecture"))
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
