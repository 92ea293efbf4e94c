"""n-gram baselines against a naive implementation in dicts, and by hand."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import baselines
from model.baselines import HashIndex, name, ngram_losses, probabilities

COST = 13.5


def naive_probability(training: Sequence[int], context: Sequence[int], w: int, V: int) -> float:
    """Interpolated Witten-Bell by recursion, as its definition reads; a context that never occurred is skipped."""
    if len(context) == 0:
        shorter = 1 / V
    else:
        shorter = naive_probability(training, context[1:], w, V)
    n = len(context)
    after: dict[int, int] = {}
    for i in range(n, len(training)):
        if list(training[i - n : i]) == list(context) and training[i] < V:
            after[training[i]] = after.get(training[i], 0) + 1
    T, total = len(after), sum(after.values())
    if total == 0:
        return shorter
    return (after.get(w, 0) + T * shorter) / (total + T)


def naive_loss(ids: Sequence[int], training_stop: int, start: int, stop: int, V: int, order: int) -> float:
    cost = 0.0
    for i in range(start, stop):
        if ids[i] >= V:
            cost += COST
        elif order == 0:
            cost += math.log(V)
        else:
            context = ids[max(0, i - order + 1) : i]
            cost -= math.log(naive_probability(ids[:training_stop], context, ids[i], V))
    return cost / (stop - start)


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[int], int, int, int, int]:
    """Ids with unknown ones among them, the training part's end, the validation part, and V."""
    V = draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, V), min_size=2, max_size=60))
    start = draw(st.integers(1, len(ids) - 1))
    return ids, draw(st.integers(0, start)), start, draw(st.integers(start + 1, len(ids))), V


@given(texts(), st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]), st.integers(1, 9), st.integers(1, 9))
def test_losses_are_those_of_the_naive_models(
    text: tuple[list[int], int, int, int, int], dtype: type[np.integer[np.typing.NBitBase]], chunk: int, scored: int
) -> None:
    ids, training_stop, start, stop, V = text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "CHUNK", chunk)
        patch.setattr(baselines, "SCORED", scored)
        found = ngram_losses(np.array(ids, dtype), training_stop, start, stop, V, COST)
    expected = {order: naive_loss(ids, training_stop, start, stop, V, order) for order in range(6)}
    assert found == pytest.approx(expected, rel=1e-12)


def test_an_example_by_hand() -> None:
    """Training text ``a b a c a b``, V = 4 (a b c d), scored on ``a d b``; d never occurs.

    Unigrams: 6 symbols, 3 different ones, so p(w) = (c(w) + 3/4) / 9: a 3.75/9, b 2.75/9, c 1.75/9, d 0.75/9.
    Bigrams: after a come b c b (c 3, T 2), after b comes a (c 1, T 1), after d nothing:
    p(a|b) = (1 + 1 * 3.75/9) / 2, p(d|a) = (0 + 2 * 0.75/9) / 5, p(b|d) = p(b).
    """
    ids = np.array([0, 1, 0, 2, 0, 1, 0, 3, 1], np.uint8)
    losses = ngram_losses(ids, 6, 6, 9, 4, COST, orders=(0, 1, 2))
    unigram = [3.75 / 9, 0.75 / 9, 2.75 / 9]
    bigram = [(1 + 3.75 / 9) / 2, 1.5 / 9 / 5, 2.75 / 9]
    expected = {0: math.log(4), 1: -np.log(unigram).mean(), 2: -np.log(bigram).mean()}
    assert losses == pytest.approx(expected, rel=1e-14)


@given(st.integers(1, 6), st.data())
def test_the_probabilities_of_all_symbols_sum_to_one(V: int, data: st.DataObject) -> None:
    training = data.draw(st.lists(st.integers(0, V), max_size=80))
    context = data.draw(st.lists(st.integers(0, V), max_size=5))
    read = np.array([[*context, w] for w in range(V)], np.uint8)  # (V, context and next symbol)
    for order, p in enumerate(probabilities(np.array(training, np.uint8), read.ravel(), V, len(context) + 1)):
        if order <= len(context) + 1:
            distribution = p.reshape(read.shape)[:, -1]
            assert distribution.sum() == pytest.approx(1, rel=1e-12)
            assert (distribution > 0).all()


def test_only_the_end_of_the_training_part_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, 300).astype(np.uint16)
    monkeypatch.setattr(baselines, "COUNTED", 50)
    assert ngram_losses(ids, 200, 200, 300, 4) == ngram_losses(ids[150:], 50, 50, 150, 4)


