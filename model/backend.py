"""Chooses what computes a model: the kernels (`model.kernels`), or numpy where there are none for it.

Both have the same methods. Streams of a batch are computed as if each were alone: by the kernels in one product for all, by numpy one
after the other when texts are written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model import functions
from model.config import TrainingConfig
from model.functions import UNKNOWN_COST, Array, Ids
from model.kernels.library import library
from model.kernels.network import CELLS, KernelNetwork
from model.language_model import LanguageModel
from model.optimizer import Memory, Optimizer


class NumpyNetwork:
    """A model that is computed by numpy. Its methods are those of `KernelNetwork`."""

    def __init__(self, model: LanguageModel) -> None:
        """The weights must not change without `refresh`."""
        self.model = model
        self.loss_and_gradients = model.loss_and_gradients
        self.refresh()

    def refresh(self) -> None:
        """See `KernelNetwork`."""
        with np.errstate(all="ignore"):
            self._table = self.model.input_table()

    def release(self) -> None:
        """See `KernelNetwork`. Nothing is kept."""

    def read(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """See `KernelNetwork`."""
        with np.errstate(all="ignore"):  # numbers that are not finite are shown, or found, by the callers
            output, state, _ = self.model.read(ids, state, table=self._table)
        return output, state

    def forward(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """See `KernelNetwork`."""
        output, state = self.read(ids, state)
        with np.errstate(all="ignore"):
            return self.model.logits(output), state

    def nats(self, ids: Ids, targets: Ids, state: Array, unknown_cost: float = UNKNOWN_COST) -> tuple[NDArray[np.float64], Array]:
        """See `KernelNetwork`."""
        logits, state = self.forward(ids, state)
        with np.errstate(all="ignore"):
            costs, _ = functions.nats(logits.reshape(targets.size, -1), targets.ravel(), unknown_cost)
        return costs.reshape(targets.shape), state

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """See `KernelNetwork`."""
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = functions.log_probabilities(self.model.logits(output[:, None])[:, 0])
        return found

    def optimizer(self, memory: Memory, config: TrainingConfig) -> Optimizer:
        """See `KernelNetwork`."""
        return Optimizer(self.model.parameters, memory, config)


Network = KernelNetwork | NumpyNetwork


def network_for(model: LanguageModel, threads: int = 1, *, trains: bool = False) -> Network:
    """Returns the kernels' network, which uses up to `threads` threads, or numpy's if there are no kernels for the model.

    A network that `trains` also has room for the transposed weights.

    Raises `KernelsUnusable` as `model.kernels.library.library`.
    """
    kernels = library()
    if kernels is None or model.parameters.flat.dtype != np.float32 or model.config.cell not in CELLS:
        return NumpyNetwork(model)
    return KernelNetwork(kernels, model, threads=threads, trains=trains)
