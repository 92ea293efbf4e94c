"""Keeps what `service.standing` judges a run by: the baselines of its text, counted once, and the validations of this part of it.

Whatever is told here is for people: neither weights nor what is stored depend on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

from model.baselines import COUNTED, ORDERS, ngram_losses
from service.reading import Text
from service.standing import Standing, standing
from service.store import Metric

LEAST_BUDGET = 15.0  # seconds; in shorter runs every second is better spent on training
BUDGET_SHARE = 0.02  # of a budget, at most, goes into counting
PACE = 4_000_000  # symbols counted per second, with care: 9 million were on a Zen 5, Python's source with an alphabet of 200


class Assessor:
    """Tells of each validation where its loss stands and how it goes on."""

    def __init__(self, text: Text, budget: float | None, earlier: Iterable[Metric]) -> None:
        """`earlier` are the metrics of this part of the run so far, where it was interrupted."""
        self._text = text
        self._metrics = [metric for metric in earlier if metric.validation_loss is not None]
        self._baselines: dict[int, float] | None = None
        self._counted = min(text.split.training, COUNTED)  # symbols at the end of the training part
        if budget is not None:
            self._counted = min(self._counted, int(PACE * BUDGET_SHARE * budget)) if budget >= LEAST_BUDGET else 0

    @property
    def seconds_to_prepare(self) -> float:
        """How long `prepare` will probably take at most."""
        return self._counted / PACE if self._baselines is None else 0.0

    @property
    def baselines(self) -> Mapping[int, float]:
        """As `model.baselines.ngram_losses` gives them; empty before `prepare`, and where there is no time to count."""
        return self._baselines or {}

    def prepare(self, tick: Callable[[], None] | None = None) -> None:
        """Count the baselines, once: seconds at most. A budget that is short allows to count fewer symbols, or none.

        `tick` is called now and then; what it raises ends the counting.
        """
        if self._baselines is not None:
            return
        found: dict[int, float] = {}
        if self._counted:
            vocabulary = self._text.vocabulary
            with contextlib.suppress(MemoryError):  # no reason to end a run
                ids, start, stop = self._text.after(self._counted)
                found = ngram_losses(ids, self._counted, start, stop, vocabulary.size, vocabulary.unknown_cost, ORDERS, tick)
        self._baselines = found

    def assess(self, metric: Metric, seconds_left: float) -> Standing:
        """What a new validation tells; `seconds_left` as `service.standing.standing` takes it."""
        self._metrics.append(metric)
        return standing(self._metrics, seconds_left, self.baselines, self._text.symbols_per_char)

    def place(self, loss: float) -> Standing:
        """Where a validation loss stands, without what came before it."""
        return standing([Metric(step=0, validation_loss=loss)], 0.0, self.baselines, self._text.symbols_per_char)
