"""Implements the network over symbols, forward and backward: embedding row -> stacked cells -> logits -> loss.

::

    x = table[id]           without an embedding the table is layer 0's Wx + b, and x is its z already
    z = x Wx + b            for each further layer, all T steps in one product
    h = cell(z)             model/cells
    logits = h Wy + by

T time, B batch, L layers, S states, H hidden units, V symbols, G gates. Ids 0..V-1 are symbols; V is the unknown symbol. Its
input row is the mean of all others, so that it needs no training (its gradient is shared among all of them). It has no logit, so
that it is never emitted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells import cell_of
from model.config import ModelConfig
from model.functions import UNKNOWN_COST, Array, Ids, cross_entropy, cross_entropy_backward
from model.parameters import Parameters, initialise
from model.workspace import FRESH, Workspace

ONE_HOT_LIMIT = 512  # up to this many symbols, a product with one-hot rows gathers gradients faster than sorting them


class Dropout(NamedTuple):
    """The source of dropout masks. For some rows of a larger batch all its masks are drawn, so that they are the same for any split."""

    rng: np.random.Generator
    batch_size: int = 0  # of the larger batch; 0: there is none
    rows: slice = slice(None)  # of the larger batch


class Tape(NamedTuple):
    """The values of the forward pass that the backward pass needs."""

    ids: Ids  # (T, B)
    cells: list[Any]  # one tape per layer
    inputs: list[Array]  # x of each layer, (T, B, D); not used for layer 0 without an embedding
    masks: list[Array | None]  # dropout after each layer, (1, B, H), already divided by the share that is kept
    output: Array  # (T, B, H) of the top layer, from which the logits are computed


class LanguageModel:
    """A network: its configuration, the size of its vocabulary and its parameters. Nothing else is stored."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, parameters: Parameters) -> None:
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.parameters = parameters
        self.cell = cell_of(config)
        self.layers = [parameters.layer(index) for index in range(config.num_layers)]

    @classmethod
    def new(cls, config: ModelConfig, vocabulary_size: int, seed: int = 0, dtype: Any = np.float32) -> LanguageModel:
        """Returns a model before training."""
        return cls(config, vocabulary_size, initialise(config, vocabulary_size, seed, dtype))

    def zero_state(self, batch_size: int) -> Array:
        """Returns the state before any text, (L, S, B, H)."""
        shape = (self.config.num_layers, len(self.cell.states), batch_size, self.config.hidden_size)
        return np.zeros(shape, self.parameters.flat.dtype)

    def input_table(self) -> Array:
        """Returns the first layer's input for each id: (V+1, E), or without an embedding (V+1, G*H) with the bias."""
        rows = self.parameters["embedding"] if self.config.embedding_size else self.layers[0]["Wx"]
        table = np.empty((len(rows) + 1, rows.shape[1]), rows.dtype)
        table[:-1] = rows
        np.mean(rows, axis=0, out=table[-1])
        if not self.config.embedding_size:
            table += self.layers[0]["b"]
        return table

    def forward(
        self,
        ids: Ids,
        state: Array,
        *,
        dropout: Dropout | None = None,
        workspace: Workspace = FRESH,
        table: Array | None = None,
    ) -> tuple[Array, Array, Tape]:
        """Reads ids (T, B) from state (L, S, B, H); returns logits (T, B, V), the state afterwards, and the tape.

        `dropout` draws the masks in training. `table` is `input_table()`, for callers that read many times with the same parameters.
        """
        output, state, tape = self.read(ids, state, dropout=dropout, workspace=workspace, table=table)
        return self.logits(output, workspace), state, tape

    def logits(self, output: Array, workspace: Workspace = FRESH) -> Array:
        """Returns the logits (T, B, V) for an output (T, B, H) of the top layer."""
        logits = workspace.empty("logits", (*output.shape[:2], self.vocabulary_size), output.dtype)
        _rows_times(output, self.parameters["Wy"], logits)
        logits += self.parameters["by"]
        return logits

    def read(
        self,
        ids: Ids,
        state: Array,
        *,
        dropout: Dropout | None = None,
        workspace: Workspace = FRESH,
        table: Array | None = None,
    ) -> tuple[Array, Array, Tape]:
        """Does `forward` without the logits; returns the output (T, B, H) of the top layer, the state afterwards, and the tape."""
        T, B = ids.shape
        table = self.input_table() if table is None else table
        # The cells keep no z, so all layers use the same memory for it.
        z = workspace.empty("z", (T, B, self.layers[0]["b"].shape[0]), table.dtype)
        x = workspace.empty("x", (T, B, table.shape[1]), table.dtype) if self.config.embedding_size else z
        np.take(table, ids, axis=0, out=x, mode="clip")  # "clip" lets numpy write without a buffer; ids are in range

        new_state = np.empty_like(state)
        tapes, inputs, masks = [], [], []
        for index, layer in enumerate(self.layers):
            inputs.append(x)
            if index or self.config.embedding_size:
                _rows_times(x, layer["Wx"], z)
                z += layer["b"]
            part = workspace.part(f"layer {index}")
            h, new_state[index], tape = self.cell.forward(layer, z, state[index], part)
            tapes.append(tape)
            mask = None
            if dropout is not None and self.config.dropout:
                mask = self._mask(dropout, h.shape)
                x = np.multiply(h, mask, out=part.empty("dropped", h.shape, h.dtype))
            else:
                x = h
            masks.append(mask)
        return x, new_state, Tape(ids, tapes, inputs, masks, x)

    def _mask(self, dropout: Dropout, shape: tuple[int, ...]) -> Array:
        """Inverted dropout (Srivastava et al. 2014): 0 with probability dropout, else 1 / (1 - dropout).

        A unit is dropped for all of a sequence (Gal and Ghahramani 2016), so the mask for (T, B, H) is (1, B, H).
        """
        _, B, H = shape
        draws = dropout.rng.random((dropout.batch_size or B, H), np.float32)[dropout.rows]
        mask: Array = (draws >= self.config.dropout)[None].astype(self.parameters.flat.dtype)
        mask /= 1 - self.config.dropout
        return mask

    def backward(self, tape: Tape, dlogits: Array, grads: Parameters, *, workspace: Workspace = FRESH) -> Array:
        """Adds the gradients of all parameters to `grads`, given that of the logits (T, B, V); returns dstate (L, S, B, H).

        The gradient from beyond the last step is zero: truncated backpropagation through time.
        """
        T, B = tape.ids.shape
        H, V = self.config.hidden_size, self.vocabulary_size
        dy = dlogits.reshape(T * B, V)
        grads["Wy"][...] += tape.output.reshape(T * B, H).T @ dy
        grads["by"][...] += dy.sum(axis=0)
        dh = workspace.empty("z", (T, B, H), dlogits.dtype)  # z is not needed any more
        np.dot(dy, self.parameters["Wy"].T, out=dh.reshape(T * B, H))

        dstate = np.empty((len(self.layers), len(self.cell.states), B, H), dh.dtype)
        for index in reversed(range(len(self.layers))):
            layer, mask = self.layers[index], tape.masks[index]
            grads_of_layer = grads.layer(index)
            if mask is not None:
                dh *= mask
            dz, dstate[index] = self.cell.backward(layer, tape.cells[index], dh, grads_of_layer, None, workspace.part("backward"))
            dz = dz.reshape(T * B, -1)
            grads_of_layer["b"][...] += dz.sum(axis=0)
            if index or self.config.embedding_size:
                x = tape.inputs[index].reshape(T * B, -1)
                grads_of_layer["Wx"][...] += np.dot(x.T, dz, out=workspace.part("backward").empty("dW", layer["Wx"].shape, dz.dtype))
                dh = workspace.empty("z", (T, B, x.shape[1]), dz.dtype)
                np.dot(dz, layer["Wx"].T, out=dh.reshape(T * B, -1))
            else:
                _add_rows(grads_of_layer["Wx"], tape.ids.ravel(), dz)
        if self.config.embedding_size:
            _add_rows(grads["embedding"], tape.ids.ravel(), dh.reshape(T * B, -1))
        return dstate

    def loss_and_gradients(
        self,
        inputs: Ids,
        targets: Ids,
        state: Array,
        grads: Parameters,
        *,
        count: int = 0,
        dropout: Dropout | None = None,
        workspace: Workspace = FRESH,
        unknown_cost: float = UNKNOWN_COST,
    ) -> tuple[float, Array]:
        """Runs forward and backward on inputs and targets (T, B); returns the mean loss in nats per symbol, and the state afterwards.

        `grads` is overwritten with the gradients of that mean. For a part of a larger batch, `count` is the batch's number of symbols;
        loss and gradients are then this part's share of the batch's mean.
        """
        logits, state, tape = self.forward(inputs, state, dropout=dropout, workspace=workspace)
        flat = targets.ravel()
        total, p = cross_entropy(logits.reshape(flat.size, -1), flat, unknown_cost)
        count = count or flat.size
        dlogits = cross_entropy_backward(p, flat, 1 / count).reshape(logits.shape)
        grads.flat[:] = 0
        self.backward(tape, dlogits, grads, workspace=workspace)
        return total / count, state


def _rows_times(x: Array, W: Array, out: Array) -> None:
    """Writes x (T, B, D) times W (D, K) to out (T, B, K), as one product over the T*B rows."""
    np.dot(x.reshape(-1, x.shape[-1]), W, out=out.reshape(-1, out.shape[-1]))


def _add_rows(table: Array, ids: NDArray[Any], rows: Array) -> None:
    """Does table[id] += row for each of N rows; the unknown symbol's rows are shared among all V, as its input row is their mean.

    table (V, K), ids (N,), rows (N, K). The order of the sum depends on ids alone, so that results are reproducible.
    """
    V = len(table)
    if ONE_HOT_LIMIT >= V:
        one_hot = np.zeros((len(ids), V + 1), rows.dtype)
        one_hot[np.arange(len(ids)), ids] = 1
        sums = one_hot.T @ rows
        table += sums[:-1]
        unknown = sums[-1] if (ids == V).any() else None
    else:
        order = np.argsort(ids, kind="stable")
        present, starts = np.unique(ids[order], return_index=True)
        sums = np.add.reduceat(rows[order], starts, axis=0)
        known = present < V
        table[present[known]] += sums[known]
        unknown = None if known.all() else sums[-1]
    if unknown is not None:
        table += unknown / V
