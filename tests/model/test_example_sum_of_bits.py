"""A linear network of one unit that counts: h[t] = wx x[t] + wRec h[t-1], and h[10] shall be the sum of ten random bits.

The answer is known (wx = wRec = 1), there are only two weights, and yet a plain gradient step from (-1.5, 2) explodes: the loss is a
polynomial of degree 20 in wRec, flat here and a wall there. The sign of the gradient with a step size adapted to each weight (Rprop:
Riedmiller and Braun 1993) is not impressed by its length and finds the answer; so does a clipped one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model import optimizer
from model.cells import rnn
from model.config import TrainingConfig

LENGTH, SAMPLES = 10, 20
BITS = np.random.RandomState(1).randint(0, 2, (LENGTH, SAMPLES, 1)).astype(np.float64)  # (T, B, 1)
START = np.array([-1.5, 2.0])  # wx, wRec


def loss_and_gradient(weights: Any) -> tuple[float, Any]:
    """The mean squared error of h[10], and its gradient with respect to (wx, wRec)."""
    wx, wRec = weights
    p, grads = {"Wh": np.array([[wRec]])}, {"Wh": np.zeros((1, 1))}
    h, _, tape = rnn.forward(p, BITS * wx, np.zeros((1, SAMPLES, 1)), activation="identity")
    error = h[-1] - BITS.sum(axis=0)  # (B, 1)
    dh = np.zeros_like(h)
    dh[-1] = 2 * error / SAMPLES
    dz, _ = rnn.backward(p, tape, dh, grads, activation="identity")
    return float((error**2).mean()), np.array([(dz * BITS).sum(), grads["Wh"][0, 0]])


def test_at_the_answer_loss_and_gradients_are_zero() -> None:
    loss, gradient = loss_and_gradient((1, 1))
    assert loss == 0
    assert gradient.tolist() == [0, 0]


def test_the_output_is_the_polynomial_that_algebra_gives() -> None:
    wx, wRec = START
    powers = wRec ** np.arange(LENGTH - 1, -1, -1)
    expected = ((np.tensordot(powers, BITS, axes=1) * wx - BITS.sum(axis=0)) ** 2).mean()
    assert loss_and_gradient(START)[0] == pytest.approx(expected, rel=1e-14)


def test_a_plain_step_explodes() -> None:
    loss, gradient = loss_and_gradient(START)
    assert np.linalg.norm(gradient) > 1e6
    worse, steeper = loss_and_gradient(START - 0.001 * gradient)
    assert worse > 1e60 * loss
    assert np.linalg.norm(steeper) > 1e60


def test_the_sign_of_the_gradient_with_step_adaptation_finds_the_answer() -> None:
    weights, steps, before = START.copy(), np.full(2, 0.001), np.zeros(2)
    for _ in range(500):
        sign = np.sign(loss_and_gradient(weights)[1])
        steps *= np.where(sign * before > 0, 1.2, np.where(sign * before < 0, 0.5, 1.0))
        weights -= steps * sign
        before = sign
    np.testing.assert_allclose(weights, [1, 1], rtol=0, atol=1e-2)


def test_a_clipped_gradient_does_not_explode() -> None:
    config = TrainingConfig(clip_norm=1)
    weights, losses = START.copy(), []
    for step in range(4000):
        loss, gradient = loss_and_gradient(weights)
        losses.append(loss)
        gradient = optimizer.clip(gradient, optimizer.gradient_norm(gradient), config)
        weights -= 0.02 * (1 - step / 4000) * gradient
    assert max(losses) == losses[0] > 1e5
    np.testing.assert_allclose(weights, [1, 1], rtol=0, atol=1e-2)
