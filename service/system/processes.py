"""Processes: which of them live, and children that end with their parents.

The environment variables that tell BLAS libraries how many threads to use.

They count only before numpy is loaded, so this module loads nothing.

Who works on something, and whether that process still lives: how a killed trainer is told from a busy one.

A process writes its `identity()` beside what it works on. Another process, maybe in another container or after a reboot,
asks `is_alive()`. On the same Linux, in the same pid namespace, /proc gives an exact answer: a process is its pid *and* its
start time, because pids are used again. From elsewhere only the heartbeat can tell: alive while it is younger than `LEASE`.

Keeps a process from living longer than the one that has started it.

Whoever starts it holds a pipe to its standard input.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

# ── blas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROJECT = Path(__file__).resolve().parents[2]  # what children of this process import from
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


# ── owner ────────────────────────────────────────────────────────────────────────────────────────────────────────────

HEARTBEAT = 15.0  # seconds between two heartbeats of a trainer
LEASE = 4 * HEARTBEAT  # seconds without a heartbeat after which a process that cannot be seen counts as gone: three may be missed
POLL = 0.5  # seconds between two looks into the store for new jobs, requests and events
DEAD_STATES = "ZXx"  # proc_pid_stat(5): a zombie still has its pid, but works on nothing any more


def identity() -> str:
    """This process as JSON: ``{"boot", "host", "namespace", "pid", "started"}``; equal strings mean the same process.

    ``boot``, ``namespace`` and ``started`` (clock ticks after boot) are null where the system has no /proc.
    """
    return json.dumps({**_place(), "pid": os.getpid(), "started": _started(os.getpid())}, sort_keys=True)


def is_alive(owner: str | None, heartbeat_age: float) -> bool:
    """Whether the process that `identity()` described as ``owner`` still runs; its last heartbeat was ``heartbeat_age`` seconds ago.

    None, and JSON that describes no process, is nobody: False.
    """
    known = _parsed(owner)
    if known is None:
        return False
    lease_holds = heartbeat_age < LEASE
    if any(known.get(key) != value for key, value in _place().items()):
        return lease_holds
    pid = known["pid"]
    started = _started(pid)
    if started is not None:
        return bool(started == known["started"])
    # No /proc entry: the process is gone, or this system has no /proc, or hides other users' processes there.
    return _exists(pid) and lease_holds


def describe(owner: str | None) -> str:
    """``process 4711 on thinkpad``: an owner for use inside a message."""
    known = _parsed(owner)
    return f"process {known['pid']} on {known.get('host')}" if known else "nobody"


def _parsed(owner: str | None) -> dict[str, Any] | None:
    try:
        known = json.loads(owner or "null")
    except ValueError:
        return None
    return known if isinstance(known, dict) and isinstance(known.get("pid"), int) else None


@functools.cache
def _place() -> dict[str, str | None]:
    """Where a pid has a meaning: this boot of this host, in this pid namespace. None of it changes while a process lives."""
    place: dict[str, str | None] = {"boot": None, "host": socket.gethostname(), "namespace": None}
    with contextlib.suppress(OSError):
        place["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place["namespace"] = os.readlink("/proc/self/ns/pid")
    return place


def _started(pid: int) -> int | None:
    """When a living process started, in clock ticks after boot; 0 for a dead one that is still listed; None where unknown."""
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


# ── tether ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def end_with_parent() -> None:
    """End this process when its standard input does. What it does must need no tidying up that the next one does not do."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> NoReturn:
    while os.read(sys.stdin.fileno(), 64):  # not buffered: Python cannot end while a thread holds that buffer
        pass
    os._exit(1)
