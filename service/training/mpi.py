"""Trains one model over MPI, in processes on any machines: ``mpiexec -n N charloom train ...``.

Rank 0 runs the command as it runs without MPI. The other ranks never read the command line or the database: they call `follow`, and
train with rank 0 (`together`) until it calls `dismiss`. mpi4py is imported only if a launcher says that there are several ranks. Each
rank has its own copy of all weights. A step, in which the other ranks wait for the number that rank 0 broadcasts::

    begin           rank 0 broadcasts the share of the run that is spent; or COLLECT, to get all states for a checkpoint; or END
    gradient        each rank computes the gradient of its own streams
    exchange        each rank receives one part of all gradients, and sums it in the order of the ranks
    exchange        all ranks receive the sums of all parts
    update          each rank measures the gradient's norm and updates all weights; the bits are the same everywhere, since the sums are

In a step, each of n ranks sends and receives 2 (n - 1) / n of a gradient, which is the least that an all-reduce needs.
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
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from model.batches import Records, RecordStreams, Streams
from model.config import ModelConfig, TrainingConfig
from model.errors import TrainingDiverged
from model.language_model import LanguageModel
from model.optimizer import gradient_norm
from model.parameters import Parameters, shapes_of
from model.process_group import ALONE, ProcessGroup, Reduced
from model.training import TrainingState, train
from service.system import hardware
from service.system.errors import MpiUnusable

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

# ── the group of ranks and its messages ──────────────────────────────────────────────────────────────────────────────

Array = NDArray[Any]

COLLECT = -math.inf  # broadcast instead of a share: all ranks gather their states
END = 1.0  # the share at which a run ends

# What the other ranks do, as rank 0 knows it: wait for its broadcast, compute gradients, exchange data, or have left the group.
WAITING, COMPUTING, BUSY, GONE = range(4)


class Ranks(ProcessGroup):
    """Trains one model in the ranks of the communicator `comm`."""

    def __init__(self, comm: Comm, hidden: Array) -> None:
        """Joins the group; `hidden` (L, S, B, H) holds the states of this rank's streams."""
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._comm, self._hidden, self._stage = comm, hidden, WAITING
        self._gradient: Array = np.empty(0)
        self._received: Array = np.empty((self.size, 0))  # (ranks, part): the gradients of all ranks, for the part that this rank sums

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
            self.collect(self._hidden)  # for the last checkpoint: afterwards the other ranks are gone
        self._stage = BUSY
        tell(self._comm, share)
        self._stage = COMPUTING if share < END else GONE
        return share

    def reduce(self, gradient: Array, loss: float, norm: Callable[[Array], float]) -> Reduced:
        self._stage = BUSY
        parts, own = shares(len(gradient), self.size), self._received.shape[1]
        equal = ([own] * self.size, [own * rank for rank in range(self.size)])
        self._comm.Alltoallv([gradient, parts], [self._received, equal])
        part = self._received[0].copy()
        for received in self._received[1:]:
            part += received
        self._comm.Allgatherv(part, [gradient, parts])
        losses = np.empty((self.size, 1))
        self._comm.Allgather(np.array([loss]), losses)
        reduced = Reduced(gradient, norm(gradient), float(losses.sum()))
        if not (math.isfinite(reduced.loss) and math.isfinite(reduced.norm)):
            self._stage = WAITING  # all ranks see it, and give up this step
        return reduced

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
        self._stage = WAITING  # no rank needs another one before the next broadcast

    def end(self) -> bool:
        """Ends the run, also in the middle of a step; called by rank 0. Returns False if it cannot: the others wait in an exchange."""
        if self._stage == COMPUTING:  # the others wait for its part of the sums: with a loss of NaN all ranks give up the step
            self.reduce(self._gradient, math.nan, gradient_norm)
        if self._stage == WAITING:
            tell(self._comm, END)
            self._stage = GONE
        return self._stage == GONE


