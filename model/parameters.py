"""Holds all weights of a model as named views on one flat vector, and initialises them.

The optimizer, clipping, the gradient norm, the checkpoint and a sum over processes are each one expression on `.flat`.

======================  ===========  ===============================================================================
name                    shape        meaning
======================  ===========  ===============================================================================
``embedding``           (V, E)       one row per symbol; only if embedding_size is not 0
``layers.l.Wx``         (D, G*H)     input weights; without an embedding layer 0 has D = V and its rows are a table
``layers.l.b``          (G*H,)       bias of the gates
``layers.l.Wh``         (H, G*H)     recurrent weights
``layers.l.bn``         (H,)         GRU: the recurrent bias of n
``Wy``                  (H, V)       output weights
``by``                  (V,)         output bias
======================  ===========  ===============================================================================

V symbols, E embedding size, D input size, H hidden units, G gates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from model.cells import CELLS
from model.config import ModelConfig
from model.kernels.library import library

Array = NDArray[Any]

SYMBOL_SCALE = 2.0  # standard deviation of a symbol's contribution to the gates of layer 0 before training


class Parameters(Mapping[str, Array]):
    """Named views on `flat`. Writing to a view writes to the vector."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], flat: Array) -> None:
        size = sum(math.prod(shape) for shape in shapes.values())
        if flat.shape != (size,):
            raise ValueError(f"flat has shape {flat.shape}, the parameters need ({size},)")
        self.shapes = dict(shapes)
        self.flat = flat
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            end = start + math.prod(shape)
            self._views[name] = flat[start:end].reshape(shape)
            start = end

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def layer(self, index: int) -> dict[str, Array]:
        """Returns the views of one recurrent layer by their short names (Wx, b, Wh, ...)."""
        prefix = f"layers.{index}."
        return {name.removeprefix(prefix): view for name, view in self._views.items() if name.startswith(prefix)}

    def places(self) -> dict[str, slice]:
        """Returns the slice of each parameter in the vector."""
        found, start = {}, 0
        for name, view in self.items():
            found[name] = slice(start, start + view.size)
            start += view.size
        return found

    def zeros_like(self) -> Parameters:
        """Returns the same names and shapes on a new vector of zeros, for gradients."""
        return Parameters(self.shapes, np.zeros_like(self.flat))

    def astype(self, dtype: DTypeLike) -> Parameters:
        """Returns a copy in another precision."""
        return Parameters(self.shapes, self.flat.astype(dtype))


def shapes_of(config: ModelConfig, V: int) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of every parameter of a model over V symbols, in the order of the flat vector."""
    cell, H, E = CELLS[config.cell], config.hidden_size, config.embedding_size
    shapes: dict[str, tuple[int, ...]] = {"embedding": (V, E)} if E else {}
    D = E or V
    for index in range(config.num_layers):
        gates = len(cell.gates) * H
        own = cell.shapes(H)
        shapes |= {f"layers.{index}.Wx": (D, gates), f"layers.{index}.b": (gates,)}
        shapes |= {f"layers.{index}.{name}": shape for name, shape in own.items()}
        D = H
    return shapes | {"Wy": (H, V), "by": (V,)}


def count(config: ModelConfig, V: int) -> int:
    """Returns the number of parameters of a model over V symbols."""
    return sum(math.prod(shape) for shape in shapes_of(config, V).values())


def initialise(config: ModelConfig, V: int, seed: int, dtype: DTypeLike = np.float32) -> Parameters:
    """Returns the weights before training; a pure function of its arguments.

    Recurrent weights are orthogonal, gate by gate (Saxe, McClelland and Ganguli 2014; Le, Jaitly and Hinton 2015 for why it helps
    recurrent networks). A symbol's contribution to layer 0 is normal with a standard deviation of 2: without an embedding these are
    the rows of layer 0's Wx; with one, the embedding is normal with 1 and layer 0's Wx with 2/√E. PyTorch's smaller input weights let
    the network learn later and less (``bench/NOTES.md``). The other matrices are uniform within ±1/√H, as in PyTorch. Biases are 0,
    except the LSTM's forget bias, which is 1 (Jozefowicz, Zaremba and Sutskever 2015).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    shapes = shapes_of(config, V)
    parameters = Parameters(shapes, np.zeros(sum(math.prod(shape) for shape in shapes.values()), dtype))
    H = config.hidden_size
    gates = CELLS[config.cell].gates
    for name, view in parameters.items():
        short = name.rpartition(".")[2]
        if short == "Wh":
            for gate in range(len(gates)):
                view[:, gate * H : (gate + 1) * H] = orthogonal(H, rng)
        elif name == "embedding":
            view[...] = rng.standard_normal(view.shape)
        elif name == "layers.0.Wx":
            view[...] = rng.standard_normal(view.shape) * (SYMBOL_SCALE / math.sqrt(config.embedding_size or 1))
        elif view.ndim == 2:
            view[...] = rng.uniform(-1, 1, view.shape) / math.sqrt(H)
        elif short == "b" and "f" in gates:
            f = gates.index("f")
            view[f * H : (f + 1) * H] = 1
    return parameters


def orthogonal(size: int, rng: np.random.Generator) -> Array:
    """Returns a random orthogonal matrix, uniform over all of them (Mezzadri 2007: QR of a normal matrix, with a positive diagonal of R).

    The kernels give it the same bits on every processor; LAPACK does not.
    """
    # In single precision, since the C library's logarithm, of which the largest numbers are made, has other last bits elsewhere.
    normal = rng.standard_normal((size, size)).astype(np.float32).astype(np.float64)
    kernels = library()
    if kernels is None:
        Q, R = np.linalg.qr(normal)
        return np.asarray(Q * np.sign(np.diag(R)))
    columns = np.ascontiguousarray(normal.T)
    kernels.orthogonal(size, columns.ctypes.data)
    return columns.T
