"""Whether a process is told from a dead one, from another with the same pid, and from one that cannot be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.system import processes

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
LONG_AGO = 10 * processes.LEASE


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(processes.identity()), **values})


def test_this_process_is_alive() -> None:
    assert processes.is_alive(processes.identity(), 0)
    assert processes.identity() == processes.identity()


@needs_proc
def test_on_this_machine_no_heartbeat_is_needed() -> None:
    assert processes.is_alive(processes.identity(), LONG_AGO)


@needs_proc
def test_a_pid_that_was_used_again_is_another_process() -> None:
    assert not processes.is_alive(changed(started=1), 0)


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
        assert not processes.is_alive(theirs, 0)
    assert not processes.is_alive(theirs, 0)


@pytest.mark.parametrize("key", ["host", "boot", "namespace"])
def test_elsewhere_the_lease_decides(key: str) -> None:
    assert processes.is_alive(changed(**{key: "elsewhere"}), processes.LEASE - 1)
    assert not processes.is_alive(changed(**{key: "elsewhere"}), processes.LEASE + 1)


def test_without_proc_a_missing_pid_is_dead_and_a_present_one_has_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_started", lambda pid: None)
    assert processes.is_alive(processes.identity(), processes.LEASE - 1)
    assert not processes.is_alive(processes.identity(), processes.LEASE + 1)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert not processes.is_alive(changed(pid=child.pid), 0)


@pytest.mark.parametrize("nobody", [None, "", "null", "[]", "{}", "not JSON", '{"pid": "1"}'])
def test_nobody_is_not_alive(nobody: str | None) -> None:
    assert not processes.is_alive(nobody, 0)
    assert processes.describe(nobody) == "nobody"


def test_an_owner_in_words() -> None:
    assert processes.describe(changed(pid=4711, host="thinkpad")) == "process 4711 on thinkpad"
