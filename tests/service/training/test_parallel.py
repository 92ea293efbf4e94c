"""Several processes compute what one computes, notice when one is gone, and leave nothing behind.

Memory that has no name.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import TrainingDiverged
from service.system.errors import ProcessLost
from service.system.hardware import SUPPORTED
from service.system.processes import PROJECT, start_child
from service.training import parallel
from service.training.parallel import ALIGNMENT, Layout, attach, reserve, train_in_processes

# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────────

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="this system cannot hand on descriptors")

KINDS = st.sampled_from(["f4", "f8", "u1", "u2", "i4"])
SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.builds(Layout, KINDS, SHAPES), max_size=5))
def test_what_one_writes_the_other_reads_and_nothing_overlaps(layout: dict[str, Layout]) -> None:
    descriptor = reserve(layout)
    ours, theirs = attach(descriptor, layout), attach(descriptor, layout)
    os.close(descriptor)
    assert ours.keys() == layout.keys()
    for number, (name, array) in enumerate(ours.items(), 1):
        assert array.shape == layout[name].shape
        assert not array.any(), "it begins with zeros"
        assert array.ctypes.data % ALIGNMENT == 0 or not array.size
        array[...] = number
    for number, name in enumerate(layout, 1):
        assert (theirs[name] == number).all()
        assert theirs[name].dtype == np.dtype(layout[name].dtype)


def test_where_the_system_has_no_nameless_memory_a_deleted_file_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    layout = {"a": Layout("f4", (5,))}
    descriptor = reserve(layout)
    attach(descriptor, layout)["a"][:] = 3
    assert attach(descriptor, layout)["a"].tolist() == [3] * 5
    os.close(descriptor)
    assert not list(tmp_path.iterdir())


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

Make = Callable[..., Any]


@pytest.fixture
def run(run_with: Make) -> Make:
    return partial(run_with, train_in_processes)


def test_losses_are_those_of_one_process_to_rounding(run: Make, settings: dict[str, Any]) -> None:
    """Over the end of an epoch, with five streams that two and three processes cannot share evenly."""
    alone = run(**settings).trained(1)
    for size in (2, 3):
        run(**settings).trained(size).assert_close(alone)


def test_the_same_number_of_processes_gives_the_same_bits_also_when_it_goes_on(run: Make) -> None:
    whole = run().trained(2)
    for stop in (1, 16, 17, 20):
        parts = run().trained(2, stop).trained(2)
        assert parts.losses == whole.losses
        assert parts.bits() == whole.bits()


def test_text_in_a_file_is_read_from_there(run: Make, run_with: Make, tmp_path: Path) -> None:
    file = tmp_path / "ids"
    ids = run_with.ids
    ids.tofile(file)
    mapped = run(np.memmap(file, np.uint8, "r")[: len(ids) - 40])
    with mapped.steps(2) as steps:
        next(steps)
        file.unlink()  # whoever reads it keeps it
        losses = [progress.loss for progress in steps]
    assert losses == run(ids[:-40]).trained(2).losses[1:]


def test_text_in_a_file_that_is_gone_is_shared_as_memory(run: Make, run_with: Make, tmp_path: Path) -> None:
    file = tmp_path / "ids"
    run_with.ids.tofile(file)
    mapped = run(np.memmap(file, np.uint8, "r"))
    file.unlink()
    assert mapped.trained(2).losses == run().trained(2).losses


def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    found: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
        found.append(start_child(*arguments, **settings))
        return found[-1]

    monkeypatch.setattr(parallel, "start_child", start)
    return found


def test_none_is_left_when_the_work_is_done_or_given_up(run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    others = started(monkeypatch)
    run().trained(3)
    with run().steps(2) as steps:
        next(steps)

    def given_up() -> None:
        with run().steps(2) as steps:
            next(steps)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        given_up()
    assert [process.returncode for process in others] == [0] * 4


@pytest.mark.parametrize("moment", [0, 3])
def test_a_lost_process_is_noticed(run: Make, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    others = started(monkeypatch)

    def bereft() -> None:
        with run().steps(3) as steps:
            assert len(list(itertools.islice(steps, moment))) == moment
            others[1].kill()
            others[1].wait()
            list(steps)

    with pytest.raises(ProcessLost, match="process 3 of the 3 that trained together has ended"):
        bereft()
    assert others[0].returncode == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_rank_0s_affair(run: Make, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    others = started(monkeypatch)
    training = run()
    with training.steps(2) as steps:
        next(steps)
        others[0].send_signal(getattr(signal, name))
        assert len(list(steps)) == training.state.last_step - 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells whose children processes are")
def test_others_end_when_rank_0_is_killed() -> None:
    """Nothing can be tidied up then: the links break."""
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from conftest import Run\n"
        "from service.training.parallel import train_in_processes\n"
        "with Run(train_in_processes).steps(2) as steps:\n    next(steps); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(PROJECT)}) as leader:
        assert leader.stdout
        assert leader.stdout.readline() == b"ready\n"
        (follower,) = Path(f"/proc/{leader.pid}/task/{leader.pid}/children").read_text().split()
        leader.kill()
    for _ in range(400):
        try:
            if Path(f"/proc/{follower}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return  # it has ended, and nobody is left to ask for its status
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail("the process goes on though nobody leads it")


def test_divergence_is_told_once(run: Make) -> None:
    wild = run(learning_rate=1000.0, clip_norm=0.0, model={"cell": "rnn", "activation": "identity"})
    wild.state.last_step = 10**6
    with pytest.raises(TrainingDiverged):
        wild.trained(2)
