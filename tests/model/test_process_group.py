"""How streams are dealt out, and one process alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.optimizer import gradient_norm
from model.process_group import ALONE, ProcessGroup


@given(st.integers(1, 200), st.integers(1, 12))
def test_every_stream_has_one_reader_and_none_reads_much_more_than_another(streams: int, size: int) -> None:
    groups = []
    for rank in range(size):
        group = ProcessGroup()
        group.rank, group.size = rank, size
        groups.append(range(streams)[group.rows(streams)])
    assert [stream for rows in groups for stream in rows] == list(range(streams))
    lengths = [len(rows) for rows in groups]
    assert max(lengths) - min(lengths) <= 1


def test_alone_nothing_changes() -> None:
    gradient = np.array([3.0, -4.0])
    assert ALONE.begin(0.25) == 0.25
    reduced = ALONE.reduce(gradient, 1.5, gradient_norm)
    assert reduced.gradient is gradient
    assert reduced.norm == pytest.approx(5)
    assert reduced.loss == 1.5
