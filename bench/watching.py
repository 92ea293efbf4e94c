"""Watches a command from outside: its output with times, and the peak memory of it and all its children.

Memory is the proportional set size (PSS): pages that several processes share count once, divided among them. Only Linux reports it.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.processes import environment

EVERY = 0.05  # seconds between two looks
PROC = Path("/proc")


class Watched(NamedTuple):
    """A command that has ended."""

    peak: int  # bytes of PSS
    processes: int  # the most that were seen at once
    seconds: float
    lines: list[tuple[float, str]]  # what it printed, and how many seconds after the start


def unwatchable() -> str:
    """Why this system does not tell the memory of other processes; empty where it does."""
    return "" if (PROC / "self/smaps_rollup").exists() else "only Linux tells the proportional set size of processes"


def watch(command: list[str], *, memory: bool = True) -> Watched:
    """Run a command to its end; looking at its `memory` takes a little of its time. Raises `RuntimeError` with its last words."""
    lines: list[tuple[float, str]] = []
    peak = most = 0
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8") as process,
    ):
        reader = threading.Thread(target=lambda: lines.extend((time.monotonic() - began, line) for line in process.stdout or ()))
        reader.start()
        try:
            while memory and process.poll() is None:
                sizes = [pss(pid) for pid in family(process.pid)]
                peak, most = max(peak, sum(sizes)), max(most, len(sizes))
                time.sleep(EVERY)
            process.wait()
        finally:
            process.kill()
            reader.join()
        seconds = time.monotonic() - began
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {errors.read()[-2000:]}")
    return Watched(peak, most, seconds, lines)


def family(pid: int) -> list[int]:
    """A process and all its descendants, the oldest first."""
    found = [pid]
    for each in found:
        for children in (PROC / str(each) / "task").glob("*/children"):
            with suppress(OSError):  # gone meanwhile
                found += map(int, children.read_text().split())
    return found


def pss(pid: int) -> int:
    """Bytes of PSS of one process; 0 where it is gone."""
    with suppress(OSError, StopIteration):
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0
