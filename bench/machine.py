"""Describes the machine of a measurement and measures its best rate of matrix products."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from typing import Any

import numpy as np

from service.system import hardware
from service.terminal.info import processor

SIZES = (2048, 3072)  # of square matrices: large enough that packing them costs next to nothing


def measure() -> dict[str, Any]:
    """Processor, cores, load, arithmetic, and versions; called in a process started as the measured ones are."""
    arithmetic = hardware.arithmetic()  # asked before PyTorch brings libraries of its own
    import torch

    return {
        "processor": processor(),
        "cores": hardware.cores(),
        "load": round(os.getloadavg()[0], 2),
        "arithmetic": arithmetic,
        "pytorch_kernels": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "torch", "onnxruntime")},
    }


class Peak:
    """The best rate that `np.dot` has reached on large float32 matrices with all cores of this process."""

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        self.rate = 0.0  # multiply-adds per second
        self._matrices = [tuple(np.ones((size, size), np.float32) for _ in range(3)) for size in sizes]

    def measure(self) -> None:
        """Multiply once more; asked for again and again, so that a busy moment of the machine does not count."""
        with hardware.blas_threads(hardware.cores()):
            for a, b, out in self._matrices:
                began = time.perf_counter()
                np.dot(a, b, out=out)
                self.rate = max(self.rate, len(a) ** 3 / (time.perf_counter() - began))
