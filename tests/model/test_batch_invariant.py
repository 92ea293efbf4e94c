"""A row's product has the same bits in any company."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.batch_invariant import COLUMNS, PANEL, ROWS, InBlocks, Prepare, PreparedWeights, RowByRow, is_batch_invariant


def times(W: NDArray[Any], a: NDArray[Any], prepare: Prepare = RowByRow) -> NDArray[Any]:
    out = np.full((len(a), W.shape[1]), np.nan, W.dtype)
    prepare(W).bind(a, out)()
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("D", "K"), [(1, 1), (1, 7), (5, 1), (5, 3), (33, 65), (64, 256), (130, 257), (256, 1024), (700, 231)])
def test_a_row_has_the_same_bits_alone_and_among_others(D: int, K: int, dtype: type) -> None:
    rng = np.random.default_rng(D * K)
    a, W = rng.standard_normal((64, D)).astype(dtype), rng.standard_normal((D, K)).astype(dtype)
    alone = np.concatenate([times(W, a[b : b + 1]) for b in range(64)])
    for rows in (1, 2, 3, 7, 8, 63, 64):
        for first in (0, 64 - rows):
            assert times(W, a[first : first + rows]).tobytes() == alone[first : first + rows].tobytes()
    np.testing.assert_allclose(alone, a.astype(np.float64) @ W.astype(np.float64), rtol=0, atol=1e-3 if dtype is np.float32 else 1e-11)


def test_the_sizes_above_take_one_panel_and_several() -> None:
    assert 64 * 256 < PANEL < 256 * 1024 < 2 * 700 * 231


def test_rows_taken_from_elsewhere_have_the_same_bits() -> None:
    """After others left, rows are a copy in another order; a state's rows are a slice of something larger."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((40, 120)).astype(np.float32)
    a = rng.standard_normal((3, 16, 40)).astype(np.float32)
    alone = [times(W, a[1, b : b + 1].copy()).tobytes() for b in range(16)]
    shuffled = rng.permutation(16)
    for rows, of in ((a[1], np.arange(16)), (a[1, shuffled], shuffled), (a[1, 4:9], np.arange(4, 9))):
        assert [line.tobytes() for line in times(W, rows)] == [alone[b] for b in of]


def test_what_is_bound_reads_and_writes_where_it_was_bound_each_time() -> None:
    rng = np.random.default_rng(1)
    W = rng.standard_normal((300, 500))
    a, out = np.empty((4, 300)), np.empty((4, 500))
    product = RowByRow(W).bind(a, out)
    for _ in range(3):
        a[:] = rng.standard_normal(a.shape)
        product()
        np.testing.assert_allclose(out, a @ W, rtol=1e-9)


SHAPES = [(1, 1), (3, COLUMNS), (ROWS, COLUMNS), (ROWS + 1, COLUMNS - 1), (ROWS - 1, 3 * COLUMNS + 5), (2 * ROWS + 7, 2 * COLUMNS)]


@pytest.mark.parametrize("B", [1, 2, 9])
@pytest.mark.parametrize(("D", "K"), SHAPES)
def test_blocks_add_up_to_the_product(D: int, K: int, B: int) -> None:
    rng = np.random.default_rng(D + K)
    W = rng.standard_normal((D, K))
    a, out = np.empty((B, D)), np.empty((B, K))
    product = InBlocks(W).bind(a, out)
    for _ in range(2):
        a[:] = rng.standard_normal(a.shape)
        product()
        np.testing.assert_allclose(out, a @ W, rtol=0, atol=1e-11)


def test_rows_that_do_not_agree_are_found() -> None:
    class Biased(RowByRow):
        """The last of exactly nine rows is off by as little as can be."""

        def bind(self, a: NDArray[Any], out: NDArray[Any]) -> Callable[[], object]:
            product = super().bind(a, out)

            def biased() -> None:
                product()
                if len(a) == 9:
                    out[-1, -1] = np.nextafter(out[-1, -1], np.float32(np.inf))

            return biased

    counts = range(1, 13)
    assert is_batch_invariant(RowByRow, [(20, 30), (300, 5)], counts)
    assert not is_batch_invariant(Biased, [(20, 30)], counts)
    assert is_batch_invariant(Biased, [(20, 30)], [1, 2, 12])


def test_each_matrix_is_prepared_once() -> None:
    prepared = []

    def counted(W: NDArray[Any]) -> RowByRow:
        prepared.append(W)
        return RowByRow(W)

    products, matrices = PreparedWeights(counted), [np.ones((3, 2)), np.ones((3, 4))]
    for W in (*matrices, *matrices):
        out = np.empty((1, W.shape[1]))
        products.bind(W, np.ones((1, 3)), out)()
        assert (out == 3).all()
    assert len(prepared) == 2


def test_no_rows_give_no_rows() -> None:
    assert times(np.ones((4, 3)), np.empty((0, 4))).shape == (0, 3)
