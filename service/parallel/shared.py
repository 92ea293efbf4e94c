"""Memory that several processes share without a name: nothing to clean up, whatever happens to them.

It is a file descriptor that is handed on to a process when it is started, and gone when the last of them has ended. It does not
count as a file in ``/dev/shm``, of which containers have little.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ALIGNMENT = 64  # bytes: arrays of two processes never share a cache line


class Layout(NamedTuple):
    """One array in the memory."""

    dtype: str
    shape: tuple[int, ...]


def reserve(arrays: Mapping[str, Layout]) -> int:
    """A file descriptor of memory for these arrays, filled with zeros. The caller closes it."""
    size = _offsets(arrays)[1]
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("charloom")
    else:
        with tempfile.TemporaryFile() as file:  # has no name, or loses it at once
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def attach(descriptor: int, arrays: Mapping[str, Layout]) -> dict[str, Array]:
    """The arrays in the memory behind a descriptor. They keep it alive; the descriptor may be closed."""
    offsets, size = _offsets(arrays)
    memory = mmap.mmap(descriptor, size)
    found = {}
    for name, (dtype, shape) in arrays.items():
        count = int(np.prod(shape))
        found[name] = np.frombuffer(memory, dtype, count, offsets[name]).reshape(shape) if count else np.empty(shape, dtype)
    return found


def _offsets(arrays: Mapping[str, Layout]) -> tuple[dict[str, int], int]:
    """Where each array begins, and the size of all: at least one byte, since a memory map cannot be empty."""
    offsets, end = {}, 0
    for name, (dtype, shape) in arrays.items():
        offsets[name] = end
        end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return offsets, max(1, end)
