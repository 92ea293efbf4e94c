"""One step at a time is the same network."""

from __future__ import annotations

import numpy as np
import pytest

from model.batch_invariant import PreparedWeights
from model.config import CELLS, ModelConfig
from model.decode_step import NetworkStepper
from model.language_model import LanguageModel

V, B, T = 9, 3, 12


@pytest.mark.parametrize("embedding_size", [0, 4])
@pytest.mark.parametrize(("cell", "activation"), [*((cell, "tanh") for cell in CELLS), ("rnn", "relu"), ("rnn", "identity")])
def test_steps_are_the_forward_pass(cell: str, activation: str, embedding_size: int) -> None:
    """In double precision, to rounding; the last id is the unknown symbol."""
    config = ModelConfig(cell=cell, activation=activation, num_layers=2, hidden_size=6, embedding_size=embedding_size)
    model = LanguageModel.new(config, V, 2, np.float64)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V + 1, (T, B))
    start = rng.standard_normal(model.zero_state(B).shape) / 2
    logits, end, _ = model.forward(ids, start)
    stepper = NetworkStepper(model, start.copy(), model.input_table(), PreparedWeights())
    for t in range(T):
        np.testing.assert_allclose(stepper.step(ids[t]), logits[t], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(stepper.state, end, rtol=1e-10, atol=1e-12)


def test_the_state_that_was_given_is_moved_on() -> None:
    model = LanguageModel.new(ModelConfig(cell="gru", hidden_size=5), V)
    state = model.zero_state(B)
    stepper = NetworkStepper(model, state, model.input_table(), PreparedWeights())
    stepper.step(np.zeros(B, np.intp))
    assert stepper.state is state
    assert state.any()
