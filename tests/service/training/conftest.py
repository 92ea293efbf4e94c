"""Fixtures: a run that any number of ranks can train, and communicators between threads of this process.

The latter are what `service.training.mpi` uses of MPI, where there may be none. Whoever calls something else than the others do is found
out; where one waits for ever, all fail after `PATIENCE` seconds.
"""

from __future__ import annotations

import copy
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from model.batches import Records, RecordStreams, Streams
from model.checkpoint import pack_state
from model.config import ModelConfig, TrainingConfig
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.training import Progress, TrainingState, train

V = 11
STEPS = 23  # more than an epoch of 16 chunks
PATIENCE = 60.0


class Run:
    """A run over `ids` that can be trained by as many as one likes, who come together as `together` says."""

    ids = np.random.default_rng(3).integers(0, V + 1, 400).astype(np.uint8)  # V is the unknown symbol

    def __init__(
        self,
        together: Callable[..., Any],
        ids: np.ndarray[Any, Any] | None = None,
        model: dict[str, Any] | None = None,
        records: bool = False,
        **training: Any,
    ) -> None:
        self.together = together
        if ids is not None:
            self.ids = ids
        self.config = TrainingConfig(**({"batch_size": 5, "seq_length": 5, "seed": 2, "reset_rate": 0.3} | training))
        model_config = ModelConfig(**({"hidden_size": 7, "num_layers": 2, "dropout": 0.2} | (model or {})))
        self.model = LanguageModel.new(model_config, V, 1, boundary=V - 1 if records else None)
        self.streams = Streams(self.ids, self.config.batch_size, self.config.seq_length)
        if records:
            self.ids = np.concatenate([[V - 1], self.ids, [V - 1]]).astype(np.uint8)
            starts = np.flatnonzero(self.ids == V - 1)
            found = Records(self.ids, starts[:-1], np.diff(starts))
            self.streams = RecordStreams(found, self.config.batch_size, self.config.seq_length, self.config.seed)
        self.state = TrainingState.new(self.model, self.streams, self.config)
        self.state.last_step = STEPS
        self.told: list[Progress] = []

    @contextmanager
    def steps(self, size: int) -> Iterator[Iterator[Progress]]:
        with self.together(size, self.model, self.streams, self.ids, self.config, self.state, UNKNOWN_COST) as group:
            yield train(self.model, self.streams, self.config, self.state, group=group, unknown_cost=UNKNOWN_COST)
            group.collect(self.state.hidden)

    def trained(self, size: int, stop: int | None = None) -> Run:
        """By so many, to its end or for so many steps."""
        with self.steps(size) as steps:
            self.told += itertools.islice(steps, stop)
        return self

    @property
    def losses(self) -> list[float]:
        return [progress.loss for progress in self.told]

    def bits(self) -> tuple[bytes, bytes]:
        return self.model.parameters.flat.tobytes(), pack_state(self.state)

    def assert_close(self, other: Run) -> None:
        """Both have come to the end, and to the same results but for rounding."""
        assert [progress.step for progress in self.told] == list(range(1, STEPS + 1))
        assert [progress.symbols for progress in self.told] == [progress.symbols for progress in other.told]
        np.testing.assert_allclose(self.losses, other.losses, rtol=1e-5)
        np.testing.assert_allclose([each.grad_norm for each in self.told], [each.grad_norm for each in other.told], rtol=1e-3)
        np.testing.assert_allclose(self.state.hidden, other.state.hidden, rtol=0, atol=1e-3)
        np.testing.assert_allclose(self.model.parameters.flat, other.model.parameters.flat, rtol=0, atol=2e-3)


@pytest.fixture(scope="session")
def run_with() -> type[Run]:
    """The class of runs, to be given a way to come together."""
    return Run


@pytest.fixture(
    params=[
        {},
        {"optimizer": "rmsprop", "weight_decay": 0.1, "clip_value": 0.001},
        {"optimizer": "sgd", "clip_norm": 0.0, "model": {"cell": "gru", "embedding_size": 3}},
        {"model": {"cell": "rnn", "dropout": 0.0}, "reset_rate": 0.0},
        {"records": True},
    ],
    ids=["adam", "rmsprop", "sgd", "rnn", "records"],
)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of runs that differ in all that ranks have to agree about."""
    found: dict[str, Any] = request.param
    return found


class Hub:
    """Where the ranks of one communicator meet."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.brought: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.mail: dict[tuple[int, int], queue.Queue[Any]] = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
        self.parts: dict[tuple[int, int], Hub] = {}  # (number of the split, color)

    def abort(self) -> None:
        self.barrier.abort()
        for part in self.parts.values():
            part.abort()