def shares(total: int, size: int) -> tuple[list[int], list[int]]:
    """Returns how many of `total` items each of `size` ranks has, and the index of its first one, as `ProcessGroup.rows`."""
    edges = [total * rank // size for rank in range(size + 1)]
    return [stop - start for start, stop in itertools.pairwise(edges)], edges[:-1]


def tell(comm: Comm, word: float) -> None:
    """Broadcasts a number from rank 0; all other ranks call `hear`."""
    comm.Ibcast(np.array([word])).Wait()


def hear(comm: Comm) -> float:
    """Returns the next number that rank 0 broadcasts.

    MPI waits in a busy loop. This one sleeps between two tests after the first thousand.
    """
    word = np.empty(1)
    request = comm.Ibcast(word)
    pauses = itertools.chain(itertools.repeat(0.0, 1000), itertools.repeat(0.001))
    while not request.Test():
        time.sleep(next(pauses))
    return float(word[0])


def tell_plan(comm: Comm, plan: dict[str, Any]) -> None:
    """Broadcasts a plan from rank 0, as JSON, since mpi4py would pickle objects; all other ranks call `hear_plan`."""
    data = np.frombuffer(json.dumps(plan).encode(), np.uint8)
    comm.Bcast(np.array([len(data)]))
    comm.Bcast(data.copy())


def hear_plan(comm: Comm) -> dict[str, Any]:
    """Returns the next plan that rank 0 broadcasts."""
    size = np.empty(1, np.int64)
    comm.Bcast(size)
    data = np.empty(size[0], np.uint8)
    comm.Bcast(data)
    return cast(dict[str, Any], json.loads(data.tobytes()))


# ── launchers and MPI ────────────────────────────────────────────────────────────────────────────────────────────────

# The environment variables in which launchers give the rank and the number of ranks: Open MPI, MPICH, MVAPICH, Slurm with PMIx.
LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)
# ... and in which they give the number of ranks on this machine.
LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE")
# Ranks of Open MPI that wait for each other keep their processors busy, unless this variable makes them yield. Two ranks on two
# processors that also did other work took 10 and 11 seconds for 1,000 small steps with it, and 13 and 22 seconds without it.
YIELDING = ("OMPI_MCA_mpi_yield_when_idle", "1")
SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1")  # meant for rank 0; the others end when it does
DISMISSED, WORK = 0.0, 1.0  # what rank 0 broadcasts to the ranks in `follow`
BLOCK = 1 << 26  # symbols of a text in one message


class LaunchedRank(NamedTuple):
    """Describes one of the processes that a launcher started."""

    rank: int
    size: int  # 0 if only MPI knows it


class World:
    """Holds the communicator of all ranks that were started together."""

    def __init__(self, comm: Comm) -> None:
        self.comm = comm
        self.astray = False  # the other ranks are not in `hear`, so `tell` would not reach them


# ── rank 0 and the other ranks ────────────────────────────────────────────────────────────────────────────────────────


def place() -> LaunchedRank:
    """Returns the rank of this process, as its launcher gives it; rank 0 of 1 without a launcher."""
    for rank, size in LAUNCHERS:
        if rank in os.environ:
            return LaunchedRank(int(os.environ[rank]), int(os.environ.get(size, "0")))
    return LaunchedRank(0, 1)


def leads() -> bool:
    """Returns whether this process is rank 0; the others should call `follow`. Raises `MpiUnusable`, on rank 0 only."""
    if place().rank:
        return False
    ranks()
    return True


def ranks() -> int:
    """Returns the number of ranks; 1 without MPI. Raises `MpiUnusable`."""
    return 1 if place().size == 1 else _world().comm.Get_size()


def ranks_here() -> int:
    """Returns the number of ranks on this machine, as the launcher gives it; 1 if it does not."""
    return next((int(os.environ[name]) for name in LOCAL_SIZES if name in os.environ), 1)


def follow() -> None:
    """Trains along with rank 0 until it calls `dismiss`; all other ranks call this.

    An error in one rank ends all of them, since the others would wait for it for ever.
    """
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        comm = _world().comm
    except MpiUnusable:  # rank 0 reports it
        return
    try:
        obey(comm)
    except BaseException:
        traceback.print_exc()
        comm.Abort(1)


