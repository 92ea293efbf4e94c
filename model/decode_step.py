"""The network one step at a time, for B texts at once: what writing text needs.

All buffers and their views are made once for B texts, since at one text a step takes less time than making them would. Each row
is computed as if it were alone (`model.batch_invariant`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.batch_invariant import Products
from model.functions import Array, Ids
from model.language_model import LanguageModel


class NetworkStepper:
    """Reads one symbol of each of B texts per step. `state` (L, S, B, H) is moved on in place."""

    def __init__(self, model: LanguageModel, state: Array, table: Array, products: Products) -> None:
        """`table` is `model.input_table()`. The model's parameters must not change while it is used."""
        self.state = state
        self._table = table
        B, dtype, p = state.shape[2], state.dtype, model.parameters
        x = self._x = np.empty((B, table.shape[1]), dtype)
        steps: list[Callable[[], object]] = []
        for index, layer in enumerate(model.layers):
            if index or model.config.embedding_size:
                z = np.empty((B, layer["b"].shape[0]), dtype)
                steps += [products.bind(layer["Wx"], x, z), _adding(layer["b"], z)]
            else:
                z = x
            steps.append(model.cell.stepper(layer, z, state[index], products.bind))
            x = state[index, 0]  # h
        self.logits = np.empty((B, model.vocabulary_size), dtype)
        steps += [products.bind(p["Wy"], x, self.logits), _adding(p["by"], self.logits)]
        self._steps = steps

    def step(self, ids: Ids) -> Array:
        """Read ids (B,): the logits (B, V) of the symbol after them, valid until the next step."""
        self._table.take(ids, axis=0, out=self._x, mode="clip")
        for step in self._steps:
            step()
        return self.logits


def _adding(b: Array, z: Array) -> Callable[[], object]:
    return lambda: np.add(z, b, out=z)
