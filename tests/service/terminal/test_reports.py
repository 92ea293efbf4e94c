"""Reports about runs: complete, and no wider than the terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.store import Metric, Run, Sample, Store
from service.system.formatting import columns
from service.terminal.reports import checkpoints_table, run_report, runs_table

MODEL = {"cell": "lstm", "num_layers": 1, "hidden_size": 16}


@pytest.fixture
def run(store: Store) -> Run:
    """Eight validations, with samples that hold what a terminal would obey."""
    store.corpora.add("tale", ["once upon a time\n" * 10], "test")
    store.runs.create(
        "first", corpus="tale", model_config=MODEL, training_config={"steps": 80, "learning_rate": 0.01}, environment={"threads": 1}
    )
    run = store.runs.claim("first")
    for step in range(10, 90, 10):
        loss = 30 / step
        metric = Metric(step=step, epoch=step / 20, loss=loss + 0.1, validation_loss=loss, bits_per_char=2 * loss, seconds=step)
        store.checkpoints.save(run, metric, b"model" * step, b"state", [Sample(step=step, text=f"sample {step}\n\x1b[31m한국어 " * 40)])
    return store.runs.release(run, "succeeded")


@pytest.mark.parametrize("width", [24, 40, 80, 100, 200])
def test_reports_fit_the_terminal(store: Store, run: Run, width: int) -> None:
    store.runs.create("a-name-that-is-very-long-" + "x" * 30, corpus=None, model_config=MODEL, training_config={})
    for text in (
        run_report(store, run, width),
        runs_table(store.runs.list(), width),
        checkpoints_table(store.checkpoints.list(run), width),
    ):
        assert [line for line in text.split("\n") if columns(line) > width] == []
        assert "\x1b" not in text


def test_a_report_tells_all_about_a_run(store: Store, run: Run) -> None:
    text = run_report(store, run, 100)
    for fact in (
        "run         first, succeeded",
        "corpus      tale",
        "network     lstm 1x16",
        "trained     80 steps, 4.00 epochs, 1:20",
        "best        0.375 nats, 0.750 bits per character",
        "model       cell lstm, num_layers 1, hidden_size 16",
        "training    steps 80, learning_rate 0.01",
        "on          threads 1",
        "3.10 ┤•",
        "first@80",
        "best last",
        "sample at step 10",
        "sample at step 80",
    ):
        assert fact in text
    assert text.count("sample at step") == 5


def test_a_run_of_which_nothing_is_known_yet(store: Store) -> None:
    run = store.runs.create("new", corpus=None, model_config=MODEL, training_config={})
    text = run_report(store, run, 80)
    assert "run         new, queued" in text
    assert "sample" not in text
    assert "┤" not in text
    assert "training    -" in text


def test_a_message_is_part_of_the_report(store: Store, run: Run, change: Callable[..., Run]) -> None:
    assert "run         first, failed: the loss is nan" in run_report(store, change(run, state="failed", message="the loss is nan"), 80)


def test_runs_are_listed(store: Store, run: Run) -> None:
    assert runs_table(store.runs.list(), 100).split("\n") == [
        "run    state            made (UTC)  network    step  validation loss  time  corpus",
        f"first  succeeded  {run.created_at[:10]} {run.created_at[11:16]}  lstm 1x16    80            0.375  1:20  tale",
    ]


def test_checkpoints_are_listed(store: Store, run: Run) -> None:
    store.checkpoints.pin(run, 10)
    lines = checkpoints_table(store.checkpoints.list(run), 100).split("\n")
    assert lines[0].split("  ")[0] == "checkpoint"
    assert lines[1] == "first@10     0.50            3.000               6.000   50 B  pinned"
    assert lines[-1].endswith("best last")
