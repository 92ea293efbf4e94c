"""Defines the measured networks: their sizes, equal weights for us and the peers, and their multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import to_pytorch
from model.config import ModelConfig
from model.language_model import LanguageModel
from service.training.throughput import multiply_adds

Array = NDArray[Any]

VOCABULARY = 65  # tinyshakespeare's


@dataclass(frozen=True)
class Network:
    """A stack of recurrent layers under an output layer."""

    cell: str
    num_layers: int
    hidden_size: int

    def __str__(self) -> str:
        return f"{self.cell} {self.num_layers}x{self.hidden_size}"

    def weights(self) -> tuple[LanguageModel, dict[str, Array]]:
        """The same function twice: our model, and the tensors of the peers under PyTorch's names.

        The peers look a symbol up in an embedding of the hidden size, as their users do, and multiply its row by the input
        weights; our first layer's table holds these products.
        """
        config = ModelConfig(
            cell=self.cell, num_layers=self.num_layers, hidden_size=self.hidden_size, embedding_size=self.hidden_size, dropout=0
        )
        theirs = LanguageModel.new(config, VOCABULARY)
        ours = LanguageModel.new(replace(config, embedding_size=0), VOCABULARY)
        for name, view in ours.parameters.items():
            view[...] = theirs.parameters[name] if name != "layers.0.Wx" else theirs.parameters["embedding"] @ theirs.parameters[name]
        return ours, to_pytorch(theirs)

    def multiply_adds(self) -> int:
        """Of all matrix products that training on one character needs: forward, and backward to inputs and to weights.

        What our first layer looks up in its table is no product.
        """
        return 3 * multiply_adds(ModelConfig(cell=self.cell, num_layers=self.num_layers, hidden_size=self.hidden_size), VOCABULARY)


def check(model: LanguageModel, peer: str, logits: Callable[[NDArray[np.int64]], Array]) -> None:
    """Make sure that a peer computes the same: `logits` turns ids (T, B) into logits (T, B, V), from a state of zeros.

    Raises `ValueError` where they differ.
    """
    ids = np.random.default_rng(1).permutation(np.repeat(np.arange(VOCABULARY), 4)).reshape(-1, 4)
    ours, _, _ = model.forward(ids, model.zero_state(4))
    theirs = logits(ids)
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
        raise ValueError(f"{peer} computes another network: its logits are off by {np.abs(ours - theirs).max():.2g}; compare the weights")
