"""The optimizers in C do what those in numpy do in double precision, with the same bits for any number of threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from model.config import OPTIMIZERS, ModelConfig, TrainingConfig
from model.kernels.library import Library
from model.kernels.optimizer import KernelOptimizer
from model.optimizer import Optimizer, gradient_norm, new_memory
from model.parameters import Parameters, initialise

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"clip_norm": 0.0},
    "norm": {"clip_norm": 0.5},
    "value": {"clip_norm": 0.0, "clip_value": 0.003},
    "both": {"clip_norm": 0.7, "clip_value": 0.002},
    "decay": {"weight_decay": 0.3, "learning_rate": 0.1},
    "rates": {"input_rate": 0.0, "output_rate": 7.5},
    "betas": {"beta1": 0.99999, "beta2": 1 - 1e-8},
}
SIZES = [(1, 1, 1, 0), (3, 13, 2, 0), (37, 61, 1, 19), (64, 50, 2, 0)]  # H, V, layers, E


def parameters_of(H: int, V: int, layers: int, E: int, cell: str) -> Parameters:
    return initialise(ModelConfig(cell=cell, hidden_size=H, num_layers=layers, embedding_size=E), V, seed=H)


def gradients_for(parameters: Parameters, steps: int) -> Any:
    """Numbers of very different sizes, and some zeros."""
    rng = np.random.default_rng(len(parameters.flat))
    drawn = rng.standard_normal((steps, len(parameters.flat))) * 10.0 ** rng.integers(-4, 1, (steps, 1))
    return np.where(rng.random(drawn.shape) < 0.1, 0, drawn).astype(np.float32)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_updates_are_those_of_numpy_and_do_not_depend_on_threads(library: Library, sizes: Any, rule: str, settings: str) -> None:
    config = TrainingConfig(optimizer=rule, **SETTINGS[settings])
    first = parameters_of(*sizes, cell="gru")
    gradients = gradients_for(first, 4)
    exact = first.astype(np.float64)
    exact_memory = new_memory(config, exact.flat)
    optimizer = Optimizer(exact, exact_memory, config)
    for t, gradient in enumerate(gradients.astype(np.float64), 1):
        optimizer.update(gradient, optimizer.norm(gradient), config.learning_rate, t)
    found = []
    for threads in (1, 2, 3, 8):
        own = first.astype(np.float32)
        memory = new_memory(config, own.flat)
        kernel = KernelOptimizer(library, own, memory, config, threads)
        for t, gradient in enumerate(gradients, 1):
            before = gradient.tobytes()
            kernel.update(gradient, kernel.norm(gradient), config.learning_rate, t)
            assert gradient.tobytes() == before
        found.append((own.flat.tobytes(), {name: vector.tobytes() for name, vector in memory.items()}))
    assert all(each == found[0] for each in found)
    moved, expected = own.flat - first.flat.astype(np.float64), exact.flat - first.flat
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6 * max(1.0, np.abs(exact.flat).max()))
    for name, vector in memory.items():
        np.testing.assert_allclose(vector, exact_memory[name], rtol=1e-5, atol=1e-6 * np.abs(exact_memory[name]).max())


@pytest.mark.parametrize("P", [1, 15, 4095, 4096, 4097, 30_001])
def test_the_norm_is_that_of_numpy_and_does_not_depend_on_threads(library: Library, P: int) -> None:
    gradient = np.random.default_rng(P).standard_normal(P).astype(np.float32)
    weights = Parameters({"by": (P,)}, np.zeros(P, np.float32))
    config = TrainingConfig()
    norms = {
        KernelOptimizer(library, weights, new_memory(config, weights.flat), config, threads).norm(gradient) for threads in (1, 2, 3, 8)
    }
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(gradient_norm(gradient.astype(np.float64)), rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 7, 16, 5000, 9999])
def test_a_number_that_is_none_reaches_the_norm(library: Library, value: float, place: int) -> None:
    gradient = np.zeros(10_000, np.float32)
    gradient[place] = value
    weights = Parameters({"by": (10_000,)}, np.zeros(10_000, np.float32))
    config = TrainingConfig()
    assert not math.isfinite(KernelOptimizer(library, weights, new_memory(config, weights.flat), config, 2).norm(gradient))


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_gradient_that_is_none_reaches_its_weight_alone(library: Library, rule: str) -> None:
    config = TrainingConfig(optimizer=rule, clip_norm=0.0, clip_value=0.5)
    weights = Parameters({"by": (40,)}, np.ones(40, np.float32))
    gradient = np.ones(40, np.float32)
    gradient[21] = math.nan
    KernelOptimizer(library, weights, new_memory(config, weights.flat), config).update(gradient, 1.0, 0.1, 1)
    assert np.flatnonzero(np.isnan(weights.flat)).tolist() == [21]


def test_what_the_library_cannot_read_is_refused(library: Library) -> None:
    config, weights = TrainingConfig(), parameters_of(5, 7, 1, 0, "lstm")
    memory = new_memory(config, weights.flat)
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelOptimizer(library, weights.astype(np.float64), memory, config)
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelOptimizer(library, weights, {"m": memory["m"][1:], "v": memory["v"]}, config)
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelOptimizer(library, weights, memory, config).norm(weights.flat[::2])
    with pytest.raises(ValueError, match="the kernels need float32"):
        KernelOptimizer(library, weights, memory, config).update(weights.flat[1:], 1.0, 0.1, 1)
    with pytest.raises(ValueError, match=r"the memory is \['v'\]; adam needs \['m', 'v'\]"):
        KernelOptimizer(library, weights, {"v": memory["v"]}, config)
    with pytest.raises(ValueError, match="threads is 0; it must be 1 or more"):
        KernelOptimizer(library, weights, memory, config, 0)
    memory["v"].flags.writeable = False
    with pytest.raises(ValueError, match="writable: False"):
        KernelOptimizer(library, weights, memory, config)
