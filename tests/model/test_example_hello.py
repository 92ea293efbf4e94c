"""The classic first example of a character network, 'hell' -> 'ello', and why a published account of it went wrong.

The weights are drawn with numpy's legacy generator seeded 230912, normally distributed, in the order Wxh, Whh, one scalar for the
hidden bias, Wy, one scalar for the output bias. Our first prediction is the published one, to its last decimal.

The account goes on to say that plain backpropagation through time collapses to 0.25 for every letter (loss 4 ln 4 = 5.545),
because gradients vanish over these four steps. They do not. Its training call passed ``targets[0]`` for ``targets``, so that step t
was compared with a single number, targets[0][t], for all four outputs: 0, 1, 0 and 0. Over the steps that asks 0.25 of every output
on average, and 0.25 is what comes out, with our gradients too. With the right targets the same gradients learn the word: 0.1106 nats
over its four letters after 1900 steps with three hidden units, 0.0784 with six. (Published, with gradients cut short: 2.316, 0.1212.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model.config import ModelConfig
from model.functions import cross_entropy, softmax
from model.language_model import LanguageModel

LETTERS = "helo"
INPUTS = np.array([[LETTERS.index(letter)] for letter in "hell"])  # (4, 1)
TARGETS = np.array([[LETTERS.index(letter)] for letter in "ello"])
RATE = 0.005


def published_start(H: int) -> LanguageModel:
    """The published weights for H hidden units; our biases are vectors, so every entry is set to the scalar."""
    rng = np.random.RandomState(230912)
    model = LanguageModel.new(ModelConfig(cell="rnn", hidden_size=H), len(LETTERS), dtype=np.float64)
    for name in ("layers.0.Wx", "layers.0.Wh", "layers.0.b", "Wy", "by"):
        view = model.parameters[name]
        view[...] = rng.standard_normal(view.shape if view.ndim == 2 else None)
    return model


def predictions(model: LanguageModel) -> Any:
    """Probabilities of the four letters after each of h, e, l, l. (4, 4)"""
    return softmax(model.forward(INPUTS, model.zero_state(1))[0][:, 0])


def loss(model: LanguageModel) -> float:
    """Nats summed over the four letters."""
    return cross_entropy(model.forward(INPUTS, model.zero_state(1))[0][:, 0], TARGETS[:, 0])[0]


def learn(model: LanguageModel, steps: int) -> None:
    """Plain gradient descent on the sum of the four losses."""
    grads = model.parameters.zeros_like()
    for _ in range(steps):
        model.loss_and_gradients(INPUTS, TARGETS, model.zero_state(1), grads)
        model.parameters.flat -= RATE * len(INPUTS) * grads.flat  # ours is the mean


def test_the_first_prediction_is_the_published_one() -> None:
    np.testing.assert_allclose(predictions(published_start(3))[0], [0.06397614, 0.03819114, 0.85299781, 0.0448349], rtol=0, atol=5e-9)


def test_the_published_mistake_leads_to_the_published_collapse() -> None:
    mistaken = np.eye(len(LETTERS))[TARGETS[0, 0]]  # the one-hot vector of e: 0, 1, 0, 0
    assert mistaken.tolist() == [0, 1, 0, 0]
    model = published_start(3)
    grads = model.parameters.zeros_like()
    for _ in range(2000):
        logits, _, tape = model.forward(INPUTS, model.zero_state(1))
        grads.flat[:] = 0
        model.backward(tape, softmax(logits) - mistaken[:, None, None], grads)  # number t for all outputs of step t
        model.parameters.flat -= RATE * grads.flat
    assert round(4 * math.log(4), 3) == 5.545
    assert loss(model) == pytest.approx(4 * math.log(4), abs=0.01)
    np.testing.assert_allclose(predictions(model), np.full((4, 4), 0.25), rtol=0, atol=0.002)


@pytest.mark.parametrize(("hidden_size", "reached", "published_truncated"), [(3, 0.1106, 2.316), (6, 0.0784, 0.1212)])
def test_with_the_right_targets_the_word_is_learned(hidden_size: int, reached: float, published_truncated: float) -> None:
    model = published_start(hidden_size)
    assert loss(model) > 12
    learn(model, 1900)
    assert round(loss(model), 4) == reached < published_truncated
    assert "".join(LETTERS[i] for i in predictions(model).argmax(axis=1)) == "ello"


def test_no_gradient_vanishes_over_four_steps() -> None:
    """What the last letter's loss says about the first step is of the order of what it says about the last one."""
    model = published_start(3)
    logits, _, tape = model.forward(INPUTS, model.zero_state(1))
    dlogits = np.zeros_like(logits)
    dlogits[-1, 0] = softmax(logits[-1, 0]) - np.eye(4)[TARGETS[-1, 0]]
    dh = dlogits @ model.parameters["Wy"].T
    dz, _ = model.cell.backward(model.layers[0], tape.cells[0], dh, model.parameters.zeros_like().layer(0))
    norms = np.linalg.norm(dz[:, 0], axis=1)
    assert norms[0] > 0.05 * norms[-1]
