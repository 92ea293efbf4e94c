"""Tells live processes from dead ones, and starts Python children that end with their parent.

A process writes its `identity()` beside what it works on. Another process, maybe in another container or after a reboot,
asks `is_alive()`: this is how a killed trainer is told from a busy one. On the same Linux, in the same pid namespace, /proc
gives an exact answer: a process is its pid *and* its start time, because pids are used again. From elsewhere only the
heartbeat can tell: alive while it changes at least every `LEASE` seconds. These are seconds of the process that asks, on a clock that
cannot be set. What time the heartbeat says does not count, because clocks of different machines differ, and jump.

A parent calls `start_child`, and the child calls `end_with_parent`. Between them is a pipe: the child's standard input, whose
other end only the parent has. The system closes it however the parent ends, SIGKILL included.

This module does not import numpy: `THREAD_VARIABLES` count only if they are set before numpy is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import IO, Any

HEARTBEAT = 15.0  # seconds between two heartbeats of a trainer
LEASE = 4 * HEARTBEAT  # seconds without a new heartbeat after which a process that cannot be seen counts as gone: three may be missed
POLL = 0.5  # seconds between two looks into the store for new jobs, requests and events
DEAD_STATES = "ZXx"  # proc_pid_stat(5): a zombie still has its pid, but works on nothing any more

PROJECT = Path(__file__).resolve().parents[2]  # what children of this process import from
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # read by BLAS libraries
NICENESS = 10  # beside a process at 0, about a tenth of a core: streams hardly notice, and the work still comes to an end


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def identity() -> str:
    """Returns this process as JSON: ``{"boot", "host", "namespace", "pid", "started"}``; equal strings mean the same process.

    ``boot``, ``namespace`` and ``started`` (clock ticks after boot) are null if the system has no /proc.
    """
    return json.dumps({**_place(), "pid": os.getpid(), "started": _started(os.getpid())}, sort_keys=True)


def is_alive(owner: str | None, heartbeat: str | None) -> bool:
    """Returns whether the process that `identity()` described as ``owner`` still runs, or may still run; ``heartbeat`` is its last.

    False for None, and for JSON that describes no process. If only the heartbeat tells, a process that asks for the first time knows
    nothing yet, and gets True.
    """
    known = _parsed(owner)
    if known is None:
        return False
    lease_holds = monotonic() - _first_seen(owner, heartbeat) < LEASE
    if any(known.get(key) != value for key, value in _place().items()):
        return lease_holds
    pid = known["pid"]
    started = _started(pid)
    if started is not None:
        return bool(started == known["started"])
    # No /proc entry: the process is gone, or this system has no /proc, or hides other users' processes there.
    return _exists(pid) and lease_holds


@functools.lru_cache(maxsize=4096)
def _first_seen(owner: str | None, heartbeat: str | None) -> float:
    """Returns when this process saw that heartbeat for the first time, in seconds of `monotonic`."""
    return monotonic()


def describe(owner: str | None) -> str:
    """Names an owner inside a message: ``process 4711 on thinkpad``."""
    known = _parsed(owner)
    return f"process {known['pid']} on {known.get('host')}" if known else "no process"


def _parsed(owner: str | None) -> dict[str, Any] | None:
    try:
        known = json.loads(owner or "null")
    except ValueError:
        return None
    return known if isinstance(known, dict) and isinstance(known.get("pid"), int) else None


@functools.cache
def _place() -> dict[str, str | None]:
    """Returns where a pid has a meaning: this boot of this host, in this pid namespace. None of it changes while a process lives."""
    place: dict[str, str | None] = {"boot": None, "host": socket.gethostname(), "namespace": None}
    with contextlib.suppress(OSError):
        place["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place["namespace"] = os.readlink("/proc/self/ns/pid")
    return place


def _started(pid: int) -> int | None:
    """Returns when a living process started, in clock ticks after boot; 0 for a dead one that is still listed; None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may itself hold spaces and parentheses
    return 0 if fields[0] in DEAD_STATES else int(fields[19])


def _exists(pid: int) -> bool:
    if os.name != "posix":
        return True  # os.kill(pid, 0) would end the process on Windows
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


# ── children ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def start_child(
    module: str,
    *arguments: object,
    blas_threads: int | None = 1,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts ``python -m module arguments``, which calls `end_with_parent` and so ends when the child's `stdin` is closed.

    With ``blas_threads`` None, the child chooses how many threads BLAS uses. Ctrl-C and a closed terminal reach the parent alone,
    which ends its children in its own way. Raises `OSError` if no process can be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    if blas_threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(blas_threads))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        # runpy warns if a package has already imported the module that it runs.
        [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        # The terminal signals one group of processes. A new session would do as well, but Linux's autogroups share the processors
        # out by session first, which makes niceness worthless between two of them (sched(7)).
        process_group=0,
    )


def end_with_parent(number: int | None = None) -> None:
    """Ends this process when its standard input does: by the signal `number` if it has something to save, else at once."""
    threading.Thread(target=_wait_for_parent, args=(number,), daemon=True).start()


def _wait_for_parent(number: int | None) -> None:
    while os.read(sys.stdin.fileno(), 64):  # not buffered: Python cannot end while a thread holds that buffer
        pass
    if number is None:
        os._exit(1)
    os.kill(os.getpid(), number)


ARENAS = 2  # pools of malloc: each of a hundred threads could take one of 16, of which none shrinks
MAPPED = 2**18  # bytes; what is as large goes back to the system at once. By default glibc raises this to 32 MB as it goes
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # of malloc.h


def return_memory() -> None:
    """Lets freed memory of this process and its forks go back to the system soon; call it before threads start.

    This is for glibc's malloc. Other systems keep their own ways.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, MAPPED)


def lower_priority() -> None:
    """Lets other processes run before this one, so that the first characters of a text come quickly."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
