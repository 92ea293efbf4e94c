"""Cuts a long text into parallel streams and chunks, for truncated backpropagation through time.

::

    ids:  a b c d e f g h i j k l m            B = 3 streams of S = 4 symbols
    stream 0:  a b c d                          inputs of the first chunk (T = 2), time first:  a e i
    stream 1:  e f g h                                                                         b f j
    stream 2:  i j k l                          targets: the symbol after each

The streams continue from chunk to chunk, and so does the hidden state. At the end of an epoch each stream has reached the beginning
of the next one, so its state moves on to that one (`Streams.carry`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]]


class Split(NamedTuple):
    """The training part ids[:training] and the validation part ids[start:stop]: the tail of the text, or the tail's beginning."""

    training: int
    start: int
    stop: int


def split(total: int, fraction: float, validation_size: int) -> Split:
    """Reserves the last `fraction` of `total` symbols for validation, of which the first `validation_size` are read (0: all)."""
    tail = max(1, round(total * fraction))
    training = total - tail
    stop = total if validation_size == 0 else min(total, training + validation_size)
    return Split(training, training, stop)


class Streams:
    """ids (N,) as B streams of S symbols, in chunks of about `seq_length`.

    A text too short for `batch_size` streams of `seq_length` symbols is read as fewer streams. The chunks of an epoch differ in
    length by at most one symbol, so that the last one is not shorter than the others.
    """

    def __init__(self, ids: Ids, batch_size: int, seq_length: int) -> None:
        """`ids` may be memory-mapped; it is only sliced. It needs at least two symbols."""
        transitions = len(ids) - 1
        if transitions < 1:
            raise ValueError(f"{len(ids)} symbols cannot be read as streams; at least 2 are needed")
        self.batch_size = min(batch_size, max(1, transitions // seq_length))
        self.length = transitions // self.batch_size
        used = self.batch_size * self.length
        self._inputs = ids[:used].reshape(self.batch_size, self.length)  # (B, S)
        self._targets = ids[1 : used + 1].reshape(self.batch_size, self.length)
        self.chunks = -(-self.length // seq_length)

    @property
    def symbols(self) -> int:
        """Symbols read in one epoch."""
        return self.batch_size * self.length

    def chunk(self, index: int) -> tuple[Ids, Ids]:
        """Returns inputs and targets (T, B) of chunk `index` of an epoch."""
        start, stop = self.length * index // self.chunks, self.length * (index + 1) // self.chunks
        return self._inputs[:, start:stop].T, self._targets[:, start:stop].T

    @staticmethod
    def carry(state: Array) -> Array:
        """Returns the state (L, S, B, H) for the next epoch: stream b continues from the end of stream b-1, stream 0 from zero."""
        moved = np.roll(state, 1, axis=2)
        moved[:, :, 0] = 0
        return moved
