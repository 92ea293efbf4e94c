"""Buffers are made once per name, shape and type, and apart for each part."""

from __future__ import annotations

import numpy as np
import pytest

from model.workspace import FRESH, Workspace


def test_the_same_name_shape_and_type_give_the_same_memory() -> None:
    workspace = Workspace()
    first = workspace.empty("dz", (3, 5), np.float32)
    assert workspace.empty("dz", (3, 5), np.dtype("float32")) is first
    assert (first.shape, first.dtype) == ((3, 5), np.float32)


@pytest.mark.parametrize(("name", "shape", "dtype"), [("dh", (3, 5), np.float32), ("dz", (5, 3), np.float32), ("dz", (3, 5), np.float64)])
def test_anything_else_gives_other_memory(name: str, shape: tuple[int, ...], dtype: type) -> None:
    workspace = Workspace()
    first, other = workspace.empty("dz", (3, 5), np.float32), workspace.empty(name, shape, dtype)
    assert not np.shares_memory(first, other)
    assert workspace.empty("dz", (3, 5), np.float32) is first


def test_parts_are_workspaces_of_their_own() -> None:
    workspace = Workspace()
    buffers = [part.empty("dz", (3, 5), np.float32) for part in (workspace, workspace.part("layer 0"), workspace.part("layer 1"))]
    assert not any(np.shares_memory(a, b) for a, b in zip(buffers, buffers[1:] + buffers[:1], strict=True))
    assert workspace.part("layer 1").empty("dz", (3, 5), np.float32) is buffers[2]


def test_fresh_remembers_nothing() -> None:
    first, second = (FRESH.part("layer 0").empty("dz", (3, 5), np.float32) for _ in range(2))
    assert not np.shares_memory(first, second)
    assert (first.shape, first.dtype) == ((3, 5), np.float32)
    assert not FRESH._buffers
    assert not FRESH._parts
