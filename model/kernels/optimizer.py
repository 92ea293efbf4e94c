"""Updates the weights with the C library: the methods of `model.optimizer.Optimizer` for single precision, with the same arguments.

The weights have the same bits for any number of threads.
"""

from __future__ import annotations

import ctypes

import numpy as np

from model.config import TrainingConfig
from model.kernels.library import KernelUpdate, Library, checked, checked_threads
from model.optimizer import RULES as UPDATE_RULES
from model.optimizer import Array, Memory, bias_correction, learning_rate_multiples, shrink_factor
from model.parameters import Parameters

RULES = ("adam", "rmsprop", "adagrad", "sgd")  # in the order of optimizer.h


class KernelOptimizer:
    """Updates all parameters of a model. Raises `ValueError` for arrays that the library cannot read."""

    def __init__(self, library: Library, parameters: Parameters, memory: Memory, config: TrainingConfig, threads: int = 1) -> None:
        self._library, self._config, self._threads = library, config, checked_threads(threads)
        self._weights = checked(parameters.flat, parameters.flat.shape, written=True)
        needed = UPDATE_RULES[config.optimizer].memory
        if memory.keys() != set(needed):
            raise ValueError(f"the memory is {sorted(memory)}; {config.optimizer} needs {sorted(needed)}")
        self._memory = {name: checked(vector, self._weights.shape, written=True) for name, vector in memory.items()}
        places = list(parameters.places().values())
        self._bounds = np.array([*(place.start for place in places), len(self._weights)], np.int64)
        multiples = learning_rate_multiples(parameters, config)
        self._multiples = np.array([multiples[name] for name in parameters])
        self._decay = np.array([config.weight_decay if view.ndim == 2 else 0.0 for view in parameters.values()])

    def norm(self, gradient: Array) -> float:
        """Returns the norm of a gradient (P,); not finite if one of its numbers is not, or a sum of squares overflows.

        Raises `MemoryError`.
        """
        gradient = checked(gradient, self._weights.shape)
        norm: float = self._library.gradient_norm(gradient.ctypes.data, len(gradient), self._threads)
        if norm < 0:
            raise MemoryError("there is no memory for the norm of the gradient")
        return norm

    def update(self, gradient: Array, norm: float, rate: float, t: int) -> None:
        """Clips a gradient (P,) with this norm, which stays as it is, and updates the parameters; `t` counts updates from 1."""
        config, gradient = self._config, checked(gradient, self._weights.shape)
        rule = KernelUpdate(
            rule=RULES.index(config.optimizer),
            shrink=shrink_factor(norm, config),
            clip_value=config.clip_value,
            beta1=config.beta1,
            beta2=config.beta2,
            momentum=config.momentum,
            epsilon=config.epsilon,
            fresh1=1 - config.beta1,
            fresh2=1 - config.beta2,
            m_factor=bias_correction(config.beta1, t),
            v_factor=bias_correction(config.beta2, t),
        )
        rates = rate * self._multiples
        own_rates, kept = rates.astype(np.float32), (1 - rates * self._decay).astype(np.float32)
        m, v = (self._memory[name].ctypes.data if name in self._memory else None for name in ("m", "v"))
        self._library.update_weights(
            ctypes.byref(rule),
            self._weights.ctypes.data,
            gradient.ctypes.data,
            m,
            v,
            len(own_rates),
            self._bounds.ctypes.data,
            own_rates.ctypes.data,
            kept.ctypes.data,
            self._threads,
        )
