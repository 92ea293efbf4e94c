"""How training goes: mean loss, speed, and the time that is left.

What happens while a run is trained: the events that `service.training.trainer` yields and that displays turn into text.

How far a run is and when it is validated: by its steps, or by the clock where a budget rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from model.batches import Streams
from model.config import TrainingConfig
from model.training import Progress, TrainingState, by_steps
from service.store import Metric, Run
from service.training.dataset import Dataset
from service.training.learning_curve import Assessor, Standing

# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The run is ready to train."""

    run: Run
    symbols: int  # in the training part
    validation_symbols: int  # read at each validation
    vocabulary_size: int
    parameters: int
    steps: int | None  # to the end of this part of the run; None where a budget rules
    notes: list[str]  # sentences for the user: what was adapted, what could not be kept


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One update of the weights."""

    progress: Progress
    share: float  # of this part of the run, 0 to 1
    seconds_left: float  # estimated
    characters_per_second: float


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A validation, stored."""

    metric: Metric
    sample: str
    best: bool
    standing: Standing  # what it tells


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last event. `state` is succeeded or paused."""

    run: Run
    best_step: int | None = None  # of the lowest validation loss; None where there was no validation
    best: Standing | None = None  # where that loss stands


Event = Prepared | Stepped | Validated | Ended


# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

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
        text: Dataset,
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


# ── meter ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Meter:
    """Mean loss and speed since the last validation, and how long the rest will take."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: float | None = None  # the share spent when this process began
        self._began = clock()
        self.restart()

    def restart(self) -> None:
        """Begin a new mean."""
        self._steps, self._loss, self._symbols, self._since = 0, 0.0, 0, self._clock()

    def add(self, progress: Progress) -> None:
        """One step was made."""
        if self._first is None:
            self._first = progress.share
        self._steps += 1
        self._loss += progress.loss
        self._symbols += progress.symbols

    @property
    def loss(self) -> float:
        """Mean training loss, nats per symbol."""
        return self._loss / max(1, self._steps)

    @property
    def speed(self) -> float:
        """Symbols per second."""
        return self._symbols / max(1e-9, self._clock() - self._since)

    def seconds_left(self, share: float, budget: float | None) -> float:
        """Until the end of this part of the run: what a budget leaves, else estimated from the share done since the beginning."""
        rest = max(0.0, 1 - share)
        if budget is not None:
            return rest * budget
        done = share - (self._first or 0.0)
        return rest * (self._clock() - self._began) / done if done > 0 else math.inf
