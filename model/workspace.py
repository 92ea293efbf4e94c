"""Buffers that are made once and used at every step.

A training step needs the same few large arrays each time; asking the system for them anew costs page faults that take longer
than the arithmetic on small networks. Whoever is handed a `Workspace` gets its arrays from there, by name and shape. What a
computation returns may lie in its workspace and is valid until the same computation runs again with it. Results never depend
on the workspace: a buffer's old contents are never read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


BLOCK = 65_536  # numbers of one array that are worked on together
LONGEST = 8  # steps of them


class Workspace:
    """Named buffers. The same name and dtype give the same memory, whatever the shape; it grows where a larger shape wants it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, np.dtype[Any]], Array] = {}  # flat
        self._views: dict[tuple[str, tuple[int, ...], np.dtype[Any]], Array] = {}
        self._parts: dict[str, Workspace] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array with arbitrary contents."""
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
        """Give all memory back; what is asked for later is made anew."""
        self._buffers.clear()
        self._views.clear()
        self._parts.clear()

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


def last_to_first(T: int, size: int) -> Iterator[slice]:
    """The steps 0..T-1 in blocks, the last block first, for arrays of `size` numbers a step: a block of several stays in the cache."""
    length = int(np.clip(BLOCK // size, 1, LONGEST))
    for stop in range(T, 0, -length):
        yield slice(max(0, stop - length), stop)
