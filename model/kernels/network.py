"""Reads and trains a model with the C library: the methods of `LanguageModel` for single precision, with the same arguments.

Each number of a result has the same bits for any number of threads and for any other rows in the batch.
"""

from __future__ import annotations

import ctypes
import math
import weakref

import numpy as np
from numpy.typing import NDArray

from model.config import ACTIVATIONS, TrainingConfig
from model.functions import UNKNOWN_COST, Array, Ids
from model.kernels.library import Library, LogprobArrays, NetworkShape, SamplingRow, checked, checked_threads
from model.kernels.optimizer import KernelOptimizer
from model.language_model import LanguageModel
from model.optimizer import Memory
from model.parameters import Parameters, shapes_of

CELLS = ("rnn", "gru", "lstm")  # in the order of cells.h


class KernelNetwork:
    """A model, prepared for the library. Not thread-safe: one thread at a time calls it."""

    def __init__(self, library: Library, model: LanguageModel, *, threads: int = 1, trains: bool = False) -> None:
        """Packs the weights of the model, which must not change without `refresh`.

        Raises `MemoryError`, and `ValueError` for weights of another model or a number of threads that cannot be.
        """
        config = model.config
        self.model, self.threads = model, checked_threads(threads)
        self._library, self._trains = library, trains
        self._weights = checked(model.parameters.flat, (sum(map(math.prod, shapes_of(config, model.vocabulary_size).values())),))
        shape = NetworkShape(
            CELLS.index(config.cell),
            ACTIVATIONS.index(config.activation),
            config.num_layers,
            model.vocabulary_size,
            config.embedding_size,
            config.hidden_size,
            -1 if model.boundary is None else model.boundary,
        )
        self._network = _made(library.network_new(ctypes.byref(shape), trains))
        weakref.finalize(self, library.network_free, self._network).atexit = False  # another thread may still use it then
        self._state_shape = model.zero_state(0).shape
        self._tape: _Tape | None = None
        self.refresh()

    def refresh(self) -> None:
        """Packs the weights anew, after they changed."""
        self._library.network_pack(self._network, self._weights.ctypes.data, self.threads)

    def release(self) -> None:
        """Frees the memory of training, which is taken again when it is needed."""
        self._tape = None

    def read(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the output (T, B, H) of the top layer and the state afterwards."""
        output = np.empty((*ids.shape, self.model.config.hidden_size), np.float32)
        return output, self._read(ids, state, output=output)

    def forward(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the logits (T, B, V) and the state afterwards."""
        logits = np.empty((*ids.shape, self.model.vocabulary_size), np.float32)
        return logits, self._read(ids, state, logits=logits)

    def nats(self, ids: Ids, targets: Ids, state: Array, unknown_cost: float = UNKNOWN_COST) -> tuple[NDArray[np.float64], Array]:
        """Returns -ln p of each of the targets (T, B) after ids (T, B), and the state afterwards."""
        costs = np.empty(ids.shape)
        return costs, self._read(ids, state, targets=_ids(targets, ids.shape), costs=costs, unknown_cost=unknown_cost)

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """Returns ln p of each next symbol (T, V) for an output (T, H) of the top layer; see `model.functions.log_probabilities`."""
        T, V = len(output), self.model.vocabulary_size
        output = checked(np.ascontiguousarray(output), (T, self.model.config.hidden_size))
        logits, logs = np.empty((T, V), np.float32), np.empty((T, V))
        self._library.network_logits(self._network, T, output.ctypes.data, logits.ctypes.data)
        self._library.log_softmax_of(T, V, logits.ctypes.data, logs.ctypes.data)
        return logs

    def sample(
        self,
        B: int,
        count: int,
        rows: ctypes.Array[SamplingRow],
        state: Array,
        random: NDArray[np.float64],
        allowed: int | None,
        following: int | None,
        drawn: NDArray[np.int32],
        logprobs: LogprobArrays,
    ) -> None:
        """Draws `count` symbols of B texts: `sample` in sampling.h. The state and `drawn` (B, count) are written.

        `rows`, `logprobs` and the guide's tables hold pointers, which nothing here can check.
        """
        L, S, _, H = self._state_shape
        checked(state, (L, S, B, H), written=True)
        checked(random, (B, count), "float64")
        checked(drawn, (B, count), "int32", written=True)
        if len(rows) != B:
            raise ValueError(f"there are {len(rows)} rows for {B} texts")
        pointers = rows, state.ctypes.data, random.ctypes.data, allowed, following, drawn.ctypes.data
        _done(self._library.sample(self._network, B, count, *pointers, ctypes.byref(logprobs), self.threads))

    def _read(
        self,
        ids: Ids,
        state: Array,
        *,
        output: Array | None = None,
        logits: Array | None = None,
        targets: Ids | None = None,
        costs: NDArray[np.float64] | None = None,
        unknown_cost: float = UNKNOWN_COST,
    ) -> Array:
        T, B = ids.shape
        ids, new_state = _ids(ids, (T, B)), self._copy_of(state, B)
        arrays = (ids, new_state, output, logits, targets)
        pointers = [None if each is None else each.ctypes.data for each in arrays]
        out = None if costs is None else costs.ctypes.data
        _done(self._library.network_read(self._network, T, B, *pointers, unknown_cost, out, self.threads))
        return new_state

    def _copy_of(self, state: Array, B: int) -> Array:
        L, S, _, H = self._state_shape
        return checked(np.array(state, np.float32, order="C", copy=True), (L, S, B, H))

    def loss_and_gradients(
        self,
        inputs: Ids,
        targets: Ids,
        state: Array,
        grads: Parameters,
        *,
        count: int = 0,
        masks: Array | None = None,
        unknown_cost: float = UNKNOWN_COST,
    ) -> tuple[float, Array]:
        """See `LanguageModel.loss_and_gradients`. Raises `ValueError` for a network that does not train."""
        if not self._trains:
            raise ValueError("this network was not made for training")
        T, B = inputs.shape
        if self._tape is None or not self._tape.holds(T, B, masks is not None):
            self._tape = None  # freed before the next one is made
            self._tape = _Tape(self._library, self._network, T, B, masks is not None)
        state, count = self._copy_of(state, B), count or inputs.size
        ids = _ids(inputs, (T, B)), _ids(targets, (T, B))
        if masks is not None:
            masks = checked(np.ascontiguousarray(masks, np.float32), (self._state_shape[0], B, self._state_shape[3]))
        gradients, total = checked(grads.flat, self._weights.shape, written=True), ctypes.c_double()
        _done(
            self._library.gradients_of(
                self._network,
                self._tape.tape,
                T,
                B,
                *(each.ctypes.data for each in ids),
                state.ctypes.data,
                None if masks is None else masks.ctypes.data,
                1 / count,
                unknown_cost,
                gradients.ctypes.data,
                self.threads,
                ctypes.byref(total),
            )
        )
        return total.value / count, state

    def optimizer(self, memory: Memory, config: TrainingConfig) -> KernelOptimizer:
        """Returns what updates the weights of the model; the network needs a `refresh` after each update."""
        return KernelOptimizer(self._library, self.model.parameters, memory, config, self.threads)


class _Tape:
    """The memory of a training step."""

    def __init__(self, library: Library, network: int, T: int, B: int, dropout: bool) -> None:
        self._size = T, B, dropout
        self.tape = _made(library.tape_new(network, T, B, dropout))
        weakref.finalize(self, library.tape_free, self.tape).atexit = False  # as the network

    def holds(self, T: int, B: int, dropout: bool) -> bool:
        most_steps, most_streams, dropped = self._size
        return most_steps >= T and most_streams >= B and (dropped or not dropout)


def _made(pointer: int | None) -> int:
    if pointer is None:
        raise MemoryError("there is no memory for the network")
    return pointer


def _done(status: int) -> None:
    if status:
        raise MemoryError("there is no memory for a step of the network")


def _ids(ids: Ids, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Returns ids as the library reads them. Raises `ValueError` for another shape, other numbers than whole ones, or one out of range."""
    if ids.shape != shape:
        raise ValueError(f"ids have shape {ids.shape}, not {shape}")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"ids are {ids.dtype}, not whole numbers")
    kind = np.iinfo(ids.dtype)
    if ids.size and (kind.min < 0 or kind.max >= 2**31) and not (ids.min() >= 0 and ids.max() < 2**31):
        raise ValueError(f"ids are from {ids.min()} to {ids.max()}; they must be from 0 to {2**31 - 1}")
    return np.ascontiguousarray(ids, np.int32)
