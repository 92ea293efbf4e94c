"""The ranks of an MPI communicator as a group that trains: each has its own copy of all weights.

Rank 0 leads, the others wait for its word::

    begin           rank 0 says which share of the run is spent; or it collects all states, for a checkpoint; or it ends the run
    gradient        each its own, of its own streams
    exchange        each gets one part of all gradients, and sums it in the order of the ranks
    exchange        all get the sums of all parts, and of the parts' squares: everyone knows the norm
    update          each all weights; the same bits everywhere, since the sums are

What goes between two of n ranks in a step is what the best all-reduce needs: each sends and gets 2 (n - 1) / n of a gradient.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from model.group import Group, Reduced, in_order

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

Array = NDArray[Any]

COLLECT = -math.inf  # said instead of a share
END = 1.0  # the share at which a run ends

# How far the ranks are, as rank 0 knows it: waiting for its word, computing gradients, on the way from there, or out of this group.
WAITING, COMPUTING, BUSY, GONE = range(4)


class Ranks(Group):
    """This rank among those of `comm`."""

    def __init__(self, comm: Comm, hidden: Array) -> None:
        """`hidden` (L, S, B, H) is where this rank keeps the states of its streams."""
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._comm, self._hidden, self._stage = comm, hidden, WAITING
        self._gradient: Array = np.empty(0)
        self._received: Array = np.empty((self.size, 0))  # (ranks, part): every rank's gradient of the part that this one sums

    def place(self, parameters: Array) -> Array:
        counts, _ = shares(len(parameters), self.size)
        self._gradient = np.zeros_like(parameters)
        self._received = np.empty((self.size, counts[self.rank]), parameters.dtype)
        return self._gradient

    def begin(self, share: float) -> float:
        if self.rank:
            while (share := hear(self._comm)) == COLLECT:
                self.gather(self._hidden)
            return share
        if share >= END:
            self.collect(self._hidden)  # for the last checkpoint, when the others are gone
        self._stage = BUSY
        tell(self._comm, share)
        self._stage = COMPUTING if share < END else GONE
        return share

    def reduce(self, gradient: Array, loss: float) -> Reduced:
        self._stage = BUSY
        parts, own = shares(len(gradient), self.size), self._received.shape[1]
        equal = ([own] * self.size, [own * rank for rank in range(self.size)])
        self._comm.Alltoallv([gradient, parts], [self._received, equal])
        part = in_order(list(self._received), slice(None))
        self._comm.Allgatherv(part, [gradient, parts])
        sums = np.empty((self.size, 2))
        self._comm.Allgather(np.array([loss, np.dot(part, part)]), sums)
        loss, square = sums.sum(axis=0).tolist()
        if not (math.isfinite(loss) and math.isfinite(square)):
            self._stage = WAITING  # all see it, and go no further with this step
        return Reduced(gradient, math.sqrt(square), loss)

    def gather(self, hidden: Array) -> Array:
        L, S, B, H = hidden.shape
        own = np.ascontiguousarray(hidden[:, :, self.rows(B)].transpose(2, 0, 1, 3))  # (rows, L, S, H)
        gathered = np.empty((B, L, S, H), hidden.dtype)
        counts, offsets = shares(B, self.size)
        stream = L * S * H
        self._comm.Allgatherv(own, [gathered, ([count * stream for count in counts], [offset * stream for offset in offsets])])
        hidden[...] = gathered.transpose(1, 2, 0, 3)
        return hidden

    def collect(self, hidden: Array) -> Array:
        if self._stage == GONE:
            return hidden
        self._stage = BUSY
        tell(self._comm, COLLECT)
        self.gather(hidden)
        self._stage = WAITING
        return hidden

    def wait(self) -> None:
        self._stage = WAITING  # no rank needs another before the next word

    def end(self) -> bool:
        """Rank 0 ends the run, in the middle of a step or not. Returns whether it could: the others may wait for what will not come."""
        if self._stage == COMPUTING:  # so do the others, and they want its share: with this loss all give up the step
            self.reduce(self._gradient, math.nan)
        if self._stage == WAITING:
            tell(self._comm, END)
            self._stage = GONE
        return self._stage == GONE


def shares(total: int, size: int) -> tuple[list[int], list[int]]:
    """How many of `total` things each of `size` ranks has, and which is its first: as `Group.rows`."""
    edges = [total * rank // size for rank in range(size + 1)]
    return [stop - start for start, stop in itertools.pairwise(edges)], edges[:-1]


def tell(comm: Comm, word: float) -> None:
    """Rank 0 gives a word to those that `hear`."""
    comm.Ibcast(np.array([word])).Wait()


def hear(comm: Comm) -> float:
    """The next word of rank 0. MPI waits by asking again and again; who has waited for a moment here asks more rarely."""
    word = np.empty(1)
    request = comm.Ibcast(word)
    pauses = itertools.chain(itertools.repeat(0.0, 1000), itertools.repeat(0.001))
    while not request.Test():
        time.sleep(next(pauses))
    return float(word[0])


def tell_plan(comm: Comm, plan: dict[str, Any]) -> None:
    """Rank 0 gives a plan, whatever JSON can say, to those that `hear_plan`. (MPI's own way for objects would be pickle.)"""
    data = np.frombuffer(json.dumps(plan).encode(), np.uint8)
    comm.Bcast(np.array([len(data)]))
    comm.Bcast(data.copy())


def hear_plan(comm: Comm) -> dict[str, Any]:
    """The next plan of rank 0."""
    size = np.empty(1, np.int64)
    comm.Bcast(size)
    data = np.empty(size[0], np.uint8)
    comm.Bcast(data)
    return cast(dict[str, Any], json.loads(data.tobytes()))
