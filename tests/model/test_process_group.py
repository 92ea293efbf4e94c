"""How streams are dealt out, and one process alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.process_group import ALONE, ProcessGroup, sum_in_order


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
    assert ALONE.part(7) == slice(0, 7)
    reduced = ALONE.reduce(gradient, 1.5)
    assert reduced.gradient is gradient
    assert reduced.norm == pytest.approx(5)
    assert reduced.loss == 1.5


def test_sums_are_in_the_order_of_the_ranks() -> None:
    """In single precision 1e8 + 1 is 1e8, so the order shows."""
    vectors = [np.array([value, 0], np.float32) for value in (1e8, 1, -1e8)]
    assert sum_in_order(vectors, slice(0, 1)).tolist() == [0.0]
    assert sum_in_order([vectors[0], vectors[2], vectors[1]], slice(0, 1)).tolist() == [1.0]
    assert vectors[0][0] == np.float32(1e8)
