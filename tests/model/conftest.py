"""What tests of the network share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

from model.workspace import Workspace


class Poisoned(Workspace):
    """Code that reads the old contents of a buffer gets NaN."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        buffer = super().empty(name, shape, dtype)
        buffer.fill(np.nan)
        return buffer

    def part(self, name: str) -> Workspace:
        return self._parts.setdefault(name, Poisoned())


@pytest.fixture
def poisoned() -> Workspace:
    """A workspace that forgets nothing and whose buffers are full of NaN each time they are handed out."""
    return Poisoned()