def test_the_first_contexts_reach_back_into_the_training_part() -> None:
    """After ``c`` always comes d: the first symbol that is scored is certain only for who sees that c."""
    ids = np.array([0, 1, 2, 3] * 50, np.uint8)
    assert ngram_losses(ids, 199, 199, 200, 4)[2] < 0.1


def test_ids_may_be_memory_mapped(tmp_path: Path) -> None:
    ids = np.random.default_rng(1).integers(0, 9, 500).astype(np.uint8)
    np.save(tmp_path / "ids.npy", ids)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert ngram_losses(mapped, 400, 400, 500, 9) == ngram_losses(ids, 400, 400, 500, 9)


@pytest.mark.parametrize("V", [1, 2, 100_000])
def test_two_symbols_are_enough(V: int) -> None:
    losses = ngram_losses(np.array([0, V - 1], np.int32), 1, 1, 2, V, COST)
    assert losses[0] == pytest.approx(math.log(V))
    assert all(math.isfinite(loss) and loss >= 0 for loss in losses.values())


def test_one_symbol_is_no_surprise_and_an_unknown_one_costs_what_it_is_said_to() -> None:
    assert ngram_losses(np.zeros(100, np.uint8), 90, 90, 100, 1, COST) == dict.fromkeys(range(6), 0.0)
    assert ngram_losses(np.full(20, 3, np.uint8), 10, 10, 20, 3, COST) == dict.fromkeys(range(6), COST)


def test_memory_does_not_grow_with_the_alphabet() -> None:
    """A table of all contexts of two symbols would take 80 GB here; at most 16 bytes a symbol are promised, beside what scoring takes."""
    rng = np.random.default_rng(2)
    V, N = 100_000, 400_000
    ids = rng.integers(0, V, N + 5_000).astype(np.int32)
    tracemalloc.start()
    try:
        losses = ngram_losses(ids, N, N, N + 5_000, V)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * N + 60 * baselines.CHUNK
    assert losses[1] < losses[0] + 0.5


@given(st.sets(st.integers(0, 2**50), min_size=0, max_size=200), st.lists(st.integers(0, 2**50), max_size=50))
def test_numbers_are_found_even_where_keys_share_slots(keys: set[int], others: list[int]) -> None:
    ordered = sorted(keys)
    asked = [*ordered, *others, -1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "GOLDEN", np.uint64(2**40 + 1))  # a poor hash
        found = HashIndex(np.array(ordered, np.int64)).find(np.array(asked, np.int64)).tolist()
    assert found == [ordered.index(key) if key in keys else -1 for key in asked]


def test_models_have_names() -> None:
    assert [name(order) for order in baselines.ORDERS] == ["uniform", "unigram", "bigram", "trigram", "4-gram", "5-gram"]


def test_counting_may_be_broken_off() -> None:
    ids = np.arange(300) % 7
    ticks: list[int] = []
    assert ngram_losses(ids, 200, 200, 300, 7, tick=lambda: ticks.append(1)) == ngram_losses(ids, 200, 200, 300, 7)
    assert len(ticks) == max(baselines.ORDERS)  # once for each order of a text that is counted in one go
    with pytest.raises(ZeroDivisionError):
        ngram_losses(ids, 200, 200, 300, 7, tick=lambda: 1 / 0)  # type: ignore[arg-type, return-value]


def naive_loss_of_records(ids: Sequence[int], training_stop: int, start: int, stop: int, V: int, order: int) -> float:
    """As `naive_loss`, but a context ends behind a boundary (0), and is counted only where it does so in training, too."""
    cost = 0.0
    for i in range(start, stop):
        if ids[i] >= V:
            cost += COST
            continue
        first = next((k for k in range(i - 1, -1, -1) if ids[k] == 0), 0)
        n = min(max(0, order - 1), i - first)
        cost -= math.log(naive_probability(ids[:training_stop], ids[i - n : i], ids[i], V)) if order else -math.log(V)
    return cost / (stop - start)


@given(texts(), st.integers(1, 9), st.integers(1, 60))
def test_contexts_do_not_reach_across_a_boundary(text: tuple[list[int], int, int, int, int], chunk: int, scored: int) -> None:
    ids, training_stop, start, stop, V = text
    ids = [0, *ids[1:]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "CHUNK", chunk)
        patch.setattr(baselines, "SCORED", scored)
        found = ngram_losses(np.array(ids, np.uint8), training_stop, start, stop, V, COST, boundary=0)
    expected = {order: naive_loss_of_records(ids, training_stop, start, stop, V, order) for order in range(6)}
    assert found == pytest.approx(expected, rel=1e-12)
