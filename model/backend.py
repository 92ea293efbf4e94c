"""Chooses what computes a model: the kernels (`model.kernels`), or numpy where there are none for it.

Both have the same methods. Streams of a batch are computed as if each were alone: by the kernels in one product for all, by numpy one
after the other when texts are written.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model import functions
from model.config import TrainingConfig
from model.functions import UNKNOWN_COST, Array, Ids
from model.kernels.library import library
from model.kernels.network import KernelNetwork
from model.language_model import LanguageModel
from model.optimizer import Memory, Optimizer
from model.parameters import Parameters


class AnyOptimizer(Protocol):
    """Updates the weights of a model: `model.optimizer.Optimizer` or `model.kernels.optimizer.KernelOptimizer`."""

    def norm(self, gradient: Array) -> float:
        """Returns the norm of a gradient (P,); not finite if one of its numbers is not."""
        ...

    def update(self, gradient: Array, norm: float, rate: float, t: int) -> None:
        """Clips a gradient (P,) with this norm and updates the parameters; `t` counts updates from 1."""
        ...


class Network(Protocol):
    """Reads text with a model, and trains it. Shapes: T time, B streams, L layers, S states, H hidden units, V symbols."""

    model: LanguageModel

    def refresh(self) -> None:
        """Reads the weights of the model anew, which must not change otherwise."""
        ...

    def release(self) -> None:
        """Frees the memory of training, which is taken again when it is needed."""
        ...

    def read(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the output (T, B, H) of the top layer and the state afterwards."""
        ...

    def forward(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the logits (T, B, V) and the state afterwards."""
        ...

    def nats(self, ids: Ids, targets: Ids, state: Array, unknown_cost: float = UNKNOWN_COST) -> tuple[NDArray[np.float64], Array]:
        """Returns -ln p of each of the targets (T, B) after ids (T, B), and the state afterwards."""
        ...

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
        """See `LanguageModel.loss_and_gradients`."""
        ...

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """Returns ln p of each next symbol (T, V) for an output (T, H) of the top layer; see `model.functions.log_probabilities`."""
        ...

    def optimizer(self, memory: Memory, config: TrainingConfig) -> AnyOptimizer:
        """Returns what updates the weights of the model; the network needs a `refresh` after each update."""
        ...


class NumpyNetwork:
    """A model that is computed by numpy."""

    def __init__(self, model: LanguageModel) -> None:
        """The weights must not change without `refresh`."""
        self.model = model
        self.refresh()

    def refresh(self) -> None:
        """See `Network`."""
        with np.errstate(all="ignore"):
            self._table = self.model.input_table()

    def release(self) -> None:
        """See `Network`. Nothing is kept."""

    def read(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """See `Network`."""
        with np.errstate(all="ignore"):  # numbers that are not finite are shown, or found, by the callers
            output, state, _ = self.model.read(ids, state, table=self._table)
        return output, state

    def forward(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """See `Network`."""
        output, state = self.read(ids, state)
        with np.errstate(all="ignore"):
            return self.model.logits(output), state

    def nats(self, ids: Ids, targets: Ids, state: Array, unknown_cost: float = UNKNOWN_COST) -> tuple[NDArray[np.float64], Array]:
        """See `Network`."""
        logits, state = self.forward(ids, state)
        with np.errstate(all="ignore"):
            costs, _ = functions.nats(logits.reshape(targets.size, -1), targets.ravel(), unknown_cost)
        return costs.reshape(targets.shape), state

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
        """See `Network`."""
        with np.errstate(all="ignore"):
            return self.model.loss_and_gradients(inputs, targets, state, grads, count=count, masks=masks, unknown_cost=unknown_cost)

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """See `Network`."""
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = functions.log_probabilities(self.model.logits(output[:, None])[:, 0])
        return found

    def optimizer(self, memory: Memory, config: TrainingConfig) -> Optimizer:
        """See `Network`."""
        return Optimizer(self.model.parameters, memory, config)


def network_for(model: LanguageModel, threads: int = 1, *, trains: bool = False) -> Network:
    """Returns the network that computes the model fastest here: by the kernels with up to so many threads; `trains` if it will.

    Raises `KernelsUnusable` as `model.kernels.library.library`.
    """
    kernels = library()
    if kernels is None or model.parameters.flat.dtype != np.float32:
        return NumpyNetwork(model)
    return KernelNetwork(kernels, model, threads=threads, trains=trains)
