"""What clients are told of a run while it trains: the numbers in its events of type ``metrics``, at validations and between them.

Whatever is told here is for people: neither weights nor checkpoints depend on it.

What is stored of a run's course beside its numbers: events in words, and how it ended.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from model.baselines import name
from model.errors import CharloomError
from model.training import Progress
from service.store import Metric, Run, Sample, Store
from service.system.errors import DatabaseBusy, OutOfMemory, ProcessLost, StoreError
from service.training.dataset import Dataset
from service.training.learning_curve import Standing
from service.training.progress import Meter, Prepared

# ── chronicle ────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────

EVERY = 1.0  # seconds between two events, at least ...
SHARE = 0.01  # ... and this share of the time trained so far: a run of a day has fewer than a thousand
GROWTH = 2  # times the steps of the last sample, until there is another one between validations: the first ones are the most telling


class Teller:
    """Tells of one run as this process trains it: at its first step, and then as time goes by."""

    def __init__(self, store: Store, text: Dataset, clock: Callable[[], float], step: int) -> None:
        """`step`: where the run begins, or goes on."""
        self._store, self._text, self._clock = store, text, clock
        self._recent = Meter(clock)
        self._told: float | None = None  # when the last event was
        self._sampled = step  # the step of the last sample

    def stepped(self, run: Run, progress: Progress, metric: Metric, share: float, seconds_left: float, draw: Callable[[], Sample]) -> None:
        """One step was made. Where it is time for an event, its loss and speed are those since the event before; `draw` gives a text."""
        self._recent.add(progress)
        if self._told is not None and self._clock() - self._told < max(EVERY, SHARE * metric.seconds):
            return
        speed = self._recent.speed / self._text.symbols_per_char if self._told is not None else None
        metric = replace(metric, loss=self._recent.loss, characters_per_second=speed)
        facts = self._place(metric, share, seconds_left)
        if metric.step >= GROWTH * self._sampled:
            facts |= self._sample(draw())
        learned(self._store, run, metric, facts)
        self._restart()

    def validated(
        self, metric: Metric, share: float, seconds_left: float, sample: Sample, standing: Standing, baselines: Mapping[int, float]
    ) -> dict[str, Any]:
        """What the event of a validation tells beside its metric."""
        self._restart()
        outlook = standing.outlook
        return {
            **self._place(metric, share, seconds_left),
            "baselines": {name(order): loss for order, loss in baselines.items()},
            "outlook": outlook and {key: value for key, value in asdict(outlook).items() if key in ("verdict", "gain", "gain_seconds")},
            **self._sample(sample),
        }

    def _sample(self, sample: Sample) -> dict[str, Any]:
        self._sampled = sample.step
        return {"sample": {"text": sample.text, "prompt": sample.prompt, "temperature": sample.temperature, "seed": sample.seed}}

    def _restart(self) -> None:
        self._recent.restart()
        self._told = self._clock()

    def _place(self, metric: Metric, share: float, seconds_left: float) -> dict[str, Any]:
        """How far the run is: characters of the training part that were read, counted each time, and the share and time of it."""
        return {
            "characters": round(metric.epoch * self._text.split.training / self._text.symbols_per_char),
            "symbols_per_char": self._text.symbols_per_char,
            "share": share,
            "seconds_left": seconds_left if math.isfinite(seconds_left) else None,
        }
