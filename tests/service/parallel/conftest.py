"""Communicators between threads of this process: what `service.parallel` uses of MPI, where there may be none.

Whoever calls something else than the others do is found out; where one waits for ever, all fail after `PATIENCE` seconds.
"""

from __future__ import annotations

import copy
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

PATIENCE = 60.0


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

    def bcast(self, thing: Any) -> Any:
        return self._meet("bcast", thing)[0]

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
