"""The same function for all, and how much it multiplies; nothing here needs a peer."""

from __future__ import annotations

import numpy as np
import pytest

from bench.networks import VOCABULARY, Network, check
from model.config import ModelConfig


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_forms_of_the_weights_are_one_function(cell: str) -> None:
    network = Network(cell, 2, 5)
    ours, theirs = network.weights()
    H, V = 5, VOCABULARY
    assert theirs["embedding.weight"].shape == (V, H)
    assert theirs["rnn.weight_ih_l0"].shape[1] == theirs["rnn.weight_ih_l1"].shape[1] == H
    # What a symbol brings to the first layer, whatever the order of the gates.
    products = theirs["embedding.weight"] @ theirs["rnn.weight_ih_l0"].T
    assert np.allclose(np.sort(products, axis=1), np.sort(ours.parameters["layers.0.Wx"], axis=1), atol=1e-6)
    assert np.array_equal(theirs["output.weight"].T, ours.parameters["Wy"])
    assert ours.config == ModelConfig(cell=cell, num_layers=2, hidden_size=5)


def test_a_peer_that_computes_something_else_is_refused() -> None:
    model, _ = Network("lstm", 1, 5).weights()

    def same(ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return model.forward(ids, model.zero_state(ids.shape[1]))[0]

    check(model, "a peer", same)
    with pytest.raises(ValueError, match="a peer computes another network"):
        check(model, "a peer", lambda ids: same(ids) + 0.01 * (ids[..., None] == 7))


@pytest.mark.parametrize(
    ("network", "by_hand"),
    [
        # forward: 4 gates of 10x10, and the output 10x65; backward twice as much
        (Network("lstm", 1, 10), 3 * (400 + 650)),
        # the second layer multiplies its input, too
        (Network("lstm", 2, 10), 3 * (3 * 400 + 650)),
        (Network("gru", 2, 10), 3 * (3 * 300 + 650)),
    ],
)
def test_products_are_counted(network: Network, by_hand: int) -> None:
    assert network.multiply_adds() == by_hand
