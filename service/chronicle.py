"""What is stored of a run's course beside its numbers: events in words, and how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from model.errors import CharloomError, DatabaseBusy, OutOfMemory, ProcessLost, StoreError
from service.events import Prepared
from service.store import Metric, Run, Store

STOPPED = (KeyboardInterrupt, SystemExit, GeneratorExit)
PASSING = (StoreError, ProcessLost, OutOfMemory)  # of what Charloom refuses: what may go better the next time


def begun(store: Store, prepared: Prepared) -> None:
    """The run is ready to train."""
    run = prepared.run
    where = f"goes on from step {run.step:,}" if run.step else "begins"
    with contextlib.suppress(DatabaseBusy), store.immediate():  # these are only words
        for note in prepared.notes:
            store.events.add(run, note)
        store.events.add(
            run,
            f"{where}: {prepared.parameters:,} parameters, an alphabet of {prepared.vocabulary_size:,}, {prepared.symbols:,} symbols to"
            f" learn from, {prepared.validation_symbols:,} to validate on",
        )


def learned(store: Store, run: Run, metric: Metric, facts: Mapping[str, Any]) -> None:
    """How it goes on between two validations; `facts` are further numbers."""
    with contextlib.suppress(DatabaseBusy):  # the next one will do
        store.events.add(run, f"step {metric.step:,}: training loss {metric.loss or 0.0:.3f} nats", data={**_numbers(metric), **facts})


def validated(store: Store, run: Run, metric: Metric, facts: Mapping[str, Any]) -> None:
    """A validation was stored; `facts` are further numbers."""
    loss, bits = metric.validation_loss or 0.0, metric.bits_per_char or 0.0
    words = f"step {metric.step:,}: validation loss {loss:.3f} nats, {bits:.3f} bits per character"
    store.events.add(run, words, data={**_numbers(metric), **facts})


def _numbers(metric: Metric) -> dict[str, Any]:
    return {
        "step": metric.step,
        "epoch": metric.epoch,
        "train_loss": metric.loss,
        "valid_loss": metric.validation_loss,
        "bits_per_char": metric.bits_per_char,
        "learning_rate": metric.learning_rate,
        "grad_norm": metric.grad_norm,
        "characters_per_second": metric.characters_per_second,
        "seconds": metric.seconds,
    }


def ended(store: Store, run: Run, state: str, message: str | None = None) -> Run:
    """Give a run back in `state`. What somebody wants of it comes before pausing and waiting. Raises as `Runs.release`."""
    with store.immediate():
        wanted = store.queue.wanted(run) if state in ("paused", "queued") else None
        if wanted:
            state, message = wanted, f"{wanted} on request"
        run = store.runs.release(run, state, message)
        what = "waits for a worker" if state == "queued" else f"has {state}" if state in ("succeeded", "failed") else f"is {state}"
        why = ", as was asked" if wanted else f": {message}" if message else ""
        store.events.add(run, f"{what} at step {run.step:,}{why}", level="error" if state == "failed" else "info")
        return run


def given_up(store: Store, run: Run, error: BaseException) -> Run:
    """Give a run back when something ends it before its time. Raises as `Runs.release`.

    A run of the queue is tried again, three times at the same step, unless the error says that this cannot help.
    """
    message = str(error) if isinstance(error, CharloomError) else f"{type(error).__name__}: {error}"
    if isinstance(error, STOPPED):
        return ended(store, run, "queued" if run.queued else "paused", "stopped before the last steps were saved")
    if run.queued and (isinstance(error, PASSING) or not isinstance(error, CharloomError)):
        return store.queue.give_back(run, message)
    return ended(store, run, "paused" if isinstance(error, (StoreError, ProcessLost)) else "failed", message)
