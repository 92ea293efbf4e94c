"""Provides buffers that are allocated once and used at every step.

A training step needs the same few large arrays each time; allocating them anew costs page faults that take longer than the arithmetic
of small networks. A function with a `Workspace` takes its arrays from there, by name and shape. Its results may lie in the workspace
and are valid until the same function runs again with it. Numbers never depend on the workspace: a buffer's old contents are not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

BLOCK = 65_536  # numbers of one array that are processed together
LONGEST = 8  # steps of a block, at most


class Workspace:
    """Named buffers. The same name and dtype give the same memory for every shape; it grows if a larger shape needs it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, np.dtype[Any]], Array] = {}  # flat
        self._views: dict[tuple[str, tuple[int, ...], np.dtype[Any]], Array] = {}
        self._parts: dict[str, Workspace] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Returns an array with arbitrary contents."""
        dtype = np.dtype(dtype)
        view = self._views.get((name, shape, dtype))
        if view is None:
            size, buffer = math.prod(shape), self._buffers.get((name, dtype))
            if buffer is None or buffer.size < size:
                self._views = {key: each for key, each in self._views.items() if key[0] != name or key[2] != dtype}
                buffer = self._buffers[name, dtype] = np.empty(size, dtype)
            view = self._views[name, shape, dtype] = buffer[:size].reshape(shape)
        return view

    def clear(self) -> None:
        """Frees all memory."""
        self._buffers.clear()
        self._views.clear()
        self._parts.clear()

    def part(self, name: str) -> Workspace:
        """Returns a separate workspace for one part of the computation, such as a layer."""
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = Workspace()
        return part


class Fresh(Workspace):
    """A workspace without memory: each array is new. For callers that keep the results, and for other threads."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return np.empty(shape, dtype)

    def part(self, name: str) -> Workspace:
        return self


FRESH = Fresh()


def last_to_first(T: int, size: int) -> Iterator[slice]:
    """Yields the steps 0..T-1 in blocks, the last block first, for arrays of `size` numbers per step; a block fits the cache."""
    length = int(np.clip(BLOCK // size, 1, LONGEST))
    for stop in range(T, 0, -length):
        yield slice(max(0, stop - length), stop)
