"""Memory that has no name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.parallel.processes import SUPPORTED
from service.parallel.shared import ALIGNMENT, Layout, attach, reserve

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="this system cannot hand on descriptors")

KINDS = st.sampled_from(["f4", "f8", "u1", "u2", "i4"])
SHAPES = st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.builds(Layout, KINDS, SHAPES), max_size=5))
def test_what_one_writes_the_other_reads_and_nothing_overlaps(layout: dict[str, Layout]) -> None:
    descriptor = reserve(layout)
    ours, theirs = attach(descriptor, layout), attach(descriptor, layout)
    os.close(descriptor)
    assert ours.keys() == layout.keys()
    for number, (name, array) in enumerate(ours.items(), 1):
        assert array.shape == layout[name].shape
        assert not array.any(), "it begins with zeros"
        assert array.ctypes.data % ALIGNMENT == 0 or not array.size
        array[...] = number
    for number, name in enumerate(layout, 1):
        assert (theirs[name] == number).all()
        assert theirs[name].dtype == np.dtype(layout[name].dtype)


def test_where_the_system_has_no_nameless_memory_a_deleted_file_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    layout = {"a": Layout("f4", (5,))}
    descriptor = reserve(layout)
    attach(descriptor, layout)["a"][:] = 3
    assert attach(descriptor, layout)["a"].tolist() == [3] * 5
    os.close(descriptor)
    assert not list(tmp_path.iterdir())
