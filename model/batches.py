"""A long text as parallel streams, read chunk by chunk: the order of truncated backpropagation through time.

::

    ids:  a b c d e f g h i j k l m            B = 3 streams of S = 4 symbols
    stream 0:  a b c d                          inputs of the first chunk (T = 2), time first:  a e i
    stream 1:  e f g h                                                                         b f j
    stream 2:  i j k l                          targets: the symbol after each

The streams go on from chunk to chunk, and so does the hidden state. At the end of an epoch each stream has come to where the
next one began, so its state moves on to that one (`Streams.carry`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ids = NDArray[np.integer[Any]]


class Split(NamedTuple):
    """Where the training part ends and which symbols validate: ids[start:stop], one contiguous tail (or its beginning)."""

    training: int  # symbols 0..training-1 are learned from
    start: int
    stop: int


def split(total: int, fraction: float, validation_size: int) -> Split:
    """Keep the last `fraction` of `total` symbols for validation, and read at most the first `validation_size` of them (0: all)."""
    tail = max(1, round(total * fraction))
    training = total - tail
    stop = total if validation_size == 0 else min(total, training + validation_size)
    return Split(training, training, stop)


class Streams:
    """ids (N,) as B streams of S symbols, in chunks of about `seq_length`.

    A text too short for `batch_size` streams of `seq_length` symbols is read as fewer streams. The chunks of an epoch differ in
    length by at most one symbol, so that none of them is a short rest.
    """

    def __init__(self, ids: Ids, batch_size: int, seq_length: int) -> None:
        """`ids` may be memory-mapped; it is only sliced. It needs two symbols at least."""
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
        """Inputs and targets (T, B) of chunk `index` of an epoch."""
        start, stop = self.length * index // self.chunks, self.length * (index + 1) // self.chunks
        return self._inputs[:, start:stop].T, self._targets[:, start:stop].T

    @staticmethod
    def carry(state: Array) -> Array:
        """The state (L, S, B, H) for the next epoch's first chunk: stream b goes on where stream b-1 ended, stream 0 from zero."""
        moved = np.roll(state, 1, axis=2)
        moved[:, :, 0] = 0
        return moved
