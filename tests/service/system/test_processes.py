"""Tells a process from a dead one, from another with the same pid and from one that cannot be seen; and children end with parents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.system import processes

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
NOW, LONG_AGO = "2026-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(processes.identity()), **values})


def test_this_process_is_alive() -> None:
    assert processes.is_alive(processes.identity(), NOW)
    assert processes.identity() == processes.identity()


@needs_proc
def test_on_this_machine_no_heartbeat_is_needed() -> None:
    assert processes.is_alive(processes.identity(), LONG_AGO)


@needs_proc
def test_a_pid_that_was_used_again_is_another_process() -> None:
    assert not processes.is_alive(changed(started=1), NOW)


@needs_proc
def test_a_process_is_alive_until_it_is_killed_even_before_its_parent_takes_notice() -> None:
    script = "import sys; sys.path.insert(0, '.'); from service.system import processes; print(processes.identity(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        theirs = child.stdout.readline()
        assert processes.is_alive(theirs, LONG_AGO)
        child.kill()
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        assert not processes.is_alive(theirs, NOW)
    assert not processes.is_alive(theirs, NOW)


@pytest.mark.parametrize("key", ["host", "boot", "namespace"])
def test_elsewhere_a_process_lives_while_its_heartbeat_changes_whatever_the_clocks_say(key: str, later: Callable[[float], None]) -> None:
    theirs = changed(**{key: "elsewhere"})
    for heartbeat in (NOW, LONG_AGO, "2099-01-01T00:00:00.000Z"):  # the clock of the other machine is set twice
        assert processes.is_alive(theirs, heartbeat)
        later(processes.LEASE - 1)
        assert processes.is_alive(theirs, heartbeat)
    later(2)
    assert not processes.is_alive(theirs, "2099-01-01T00:00:00.000Z")
    assert processes.is_alive(changed(**{key: "elsewhere", "pid": 1}), "2099-01-01T00:00:00.000Z"), "of another process it is new"
    assert processes.is_alive(theirs, None), "a new claim"


def test_without_proc_a_missing_pid_is_dead_and_a_present_one_has_the_lease(
    monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    monkeypatch.setattr(processes, "_started", lambda pid: None)
    assert processes.is_alive(changed(started=2), NOW)
    later(processes.LEASE + 1)
    assert not processes.is_alive(changed(started=2), NOW)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert not processes.is_alive(changed(pid=child.pid), NOW)


@pytest.mark.parametrize("nobody", [None, "", "null", "[]", "{}", "not JSON", '{"pid": "1"}'])
def test_nobody_is_not_alive(nobody: str | None) -> None:
    assert not processes.is_alive(nobody, NOW)
    assert processes.describe(nobody) == "no process"


def test_an_owner_in_words() -> None:
    assert processes.describe(changed(pid=4711, host="thinkpad")) == "process 4711 on thinkpad"


# ── children ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import os, signal, sys, time
from service.system.processes import end_with_parent, lower_priority

def save(*_):
    print("saved", flush=True)
    os._exit(7)

signal.signal(signal.SIGTERM, save)
end_with_parent(int(sys.argv[1]) or None)
lower_priority()
print(os.getpid(), os.getpgrp(), os.nice(0), os.environ.get("OPENBLAS_NUM_THREADS"), flush=True)
time.sleep(60)
"""
PARENT = """
import sys, time
from service.system.processes import start_child
child = start_child("child", sys.argv[1], blas_threads=3 if sys.argv[2] == "3" else None, stdout=sys.stdout.fileno())
time.sleep(60)
"""
Family = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    """Starts a parent in a session of its own, which starts the child; both write to the parent's standard output."""
    (tmp_path / "child.py").write_text(CHILD)
    started: list[subprocess.Popen[str]] = []

    def begin(number: int = 0, threads: str = "3") -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": f"{processes.PROJECT}{os.pathsep}{tmp_path}", "OPENBLAS_NUM_THREADS": "2"}
        command = [sys.executable, "-c", PARENT, str(number), threads]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment, text=True, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_a_child_ends_at_once_when_its_parent_is_killed(family: Family) -> None:
    parent = family()
    assert said(parent)[2:] == [str(os.nice(0) + processes.NICENESS), "3"]
    parent.kill()
    assert parent.communicate(timeout=30) == ("", "")  # both have closed their ends


def test_a_child_that_has_something_to_save_gets_a_signal(family: Family) -> None:
    parent = family(signal.SIGTERM, threads="as it likes")
    assert said(parent)[3] == "None"
    parent.kill()
    assert parent.communicate(timeout=30) == ("saved\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_reaches_the_parent_alone(family: Family, number: int) -> None:
    parent = family()
    child, group, *_ = map(int, said(parent)[:2])
    assert child == group != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGSTOP)  # it keeps its end of the pipe
    os.killpg(os.getpgid(parent.pid), number)
    assert processes._started(child)
    parent.send_signal(signal.SIGCONT)
    parent.communicate(timeout=30)
    assert parent.returncode in (-number, 130)


def test_a_module_that_its_package_imports_is_started_without_a_warning() -> None:
    with processes.start_child("service.novelty.index_builder", "none.db", "none", stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        assert b"RuntimeWarning" not in child.stderr.read()
