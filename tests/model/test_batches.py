"""Streams and chunks against lists: who reads what, when, and after what."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import batches
from model.batches import Records, RecordStreams, Streams, split

sizes = st.tuples(st.integers(2, 300), st.integers(1, 40), st.integers(1, 70))


def test_the_example_of_the_docstring() -> None:
    streams = Streams(np.arange(13), 3, 2)
    inputs, targets = streams.chunk(0)
    assert (inputs.tolist(), targets.tolist()) == ([[0, 4, 8], [1, 5, 9]], [[1, 5, 9], [2, 6, 10]])
    inputs, targets = streams.chunk(1)
    assert (inputs.tolist(), targets.tolist()) == ([[2, 6, 10], [3, 7, 11]], [[3, 7, 11], [4, 8, 12]])
    assert (streams.batch_size, streams.length, streams.chunks, streams.symbols) == (3, 4, 2, 12)


@given(sizes)
def test_an_epoch_reads_every_transition_of_every_stream_once_and_in_order(size: tuple[int, int, int]) -> None:
    """ids[i] = i, so that what is read is where it was read."""
    N, batch_size, seq_length = size
    streams = Streams(np.arange(N), batch_size, seq_length)
    B, S = streams.batch_size, streams.length
    read: list[list[int]] = [[] for _ in range(B)]
    lengths = []
    for index in range(streams.chunks):
        inputs, targets = streams.chunk(index)
        assert inputs.shape == targets.shape == (len(inputs), B)
        lengths.append(len(inputs))
        for row, following in zip(inputs.tolist(), targets.tolist(), strict=True):
            assert following == [place + 1 for place in row]
            for stream, place in enumerate(row):
                read[stream].append(place)
    assert read == [list(range(stream * S, stream * S + S)) for stream in range(B)]
    assert streams.symbols == B * S == sum(map(len, read))
    assert N - 1 - B * S < B  # a transition that is left over is one that not all streams could have
    assert max(lengths) <= seq_length
    assert max(lengths) - min(lengths) <= 1
    assert batch_size >= B


@given(sizes)
def test_a_short_text_is_read_as_fewer_streams(size: tuple[int, int, int]) -> None:
    N, batch_size, seq_length = size
    streams = Streams(np.arange(N), batch_size, seq_length)
    if batch_size * seq_length <= N - 1:
        assert streams.batch_size == batch_size
    else:
        assert streams.batch_size == max(1, (N - 1) // seq_length)
    assert streams.length >= min(seq_length, N - 1)


@pytest.mark.parametrize("N", [0, 1])
def test_a_text_without_a_transition_cannot_be_read(N: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Streams(np.arange(N), 4, 4)


@given(sizes, st.integers(1, 3), st.integers(1, 2))
def test_at_the_end_of_an_epoch_a_state_moves_to_the_stream_that_goes_on_where_it_stands(
    size: tuple[int, int, int], L: int, S: int
) -> None:
    """The state is the place of the symbol read last; after `carry` it is the one before the stream's next symbol."""
    N, batch_size, seq_length = size
    streams = Streams(np.arange(1, N + 1), batch_size, seq_length)
    last = streams.chunk(streams.chunks - 1)[0][-1]  # (B,)
    state = np.broadcast_to(last[:, None], (L, S, streams.batch_size, 2)).astype(float)
    before = state.copy()
    carried = streams.carry(state)
    first = streams.chunk(0)[0][0]
    assert carried.tolist() == np.broadcast_to((first - 1)[:, None], state.shape).tolist()
    assert (state == before).all()


def test_ids_are_not_copied() -> None:
    ids = np.arange(1000, dtype=np.uint8)
    streams = Streams(ids, 4, 10)
    assert all(np.shares_memory(part, ids) for part in streams.chunk(3))


@given(st.integers(1, 10_000), st.floats(1e-6, 0.5), st.integers(0, 2_000))
def test_validation_is_one_tail_or_its_beginning(total: int, fraction: float, validation_size: int) -> None:
    training, start, stop = split(total, fraction, validation_size)
    text = list(range(total))
    tail = text[training:]
    assert training == start
    assert text[start:stop] == (tail[:validation_size] if validation_size else tail)
    assert len(tail) >= 1
    assert abs(len(tail) - max(1, total * fraction)) <= 0.5


