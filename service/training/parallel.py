"""Trains one model in several processes on this machine, over shared memory.

Rank 0 leads: it starts the other processes with one BLAS thread each, and they run the same loop (`model.training.train`) until
rank 0 stops or ends. Weights, the optimizer's memory, hidden states and gradients are in shared memory. Each process reads its
rows of the streams, sums its part of the gradient in the order of the ranks, and updates its part of the weights::

    begin           rank 0 writes the share of the run that is spent, and lets the other processes begin
    gradient        each process computes the gradient of its own streams
    barrier         all gradients are complete
    sum             each process sums its part over all ranks, and squares the sums
    barrier         all squares are complete, and give the norm
    update          each process updates its part of the weights
    barrier         all weights are updated

The barriers use sockets: the other side notices at once if a process ends, and a waiting process uses no processor time.

The shared memory has no name, so there is nothing to clean up. It is a file descriptor that each process inherits, and it is freed
when the last process has ended. It is not a file in ``/dev/shm``, which is small in containers.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batches import Streams
from model.config import ModelConfig, TrainingConfig
from model.errors import TrainingDiverged
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of
from model.process_group import ALONE, ProcessGroup, Reduced, sum_in_order
from model.training import TrainingState, train
from service.system.errors import ProcessLost
from service.system.processes import end_with_parent, start_child

# ── arrays in shared memory ──────────────────────────────────────────────────────────────────────────────────────────

Array = NDArray[Any]

ALIGNMENT = 64  # bytes: arrays of two processes never share a cache line


class Layout(NamedTuple):
    """Describes one array in the shared memory."""

    dtype: str
    shape: tuple[int, ...]


def reserve(arrays: Mapping[str, Layout]) -> int:
    """Reserves memory for these arrays, filled with zeros, and returns its file descriptor. The caller closes it."""
    size = _offsets(arrays)[1]
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("charloom")
    else:
        with tempfile.TemporaryFile() as file:  # it has no name, or loses it at once
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def attach(descriptor: int, arrays: Mapping[str, Layout]) -> dict[str, Array]:
    """Maps the memory of a descriptor and returns its arrays. They keep the memory alive if the descriptor is closed."""
    offsets, size = _offsets(arrays)
    memory = mmap.mmap(descriptor, size)
    found = {}
    for name, (dtype, shape) in arrays.items():
        count = int(np.prod(shape))
        found[name] = np.frombuffer(memory, dtype, count, offsets[name]).reshape(shape) if count else np.empty(shape, dtype)
    return found


def _offsets(arrays: Mapping[str, Layout]) -> tuple[dict[str, int], int]:
    """Returns the offset of each array in bytes, and the size of all: at least one byte, since a memory map cannot be empty."""
    offsets, end = {}, 0
    for name, (dtype, shape) in arrays.items():
        offsets[name] = end
        end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return offsets, max(1, end)


# ── the group of processes ───────────────────────────────────────────────────────────────────────────────────────────

WORD = b"."  # one byte, sent at each barrier
SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM")  # meant for rank 0; the others end when it does


class PeerLost(Exception):
    """Tells another process that rank 0 has ended."""


class SharedMemoryGroup(ProcessGroup):
    """Trains one model in the processes that share `memory`. Rank 0 has a link to each other process, which has one to rank 0."""

    def __init__(self, rank: int, size: int, memory: dict[str, Array], links: list[socket.socket]) -> None:
        self.rank, self.size, self._memory, self._links = rank, size, memory, links

    def part(self, parameters: int) -> slice:
        return slice(parameters * self.rank // self.size, parameters * (self.rank + 1) // self.size)

    def gradient_buffer(self, parameters: Array) -> Array:
        mine: Array = self._memory["gradients"][self.rank]
        return mine

    def begin(self, share: float) -> float:
        if self.rank == 0:
            self._memory["share"][0] = share
            self._tell()
        else:
            self._hear()
        return float(self._memory["share"][0])

    def reduce(self, gradient: Array, loss: float) -> Reduced:
        gradients, losses, squares = self._memory["gradients"], self._memory["losses"], self._memory["squares"]
        losses[self.rank] = loss
        self.barrier()
        part = sum_in_order(list(gradients), self.part(len(gradient)))
        squares[self.rank] = np.dot(part, part)
        self.barrier()
        return Reduced(part, math.sqrt(squares.sum()), float(losses.sum()))

    def gather(self, hidden: Array) -> Array:
        self.barrier()
        return hidden

    def barrier(self) -> None:
        if self.rank == 0:
            self._hear()
            self._tell()
        else:
            self._tell()
            self._hear()

    def _tell(self) -> None:
        for link in self._links:
            try:
                link.sendall(WORD)
            except OSError as error:
                raise self._lost(link) from error

    def _hear(self) -> None:
        for link in self._links:
            try:
                word = link.recv(1)
            except OSError as error:
                raise self._lost(link) from error
            if not word:
                raise self._lost(link)

    def _lost(self, link: socket.socket) -> Exception:
        return ProcessLost(1 + self._links.index(link), self.size) if self.rank == 0 else PeerLost()


@contextlib.contextmanager
def train_in_processes(
    size: int, model: LanguageModel, streams: Streams, ids: Array, config: TrainingConfig, state: TrainingState, unknown_cost: float
) -> Iterator[tuple[LanguageModel, TrainingState, ProcessGroup]]:
    """Starts `size - 1` processes that train a model on `ids`, the text of `streams`, together with this one.

    Yields copies of the given model and state in shared memory, to train with instead, and the group. The other processes end with
    this context. Raises `OSError` if they cannot be started.
    """
    if size == 1:
        yield model, state, ALONE
        return
    flat = model.parameters.flat
    numbers = {name: value for name, value in vars(state).items() if name not in ("hidden", "memory")}
    file = _file_of(ids)
    layout = {
        "share": Layout("f8", (1,)),
        "losses": Layout("f8", (size,)),
        "squares": Layout("f8", (size,)),
        "weights": Layout(flat.dtype.str, flat.shape),
        "gradients": Layout(flat.dtype.str, (size, len(flat))),
        "hidden": Layout(state.hidden.dtype.str, state.hidden.shape),
        **{f"memory.{name}": Layout(vector.dtype.str, vector.shape) for name, vector in state.memory.items()},
        **({} if file is not None else {"ids": Layout(ids.dtype.str, ids.shape)}),
    }
    plan: dict[str, Any] = {
        "size": size,
        "layout": layout,
        "model": model.config.to_dict(),
        "training": config.to_dict(),
        "vocabulary_size": model.vocabulary_size,
        "unknown_cost": unknown_cost,
        "state": numbers | {"best_loss": None},
    }
    with contextlib.ExitStack() as stack:
        if file is not None:
            stack.callback(os.close, file)
        descriptor = reserve(layout)
        stack.callback(os.close, descriptor)
        memory = attach(descriptor, layout)
        memory["weights"][:], memory["hidden"][...] = flat, state.hidden
        for name in state.memory:
            memory[f"memory.{name}"][:] = state.memory[name]
        if isinstance(ids, np.memmap) and file is not None:
            plan["file"] = {"descriptor": file, "offset": ids.offset, "dtype": ids.dtype.str, "count": len(ids)}
            descriptors = [descriptor, file]
        else:
            memory["ids"][:] = ids
            descriptors = [descriptor]
        links = [stack.enter_context(_start(rank, plan, descriptors)) for rank in range(1, size)]
        moments = {name: memory[f"memory.{name}"] for name in state.memory}
        model = LanguageModel(model.config, model.vocabulary_size, Parameters(model.parameters.shapes, memory["weights"]))
        state = TrainingState(memory["hidden"], moments, **numbers)
        del flat, ids, streams  # frees what is copied, unless the caller needs it
        yield model, state, SharedMemoryGroup(0, size, memory, links)


def _file_of(ids: Array) -> int | None:
    """Opens the file that ids are mapped from, and returns its descriptor; None if they are in memory, or the file was removed."""
    if not isinstance(ids, np.memmap) or ids.filename is None:
        return None
    try:
        return os.open(ids.filename, os.O_RDONLY)
    except OSError:
        return None


@contextlib.contextmanager
def _start(rank: int, plan: dict[str, Any], descriptors: list[int]) -> Iterator[socket.socket]:
    """Starts the process of a rank and yields a link to it. The process ends when the link is closed."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            link = theirs.fileno()
            process = start_child("service.training.parallel", link, descriptors[0], pass_fds=[link, *descriptors])
        try:
            with contextlib.suppress(OSError):  # it has ended already: the first barrier reports it
                ours.sendall(json.dumps(plan | {"rank": rank}).encode() + b"\n")
            yield ours
        finally:
            ours.close()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def follow_leader(link: socket.socket, descriptor: int) -> None:
    """Trains along with rank 0 until it stops. Raises `PeerLost` if it ends, and `TrainingDiverged`."""
    with link.makefile("rb", buffering=0) as lines:
        plan = json.loads(_line(lines))
    layout = {name: Layout(dtype, tuple(shape)) for name, (dtype, shape) in plan["layout"].items()}
    memory = attach(descriptor, layout)
    model_config, training = ModelConfig.from_dict(plan["model"]), TrainingConfig.from_dict(plan["training"])
    V = plan["vocabulary_size"]
    model = LanguageModel(model_config, V, Parameters(shapes_of(model_config, V), memory["weights"]))
    if "file" in plan:
        file = plan["file"]
        with open(file["descriptor"], "rb") as opened:
            ids: Array = np.memmap(opened, file["dtype"], "r", file["offset"], (file["count"],))
    else:
        ids = memory["ids"]
    streams = Streams(ids, training.batch_size, training.seq_length)
    moments = {name.removeprefix("memory."): vector for name, vector in memory.items() if name.startswith("memory.")}
    state = TrainingState(memory["hidden"], moments, **(plan["state"] | {"best_loss": math.inf}))
    group = SharedMemoryGroup(plan["rank"], plan["size"], memory, [link])
    for _ in train(model, streams, training, state, lambda _: 0.0, group, plan["unknown_cost"]):
        pass


def _line(lines: Any) -> bytes:
    """Reads one line byte by byte, so that the bytes after it stay in the socket. Raises `PeerLost`."""
    line = b""
    while not line.endswith(b"\n"):
        byte = lines.read(1)
        if not byte:
            raise PeerLost
        line += byte
    return line


def main() -> None:
    """Runs a process that `train_in_processes` starts; its arguments are the descriptors of the link and of the memory."""
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()
    link, descriptor = (int(argument) for argument in sys.argv[1:])
    with socket.socket(fileno=link) as connection, contextlib.suppress(PeerLost, TrainingDiverged):
        follow_leader(connection, descriptor)


if __name__ == "__main__":
    main()
