"""Updates the weights from a gradient: clipping, learning-rate schedules and four optimizers.

All work on flat vectors (P,). An optimizer keeps its memory in named vectors of the same size, which belong to the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import TrainingConfig

Array = NDArray[Any]
Memory = dict[str, Array]

BLOCK = 32_768  # floats updated at once: a block and its memory stay in the L2 cache through all passes


def gradient_norm(gradient: Array) -> float:
    """Returns the global (Euclidean) norm."""
    return math.sqrt(float(np.dot(gradient, gradient)))


def clip(gradient: Array, norm: float, config: TrainingConfig) -> None:
    """Scales the gradient down to `clip_norm` (Pascanu, Mikolov and Bengio 2013) and clips its entries to `clip_value`, in place."""
    if config.clip_norm and norm > config.clip_norm:
        gradient *= config.clip_norm / norm
    if config.clip_value:
        np.clip(gradient, -config.clip_value, config.clip_value, out=gradient)


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
    return config.learning_rate * factor


class UpdateRule(NamedTuple):
    """One optimizer: the names of its memory, and its update of one block."""

    memory: tuple[str, ...]
    update: Callable[[Array, Array, float, Memory, int, TrainingConfig, Array], None]  # w, g, rate, memory, t, config, scratch


def _adam(w: Array, g: Array, rate: float, memory: Memory, t: int, config: TrainingConfig, scratch: Array) -> None:
    """Adam (Kingma and Ba 2015): m / (√v + ε) with both means corrected for their start at zero."""
    m, v = memory["m"], memory["v"]
    m *= config.beta1
    m += np.multiply(g, 1 - config.beta1, out=scratch)
    v *= config.beta2
    np.multiply(g, g, out=scratch)
    scratch *= 1 - config.beta2
    v += scratch
    np.multiply(v, 1 / (1 - config.beta2**t), out=scratch)
    np.sqrt(scratch, out=scratch)
    scratch += config.epsilon
    np.divide(m, scratch, out=scratch)
    scratch *= rate / (1 - config.beta1**t)
    w -= scratch


def _rmsprop(w: Array, g: Array, rate: float, memory: Memory, t: int, config: TrainingConfig, scratch: Array) -> None:
    """RMSprop (Tieleman and Hinton 2012): g / (√v + ε)."""
    v = memory["v"]
    v *= config.beta2
    np.multiply(g, g, out=scratch)
    scratch *= 1 - config.beta2
    v += scratch
    np.sqrt(v, out=scratch)
    scratch += config.epsilon
    np.divide(g, scratch, out=scratch)
    scratch *= rate
    w -= scratch


def _adagrad(w: Array, g: Array, rate: float, memory: Memory, t: int, config: TrainingConfig, scratch: Array) -> None:
    """Adagrad (Duchi, Hazan and Singer 2011): g / (√Σg² + ε)."""
    v = memory["v"]
    v += np.multiply(g, g, out=scratch)
    np.sqrt(v, out=scratch)
    scratch += config.epsilon
    np.divide(g, scratch, out=scratch)
    scratch *= rate
    w -= scratch


def _sgd(w: Array, g: Array, rate: float, memory: Memory, t: int, config: TrainingConfig, scratch: Array) -> None:
    """Stochastic gradient descent with momentum (Polyak 1964), as PyTorch writes it: m = μ m + g; w -= rate m."""
    m = memory["m"]
    m *= config.momentum
    m += g
    w -= np.multiply(m, rate, out=scratch)


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
    rule = RULES[config.optimizer]
    scratch = np.empty(min(BLOCK, len(weights)), weights.dtype)
    for start in range(0, len(weights), BLOCK):
        block = slice(start, start + BLOCK)
        w = weights[block]
        rule.update(w, gradient[block], rate, {name: part[block] for name, part in memory.items()}, t, config, scratch[: len(w)])


def decay(matrix: Array, rate: float, weight_decay: float) -> None:
    """Applies decoupled weight decay (Loshchilov and Hutter 2019) in place. Callers leave out biases."""
    if weight_decay:
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
