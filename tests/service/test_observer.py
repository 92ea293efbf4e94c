"""What the engine tells is counted into the right buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.observer import FIRST, STEP, Histogram, Measurements, Observer


@given(st.lists(st.floats(0, 100)))
def test_buckets_hold_what_is_no_longer_than_their_end(seconds: list[float]) -> None:
    histogram = Histogram(FIRST)
    for each in seconds:
        histogram.add(each)
    assert histogram.cumulative() == [
        *((str(end), sum(each <= end for each in seconds)) for end in FIRST),
        ("+Inf", len(seconds)),
    ]
    assert histogram.sum == sum(seconds)


def test_ends_ascend() -> None:
    assert list(FIRST) == sorted(FIRST)
    assert list(STEP) == sorted(STEP)


def test_measurements() -> None:
    measured = Measurements()
    measured.began(0.02)
    for seconds, characters in ((0.5, 3), (2.0, 0)):
        measured.stepped(seconds, characters)
    assert measured.characters == 3
    assert measured.first.sum == 0.02
    assert measured.step.sum == 2.5
    assert measured.step.counts[-1] == 1


def test_an_observer_may_do_nothing() -> None:
    Observer().began(1.0)
    Observer().stepped(1.0, 1)
