"""The processor and its BLAS: which kernels multiply, with how many threads. What a run's bits depend on besides its settings."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from model.config import ModelConfig, TrainingConfig

# Recurrent products with fewer multiply-adds than this keep one thread. A second one gains little there, and where another
# program wants its processor each product waits for it: a busy machine with two cores then made 362 characters a second, and with
# one thread 25,000 (lstm 1x256).
ONE_THREAD = 32_000_000


def cores() -> int:
    """Processors that this process may use."""
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(model: ModelConfig, training: TrainingConfig) -> int:
    """BLAS threads for a run: a fixed rule on sizes and cores, so that the same command gives the same weights."""
    return 1 if training.batch_size * model.hidden_size**2 * 4 < ONE_THREAD else min(2, cores())


def environment(threads: int) -> dict[str, Any]:
    """What is stored with a run: `threads`, `processes`, `kernels` (BLAS, version and kernel set), and versions."""
    return {
        "threads": threads,
        "processes": 1,
        "kernels": kernels(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def kernels() -> str:
    """The BLAS in use: ``openblas 0.3.31 SkylakeX``."""
    for library in ThreadpoolController().info():
        if library.get("user_api") == "blas":
            parts = (library.get("internal_api"), library.get("version"), library.get("architecture"))
            return " ".join(str(part) for part in parts if part)
    return "unknown"


def free_memory() -> int | None:
    """Bytes that this process may still take: what the system has, or its container allows; None where that cannot be told."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # cgroup v2; without a limit it says "max"
        group = Path("/sys/fs/cgroup")
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(found) if found else None


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Products inside use `count` threads."""
    with ThreadpoolController().limit(limits=count, user_api="blas"):
        yield
