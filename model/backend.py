"""Chooses what computes a model: the kernels (`model.kernels`), or numpy where there are none for it.

Both have the same methods. Streams of a batch are computed as if each were alone: by the kernels in one product for all, by numpy one
after the other when texts are written.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.functions import Array, Ids, log_probabilities
from model.kernels.library import library
from model.kernels.network import KernelNetwork
from model.language_model import LanguageModel


class Network(Protocol):
    """Reads text with a model whose weights do not change. Shapes: T time, B streams, L layers, S states, H hidden units, V symbols."""

    model: LanguageModel

    def read(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the output (T, B, H) of the top layer and the state afterwards."""
        ...

    def forward(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        """Reads ids (T, B) from state (L, S, B, H); returns the logits (T, B, V) and the state afterwards."""
        ...

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """Returns ln p of each next symbol (T, V) for an output (T, H) of the top layer; see `model.functions.log_probabilities`."""
        ...


class NumpyNetwork:
    """A model that is computed by numpy."""

    def __init__(self, model: LanguageModel) -> None:
        """The weights must not change."""
        self.model = model
        self._table = model.input_table()

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

    def log_probabilities(self, output: Array) -> NDArray[np.float64]:
        """See `Network`."""
        with np.errstate(all="ignore"):
            found: Any = log_probabilities(self.model.logits(output[:, None])[:, 0])
        return found  # type: ignore[no-any-return]


def network_for(model: LanguageModel, threads: int = 1) -> Network:
    """Returns the network that computes the model fastest here; for `KernelNetwork` with up to so many threads.

    Raises `KernelsUnusable` as `model.kernels.library.library`.
    """
    kernels = library()
    if kernels is None or model.parameters.flat.dtype != np.float32:
        return NumpyNetwork(model)
    return KernelNetwork(kernels, model, threads=threads)