def test_a_split_in_numbers() -> None:
    assert split(1_115_394, 0.1, 200_000) == (1_003_855, 1_003_855, 1_115_394)
    assert split(11_000_000, 0.1, 200_000) == (9_900_000, 9_900_000, 10_100_000)
    assert split(11_000_000, 0.1, 0) == (9_900_000, 9_900_000, 11_000_000)
    assert split(3, 0.1, 5) == (2, 2, 3)


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────

record_lists = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8).map(tuple), min_size=1, max_size=40)


def records_of(texts: list[tuple[int, ...]]) -> Records:
    """Records as ids, with 0 as the boundary."""
    sizes = np.array([len(text) + 1 for text in texts])
    return Records(np.array([each for text in texts for each in (0, *text)] + [0], np.uint8), np.cumsum(sizes) - sizes, sizes)


def read_in(streams: RecordStreams, epoch: int) -> tuple[list[int], list[int]]:
    """All inputs and targets of an epoch, stream by stream."""
    chunks = [streams.chunk(index, epoch) for index in range(streams.chunks)]
    inputs, targets = (np.concatenate([chunk[side] for chunk in chunks]).T.ravel().tolist() for side in (0, 1))
    return inputs, targets


@given(record_lists, st.integers(1, 7), st.integers(1, 9), st.integers(1, 50))
def test_an_epoch_reads_each_record_whole_and_once_in_an_order_of_its_own(
    texts: list[tuple[int, ...]], batch_size: int, seq_length: int, window: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WINDOW", window)
        streams = RecordStreams(records_of(texts), batch_size, seq_length, seed=3)
        orders = []
        for epoch in (0, 1, 0, 2**40):
            inputs, targets = read_in(streams, epoch)
            assert inputs[1:] == targets[:-1]
            left = streams.records.symbols - len(inputs)
            assert 0 <= left < streams.batch_size
            order = [tuple(map(int, text)) for text in bytes([*inputs, targets[-1]]).split(b"\0")][1:]
            cut_off = order.pop()  # where the streams end, since they are equally long
            assert (left == 0 and cut_off == ()) or any(text[: len(cut_off)] == cut_off for text in texts)
            assert not Counter(order) - Counter(texts)
            assert len(texts) - len(order) <= left
            orders.append(order)
        assert orders[0] == orders[2]
        if len(set(texts)) > 20:
            assert orders[0] != orders[1]
        assert orders[0] == [*filter(None, orders[0])]


def test_the_order_follows_from_the_seed_and_the_epoch_alone() -> None:
    texts = [(each % 9 + 1, each // 9 + 1) for each in range(60)]
    one, other = (RecordStreams(records_of(texts), 4, 5, seed=1) for _ in range(2))
    read_in(one, 0)
    assert read_in(one, 1) == read_in(other, 1)
    assert read_in(one, 1) != read_in(RecordStreams(records_of(texts), 4, 5, seed=2), 1)
    assert read_in(one, 7)[0][:9] == [0, 2, 2, 0, 9, 5, 0, 3, 6], "no release may change the order: runs go on in it"


@given(record_lists, st.integers(0, 300), st.integers(0, 300))
def test_a_part_of_joined_records_is_a_part_of_the_whole(texts: list[tuple[int, ...]], first: int, last: int) -> None:
    records = records_of(texts).take(np.arange(len(texts))[::-1])
    whole = [each for text in reversed(texts) for each in (0, *text)] + [0]
    assert records.joined().tolist() == whole
    first, last = sorted(min(place, len(whole) - 1) for place in (first, last))
    assert records.joined(first, last + 1).tolist() == whole[first : last + 1]


def test_a_new_epoch_begins_with_a_state_of_zero() -> None:
    assert not RecordStreams(records_of([(1, 2)]), 1, 2, 0).carry(np.ones((1, 1, 1, 2))).any()
