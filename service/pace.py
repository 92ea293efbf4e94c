"""How far a run is and when it is validated: by its steps, or by the clock where a budget rules."""

from __future__ import annotations

import math
from collections.abc import Callable

from model.batches import Streams
from model.config import TrainingConfig
from model.training import TrainingState, by_steps
from service.assessor import Assessor
from service.reading import Text

# Validating takes less than half of the time of learning from as many symbols; six times as many between two validations keep
# it, with storing, under a tenth. Texts so short that this would be a few steps are validated every 200, or 20 times a run.
VALIDATE_AFTER = 6
VALIDATING_FASTER = 2
VALIDATE_LEAST = 200  # steps
VALIDATE_PARTS = 20  # of a run with fewer than 20 times that many
BUDGET_SHARE = 12  # in runs by budget, where the clock rules: train that many times as long as a validation takes
BUDGET_PARTS = 60  # ... but do not validate more often than that in all
BUDGET_VALIDATING = 0.09  # ... nor longer, with the last validation, than this share of the budget

LAST_MOMENT = 0.99  # the share at which even the shortest budget makes its one step


def length_in_steps(training: TrainingConfig, streams: Streams) -> int:
    """The length of a run, or of its extension, in steps; 0 where a budget rules."""
    if training.epochs is not None:
        return max(1, math.ceil(training.epochs * streams.chunks))
    return training.steps or 0


class Pace:
    """Measures one run as this process trains it."""

    def __init__(
        self,
        training: TrainingConfig,
        streams: Streams,
        text: Text,
        assessor: Assessor,
        seconds: Callable[[], float],
        max_steps: int | None = None,
    ) -> None:
        """`seconds` tells the time spent on the run so far, over all resumptions; after `max_steps` any run ends."""
        self._training, self._assessor, self._seconds = training, assessor, seconds
        self._max_steps = max_steps or math.inf
        self._chunks, self._symbols = streams.chunks, streams.symbols  # of an epoch
        self._validation_symbols = text.split.stop - text.split.start
        self._last = 0.0  # seconds that the last validation took, or the first one will probably take
        self._all = 0.0  # ... that all of them took, in this process

    def share(self, state: TrainingState) -> float:
        """The share of the run that is done. Of a budget, time for the baselines, the last validation and the end is set aside."""
        return max((state.step - state.first_step) / self._max_steps, self._share(state))

    def _share(self, state: TrainingState) -> float:
        if self._training.budget is None:
            return by_steps(state)
        aside = min(0.5 * self._training.budget, 1.2 * self._last + self._assessor.seconds_to_prepare + 0.3)
        share = (self._seconds() - state.first_second) / (self._training.budget - aside)
        if self._training.max_epochs is not None:
            share = max(share, (state.step - state.first_step) / (self._training.max_epochs * self._chunks))
        return share if state.step > state.first_step else min(share, LAST_MOMENT)

    def learned(self, speed: float) -> None:
        """So many symbols are learned from per second: before the first validation, what that will take."""
        if not self._all:
            self._last = self._validation_symbols / (VALIDATING_FASTER * speed)

    def validated(self, seconds: float) -> None:
        """A validation, with storing what came of it, took that long."""
        self._last = seconds
        self._all += seconds

    def is_due(self, state: TrainingState, seconds: float) -> bool:
        """Whether it is time to validate, so many seconds after the last time.

        Where steps rule, a matter of the step alone, so that a repetition keeps the same checkpoints.
        """
        done, interval = state.step - state.first_step, self._training.validation_interval
        if interval:
            return done % interval == 0
        if self._training.budget is not None:
            affordable = self._all + 2 * self._last <= BUDGET_VALIDATING * self._training.budget
            return affordable and seconds >= max(BUDGET_SHARE * self._last, self._training.budget / BUDGET_PARTS)
        least = min(VALIDATE_LEAST, max(1, (state.last_step - state.first_step) // VALIDATE_PARTS))
        return done % max(least, VALIDATE_AFTER * self._validation_symbols * self._chunks // self._symbols) == 0
