"""A plot holds every point where it belongs, and never more than its width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.terminal.plot import plot

POINTS = st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1e6)), max_size=30)


def test_a_plot_is_drawn_as_expected() -> None:
    assert plot([("·", [(0, 4.0), (5, 3.0), (10, 2.0)]), ("•", [(10, 2.0), (5, 4.0)])], width=17, height=3).split("\n") == [
        "4.00 ┤·    •",
        "     │     ·",
        "2.00 ┤          •",
        "     └───────────",
        "      0        10",
    ]


def test_without_points_there_is_no_plot() -> None:
    assert plot([]) == ""
    assert plot([("·", [])]) == ""


def test_one_point_is_enough() -> None:
    assert plot([("•", [(7, 1.5)])], width=20, height=2).count("•") == 1


@given(training=POINTS, validation=POINTS, width=st.integers(40, 120))
def test_a_plot_fits_and_shows_what_is_drawn_last(
    training: list[tuple[int, float]], validation: list[tuple[int, float]], width: int
) -> None:
    text = plot([("·", training), ("•", validation)], width)
    assert all(len(line) <= width for line in text.split("\n"))
    assert ("•" in text) == bool(validation)
    assert text.count("•") <= len(validation)
    assert bool(text) == bool(training or validation)
