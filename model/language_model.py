"""Implements the network over symbols, forward and backward: embedding row -> stacked cells -> logits -> loss.

::

    x = table[id]           without an embedding the table is layer 0's Wx + b, and x is its z already
    z = x Wx + b            for each further layer, all T steps in one product
    h = cell(z)             model/cells
    logits = h Wy + by

T time, B batch, L layers, S states, H hidden units, V symbols, G gates. Ids 0..V-1 are symbols; V is the unknown symbol. Its
input row is the mean of all others, so that it needs no training (its gradient is shared among all of them). It has no logit, so
that it is never emitted.

A model of records has a `boundary`, the symbol between two records. Reading it sets the state to zero first, so that a record does not
depend on the one before it, and no gradient passes from one to the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from model.cells import cell_of
from model.config import ModelConfig
from model.functions import UNKNOWN_COST, Array, Ids, cross_entropy, cross_entropy_backward
from model.parameters import Parameters, initialise


class Tape(NamedTuple):
    """The values of the forward pass that the backward pass needs."""

    ids: Ids  # (T, B)
    cells: list[Any]  # one tape per layer
    inputs: list[Array]  # x of each layer, (T, B, D); not used for layer 0 without an embedding
    masks: Array | None  # (L, B, H) of dropout
    output: Array  # (T, B, H) of the top layer, from which the logits are computed


class LanguageModel:
    """A network: its configuration, the size of its vocabulary, the id of the boundary if it has one, and its parameters."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, parameters: Parameters, boundary: int | None = None) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.boundary = boundary
        self.parameters = parameters
        self.cell = cell_of(config)
        self.layers = [parameters.layer(index) for index in range(config.num_layers)]

    @classmethod
    def new(
        cls, config: ModelConfig, vocabulary_size: int, seed: int = 0, dtype: Any = np.float32, boundary: int | None = None
    ) -> LanguageModel:
        """Returns a model before training."""
        return cls(config, vocabulary_size, initialise(config, vocabulary_size, seed, dtype), boundary)

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state before any text, (L, S, B, H)."""
        shape = (self.config.num_layers, len(self.cell.states), batch_size, self.config.hidden_size)
        return np.zeros(shape, self.parameters.flat.dtype)

    def input_table(self) -> Array:
        """Returns the first layer's input for each id: (V+1, E), or without an embedding (V+1, G*H) with the bias."""
        rows = self.parameters["embedding"] if self.config.embedding_size else self.layers[0]["Wx"]
        table = np.concatenate((rows, rows.mean(axis=0, keepdims=True)))
        return table if self.config.embedding_size else table + self.layers[0]["b"]

    def masks(self, rng: np.random.Generator, batch_size: int) -> Array | None:
        """Draws the masks (L, B, H) by which dropout multiplies the output of each layer; None if the model has no dropout.

        Inverted dropout (Srivastava et al. 2014): 0 with probability `dropout`, else 1 / (1 - dropout). A unit is dropped for all of a
        sequence (Gal and Ghahramani 2016).
        """
        share, (L, _, B, H) = self.config.dropout, self.zero_state(batch_size).shape
        if not share:
            return None
        kept = rng.random((L, B, H), np.float32) >= share
        return kept.astype(self.parameters.flat.dtype) / (1 - share)

    def forward(self, ids: Ids, state: Array, *, masks: Array | None = None, table: Array | None = None) -> tuple[Array, Array, Tape]:
        """Reads ids (T, B) from state (L, S, B, H); returns logits (T, B, V), the state afterwards, and the tape.

        `masks` are those of dropout, in training. `table` is `input_table()`, for callers that read many times with the same parameters.
        """
        output, state, tape = self.read(ids, state, masks=masks, table=table)
        return self.logits(output), state, tape

    def logits(self, output: Array) -> Array:
        """Returns the logits (T, B, V) for an output (T, B, H) of the top layer."""
        logits: Array = output @ self.parameters["Wy"] + self.parameters["by"]
        return logits

    def read(self, ids: Ids, state: Array, *, masks: Array | None = None, table: Array | None = None) -> tuple[Array, Array, Tape]:
        """Does `forward` without the logits; returns the output (T, B, H) of the top layer, the state afterwards, and the tape."""
        table = self.input_table() if table is None else table
        x, new_state = table[ids], np.empty_like(state)
        starts = None if self.boundary is None else ids == self.boundary  # (T, B)
        tapes, inputs = [], []
        for index, layer in enumerate(self.layers):
            inputs.append(x)
            z = x @ layer["Wx"] + layer["b"] if index or self.config.embedding_size else x
            h, new_state[index], tape = self.cell.forward(layer, z, state[index], starts)
            tapes.append(tape)
            x = h if masks is None else h * masks[index]
        return x, new_state, Tape(ids, tapes, inputs, masks, x)

    def backward(self, tape: Tape, dlogits: Array, grads: Parameters) -> Array:
        """Adds the gradients of all parameters to `grads`, given that of the logits (T, B, V); returns dstate (L, S, B, H).

        The gradient from beyond the last step is zero: truncated backpropagation through time.
        """
        grads["Wy"][...] += rows_of(tape.output).T @ rows_of(dlogits)
        grads["by"][...] += dlogits.sum(axis=(0, 1))
        dh = dlogits @ self.parameters["Wy"].T
        dstate = []
        for index in reversed(range(len(self.layers))):
            layer, grads_of_layer = self.layers[index], grads.layer(index)
            if tape.masks is not None:
                dh = dh * tape.masks[index]
            dz, dstate_of_layer = self.cell.backward(layer, tape.cells[index], dh, grads_of_layer)
            dstate.append(dstate_of_layer)
            grads_of_layer["b"][...] += dz.sum(axis=(0, 1))
            if index or self.config.embedding_size:
                grads_of_layer["Wx"][...] += rows_of(tape.inputs[index]).T @ rows_of(dz)
                dh = dz @ layer["Wx"].T
            else:
                add_rows(grads_of_layer["Wx"], tape.ids, dz)
        if self.config.embedding_size:
            add_rows(grads["embedding"], tape.ids, dh)
        return np.stack(dstate[::-1])

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
        """Runs forward and backward on inputs and targets (T, B); returns the mean loss in nats per symbol, and the state afterwards.

        `grads` is overwritten with the gradients of that mean. `masks` (L, B, H) are those of dropout. For a part of a larger batch,
        `count` is the batch's number of symbols; loss and gradients are then this part's share of the batch's mean.
        """
        count = count or targets.size
        grads.flat[:] = 0
        with np.errstate(all="ignore"):  # the caller finds numbers that are not finite
            logits, state, tape = self.forward(inputs, state, masks=masks)
            total, p = cross_entropy(rows_of(logits), targets.ravel(), unknown_cost)
            dlogits = cross_entropy_backward(p, targets.ravel(), 1 / count).reshape(logits.shape)
            self.backward(tape, dlogits, grads)
        return total / count, state


def rows_of(x: Array) -> Array:
    """Returns (T, B, D) as rows (T*B, D)."""
    return x.reshape(-1, x.shape[-1])


def add_rows(table: Array, ids: Ids, rows: Array) -> None:
    """Does table[id] += row for table (V, D), ids (T, B) and rows (T, B, D).

    The rows of the unknown symbol V are shared among all others, since its input row is their mean.
    """
    V, D = table.shape
    sums = np.zeros((V + 1, D), table.dtype)
    np.add.at(sums, ids, rows)
    table += sums[:V] + sums[V] / V
