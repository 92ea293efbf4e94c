"""Rows that are multiplied together have the bits of those that are multiplied alone, on kernels that add up in eight lanes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.batch_invariant import RowByRow, is_batch_invariant
from model.batch_invariant_lanes import COUNTS, LANES, MOST, WIDTH, WORTH, InLanes, _groups, in_lanes
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.sampling import generate
from model.vocabulary import Vocabulary
from service.system import hardware

AS_HERE = hardware.blas().rpartition(" ")[2] in hardware.IN_LANES
SIZES = [(8, 1), (8, 12), (16, 65), (64, 4), (128, 600), (256, WIDTH), (264, WIDTH + 1), (512, 1037), (1024, 1024)]


def times(W: NDArray[Any], a: NDArray[Any]) -> NDArray[Any]:
    out = np.full((len(a), W.shape[1]), np.nan, W.dtype)
    InLanes(W).bind(a, out)()
    return out


@pytest.mark.parametrize("B", [1, 4, 5, 12, 13, 23, 24, 31, 64, 75, 131])
@pytest.mark.parametrize(("D", "K"), SIZES)
def test_lanes_add_up_to_the_product(D: int, K: int, B: int) -> None:
    rng = np.random.default_rng(D + K)
    W = rng.standard_normal((D, K))
    a, out = np.empty((B, D)), np.empty((B, K))
    product = InLanes(W).bind(a, out)
    for _ in range(2):  # what is bound reads and writes where it was bound each time
        a[:] = rng.standard_normal(a.shape)
        product()
        np.testing.assert_allclose(out, a @ W, rtol=0, atol=1e-11)


@pytest.mark.skipif(not AS_HERE, reason="these kernels of BLAS do not add up in lanes; products are made row by row here")
@pytest.mark.parametrize(("D", "K"), [*SIZES, (384, 1536), (512, 2048)])
def test_a_row_has_the_same_bits_in_any_company(D: int, K: int) -> None:
    with hardware.blas_threads(1):
        assert is_batch_invariant(InLanes, [(D, K)], COUNTS)
        assert is_batch_invariant(InLanes, [(D, K)], [2, 3, 13, 17, 25, 64, 100])


@pytest.mark.skipif(not AS_HERE, reason="these kernels of BLAS do not add up in lanes")
def test_a_single_row_is_added_up_as_documented() -> None:
    """Against the same sums in extended precision, rounded after each step: what a fused multiply-add is."""
    rng = np.random.default_rng(0)
    a, W = rng.standard_normal((1, 256), np.float32), rng.standard_normal((256, 40), np.float32)
    s = np.zeros((LANES, 40), np.float32)
    for k in range(256):
        s[k % LANES] = (np.float64(a[0, k]) * W[k].astype(np.float64) + s[k % LANES]).astype(np.float32)
    expected = ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]))
    with hardware.blas_threads(1):
        assert times(W, a).tobytes() == expected.tobytes()


@pytest.mark.skipif(not AS_HERE, reason="these kernels of BLAS do not add up in lanes")
def test_a_text_of_a_large_network_is_the_same_alone_and_among_others() -> None:
    """A chaotic one, in which the smallest difference becomes another text."""
    words = Vocabulary("char", "none", range(97, 123))
    model = LanguageModel.new(ModelConfig(cell="rnn", hidden_size=640), words.size, seed=5)
    model.parameters["layers.0.Wx"][:] *= 0.1
    model.parameters["layers.0.Wh"][:] *= 3
    prepare = hardware.prepare_for(model)
    assert prepare is in_lanes

    def texts(seed: int, n: int) -> list[str]:
        parts = [""] * n
        for piece in generate(model, words, SamplingConfig(length=60, n=n, seed=seed, temperature=1), prepare):
            parts[piece.choice] += piece.text
        return parts

    with hardware.blas_threads(1):
        together = texts(9, 64)
        assert [texts(9 + i, 1)[0] for i in (0, 11, 12, 40, 59, 60, 63)] == [together[i] for i in (0, 11, 12, 40, 59, 60, 63)]
        assert texts(9, 7) == together[:7]
        model.parameters["layers.0.Wh"][0, 0] = np.nextafter(model.parameters["layers.0.Wh"][0, 0], np.float32(9))
        assert texts(9, 64) != together, "chaotic enough"


def test_rows_far_from_each_other_in_size_do_not_disturb_each_other() -> None:
    """An infinite row, or one that is no number, stays alone with that."""
    W = np.random.default_rng(0).standard_normal((64, 700), np.float32)
    a = np.random.default_rng(1).standard_normal((30, 64), np.float32)
    before = times(W, a)
    a[7], a[20] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        after = times(W, a)
    others = [row for row in range(30) if row not in (7, 20)]
    assert after[others].tobytes() == before[others].tobytes()


@settings(max_examples=200)
@given(st.integers(0, 1000))
def test_groups_cover_all_rows_in_sizes_that_are_tried_beforehand(B: int) -> None:
    groups = list(_groups(B))
    assert [row for group in groups for row in range(B)[group]] == list(range(B))
    assert {group.stop - group.start for group in groups} <= set(COUNTS)
    assert max(COUNTS) == MOST


@pytest.mark.parametrize(
    ("shape", "kind"), [((512, 2048), InLanes), ((8, WORTH), InLanes), ((510, 2048), RowByRow), ((128, 512), RowByRow)]
)
def test_small_matrices_and_odd_ones_are_multiplied_row_by_row(shape: tuple[int, int], kind: type) -> None:
    assert type(in_lanes(np.empty(shape, np.float32))) is kind


def test_no_rows_give_no_rows() -> None:
    assert times(np.ones((8, 3)), np.empty((0, 8))).shape == (0, 3)
