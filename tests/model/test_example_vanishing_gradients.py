"""How much the present can learn from the past: the norm of dh at distance 1 to 100, in numbers.

A gradient of length 1 arrives at the last of 100 steps and flows back (Bengio, Simard and Frasconi 1994). Recurrent weights are
orthogonal times a scale, inputs are noise.

=====================================  ==========  ==========  ==========  ==========
                                       1 step      10          50          100
=====================================  ==========  ==========  ==========  ==========
linear, scale 0.9                      0.9         0.349       0.00515     2.66e-05
linear, scale 1.1                      1.1         2.59        117         1.38e+04
rnn (tanh), scale 1                    0.583       0.00425     3.14e-11    2.49e-21
rnn (tanh), scale 2, weak inputs       1.13        4.56        1.98e+03    3.22e+07
lstm, forget bias 0                    0.307       0.00397     6.45e-11    1.23e-20
lstm, forget bias 1 (as initialised)   0.362       0.0421      2.56e-05    8.53e-10
lstm, forget bias 3                    0.371       0.147       0.326       0.682
=====================================  ==========  ==========  ==========  ==========

Clipping to a norm shortens a gradient that exploded and keeps its direction, so that one step cannot throw the weights away; it
leaves a gradient that vanished as it is. Cutting every entry bends the direction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from model.cells import cell_of
from model.config import ModelConfig, TrainingConfig
from model.optimizer import clip, gradient_norm
from model.parameters import orthogonal

H, STEPS = 32, 100


class Flow(NamedTuple):
    """What came back."""

    norms: Any  # (STEPS,) of dh at distance 1, 2, ...
    dz: Any  # (STEPS, G*H), from the first step to the last
    dWh: Any  # (H, G*H)
    forget: Any  # (STEPS, H) the forget gates, LSTM only


def flow(cell_name: str, scale: float, *, activation: str = "tanh", forget_bias: float = 0, noise: float = 1.0) -> Flow:
    cell = cell_of(ModelConfig(cell=cell_name, activation=activation))
    rng = np.random.Generator(np.random.PCG64(0))
    p = {"Wh": np.hstack([scale * orthogonal(H, rng) for _ in cell.gates])}
    z = noise * rng.standard_normal((STEPS, 1, H * len(cell.gates)))
    if cell_name == "lstm":
        z[..., H : 2 * H] += forget_bias
    state = np.zeros((len(cell.states), 1, H))
    tapes = []
    for step in z:
        _, state, tape = cell.forward(p, step[None].copy(), state)
        tapes.append(tape)

    forget = np.array([tape.gates[0, 1, 0] for tape in tapes]) if cell_name == "lstm" else None
    dstate, grads, norms, dzs = np.zeros_like(state), {"Wh": np.zeros_like(p["Wh"])}, [], []
    dstate[0] = orthogonal(H, rng)[0]  # a random direction
    for tape in reversed(tapes):
        dz, dstate = cell.backward(p, tape, np.zeros((1, 1, H)), grads, dstate)
        dzs.append(dz[0, 0])
        norms.append(np.linalg.norm(dstate))
    return Flow(np.array(norms), np.array(dzs[::-1]), grads["Wh"], forget)


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_a_linear_network_multiplies_by_the_scale_at_every_step(scale: float) -> None:
    norms = flow("rnn", scale, activation="identity").norms
    np.testing.assert_allclose(norms, scale ** np.arange(1, STEPS + 1), rtol=1e-11)


def test_tanh_lets_no_more_through_than_the_linear_network() -> None:
    for scale in (0.9, 1.0, 1.1, 2.0):
        norms = flow("rnn", scale).norms
        assert (norms <= scale ** np.arange(1, STEPS + 1)).all()


TABLE: dict[str, tuple[str, float, dict[str, Any]]] = {
    "linear, scale 0.9": ("rnn", 0.9, {"activation": "identity"}),
    "linear, scale 1.1": ("rnn", 1.1, {"activation": "identity"}),
    "rnn (tanh), scale 1": ("rnn", 1.0, {}),
    "rnn (tanh), scale 2, weak inputs": ("rnn", 2.0, {"noise": 0.1}),
    "lstm, forget bias 0": ("lstm", 1.0, {"forget_bias": 0}),
    "lstm, forget bias 1 (as initialised)": ("lstm", 1.0, {"forget_bias": 1}),
    "lstm, forget bias 3": ("lstm", 1.0, {"forget_bias": 3}),
}


@pytest.mark.parametrize("row", TABLE)
def test_the_table_above_is_true(row: str) -> None:
    line = next(line for line in (__doc__ or "").splitlines() if line.startswith(f"{row}  "))
    cell, scale, settings = TABLE[row]
    norms = flow(cell, scale, **settings).norms
    assert line.removeprefix(row).split() == [f"{norms[distance - 1]:.3g}" for distance in (1, 10, 50, 100)]


def test_the_lstm_keeps_what_the_plain_cell_loses() -> None:
    plain, lstm, open_lstm = flow("rnn", 1.0).norms, flow("lstm", 1.0, forget_bias=1).norms, flow("lstm", 1.0, forget_bias=3).norms
    assert (lstm[9:] > plain[9:]).all()
    assert lstm[-1] > 1e11 * plain[-1]
    assert open_lstm[-1] > 0.1 * open_lstm[0]


def test_through_the_memory_alone_flows_the_product_of_the_forget_gates() -> None:
    """Without recurrent weights dc at distance k is dc at distance 1 times what the forget gates in between let through."""
    made = flow("lstm", 0.0, forget_bias=1)
    share = np.cumprod(made.forget[::-1], axis=0)  # (STEPS, H)
    first = np.abs(share / share[0])
    assert made.norms[0] > 0
    ratios = made.norms / made.norms[0]
    assert (first.min(axis=1) <= ratios * (1 + 1e-12)).all()
    assert (ratios <= first.max(axis=1) * (1 + 1e-12)).all()


def test_clipping_shortens_what_exploded_and_keeps_its_direction() -> None:
    exploded = flow("rnn", 1.1, activation="identity").dWh.ravel()
    assert gradient_norm(exploded) > 1e6
    clipped = clip(exploded, gradient_norm(exploded), TrainingConfig(clip_norm=5))
    assert gradient_norm(clipped) == pytest.approx(5, rel=1e-12)
    assert np.dot(clipped, exploded) == pytest.approx(5 * gradient_norm(exploded), rel=1e-12)  # the cosine is 1


def test_cutting_every_entry_bends_the_direction() -> None:
    exploded = flow("rnn", 1.1, activation="identity").dWh.ravel()
    cut = clip(exploded, gradient_norm(exploded), TrainingConfig(clip_norm=0, clip_value=5))
    assert abs(cut).max() == 5
    assert (np.sign(cut) == np.sign(exploded)).all()
    assert np.dot(cut, exploded) < 0.9 * gradient_norm(cut) * gradient_norm(exploded)


def test_clipping_cannot_bring_back_what_vanished() -> None:
    """What reaches the inputs of the first fifty steps is next to nothing, and clipping leaves it so."""
    far = flow("rnn", 1.0).dz[:50].ravel()
    assert 0 < gradient_norm(far) < 1e-10
    np.testing.assert_array_equal(clip(far, gradient_norm(far), TrainingConfig(clip_norm=5)), far)
