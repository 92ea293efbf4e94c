"""Trains one model over MPI, in processes on any machines: ``mpiexec -n N charloom train ...``.

Rank 0 is the command as it is without MPI. The others never read the command line or the database: they `follow` rank 0 and train
`together` with it until it dismisses them. mpi4py is imported only if a launcher says that there are several ranks. Each rank has its
own copy of all weights. Rank 0 leads, the others wait for its word::

    begin           rank 0 says which share of the run is spent; or it collects all states, for a checkpoint; or it ends the run
    gradient        each its own, of its own streams
    exchange        each gets one part of all gradients, and sums it in the order of the ranks
    exchange        all get the sums of all parts, and of the parts' squares: everyone knows the norm
    update          each all weights; the same bits everywhere, since the sums are

What goes between two of n ranks in a step is what the best all-reduce needs: each sends and gets 2 (n - 1) / n of a gradient.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from model.batches import Streams
from model.config import ModelConfig, TrainingConfig
from model.errors import TrainingDiverged
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of
from model.process_group import ALONE, ProcessGroup, Reduced, sum_in_order
from model.training import TrainingState, train
from service.system import hardware
from service.system.errors import MpiUnusable

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

# ── ranks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Array = NDArray[Any]

COLLECT = -math.inf  # said instead of a share
END = 1.0  # the share at which a run ends

# How far the ranks are, as rank 0 knows it: waiting for its word, computing gradients, on the way from there, or out of this group.
WAITING, COMPUTING, BUSY, GONE = range(4)


class Ranks(ProcessGroup):
    """This rank among those of `comm`."""

    def __init__(self, comm: Comm, hidden: Array) -> None:
        """`hidden` (L, S, B, H) is where this rank keeps the states of its streams."""
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._comm, self._hidden, self._stage = comm, hidden, WAITING
        self._gradient: Array = np.empty(0)
        self._received: Array = np.empty((self.size, 0))  # (ranks, part): every rank's gradient of the part that this one sums

    def gradient_buffer(self, parameters: Array) -> Array:
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
        part = sum_in_order(list(self._received), slice(None))
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

    def barrier(self) -> None:
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
    """How many of `total` things each of `size` ranks has, and which is its first: as `ProcessGroup.rows`."""
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


# ── mpi ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Where launchers say which rank a process is, and of how many: Open MPI, MPICH and its kin, MVAPICH, Slurm with PMIx.
LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
# Ranks of Open MPI that wait for each other keep their processors, unless they are told to give way. Two ranks on two processors that
# had other work, too, took 10 and 11 seconds for 1,000 small steps with it, and 13 and 22 without.
YIELDING = ("OMPI_MCA_mpi_yield_when_idle", "1")
SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1")  # meant for rank 0; the others end when it does
DISMISSED, WORK = 0.0, 1.0  # what rank 0 says to those that follow
BLOCK = 1 << 26  # symbols of a text that are sent at once


class LaunchedRank(NamedTuple):
    """A process among those that a launcher started."""

    rank: int
    size: int  # 0 if only MPI knows it


class World:
    """All ranks that were started together."""

    def __init__(self, comm: Comm) -> None:
        self.comm = comm
        self.astray = False  # the others wait for something else than a word of rank 0


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


def place() -> LaunchedRank:
    """Which rank this process is, as its launcher says; a process that was started by hand is alone."""
    for rank, size in LAUNCHERS:
        if rank in os.environ:
            return LaunchedRank(int(os.environ[rank]), int(os.environ.get(size, "0")))
    return LaunchedRank(0, 1)


def leads() -> bool:
    """Whether this process is rank 0, or alone; the others should `follow`. Raises `MpiUnusable`, on rank 0 only."""
    if place().rank:
        return False
    ranks()
    return True


def ranks() -> int:
    """How many ranks there are; 1 without MPI. Raises `MpiUnusable`."""
    return 1 if place().size == 1 else _world().comm.Get_size()


def follow() -> None:
    """What all ranks but 0 run: their part of what rank 0 trains, until it dismisses them.

    A rank that cannot do its part ends all of them: they would wait for it for ever.
    """
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        comm = _world().comm
    except MpiUnusable:  # rank 0 says so
        return
    try:
        obey(comm)
    except BaseException:
        traceback.print_exc()
        comm.Abort(1)


def dismiss() -> None:
    """What rank 0 does last: it lets the others end. Where it cannot tell them, they are ended when this process is done."""
    if ranks() == 1:
        return
    if _world().astray:
        atexit.register(_abort)  # when all that there is to say is said
    else:
        tell(_world().comm, DISMISSED)


def _abort() -> None:
    sys.stdout.flush()
    _world().comm.Abort(1)


@functools.cache
def _world() -> World:
    """All ranks. Raises `MpiUnusable`."""
    os.environ.setdefault(*YIELDING)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # there is no mpi4py; or no MPI, or another one than it can use
        raise MpiUnusable(str(error).splitlines()[0]) from error
    if MPI.COMM_WORLD.Get_size() == 1 and place().size > 1:
        raise MpiUnusable(f"mpi4py uses {MPI.Get_library_version().splitlines()[0].split(',')[0]}, which knows nothing of the others")
    return World(MPI.COMM_WORLD)


# ── the work ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def together(
    size: int,
    model: LanguageModel,
    streams: Streams,
    ids: Array,
    config: TrainingConfig,
    state: TrainingState,
    unknown_cost: float,
    threads: int = 1,
) -> Iterator[tuple[LanguageModel, TrainingState, ProcessGroup]]:
    """The first `size` ranks, with `threads` BLAS threads each, will train a model over `ids`, from which `streams` was made.

    Called by rank 0; it leads. Gives the model and the state to train with, which are those given. The other ranks go back to waiting
    for work when this context ends.
    """
    if size == 1:
        yield model, state, ALONE
        return
    world = _world()
    world.astray = True
    tell(world.comm, WORK)
    plan: dict[str, Any] = {
        "size": size,
        "threads": threads,
        "model": model.config.to_dict(),
        "training": config.to_dict(),
        "vocabulary_size": model.vocabulary_size,
        "unknown_cost": unknown_cost,
        "state": {name: value for name, value in vars(state).items() if name not in ("hidden", "memory")},
        "hidden": (state.hidden.shape, state.hidden.dtype.str),
        "memory": list(state.memory),
        "weights": model.parameters.flat.dtype.str,
        "ids": (len(ids), ids.dtype.str),
    }
    tell_plan(world.comm, plan)
    comm = world.comm.Split(0, 0)
    for array in (model.parameters.flat, *state.memory.values(), state.hidden):
        comm.Bcast(array)
    for rank in range(1, size):
        for block in _blocks(ids, streams, rank, size):
            comm.Send(block, rank)
    del ids, streams  # what was given may not be needed any more
    group = Ranks(comm, state.hidden)
    try:
        yield model, state, group
    finally:
        if group.end():
            comm.Free()
            world.astray = False


def obey(world: Comm) -> None:
    """The other side of `together`, as often as there is work."""
    while hear(world) == WORK:
        plan = hear_plan(world)
        rank, size = world.Get_rank(), plan["size"]
        comm = world.Split(0 if rank < size else 1, rank)
        if rank < size:
            with hardware.blas_threads(plan["threads"]):
                _train_along(comm, plan)
        comm.Free()


def _train_along(comm: Comm, plan: dict[str, Any]) -> None:
    model_config, config = ModelConfig.from_dict(plan["model"]), TrainingConfig.from_dict(plan["training"])
    shapes = shapes_of(model_config, plan["vocabulary_size"])
    weights = np.empty(sum(math.prod(shape) for shape in shapes.values()), plan["weights"])
    memory = {name: np.empty_like(weights) for name in plan["memory"]}
    hidden = np.empty(*plan["hidden"])
    for array in (weights, *memory.values(), hidden):
        comm.Bcast(array)
    ids = np.zeros(*plan["ids"])  # as long as the whole text, but only what is written to takes memory
    streams = Streams(ids, config.batch_size, config.seq_length)
    for block in _blocks(ids, streams, comm.Get_rank(), comm.Get_size()):
        comm.Recv(block, 0)
    model = LanguageModel(model_config, plan["vocabulary_size"], Parameters(shapes, weights))
    state = TrainingState(hidden, memory, **plan["state"])
    group = Ranks(comm, hidden)
    try:
        for _ in train(model, streams, config, state, lambda _: 0.0, group, plan["unknown_cost"]):
            pass
    except TrainingDiverged:
        group.begin(0.0)  # rank 0 has found it, too, or gives up for another reason: it will say that this is the end


def _blocks(ids: Array, streams: Streams, rank: int, size: int) -> Iterator[Array]:
    """What a rank needs of a text, as views: its streams, and the symbol after them."""
    counts, offsets = shares(streams.batch_size, size)
    start = offsets[rank] * streams.length
    stop = start + counts[rank] * streams.length + 1
    for begin in range(start, stop, BLOCK):
        yield ids[begin : min(stop, begin + BLOCK)]
