"""Updates the weights from a gradient: clipping, learning-rate schedules and four optimizers.

An optimizer keeps its memory in named vectors (P,) like the flat vector of all weights; they belong to the checkpoint.
`model.kernels.optimizer` does the same in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import TrainingConfig
from model.parameters import Parameters

Array = NDArray[Any]
Memory = dict[str, Array]


def gradient_norm(gradient: Array) -> float:
    """Returns the global (Euclidean) norm."""
    return math.sqrt(float(np.dot(gradient, gradient)))


def shrink_factor(norm: float, config: TrainingConfig) -> float:
    """Returns by what a gradient of this norm is multiplied, so that its norm is at most `clip_norm` (Pascanu, Mikolov and Bengio 2013)."""
    return config.clip_norm / norm if config.clip_norm and norm > config.clip_norm else 1.0


def clip(gradient: Array, norm: float, config: TrainingConfig) -> Array:
    """Returns the gradient scaled down to `clip_norm`, with its entries cut to `clip_value`."""
    gradient = gradient * shrink_factor(norm, config)
    return np.clip(gradient, -config.clip_value, config.clip_value) if config.clip_value else gradient


def learning_rate(config: TrainingConfig, share: float) -> float:
    """Returns the learning rate when `share` (0 to 1) of the run is done.

    It rises linearly from a tenth over the first `warmup` of the run, and falls over the rest: cosine (Loshchilov and Hutter 2017)
    and exponential reach `final_learning_rate` times the highest rate at the end; constant stays.
    """
    if share < config.warmup:
        return config.learning_rate * (0.1 + 0.9 * share / config.warmup)
    rest = min(1.0, (share - config.warmup) / (1 - config.warmup))
    end = config.final_learning_rate
    match config.schedule:
        case "cosine":
            factor = end + (1 - end) * (1 + math.cos(math.pi * rest)) / 2
        case "exponential":
            factor = end**rest
        case _:
            factor = 1.0
    # Nine digits, since the C library's cosine and power have other last bits on other systems.
    return config.learning_rate * float(f"{factor:.9g}")


class UpdateRule(NamedTuple):
    """One optimizer: the names of its memory, and the function that updates it and returns the step, of which `rate` is taken."""

    memory: tuple[str, ...]
    step: Callable[[Array, Memory, int, TrainingConfig], Array]  # g, memory, t, config


def bias_correction(beta: float, t: int) -> float:
    """Returns 1 / (1 - βᵗ), by which a mean that began at zero is multiplied after t updates.

    Only with multiplications, since the C library's power has other last bits on other systems.
    """
    power, square = 1.0, beta
    while t:
        power, square, t = power * square if t % 2 else power, square * square, t // 2
    return 1 / (1 - power)


def _adam(g: Array, memory: Memory, t: int, config: TrainingConfig) -> Array:
    """Adam (Kingma and Ba 2015): m / (√v + ε) with both means corrected for their start at zero."""
    m, v = memory["m"], memory["v"]
    m[:] = config.beta1 * m + (1 - config.beta1) * g
    v[:] = config.beta2 * v + (1 - config.beta2) * g * g
    step: Array = m * bias_correction(config.beta1, t) / (np.sqrt(v * bias_correction(config.beta2, t)) + config.epsilon)
    return step


def _rmsprop(g: Array, memory: Memory, t: int, config: TrainingConfig) -> Array:
    """RMSprop (Tieleman and Hinton 2012): g / (√v + ε)."""
    v = memory["v"]
    v[:] = config.beta2 * v + (1 - config.beta2) * g * g
    step: Array = g / (np.sqrt(v) + config.epsilon)
    return step


def _adagrad(g: Array, memory: Memory, t: int, config: TrainingConfig) -> Array:
    """Adagrad (Duchi, Hazan and Singer 2011): g / (√Σg² + ε)."""
    v = memory["v"]
    v[:] = v + g * g
    step: Array = g / (np.sqrt(v) + config.epsilon)
    return step


def _sgd(g: Array, memory: Memory, t: int, config: TrainingConfig) -> Array:
    """Stochastic gradient descent with momentum (Polyak 1964), as PyTorch writes it: m = μ m + g; w -= rate m."""
    m = memory["m"]
    m[:] = config.momentum * m + g
    return m


RULES: dict[str, UpdateRule] = {
    "adam": UpdateRule(("m", "v"), _adam),
    "rmsprop": UpdateRule(("v",), _rmsprop),
    "adagrad": UpdateRule(("v",), _adagrad),
    "sgd": UpdateRule(("m",), _sgd),
}


def new_memory(config: TrainingConfig, weights: Array) -> Memory:
    """Returns the configured optimizer's memory before its first update."""
    return {name: np.zeros_like(weights) for name in RULES[config.optimizer].memory}


def update(weights: Array, gradient: Array, rate: float, memory: Memory, t: int, config: TrainingConfig) -> None:
    """Updates weights (P,) once, in place; `t` counts updates from 1."""
    weights -= rate * RULES[config.optimizer].step(gradient, memory, t, config)


def decay(matrix: Array, rate: float, weight_decay: float) -> None:
    """Applies decoupled weight decay (Loshchilov and Hutter 2019) in place. Callers leave out biases."""
    matrix *= 1 - rate * weight_decay


def learning_rate_multiples(names: Collection[str], config: TrainingConfig) -> dict[str, float]:
    """Returns, for each parameter's name, its learning rate as a multiple of the configured one.

    Adam moves each weight by about the learning rate. A sum over H inputs then moves H times as far, but a row of the input table is a
    single input, and logits must move further than gates: one rate cannot suit all three (Yang et al. 2021 derive how the best rates
    of input, hidden and output weights diverge with H).
    """
    input_table = "embedding" if "embedding" in names else "layers.0.Wx"
    own = {input_table: config.input_rate, "Wy": config.output_rate}
    return {name: own.get(name, 1.0) for name in names}


class Optimizer:
    """Updates all parameters of a model, each at its own learning rate; only matrices decay."""

    def __init__(self, parameters: Parameters, memory: Memory, config: TrainingConfig) -> None:
        self._parameters, self._memory, self._config = parameters, memory, config
        self._multiples = learning_rate_multiples(parameters, config)

    @np.errstate(all="ignore")  # numbers that are not finite are found by the caller, from the norm
    def norm(self, gradient: Array) -> float:
        """Returns the norm of a gradient (P,); not finite if one of its numbers is not, or the sum of squares overflows."""
        return gradient_norm(gradient)

    @np.errstate(all="ignore")  # ... or in the next step
    def update(self, gradient: Array, norm: float, rate: float, t: int) -> None:
        """Clips a gradient (P,) with this norm and updates the parameters; `t` counts updates from 1."""
        gradient = clip(gradient, norm, self._config)
        for name, place in self._parameters.places().items():
            own_rate, weights = rate * self._multiples[name], self._parameters.flat[place]
            if self._parameters[name].ndim == 2:
                decay(weights, own_rate, self._config.weight_decay)
            memory = {key: vector[place] for key, vector in self._memory.items()}
            update(weights, gradient[place], own_rate, memory, t, self._config)
