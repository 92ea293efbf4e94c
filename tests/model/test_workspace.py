"""Buffers are made once per name and type, and apart for each part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.workspace import BLOCK, FRESH, LONGEST, Workspace, last_to_first


def test_the_same_name_shape_and_type_give_the_same_memory() -> None:
    workspace = Workspace()
    first = workspace.empty("dz", (3, 5), np.float32)
    assert workspace.empty("dz", (3, 5), np.dtype("float32")) is first
    assert (first.shape, first.dtype) == ((3, 5), np.float32)


@pytest.mark.parametrize(("name", "dtype"), [("dh", np.float32), ("dz", np.float64)])
def test_another_name_or_type_gives_other_memory(name: str, dtype: type) -> None:
    workspace = Workspace()
    first, other = workspace.empty("dz", (3, 5), np.float32), workspace.empty(name, (3, 5), dtype)
    assert not np.shares_memory(first, other)
    assert workspace.empty("dz", (3, 5), np.float32) is first


def test_other_shapes_share_the_memory_of_the_largest() -> None:
    """Chunks of a text differ in length by one symbol; that must not double what training takes."""
    workspace = Workspace()
    small, large = workspace.empty("dz", (3, 5), np.float32), workspace.empty("dz", (4, 5), np.float32)
    for shape in ((3, 5), (5, 3), (20,), (0, 7)):
        view = workspace.empty("dz", shape, np.float32)
        assert view.shape == shape
        assert view.flags.c_contiguous
        assert view.base is large.base
    assert not np.shares_memory(small, large), "it had to grow, and the old memory is not kept for it"
    assert workspace.empty("dz", (4, 5), np.float32) is large


def test_a_cleared_workspace_begins_anew() -> None:
    workspace = Workspace()
    first, inner = workspace.empty("dz", (3, 5), np.float32), workspace.part("layer 0").empty("dz", (3, 5), np.float32)
    workspace.clear()
    assert not np.shares_memory(workspace.empty("dz", (3, 5), np.float32), first)
    assert not np.shares_memory(workspace.part("layer 0").empty("dz", (3, 5), np.float32), inner)


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


@given(st.integers(1, 200), st.integers(1, 2 * BLOCK))
def test_blocks_cover_every_step_once_from_the_last_to_the_first(T: int, size: int) -> None:
    blocks = list(last_to_first(T, size))
    steps = [step for block in reversed(blocks) for step in range(T)[block]]
    assert steps == list(range(T))
    for block in blocks:
        length = block.stop - block.start
        assert length <= LONGEST
        assert length * size <= BLOCK or length == 1
