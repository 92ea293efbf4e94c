"""Training as it is watched: the right facts, in the room there is.

A plot holds every point where it belongs, and never more than its width.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training import Progress
from service.system.formatting import columns
from service.terminal.training_display import BarDisplay, JsonDisplay, LineDisplay, headline, plot
from service.training.progress import Stepped

# ── plot ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── display ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(text: str) -> str:
    """What is seen of it."""
    return re.sub(r"\x1b\[[0-9;]*[mK]|\r", "", text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ── the bar ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_headline_says_what_is_trained(events: Any) -> None:
    assert headline(events.prepared(notes=("a note",))).split("\n") == [
        "run tale-lstm: lstm 2x128, 70,000 parameters, alphabet of 60, learning from 9,000 symbols of corpus tale, validating on 1,000",
        "a note",
    ]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_terminal_of_eighty_columns_shows_everything(events: Any, clock: Clock, width: int) -> None:
    display = BarDisplay(lambda: width, clock)
    display.show(events.prepared())
    display.show(events.validated())
    bar = plain(display.show(events.stepped(step=101)))
    for fact in ("━━━━", "25%", "loss 1.235", "1:23 left", "val 1.250, 1.80 bits", "101/1,000", "0.51", "312k/s"):
        assert fact in bar
    assert len(bar) < width


def test_a_narrow_terminal_keeps_the_bar_and_what_matters_most(events: Any, clock: Clock) -> None:
    display = BarDisplay(lambda: 40, clock)
    display.show(events.prepared())
    display.show(events.validated())
    assert plain(display.show(events.stepped())).lstrip("━") == "  25% loss 1.235 1:23 left"


def test_a_run_by_budget_has_no_last_step(events: Any, clock: Clock) -> None:
    display = BarDisplay(lambda: 120, clock)
    display.show(events.prepared(steps=None))
    assert "step 101  " in plain(display.show(events.stepped()))


@given(
    width=st.integers(1, 250),
    step=st.integers(1, 10**9),
    share=st.floats(0, 1),
    left=st.floats(0, 1e7) | st.just(math.inf),
    loss=st.floats(0, 1e4),
    speed=st.floats(0, 1e9),
    validated=st.booleans(),
)
def test_the_bar_never_fills_the_line(
    events: Any, width: int, step: int, share: float, left: float, loss: float, speed: float, validated: bool
) -> None:
    display = BarDisplay(lambda: width, Clock())
    display.show(events.prepared())
    if validated:
        display.show(events.validated())
    progress = Progress(step, step / 7, loss, 1.0, 0.1, share, 10)
    text = display.show(Stepped(progress=progress, share=share, seconds_left=left, characters_per_second=speed))
    assert text.startswith("\r")
    assert text.endswith("\x1b[K")
    assert "\n" not in text
    assert columns(plain(text)) <= max(1, width - 1)


def test_after_the_last_step_it_is_said_that_it_validates(events: Any, clock: Clock) -> None:
    """That takes 18 seconds on a large text, in which "0:00 left" would stand there."""
    bar, line = BarDisplay(lambda: 100, clock), LineDisplay(clock)
    bar.show(events.stepped(share=0.99))
    assert "validating" in plain(bar.show(events.stepped(share=1.0)))  # also less than a tenth of a second later
    clock.now += 100
    assert line.show(events.stepped(share=1.0)).endswith("100% done, validating\n")


def test_the_bar_is_as_long_as_its_share(events: Any, clock: Clock) -> None:
    display = BarDisplay(lambda: 200, clock)
    for share, done in ((0.0, 0), (0.5, 15), (1.0, 30)):
        clock.now += 1
        text = display.show(events.stepped(share=share))
        green, grey = re.findall(r"\x1b\[(?:32|2)m(━*)\x1b\[0m", text)
        assert (len(green), len(grey)) == (done, 30 - done)


def test_the_bar_is_drawn_ten_times_a_second(events: Any, clock: Clock) -> None:
    display = BarDisplay(lambda: 80, clock)
    drawn = 0
    for step in range(1000):
        clock.now = step / 1000
        drawn += bool(display.show(events.stepped(step=step + 1)))
    assert drawn == pytest.approx(10, abs=1)


OUTLOOKS = ["", "learning", "overfitting"]


@given(sample=st.text(st.characters() | st.sampled_from("\x1b한\n")), width=st.integers(20, 120), outlook=st.sampled_from(OUTLOOKS))
def test_a_validation_wipes_the_bar_and_stays_in_its_width(events: Any, sample: str, width: int, outlook: str) -> None:
    display = BarDisplay(lambda: width, Clock())
    display.show(events.stepped())
    text = display.show(events.validated(sample, outlook=outlook))
    assert text.startswith("\r\x1b[K")
    assert text.endswith("\n")
    assert set(re.findall(r"\x1b(?:\[\d*[A-Za-z])?", text)) <= {"\x1b[K", "\x1b[2m", "\x1b[33m", "\x1b[0m"}
    assert all(columns(line) < width for line in plain(text).split("\n"))
    assert not display.show(events.ended(state="succeeded")).startswith("\r")


def test_a_terminal_tells_where_a_validation_stands_and_how_it_goes_on(events: Any) -> None:
    display = BarDisplay(lambda: 120)
    told = events.validated("once", outlook="learning")
    assert display.show(told).split("\n") == [
        "step 110  validation loss 1.250 nats = 1.80 bits per character, between a bigram (2.96) and a 4-gram model (1.75)",
        "    still learning: about 0.04 nats more in the 83 seconds left",
        "\x1b[2m    once\x1b[0m",
        "",
    ]
    narrow = BarDisplay(lambda: 40).show(events.validated("once", outlook="overfitting"))
    assert plain(narrow).split("\n")[:7] == [
        "step 110  validation loss 1.250 nats =",
        "    1.80 bits per character, between a",
        "    bigram (2.96) and a 4-gram model",
        "    (1.75)",
        "    overfitting: validation is up 0.200",
        "    since step 90 while training fell",
        "    0.167; the best is kept",
    ]
    assert re.findall(r"\x1b\[33m(\s+overfitting: [^\x1b]*)\x1b\[0m", narrow)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("display", [BarDisplay(lambda: 120), LineDisplay()], ids=["bar", "lines"])
def test_the_end_says_what_to_do_next(events: Any, display: Any) -> None:
    assert display.show(events.ended(state="succeeded", step=1000)) == (
        "best at step 90: 1.250 nats = 1.80 bits per character, between a bigram (2.96) and a 4-gram model (1.75) of this corpus\n"
        "run tale-lstm is trained: step 1,000; write with: charloom sample tale-lstm\n"
    )
    assert "is trained: step 50 (no better in 15 validations; --patience takes another number); write" in display.show(
        events.ended(state="succeeded", message="no better in 15 validations; --patience takes another number", step=50)
    )
    assert display.show(events.ended(state="paused", message="paused by Ctrl-C", step=77)) == (
        "paused by Ctrl-C: run tale-lstm is saved at step 77; go on with: charloom train --resume tale-lstm\n"
    )


# ── lines and JSON ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_where_there_is_no_terminal_a_line_comes_now_and_then(events: Any, clock: Clock) -> None:
    display = LineDisplay(clock)
    assert display.show(events.prepared()).startswith("run tale-lstm: ")
    found = []
    for step in range(1, 101):
        clock.now += 0.5
        found.append(display.show(events.stepped(step=step)))
    assert len([text for text in found if text]) == 5
    assert found[19] == "step 20  epoch 0.10  loss 1.235  312k/s  25% done, 1:23 left\n"
    assert display.show(events.validated()) == (
        "step 110  validation loss 1.250 nats = 1.80 bits per character, between a bigram (2.96) and a 4-gram model (1.75)\n"
        "    once\n    upon\n"
    )
    assert display.show(events.validated(outlook="learning")) == (
        "step 110  validation loss 1.250 nats = 1.80 bits per character, between a bigram (2.96) and a 4-gram model (1.75)\n"
        "    still learning: about 0.04 nats more in the 83 seconds left\n"
        "    once\n    upon\n"
    )


def test_programs_get_one_object_a_line(events: Any, clock: Clock) -> None:
    display = JsonDisplay(clock)
    told = [
        events.prepared(),
        events.stepped(),
        events.stepped(step=102),
        events.validated("é\n\x1b", outlook="overfitting"),
        events.ended(state="paused"),
    ]
    lines = [display.show(event) for event in told]
    assert lines[2] == ""  # less than a second later
    found = [json.loads(line) for line in lines if line]
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines if line)
    assert [each["event"] for each in found] == ["prepared", "step", "validation", "end"]
    assert found[0] | {"run": "tale-lstm", "corpus": "tale", "steps": 900, "parameters": 70_000, "notes": []} == found[0]
    assert (
        found[1] | {"step": 101, "loss": 1.234567, "learning_rate": 0.01, "characters_per_second": 312_000, "seconds_left": 83} == found[1]
    )
    assert found[2] | {"step": 110, "validation_loss": 1.25, "bits_per_char": 1.803, "best": True, "sample": "é\n\x1b"} == found[2]
    standing = found[2]["standing"]
    assert standing | {"loss": 1.25, "better_than": "bigram", "worse_than": "4-gram"} == standing
    assert standing["outlook"] | {"verdict": "overfitting", "rise": 0.2, "since_step": 90, "gain": None} == standing["outlook"]
    assert found[3] | {"run": "tale-lstm", "state": "paused", "step": 100, "best_step": 90} == found[3]
    assert found[3]["standing"] == standing | {"outlook": None}


def test_json_has_no_infinity(events: Any, clock: Clock) -> None:
    assert json.loads(JsonDisplay(clock).show(events.stepped(seconds_left=math.inf)))["seconds_left"] is None
