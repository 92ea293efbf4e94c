"""A row's product has the same bits in any company."""

from __future__ import annotations

import numpy as np
import pytest

from model.products import row_by_row


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("H", "K"), [(1, 1), (1, 7), (5, 1), (5, 3), (33, 65), (64, 256), (130, 257), (256, 1024)])
def test_a_row_has_the_same_bits_alone_and_among_others(H: int, K: int, dtype: type) -> None:
    rng = np.random.default_rng(H * K)
    a, W = rng.standard_normal((64, H)).astype(dtype), rng.standard_normal((H, K)).astype(dtype)
    alone = np.concatenate([row_by_row(a[b : b + 1], W, np.empty((1, K), dtype)) for b in range(64)])
    for rows in (1, 2, 3, 7, 8, 63, 64):
        for first in (0, 64 - rows):
            out = np.empty((rows, K), dtype)
            assert row_by_row(a[first : first + rows], W, out) is out
            assert out.tobytes() == alone[first : first + rows].tobytes()
    np.testing.assert_allclose(alone, a.astype(np.float64) @ W.astype(np.float64), rtol=0, atol=1e-3 if dtype is np.float32 else 1e-11)


def test_rows_taken_from_elsewhere_have_the_same_bits() -> None:
    """After others left, rows are a copy in another order; a state's rows may also be a slice of something larger."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((40, 120)).astype(np.float32)
    a = rng.standard_normal((3, 16, 40)).astype(np.float32)
    alone = [row_by_row(a[1, b : b + 1].copy(), W, np.empty((1, 120), np.float32)).tobytes() for b in range(16)]
    shuffled = rng.permutation(16)
    for rows, of in ((a[1], np.arange(16)), (a[1, shuffled], shuffled), (a[1, ::2], np.arange(0, 16, 2)), (a[0:2, 5], [-1, 5])):
        out = row_by_row(rows, W, np.empty((len(of), 120), np.float32))
        assert all(line.tobytes() == alone[b] for line, b in zip(out, of, strict=True) if b >= 0)


def test_no_rows_give_no_rows() -> None:
    assert row_by_row(np.empty((0, 4)), np.ones((4, 3)), np.empty((0, 3))).shape == (0, 3)
