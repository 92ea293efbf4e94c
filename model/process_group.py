"""Defines the interface of a group of processes that train one model together (data parallelism).

Each process reads some of the streams with the same weights; the sum of their gradients is that of all streams. All of them make the
same calls in the same order, and the same updates of all weights:

::

    share = group.begin(share)                                 rank 0 sends the share of the run that is done; 1 or more ends it
    ... forward, backward over group.rows(B) ...
    gradient, norm, loss = group.reduce(gradient, loss, norm)  the sums over all, in the order of the ranks
    ... update of the weights ...
    group.barrier()                                            the step is over

The `ProcessGroup` in this module is a single process; `service.training.mpi` has a group of several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Reduced(NamedTuple):
    """The sums over all processes."""

    gradient: Array
    norm: float  # of the gradient
    loss: float


class ProcessGroup:
    """A group of one process, and the interface of all groups."""

    rank = 0  # 0 leads
    size = 1

    def rows(self, batch_size: int) -> slice:
        """Returns the streams that this process reads; they need not divide evenly."""
        return slice(batch_size * self.rank // self.size, batch_size * (self.rank + 1) // self.size)

    def gradient_buffer(self, parameters: Array) -> Array:
        """Returns the buffer for this process's gradient: zeros like the parameters (P,)."""
        return np.zeros_like(parameters)

    def begin(self, share: float) -> float:
        """Waits until rank 0 begins the next step or ends the run; returns its share."""
        return share

    def reduce(self, gradient: Array, loss: float, norm: Callable[[Array], float]) -> Reduced:
        """Sums the gradient (P,) and the loss over all processes, in the order of the ranks; `norm` measures the sum."""
        return Reduced(gradient, norm(gradient), loss)

    def gather(self, hidden: Array) -> Array:
        """Returns the states (L, S, B, H) of all streams; each process has its own rows in `hidden`. Called by all."""
        return hidden

    def collect(self, hidden: Array) -> Array:
        """Does `gather` between two steps, called by rank 0 alone: for a checkpoint."""
        return hidden

    def barrier(self) -> None:
        """Ends a step: no process needs another one before the next `begin`."""


ALONE = ProcessGroup()