def dismiss() -> None:
    """Lets the other ranks end; rank 0 calls it last. If they cannot be reached, MPI ends them when this process exits."""
    if ranks() == 1:
        return
    if _world().astray:
        atexit.register(_abort)  # after all other output
    else:
        tell(_world().comm, DISMISSED)


def _abort() -> None:
    sys.stdout.flush()
    _world().comm.Abort(1)


@functools.cache
def _world() -> World:
    """Starts MPI and returns all ranks. Raises `MpiUnusable`."""
    os.environ.setdefault(*YIELDING)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py or MPI is missing, or they do not fit each other
        raise MpiUnusable(str(error).splitlines()[0]) from error
    if MPI.COMM_WORLD.Get_size() == 1 and place().size > 1:
        raise MpiUnusable(f"mpi4py uses {MPI.Get_library_version().splitlines()[0].split(',')[0]}, which knows nothing of the others")
    return World(MPI.COMM_WORLD)


# ── training together ─────────────────────────────────────────────────────────────────────────────────────────────────


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
) -> Iterator[ProcessGroup]:
    """Makes the first `size` ranks, with `threads` threads each, ready to train a model on `ids`, the text of `streams`.

    Of records each rank gets all, since each epoch has another order.

    Called by rank 0. Yields the group to train with. When this context ends, the other ranks wait for the next work.
    """
    if size == 1:
        yield ALONE
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
        "boundary": model.boundary,
        "records": len(streams.records.starts) if isinstance(streams, RecordStreams) else None,
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
    if isinstance(streams, RecordStreams):
        _tell_records(comm, streams.records)
    else:
        for rank in range(1, size):
            for block in _blocks(ids, streams, rank, size):
                comm.Send(block, rank)
    del ids, streams  # the caller may not need them any more
    group = Ranks(comm, state.hidden)
    try:
        yield group
    finally:
        if group.end():
            comm.Free()
            world.astray = False


def obey(world: Comm) -> None:
    """Does the part of another rank in each call of `together`, until rank 0 broadcasts DISMISSED."""
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
    ids = np.zeros(*plan["ids"])  # as long as the whole text, but only the parts that are written take memory
    streams: Streams
    if plan["records"] is not None:
        starts, sizes = np.empty((2, plan["records"]), np.int64)
        _tell_records(comm, Records(ids, starts, sizes))
        streams = RecordStreams(Records(ids, starts, sizes), config.batch_size, config.seq_length, config.seed)
    else:
        streams = Streams(ids, config.batch_size, config.seq_length)
        for block in _blocks(ids, streams, comm.Get_rank(), comm.Get_size()):
            comm.Recv(block, 0)
    model = LanguageModel(model_config, plan["vocabulary_size"], Parameters(shapes, weights), plan["boundary"])
    state = TrainingState(hidden, memory, **plan["state"])
    group = Ranks(comm, hidden)
    try:
        for _ in train(model, streams, config, state, lambda _: 0.0, group, plan["unknown_cost"], plan["threads"]):
            pass
    except TrainingDiverged:
        group.begin(0.0)  # rank 0 diverges too, or gives up for another reason: it broadcasts END


def _tell_records(comm: Comm, records: Records) -> None:
    """Broadcasts records from rank 0; all ranks call it, with arrays of their sizes."""
    for array in records:
        for start in range(0, len(array), BLOCK):
            comm.Bcast(np.ascontiguousarray(array[start : start + BLOCK]) if comm.Get_rank() == 0 else array[start : start + BLOCK])


def _blocks(ids: Array, streams: Streams, rank: int, size: int) -> Iterator[Array]:
    """Yields the parts of a text that a rank needs, as views: its streams, and the symbol after them."""
    counts, offsets = shares(streams.batch_size, size)
    start = offsets[rank] * streams.length
    stop = start + counts[rank] * streams.length + 1
    for begin in range(start, stop, BLOCK):
        yield ids[begin : min(stop, begin + BLOCK)]
