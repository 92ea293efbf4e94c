"""Runs the network one step at a time, for B texts at once: a decode step.

All buffers and their views are made once for B texts: with one text, making them would take longer than the step. Each row is
computed as if it were alone (`model.batch_invariant`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.batch_invariant import PreparedWeights
from model.functions import Array, Ids
from model.language_model import LanguageModel


class NetworkStepper:
    """Reads one symbol of each of B texts per step. `state` (L, S, B, H) is updated in place."""

    def __init__(self, model: LanguageModel, state: Array, table: Array, weights: PreparedWeights) -> None:
        """`table` is `model.input_table()`. The model's parameters must not change while it is used."""
        self.state = state
        self._table = table
        B, dtype, p = state.shape[2], state.dtype, model.parameters
        x = self._x = np.empty((B, table.shape[1]), dtype)
        steps: list[Callable[[], object]] = []
        for index, layer in enumerate(model.layers):
            if index or model.config.embedding_size:
                z = np.empty((B, layer["b"].shape[0]), dtype)
                steps += [weights.bind(layer["Wx"], x, z), _adding(layer["b"], z)]
            else:
                z = x
            steps.append(model.cell.stepper(layer, z, state[index], weights.bind))
            x = state[index, 0]  # h
        self.logits = np.empty((B, model.vocabulary_size), dtype)
        steps += [weights.bind(p["Wy"], x, self.logits), _adding(p["by"], self.logits)]
        self._steps = steps

    def step(self, ids: Ids) -> Array:
        """Reads ids (B,); returns the logits (B, V) of the next symbol, valid until the next step."""
        self._table.take(ids, axis=0, out=self._x, mode="clip")
        for step in self._steps:
            step()
        return self.logits


def _adding(b: Array, z: Array) -> Callable[[], object]:
    return lambda: np.add(z, b, out=z)