class FakeComm:
    """One rank's end of a hub."""

    def __init__(self, rank: int, hub: Hub) -> None:
        self._rank, self._hub, self._splits = rank, hub, 0

    def _meet(self, what: str, thing: Any = None) -> list[Any]:
        """What each rank brought to the same call."""
        hub = self._hub
        hub.brought[self._rank] = (what, copy.deepcopy(thing))
        hub.barrier.wait()
        calls, things = zip(*hub.brought, strict=True)
        if len(set(calls)) > 1:
            hub.abort()
            raise AssertionError(f"the ranks disagree: {calls}")
        hub.barrier.wait()
        return list(things)

    def abort(self) -> None:
        """All that wait for others give up."""
        self._hub.abort()

    def Get_rank(self) -> int:
        return self._rank

    def Get_size(self) -> int:
        return self._hub.size

    def Free(self) -> None:
        self._meet("Free")

    def Split(self, color: int, key: int) -> FakeComm:
        keys = [(each, rank) for rank, (of, each) in enumerate(self._meet("Split", (color, key))) if of == color]
        self._splits += 1
        part = self._hub.parts.setdefault((self._splits, color), Hub(len(keys)))
        return FakeComm(sorted(keys).index((key, self._rank)), part)

    def Bcast(self, array: Any) -> None:
        array[...] = self._meet("Bcast", array)[0]

    def Ibcast(self, array: Any) -> Request:
        return Request(lambda: self._meet("Ibcast", array), array)

    def Alltoallv(self, send: Any, receive: Any) -> None:
        array, (_, offsets) = receive
        flat = array.reshape(-1)
        for rank, (sent, (counts, starts)) in enumerate(self._meet("Alltoallv", send)):
            count, start = counts[self._rank], starts[self._rank]
            flat[offsets[rank] : offsets[rank] + count] = sent[start : start + count]

    def Allgatherv(self, own: Any, receive: Any) -> None:
        array, (counts, offsets) = receive
        flat = array.reshape(-1)
        for count, offset, sent in zip(counts, offsets, self._meet("Allgatherv", own), strict=True):
            assert sent.size == count
            flat[offset : offset + count] = sent.reshape(-1)

    def Allgather(self, own: Any, array: Any) -> None:
        array[...] = self._meet("Allgather", own)

    def Send(self, array: Any, rank: int) -> None:
        self._hub.mail[self._rank, rank].put(np.array(array))

    def Recv(self, array: Any, rank: int) -> None:
        array[...] = self._hub.mail[rank, self._rank].get(timeout=PATIENCE)


class Request:
    def __init__(self, meet: Callable[[], list[Any]], array: Any) -> None:
        self._meet, self._array = meet, array

    def Wait(self) -> None:
        self._array[...] = self._meet()[0]

    def Test(self) -> bool:
        self.Wait()
        return True


Started = Callable[[int, Callable[[FakeComm], Any]], Any]


@pytest.fixture
def ranks() -> Started:
    """`with ranks(size, work) as comm:` lets threads do `work(comm)` as the ranks 1 to size - 1, and gives the communicator of rank 0.

    At the end they must have come to theirs, without an error, unless `abort` was called.
    """

    @contextmanager
    def started(size: int, work: Callable[[FakeComm], Any]) -> Iterator[FakeComm]:
        hub = Hub(size)
        errors: list[BaseException] = []
        broken: list[int] = []

        def run(rank: int) -> None:
            try:
                work(FakeComm(rank, hub))
            except threading.BrokenBarrierError:
                broken.append(rank)
            except BaseException as error:
                errors.append(error)
                hub.abort()

        with ExitStack() as stack:
            for rank in range(1, size):
                thread = threading.Thread(target=run, args=(rank,), daemon=True)
                thread.start()
                stack.callback(thread.join, PATIENCE)
            try:
                yield FakeComm(0, hub)
            except BaseException:
                hub.abort()
                raise
        if errors:
            raise errors[0]
        if not hub.barrier.broken:
            assert not broken

    return started
