"""The processes that train one model together, as one of them sees them.

Each reads some of the streams with the same weights; the sum of their gradients is that of all streams. All of them make the
same calls in the same order, and each call returns the same on all of them:

::

    share = group.begin(share)                          rank 0 says how far the run is; 1 or more ends it
    ... forward, backward over group.rows(B) ...
    gradient, norm, loss = group.reduce(gradient, loss)  the sums over all, in the order of the ranks
    ... update of the weights group.part(P) ...
    group.barrier()                                      now all weights are new

A `ProcessGroup` as it stands here is one process alone. `service.parallel` has those of several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.optimizer import gradient_norm

Array = NDArray[Any]


class Reduced(NamedTuple):
    """The sums over all processes."""

    gradient: Array  # this process's part of the gradient; it may be written to
    norm: float  # of the whole gradient
    loss: float


class ProcessGroup:
    """One process alone, and the interface of all groups."""

    rank = 0  # 0 leads
    size = 1

    def rows(self, batch_size: int) -> slice:
        """The streams that this process reads; they need not divide evenly."""
        return slice(batch_size * self.rank // self.size, batch_size * (self.rank + 1) // self.size)

    def part(self, parameters: int) -> slice:
        """The weights that this process updates: all, but where the weights are shared memory."""
        return slice(0, parameters)

    def gradient_buffer(self, parameters: Array) -> Array:
        """Where this process leaves its gradient before `reduce`: zeros like the parameters (P,)."""
        return np.zeros_like(parameters)

    def begin(self, share: float) -> float:
        """Wait until rank 0 begins the next step (or ends the run); returns its share."""
        return share

    def reduce(self, gradient: Array, loss: float) -> Reduced:
        """Sum the gradient (P,) and the loss over all processes."""
        return Reduced(gradient, gradient_norm(gradient), loss)

    def gather(self, hidden: Array) -> Array:
        """The states (L, S, B, H) of all streams, where each process has written its own rows into `hidden`. Called by all."""
        return hidden

    def collect(self, hidden: Array) -> Array:
        """`gather` between two steps, called by rank 0 alone."""
        return hidden

    def barrier(self) -> None:
        """Return when all processes have come here."""


ALONE = ProcessGroup()


def sum_in_order(vectors: list[Array], part: slice) -> Array:
    """The sum of a part of several vectors, always in the same order: sums of floats depend on it."""
    total = vectors[0][part].copy()
    for vector in vectors[1:]:
        total += vector[part]
    return np.asarray(total)
