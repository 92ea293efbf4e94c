"""Checks the gradients of the backward pass against finite differences in float64.

Along a direction v the loss changes by <gradient, v> per unit of length; a difference quotient of four losses measures the same
without any derivative. Because all parameters are views on one flat vector, one direction tests a whole model, and one for each view
finds the tensor at fault.

    >>> import numpy as np
    >>> from model.config import ModelConfig
    >>> from model.gradient_check import check_gradients
    >>> from model.language_model import LanguageModel
    >>> model = LanguageModel.new(ModelConfig(cell="lstm", hidden_size=5), vocabulary_size=7, seed=1)
    >>> ids = np.arange(12).reshape(6, 2) % 7  # (T, B)
    >>> errors = check_gradients(model, inputs=ids[:-1], targets=ids[1:])
    >>> list(errors)
    ['flat', 'layers.0.Wx', 'layers.0.b', 'layers.0.Wh', 'Wy', 'by', 'state']
    >>> max(errors.values()) < 1e-7
    True

A loss with kinks (the activation relu) has no derivative there, and a step that crosses one measures something between the two
sides. A shorter `step` crosses fewer of them: an error that shrinks with it is a kink, one that stays is a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import WrongGradient
from model.functions import UNKNOWN_COST, Ids, cross_entropy, cross_entropy_backward
from model.language_model import LanguageModel

Array = NDArray[Any]
Loss = Callable[[], float]

TOLERANCE = 1e-7  # largest relative error of a right gradient
STEP = 1e-3  # length of the displacement; the quotient's own error falls with its fourth power, so that it may be this long
ROUNDING = 16 * float(np.finfo(np.float64).eps)  # share of a loss, a sum of many terms, that may be rounding


def derivative_along(loss: Loss, values: Array, direction: Array, step: float = STEP) -> float:
    """Returns the derivative of loss() when `values` moves along `direction`, by the five-point central difference.

    `values` (float64, any shape) is the array that loss() reads; it is changed in place and restored bit for bit.
    """
    kept = values.copy()

    def at(distance: float) -> float:
        np.add(kept, distance * direction, out=values)
        return loss()

    try:
        return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    finally:
        values[...] = kept


def directional_error(loss: Loss, values: Array, gradient: Array, *, directions: int = 3, seed: int = 0, step: float = STEP) -> float:
    """Returns the relative error of `gradient`, the claimed gradient of loss() with respect to `values` (float64, of the same shape).

    Measured along the gradient itself, which shows a wrong length best, and along `directions` random ones, which show any wrong part.
    Relative to the longer of the claimed and the measured gradient, but at least to the shortest gradient that can be measured to
    `TOLERANCE`, since a loss is known only to its rounding. Infinity if the gradient or the loss is not finite.
    """
    if not np.isfinite(gradient).all():
        return math.inf
    gradient = gradient.copy()  # loss() may write to the original
    rng = np.random.Generator(np.random.PCG64(seed))
    tried = [gradient] if gradient.any() else []
    tried += [rng.standard_normal(values.shape) for _ in range(directions)]

    claimed, measured = [], []
    for v in tried:
        v = v / np.linalg.norm(v)
        claimed.append(float((gradient * v).sum()))
        measured.append(derivative_along(loss, values, v, step))
    shortest = ROUNDING * abs(loss()) / step / TOLERANCE
    length = max(math.hypot(*claimed), math.hypot(*measured), shortest)
    error = math.dist(claimed, measured) / length if length else 0.0
    return error if math.isfinite(error) else math.inf


def gradient_errors(
    model: LanguageModel,
    inputs: Ids,
    targets: Ids,
    state: Array | None = None,
    *,
    dropout_seed: int | None = None,
    directions: int = 3,
    seed: int = 0,
    step: float = STEP,
) -> dict[str, float]:
    """Returns the relative error of every gradient of a model on one batch, in float64: name of the tensor -> error.

    ``flat`` is the whole vector at once, ``state`` the state (L, S, B, H) before the first step (zero by default). inputs and targets
    (T, B) are ids, as in training. With a `dropout_seed` the model's dropout is on, with the same masks in each evaluation. The model
    itself is not changed.
    """
    exact = type(model)(model.config, model.vocabulary_size, model.parameters.astype(np.float64), model.boundary)
    start = exact.zero_state(inputs.shape[1]) if state is None else state.astype(np.float64)
    flat_targets = targets.ravel()
    rng = np.random.Generator(np.random.PCG64(dropout_seed))
    masks = None if dropout_seed is None else exact.masks(rng, inputs.shape[1])

    def loss() -> float:
        logits, _, _ = exact.forward(inputs, start, masks=masks)
        return cross_entropy(logits.reshape(flat_targets.size, -1), flat_targets, UNKNOWN_COST)[0] / flat_targets.size

    grads = exact.parameters.zeros_like()
    exact.loss_and_gradients(inputs, targets, start, grads, masks=masks)
    logits, _, tape = exact.forward(inputs, start, masks=masks)
    _, p = cross_entropy(logits.reshape(flat_targets.size, -1), flat_targets)
    dlogits = cross_entropy_backward(p, flat_targets, 1 / flat_targets.size).reshape(logits.shape)
    dstate = exact.backward(tape, dlogits, exact.parameters.zeros_like())

    pairs = {"flat": (exact.parameters.flat, grads.flat)}
    pairs |= {name: (exact.parameters[name], grads[name]) for name in exact.parameters}
    pairs |= {"state": (start, dstate)}
    return {
        name: directional_error(loss, values, gradient, directions=directions, seed=seed, step=step)
        for name, (values, gradient) in pairs.items()
    }


def check_gradients(
    model: LanguageModel,
    inputs: Ids,
    targets: Ids,
    state: Array | None = None,
    *,
    dropout_seed: int | None = None,
    directions: int = 3,
    seed: int = 0,
    step: float = STEP,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Returns `gradient_errors`. Raises `WrongGradient`, naming the tensors at fault, if an error is above `tolerance`."""
    errors = gradient_errors(model, inputs, targets, state, dropout_seed=dropout_seed, directions=directions, seed=seed, step=step)
    wrong = {name: error for name, error in errors.items() if error > tolerance}
    if wrong:
        raise WrongGradient(wrong, tolerance)
    return errors
