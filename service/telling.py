"""What clients are told of a run while it trains: the numbers in its events of type ``metrics``, at validations and between them.

Whatever is told here is for people: neither weights nor checkpoints depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from model.baselines import name
from model.training import Progress
from service import chronicle
from service.meter import Meter
from service.reading import Text
from service.standing import Standing
from service.store import Metric, Run, Sample, Store

EVERY = 1.0  # seconds between two events, at least ...
SHARE = 0.01  # ... and this share of the time trained so far: a run of a day has fewer than a thousand
GROWTH = 2  # times the steps of the last sample, until there is another one between validations: the first ones are the most telling


class Teller:
    """Tells of one run as this process trains it: at its first step, and then as time goes by."""

    def __init__(self, store: Store, text: Text, clock: Callable[[], float], step: int) -> None:
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
        chronicle.learned(self._store, run, metric, facts)
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
