"""Defines the interface of a group of processes that train one model together (data parallelism).

Each process reads some of the streams with the same weights; the sum of their gradients is that of all streams. All of them make the
same calls in the same order:

::

    share = group.begin(share)                           rank 0 sends the share of the run that is done; 1 or more ends it
    ... forward, backward over group.rows(B) ...
    gradient, norm, loss = group.reduce(gradient, loss)  the sums over all, in the order of the ranks
    ... update of the weights group.part(P) ...
    group.barrier()                                      now all weights are updated

The `ProcessGroup` in this module is a single process; `service.training.parallel` and `service.training.mpi` have groups of several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.optimizer import gradient_norm

Array = NDArray[Any]


class Reduced(NamedTuple):
    """The sums over all processes."""

    gradient: Array  # this process's part of the gradient; it may be overwritten
    norm: float  # of the whole gradient
    loss: float


class ProcessGroup:
    """A group of one process, and the interface of all groups."""

    rank = 0  # 0 leads
    size = 1

    def rows(self, batch_size: int) -> slice:
        """Returns the streams that this process reads; they need not divide evenly."""
        return slice(batch_size * self.rank // self.size, batch_size * (self.rank + 1) // self.size)

    def part(self, parameters: int) -> slice:
        """Returns the weights that this process updates: all, unless the weights are in shared memory."""
        return slice(0, parameters)

    def gradient_buffer(self, parameters: Array) -> Array:
        """Returns the buffer for this process's gradient: zeros like the parameters (P,)."""
        return np.zeros_like(parameters)

    def begin(self, share: float) -> float:
        """Waits until rank 0 begins the next step or ends the run; returns its share."""
        return share

    def reduce(self, gradient: Array, loss: float) -> Reduced:
        """Sums the gradient (P,) and the loss over all processes, in the order of the ranks."""
        return Reduced(gradient, gradient_norm(gradient), loss)

    def gather(self, hidden: Array) -> Array:
        """Returns the states (L, S, B, H) of all streams; each process has its own rows in `hidden`. Called by all."""
        return hidden

    def collect(self, hidden: Array) -> Array:
        """Does `gather` between two steps, called by rank 0 alone: for a checkpoint."""
        return hidden

    def barrier(self) -> None:
        """Returns when all processes have called it."""


ALONE = ProcessGroup()


def sum_in_order(vectors: list[Array], part: slice) -> Array:
    """Returns the sum of a part of several vectors, always in the same order, since sums of floats depend on it."""
    total = vectors[0][part].copy()
    for vector in vectors[1:]:
        total += vector[part]
    return np.asarray(total)
