"""Writes the events of a run: messages when it begins and ends, and metrics while it trains.

Clients read these events. Neither weights nor checkpoints depend on them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from model.baselines import name
from model.errors import CharloomError
from service.store import Metric, Run, Sample, Store
from service.store.run_history import NewEvent
from service.system.errors import DatabaseBusy, NoRoomLeft, OutOfMemory, StoreError
from service.training.dataset import Dataset
from service.training.learning_curve import Standing
from service.training.progress import Prepared, Stepped, Window

# ── the beginning and the end of a run ───────────────────────────────────────────────────────────────────────────────

STOPPED = (KeyboardInterrupt, SystemExit, GeneratorExit)
TRANSIENT = (StoreError, OutOfMemory)  # errors of Charloom that another attempt may not meet


def begun(store: Store, prepared: Prepared) -> None:
    """Writes the notes for the user, and that the run is ready to train. If the database is locked, the events are left out."""
    run = prepared.run
    where = f"goes on from step {run.step:,}" if run.step else "begins"
    with contextlib.suppress(DatabaseBusy), store.immediate(durable=False):  # the run does not need these events
        for note in prepared.notes:
            store.events.add(run, note)
        store.events.add(
            run,
            f"{where}: {prepared.parameters:,} parameters, an alphabet of {prepared.vocabulary_size:,}, {prepared.symbols:,} symbols to"
            f" learn from, {prepared.validation_symbols:,} to validate on",
        )


def ended(store: Store, run: Run, state: str, message: str | None = None) -> Run:
    """Gives a run back in `state`, with an event. A pause or cancellation that was requested takes precedence over paused and queued.

    Raises as `Runs.release`.
    """
    with store.immediate(frees=True):
        wanted = store.queue.wanted(run) if state in ("paused", "queued") else None
        if wanted:
            state, message = wanted, f"{wanted} on request"
        run = store.runs.release(run, state, message)
        what = "waits for a worker" if state == "queued" else f"has {state}" if state in ("succeeded", "failed") else f"is {state}"
        why = ", as was asked" if wanted else f": {message}" if message else ""
        store.events.add(run, f"{what} at step {run.step:,}{why}", level="error" if state == "failed" else "info")
        return run


def given_up(store: Store, run: Run, error: BaseException) -> Run:
    """Gives a run back after an error. Raises as `Runs.release`.

    A queued run is tried again, at most three times at the same step, unless another attempt would meet the same error. Without room
    on the disk it pauses.
    """
    message = str(error) if isinstance(error, CharloomError) else f"{type(error).__name__}: {error}"
    if isinstance(error, STOPPED):
        return ended(store, run, "queued" if run.queued else "paused", "stopped before the last steps were saved")
    if run.queued and not isinstance(error, NoRoomLeft) and (isinstance(error, TRANSIENT) or not isinstance(error, CharloomError)):
        return store.queue.give_back(run, message)
    return ended(store, run, "paused" if isinstance(error, StoreError) else "failed", message)


# ── metrics while it trains ──────────────────────────────────────────────────────────────────────────────────────────

EVERY = 1.0  # seconds between two events are at least this ...
SHARE = 0.01  # ... and this share of the time trained so far: a run of a day has fewer than a thousand
GROWTH = 2  # between validations, the steps grow by this factor from sample to sample: the first samples differ most


def metrics_event(metric: Metric, facts: Mapping[str, Any]) -> NewEvent:
    """Returns the event of a validation, or of a step between two of them; `facts` are added to its data."""
    if metric.validation_loss is None:
        message = f"step {metric.step:,}: training loss {metric.loss or 0.0:.3f} nats"
    else:
        bits = metric.bits_per_char or 0.0
        message = f"step {metric.step:,}: validation loss {metric.validation_loss:.3f} nats, {bits:.3f} bits per character"
    numbers = {
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
    return NewEvent(message, {**numbers, **facts})


class MetricsLog:
    """Decides when a step between two validations gets an event, and what the events of type `metrics` contain."""

    def __init__(self, store: Store, text: Dataset, recent: Window, step: int) -> None:
        """Starts at `step`, where the run begins or goes on; `recent` measures the steps since the last event."""
        self._store, self._text, self._recent = store, text, recent
        self._is_first = True  # no event yet
        self._sampled = step  # the step of the last sample

    def stepped(self, run: Run, event: Stepped, metric: Metric, draw: Callable[[], Sample]) -> None:
        """Writes an event if it is time for one. Loss and speed are means since the event before; `draw` returns a sample."""
        if not self._is_first and self._recent.elapsed < max(EVERY, SHARE * metric.seconds):
            return
        speed = None if self._is_first else self._recent.speed / self._text.symbols_per_char
        metric = replace(metric, loss=self._recent.loss, characters_per_second=speed)
        facts = self._position(metric, event.share, event.seconds_left)
        if metric.step >= GROWTH * self._sampled:
            facts |= self._sample(draw())
        new = metrics_event(metric, facts)
        with contextlib.suppress(DatabaseBusy):  # the next event follows soon
            self._store.events.add(run, new.message, data=new.data, durable=False)
        self._is_first = False
        self._recent.restart()

    def validated(
        self, metric: Metric, share: float, seconds_left: float, sample: Sample, standing: Standing, baselines: Mapping[int, float]
    ) -> NewEvent:
        """Returns the event of a validation, for the transaction that stores its checkpoint."""
        self._is_first = False
        outlook = standing.outlook
        return metrics_event(
            metric,
            {
                **self._position(metric, share, seconds_left),
                "baselines": {name(order): loss for order, loss in baselines.items()},
                "outlook": outlook and {key: value for key, value in asdict(outlook).items() if key in ("verdict", "gain", "gain_seconds")},
                **self._sample(sample),
            },
        )

    def _sample(self, sample: Sample) -> dict[str, Any]:
        self._sampled = sample.step
        return {"sample": {"text": sample.text, "prompt": sample.prompt, "temperature": sample.temperature, "seed": sample.seed}}

    def _position(self, metric: Metric, share: float, seconds_left: float) -> dict[str, Any]:
        """Returns the progress: characters read in all epochs, the share of the run that is spent, and the seconds left."""
        return {
            "characters": round(metric.epoch * self._text.split.training / self._text.symbols_per_char),
            "symbols_per_char": self._text.symbols_per_char,
            "share": share,
            "seconds_left": seconds_left if math.isfinite(seconds_left) else None,
        }
