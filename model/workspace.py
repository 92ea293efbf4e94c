"""Buffers that are made once and used at every step.

A training step needs the same few large arrays each time; asking the system for them anew costs page faults that take longer
than the arithmetic on small networks. Whoever is handed a `Workspace` gets its arrays from there, by name and shape. What a
computation returns may lie in its workspace and is valid until the same computation runs again with it. Results never depend
on the workspace: a buffer's old contents are never read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Workspace:
    """Named buffers; the same name, shape and dtype give the same memory."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...], np.dtype[Any]], Array] = {}
        self._parts: dict[str, Workspace] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array with arbitrary contents."""
        key = (name, shape, np.dtype(dtype))
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = np.empty(shape, dtype)
        return buffer

    def part(self, name: str) -> Workspace:
        """A workspace of its own for one part of the computation, such as a layer."""
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = Workspace()
        return part


class Fresh(Workspace):
    """A workspace that remembers nothing: each array is new. For callers that keep what they get, and for other threads."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return np.empty(shape, dtype)

    def part(self, name: str) -> Workspace:
        return self


FRESH = Fresh()
