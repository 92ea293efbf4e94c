"""Each rule against one written for a single number; schedules and clipping by their definitions; PyTorch where it is installed."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import optimizer
from model.config import OPTIMIZERS, SCHEDULES, TrainingConfig
from model.optimizer import RULES, clip, decay, gradient_norm, learning_rate, new_memory, update


def naive(rule: str, w: float, gradients: list[float], rates: list[float], c: TrainingConfig) -> float:
    """The papers' formulas for one weight, in Python's numbers."""
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        if rule == "sgd":
            m = c.momentum * m + g
            w -= rate * m
        elif rule == "adagrad":
            v += g * g
            w -= rate * g / (math.sqrt(v) + c.epsilon)
        elif rule == "rmsprop":
            v = c.beta2 * v + (1 - c.beta2) * g * g
            w -= rate * g / (math.sqrt(v) + c.epsilon)
        else:
            m = c.beta1 * m + (1 - c.beta1) * g
            v = c.beta2 * v + (1 - c.beta2) * g * g
            w -= rate * (m / (1 - c.beta1**t)) / (math.sqrt(v / (1 - c.beta2**t)) + c.epsilon)
    return w


share_below_one = st.floats(0, 0.999)


@pytest.mark.parametrize("rule", OPTIMIZERS)
@given(data=st.data())
def test_an_update_is_the_papers_formula(rule: str, data: st.DataObject) -> None:
    config = TrainingConfig(
        optimizer=rule,
        beta1=data.draw(share_below_one),
        beta2=data.draw(share_below_one),
        momentum=data.draw(share_below_one),
        epsilon=data.draw(st.floats(1e-8, 1e-1)),
    )
    steps, P = data.draw(st.integers(1, 6)), 5
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    weights = rng.standard_normal(P)
    gradients = rng.standard_normal((steps, P)) * 10.0 ** rng.integers(-3, 3, (steps, P))
    rates = rng.random(steps).tolist()
    expected = [naive(rule, weights[i], gradients[:, i].tolist(), rates, config) for i in range(P)]

    memory = new_memory(config, weights)
    for t in range(steps):
        kept = gradients[t].copy()
        update(weights, kept, rates[t], memory, t + 1, config)
        assert (kept == gradients[t]).all(), "the gradient is only read"
    np.testing.assert_allclose(weights, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_weight_that_never_had_a_gradient_stays_where_it_is(rule: str) -> None:
    """Symbols that do not occur in a chunk have none; with the smallest epsilon there is still no 0/0."""
    config = TrainingConfig(optimizer=rule, epsilon=1e-16)
    weights = np.array([1.5, -2.5], np.float32)
    memory = new_memory(config, weights)
    for t in range(1, 4):
        update(weights, np.array([0, 0], np.float32), 0.1, memory, t, config)
    assert weights.tolist() == [1.5, -2.5]


def test_memory_is_named_and_of_the_weights_size_and_precision() -> None:
    weights = np.ones(7, np.float32)
    for rule in OPTIMIZERS:
        memory = new_memory(TrainingConfig(optimizer=rule), weights)
        assert tuple(memory) == RULES[rule].memory
        assert all(part.shape == (7,) and part.dtype == np.float32 and not part.any() for part in memory.values())
    assert set(RULES) == set(OPTIMIZERS)


# ── clipping ──────────────────────────────────────────────────────────────────────────────────────────────────────────

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9)


@given(numbers, st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), st.one_of(st.just(0.0), st.floats(1e-3, 1e3)))
def test_clipping_shortens_first_and_cuts_then(values: list[float], clip_norm: float, clip_value: float) -> None:
    gradient = np.array(values)
    norm = gradient_norm(gradient)
    assert norm == pytest.approx(math.hypot(*values), rel=1e-12, abs=1e-150)
    gradient = clip(gradient, norm, TrainingConfig(clip_norm=clip_norm, clip_value=clip_value))
    scale = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
    expected = [value * scale for value in values]
    if clip_value:
        expected = [max(-clip_value, min(clip_value, value)) for value in expected]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-12)
    if clip_norm:
        assert gradient_norm(gradient) <= clip_norm * (1 + 1e-12)


def test_a_short_gradient_keeps_its_bits() -> None:
    gradient = np.array([0.3, 0.4], np.float32)
    assert clip(gradient, gradient_norm(gradient), TrainingConfig(clip_norm=1.0)).tobytes() == gradient.tobytes()


def test_weight_decay_takes_its_share_off_what_it_is_given() -> None:
    flat = np.full(6, 2.0)
    decay(flat[:4], 0.1, 0.5)
    assert flat.tolist() == pytest.approx([1.9] * 4 + [2.0] * 2)
    before = flat.tobytes()
    decay(flat[:4], 0.1, 0.0)
    assert flat.tobytes() == before


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HIGHEST = 0.004


def at(share: float, **settings: Any) -> float:
    return learning_rate(TrainingConfig(**settings), share) / HIGHEST


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_rises_in_a_straight_line_from_a_tenth(schedule: str) -> None:
    for share, expected in ((0, 0.1), (0.1, 0.325), (0.2, 0.55), (0.4, 1)):
        assert at(share, schedule=schedule, warmup=0.4, learning_rate=HIGHEST) == pytest.approx(expected)
    assert at(math.nextafter(0.4, 0), schedule=schedule, warmup=0.4, learning_rate=HIGHEST) == pytest.approx(1)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
@pytest.mark.parametrize(("schedule", "middle", "end"), [("constant", 1, 1), ("cosine", 0.505, 0.01), ("exponential", 0.1, 0.01)])
def test_the_rate_falls_from_the_end_of_the_rise_to_the_end(schedule: str, middle: float, end: float, warmup: float) -> None:
    facts = {"schedule": schedule, "warmup": warmup, "learning_rate": HIGHEST, "final_learning_rate": 0.01}
    assert at(warmup, **facts) == pytest.approx(1)
    assert at((1 + warmup) / 2, **facts) == pytest.approx(middle)
    assert at(1, **facts) == pytest.approx(end)
    assert at(1.5, **facts) == pytest.approx(end)


@given(st.sampled_from(SCHEDULES), st.floats(0, 0.99), st.floats(1e-3, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_stays_within_its_bounds_and_only_falls_after_the_rise(
    schedule: str, warmup: float, final: float, one: float, other: float
) -> None:
    config = TrainingConfig(schedule=schedule, warmup=warmup, final_learning_rate=final, learning_rate=1.0)
    low, high = sorted((one, other))
    first, second = learning_rate(config, low), learning_rate(config, high)
    assert min(final, 0.1) * (1 - 1e-9) <= first <= 1 + 1e-9
    if low >= warmup:
        assert second <= first + 1e-12
    if high < warmup:
        assert first <= second + 1e-12


def test_the_last_bits_of_a_system_s_cosine_and_power_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = np.linspace(0, 1, 50).tolist()
    rates = [at(share, schedule="cosine") for share in shares]
    cosine = math.cos
    monkeypatch.setattr(optimizer.math, "cos", lambda x: math.nextafter(cosine(x), 2))
    assert [at(share, schedule="cosine") for share in shares] == rates
    exponential = TrainingConfig(schedule="exponential", warmup=0.0, learning_rate=1.0)
    for share in shares:
        power = math.nextafter(exponential.final_learning_rate**share, 2)
        assert learning_rate(exponential, share) == float(f"{power:.9g}")


# ── PyTorch ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed; the papers' formulas were compared")
@pytest.mark.parametrize("rule", [*OPTIMIZERS, "adamw"])
def test_equals_pytorch(rule: str) -> None:
    import torch

    c = TrainingConfig(optimizer=rule.removesuffix("w"), learning_rate=0.03, weight_decay=0.1 if rule == "adamw" else 0)
    rng = np.random.default_rng(1)
    weights, gradients = rng.standard_normal((3, 4)), rng.standard_normal((20, 3, 4))
    theirs = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    opt: Any = {
        "adam": lambda: torch.optim.Adam([theirs], lr=0.03, betas=(c.beta1, c.beta2), eps=c.epsilon),
        "adamw": lambda: torch.optim.AdamW([theirs], lr=0.03, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=0.1),
        "rmsprop": lambda: torch.optim.RMSprop([theirs], lr=0.03, alpha=c.beta2, eps=c.epsilon),
        "adagrad": lambda: torch.optim.Adagrad([theirs], lr=0.03, eps=c.epsilon),
        "sgd": lambda: torch.optim.SGD([theirs], lr=0.03, momentum=c.momentum),
    }[rule]()
    flat = weights.reshape(-1)
    memory = new_memory(c, flat)
    for t, gradient in enumerate(gradients, 1):
        theirs.grad = torch.from_numpy(gradient.copy())
        opt.step()
        decay(weights, c.learning_rate, c.weight_decay)
        update(flat, gradient.reshape(-1).copy(), c.learning_rate, memory, t, c)
        np.testing.assert_allclose(weights, theirs.detach().numpy(), rtol=0, atol=1e-12)
