"""Cuts a long text into parallel streams and chunks, for truncated backpropagation through time.

::

    ids:  a b c d e f g h i j k l m            B = 3 streams of S = 4 symbols
    stream 0:  a b c d                          inputs of the first chunk (T = 2), time first:  a e i
    stream 1:  e f g h                                                                         b f j
    stream 2:  i j k l                          targets: the symbol after each

The streams continue from chunk to chunk, and so does the hidden state. At the end of an epoch each stream has reached the beginning
of the next one, so its state moves on to that one (`Streams.carry`).

Records are read in an order that is drawn anew for each epoch: ``| r1 | r2 | ... |``, with a boundary before, between and behind them.
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
        self._divide(len(ids) - 1, batch_size, seq_length)
        self._inputs = ids[: self.symbols].reshape(self.batch_size, self.length)  # (B, S)
        self._targets = ids[1 : self.symbols + 1].reshape(self.batch_size, self.length)

    def _divide(self, transitions: int, batch_size: int, seq_length: int) -> None:
        if transitions < 1:
            raise ValueError(f"{transitions + 1} symbols cannot be read as streams; at least 2 are needed")
        self.batch_size = min(batch_size, max(1, transitions // seq_length))
        self.length = transitions // self.batch_size
        self.chunks = -(-self.length // seq_length)

    @property
    def symbols(self) -> int:
        """Symbols read in one epoch."""
        return self.batch_size * self.length

    def start_of(self, index: int) -> int:
        """Returns where chunk `index` begins in each stream."""
        return self.length * index // self.chunks

    def chunk(self, index: int, epoch: int = 0) -> tuple[Ids, Ids]:
        """Returns inputs and targets (T, B) of chunk `index` of an epoch. Prose is the same in each epoch."""
        start, stop = self.start_of(index), self.start_of(index + 1)
        return self._inputs[:, start:stop].T, self._targets[:, start:stop].T

    def carry(self, state: Array) -> Array:
        """Returns the state (L, S, B, H) for the next epoch: stream b continues from the end of stream b-1, stream 0 from zero."""
        moved = np.roll(state, 1, axis=2)
        moved[:, :, 0] = 0
        return moved


class Records(NamedTuple):
    """n records as ids: record k is ``ids[starts[k] : starts[k] + sizes[k]]``, which begins with the boundary; ids end with one, too."""

    ids: Ids  # (N,), maybe memory-mapped
    starts: NDArray[np.int64]  # (n,)
    sizes: NDArray[np.int64]  # (n,) with the boundary

    @property
    def symbols(self) -> int:
        """The symbols of all records, with the boundary before each."""
        return int(self.sizes.sum())

    def take(self, chosen: Array) -> Records:
        """Returns some of the records, by a mask or by their numbers."""
        return Records(self.ids, self.starts[chosen], self.sizes[chosen])

    def joined(self, first: int = 0, last: int | None = None) -> Ids:
        """Returns the ids first..last-1 of all records one behind the other, with a boundary at the end."""
        return self.slice_of(np.concatenate([[0], np.cumsum(self.sizes)]), first, self.symbols + 1 if last is None else last)

    def slice_of(self, edges: NDArray[np.int64], first: int, last: int) -> Ids:
        """Does `joined`; `edges` (n+1,) says where each record begins in the whole, and where the last boundary stands."""
        low, high = int(np.searchsorted(edges, first, "right")) - 1, int(np.searchsorted(edges[:-1], last, "left"))
        edge = edges[low : high + 1].clip(first, min(last, edges[-1]))
        places = np.arange(edge[0], edge[-1]) + np.repeat(self.starts[low:high] - edges[low:high], np.diff(edge))
        ids: Ids = self.ids[places]
        return ids if last <= edges[-1] else np.append(ids, self.ids[self.starts[:1]])


WINDOW = 2**18  # symbols that are put in order at a time: enough to make the work for each of them small, little memory
ORDER = 0x7265636F7264  # "record": tells the random numbers of the order from those of dropout, which have the same seed


class RecordStreams(Streams):
    """Records as streams, in an order that follows from the seed and the epoch.

    A stream begins where it begins, maybe inside of a record, with a state of zero.
    """

    def __init__(self, records: Records, batch_size: int, seq_length: int, seed: int) -> None:
        self.records, self._seed = records, seed
        self._divide(records.symbols, batch_size, seq_length)
        self._epoch = self._window = -1

    def chunk(self, index: int, epoch: int = 0) -> tuple[Ids, Ids]:
        """See `Streams`. The order is drawn anew for each epoch."""
        if epoch != self._epoch:
            draws = np.random.PCG64([self._seed, epoch, ORDER]).random_raw(len(self.records.starts))
            self._shuffled = self.records.take(np.argsort(draws, kind="stable"))
            self._edges = np.concatenate([[0], np.cumsum(self._shuffled.sizes)])
            self._epoch, self._window = epoch, -1
        per_window = max(1, WINDOW * self.chunks // self.symbols)
        if index // per_window != self._window:
            self._window = index // per_window
            self._first = self.start_of(self._window * per_window)
            last = self.start_of(min(self.chunks, (self._window + 1) * per_window)) + 1
            begins = self.length * np.arange(self.batch_size)
            self._read = np.stack([self._shuffled.slice_of(self._edges, begin + self._first, begin + last) for begin in begins.tolist()])
        start, stop = self.start_of(index) - self._first, self.start_of(index + 1) - self._first
        return self._read[:, start:stop].T, self._read[:, start + 1 : stop + 1].T

    def carry(self, state: Array) -> Array:
        """Returns zeros: the next epoch has another order."""
        return np.zeros_like(state)
