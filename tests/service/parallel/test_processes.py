"""Several processes compute what one computes, notice when one is gone, and leave nothing behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.batches import Streams
from model.checkpoint import pack_state
from model.config import ModelConfig, TrainingConfig
from model.errors import ProcessLost, TrainingDiverged
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.training import Progress, TrainingState, train
from service.parallel import processes
from service.parallel.processes import SUPPORTED, together

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="this system cannot hand on descriptors")

V = 11
IDS = np.random.default_rng(3).integers(0, V + 1, 400).astype(np.uint8)  # V is the unknown symbol
STEPS = 23  # more than an epoch of 16 chunks


class Run:
    """A run over `ids` that can be trained with any number of processes."""

    def __init__(self, ids: NDArray[Any] = IDS, model: dict[str, Any] | None = None, **training: Any) -> None:
        self.ids = ids
        self.config = TrainingConfig(**({"batch_size": 5, "seq_length": 5, "seed": 2, "reset_rate": 0.3} | training))
        model_config = ModelConfig(**({"hidden_size": 7, "num_layers": 2, "dropout": 0.2} | (model or {})))
        self.model = LanguageModel.new(model_config, V, 1)
        self.streams = Streams(ids, self.config.batch_size, self.config.seq_length)
        self.state = TrainingState.new(self.model, self.streams, self.config)
        self.state.last_step = STEPS

    @contextmanager
    def steps(self, size: int) -> Iterator[Iterator[Progress]]:
        with together(size, self.model, self.streams, self.ids, self.config, self.state, UNKNOWN_COST) as (model, state, group):
            self.model, self.state = model, state
            yield train(model, self.streams, self.config, state, group=group, unknown_cost=UNKNOWN_COST)

    def finished(self, size: int) -> list[Progress]:
        with self.steps(size) as steps:
            return list(steps)

    def bits(self) -> tuple[bytes, bytes]:
        return self.model.parameters.flat.tobytes(), pack_state(self.state)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "rmsprop", "weight_decay": 0.1, "clip_value": 0.001},
        {"optimizer": "sgd", "clip_norm": 0.0, "model": {"cell": "gru", "embedding_size": 3}},
        {"model": {"cell": "rnn", "dropout": 0.0}, "reset_rate": 0.0},
    ],
    ids=["adam", "rmsprop", "sgd", "rnn"],
)
def test_losses_are_those_of_one_process_to_rounding(settings: dict[str, Any]) -> None:
    """Over the end of an epoch, with five streams that two and three processes cannot share evenly."""
    alone = Run(**settings)
    expected = alone.finished(1)
    for size in (2, 3):
        run = Run(**settings)
        found = run.finished(size)
        assert [progress.step for progress in found] == list(range(1, STEPS + 1))
        assert [progress.symbols for progress in found] == [progress.symbols for progress in expected]
        np.testing.assert_allclose([each.loss for each in found], [each.loss for each in expected], rtol=1e-5)
        np.testing.assert_allclose([each.grad_norm for each in found], [each.grad_norm for each in expected], rtol=1e-3)
        np.testing.assert_allclose(run.state.hidden, alone.state.hidden, rtol=0, atol=1e-3)
        np.testing.assert_allclose(run.model.parameters.flat, alone.model.parameters.flat, rtol=0, atol=2e-3)


def test_the_same_number_of_processes_gives_the_same_bits_also_when_it_goes_on() -> None:
    whole = Run()
    losses = [progress.loss for progress in whole.finished(2)]
    for stop in (1, 16, 17, 20):
        run = Run()
        with run.steps(2) as steps:
            seen = [progress.loss for progress in itertools.islice(steps, stop)]
        seen += [progress.loss for progress in run.finished(2)]
        assert seen == losses
        assert run.bits() == whole.bits()


def test_text_in_a_file_is_read_from_there(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    IDS.tofile(file)
    mapped = Run(np.memmap(file, np.uint8, "r")[: len(IDS) - 40])
    with mapped.steps(2) as steps:
        next(steps)
        file.unlink()  # whoever reads it keeps it
        losses = [progress.loss for progress in steps]
    assert losses == [progress.loss for progress in Run(IDS[:-40]).finished(2)][1:]


def test_text_in_a_file_that_is_gone_is_shared_as_memory(tmp_path: Path) -> None:
    file = tmp_path / "ids"
    IDS.tofile(file)
    mapped = Run(np.memmap(file, np.uint8, "r"))
    file.unlink()
    assert [progress.loss for progress in mapped.finished(2)] == [progress.loss for progress in Run().finished(2)]


def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    found: list[subprocess.Popen[bytes]] = []

    def popen(*arguments: Any, **settings: Any) -> subprocess.Popen[bytes]:
        found.append(subprocess.Popen(*arguments, **settings))
        return found[-1]

    monkeypatch.setattr(processes, "subprocess", type("", (), {"Popen": staticmethod(popen), "DEVNULL": subprocess.DEVNULL}))
    return found


def test_none_is_left_when_the_work_is_done_or_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    others = started(monkeypatch)
    Run().finished(3)
    with Run().steps(2) as steps:
        next(steps)

    def given_up() -> None:
        with Run().steps(2) as steps:
            next(steps)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        given_up()
    assert [process.returncode for process in others] == [0] * 4


@pytest.mark.parametrize("moment", [0, 3])
def test_a_lost_process_is_noticed(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    others = started(monkeypatch)

    def bereft() -> None:
        with Run().steps(3) as steps:
            assert len(list(itertools.islice(steps, moment))) == moment
            others[1].kill()
            others[1].wait()
            list(steps)

    with pytest.raises(ProcessLost, match="process 3 of the 3 that trained together has ended"):
        bereft()
    assert others[0].returncode == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_rank_0s_affair(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    others = started(monkeypatch)
    with Run().steps(2) as steps:
        next(steps)
        others[0].send_signal(getattr(signal, name))
        assert len(list(steps)) == STEPS - 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells whose children processes are")
def test_others_end_when_rank_0_is_killed() -> None:
    """Nothing can be tidied up then: the links break."""
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from test_processes import Run\n"
        "with Run().steps(2) as steps:\n    next(steps); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(processes.ROOT)}) as leader:
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


def test_divergence_is_told_once() -> None:
    run = Run(learning_rate=1000.0, clip_norm=0.0, model={"cell": "rnn", "activation": "identity"})
    run.state.last_step = 10**6
    with pytest.raises(TrainingDiverged):
        run.finished(2)
