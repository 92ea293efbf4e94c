"""Measures a run while it trains: its share done, mean loss, speed and time left, and whether a validation is due.

`service.training.trainer` yields the events below; displays turn them into text.
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
    steps: int | None  # to the end of this part of the run; None if a budget rules
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
    standing: Standing


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last event. `state` is succeeded or paused."""

    run: Run
    best_step: int | None = None  # of the lowest validation loss; None without a validation
    best: Standing | None = None  # of that loss


Event = Prepared | Stepped | Validated | Ended


# ── length and time left ─────────────────────────────────────────────────────────────────────────────────────────────


def length_in_steps(training: TrainingConfig, streams: Streams) -> int:
    """Returns the length of a run, or of its extension, in steps; 0 if a budget rules."""
    if training.epochs is not None:
        return max(1, math.ceil(training.epochs * streams.chunks))
    return training.steps or 0


def seconds_left(share: float, elapsed: float, *, share_before: float = 0.0, budget: float | None = None) -> float:
    """Returns the estimated seconds until the end of a run (or of its extension) of which a `share` is done.

    A `budget` (seconds) tells it. Else it follows from the `elapsed` seconds in which the share rose from `share_before`, and is
    infinite until the share has risen.
    """
    rest = max(0.0, 1 - share)
    if budget is not None:
        return rest * budget
    done = share - share_before
    return rest * elapsed / done if done > 0 else math.inf


# ── meter ────────────────────────────────────────────────────────────────────────────────────────────────────────────

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


class Window:
    """Mean loss and speed from `restart` to the last step."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget the steps so far."""
        self._steps, self._loss, self._symbols = 0, 0.0, 0
        self._start = self._end = self._clock()

    def add(self, progress: Progress) -> None:
        """Count one step, which ends now."""
        self._end = self._clock()
        self._steps += 1
        self._loss += progress.loss
        self._symbols += progress.symbols

    @property
    def elapsed(self) -> float:
        """Seconds from `restart` to the last step."""
        return self._end - self._start

    @property
    def loss(self) -> float:
        """Mean training loss, nats per symbol."""
        return self._loss / max(1, self._steps)

    @property
    def speed(self) -> float:
        """Symbols per second."""
        return self._symbols / max(1e-9, self.elapsed)


class Meter:
    """Measures one run as this process trains it. Its clock are the seconds spent on the run, over all resumptions."""

    def __init__(
        self,
        training: TrainingConfig,
        streams: Streams,
        text: Dataset,
        assessor: Assessor,
        seconds: Callable[[], float],
        max_steps: int | None = None,
    ) -> None:
        """`seconds` returns the time spent on the run so far; after `max_steps` any run ends."""
        self._training, self._assessor, self._seconds = training, assessor, seconds
        self._max_steps = max_steps or math.inf
        self._chunks, self._symbols = streams.chunks, streams.symbols  # of an epoch
        self._symbols_per_char = text.symbols_per_char
        self._validation_symbols = text.split.stop - text.split.start
        self._last_validation = 0.0  # seconds that the last validation took, or an estimate for the first one
        self._all_validations = 0.0  # ... that all of them took in this process
        self._began = seconds()
        self._share_before: float | None = None  # the share done when this process made its first step
        self.interval = Window(seconds)  # since the last validation
        self.recent = Window(seconds)  # since the last event of type `metrics`

    def share(self, state: TrainingState) -> float:
        """Returns the share of the run that is done. Of a budget, time for the baselines, the last validation and the end is set aside."""
        return max((state.step - state.first_step) / self._max_steps, self._share(state))

    def _share(self, state: TrainingState) -> float:
        if self._training.budget is None:
            return by_steps(state)
        aside = min(0.5 * self._training.budget, 1.2 * self._last_validation + self._assessor.seconds_to_prepare + 0.3)
        share = (self._seconds() - state.first_second) / (self._training.budget - aside)
        if self._training.max_epochs is not None:
            share = max(share, (state.step - state.first_step) / (self._training.max_epochs * self._chunks))
        return share if state.step > state.first_step else min(share, LAST_MOMENT)

    def stepped(self, progress: Progress, state: TrainingState) -> Stepped:
        """Counts one step; returns it with what is known of the run now."""
        if self._share_before is None:
            self._share_before = progress.share
        self.interval.add(progress)
        self.recent.add(progress)
        if not self._all_validations:
            self._last_validation = self._validation_symbols / (VALIDATING_FASTER * self.interval.speed)
        share = self.share(state)
        budget = self._training.budget if self._training.max_epochs is None else None
        return Stepped(
            progress=progress,
            share=min(1.0, share),
            seconds_left=seconds_left(share, self._seconds() - self._began, share_before=self._share_before, budget=budget),
            characters_per_second=self.interval.speed / self._symbols_per_char,
        )

    def metric(self, progress: Progress) -> Metric:
        """Returns what is stored of a step: loss and speed are means since the last validation."""
        return Metric(
            step=progress.step,
            epoch=progress.epoch,
            loss=self.interval.loss,
            learning_rate=progress.learning_rate,
            grad_norm=progress.grad_norm,
            characters_per_second=self.interval.speed / self._symbols_per_char,
            seconds=self._seconds(),
        )

    def validated(self, seconds: float) -> None:
        """Notes how long a validation took, with storing its results, and begins new means."""
        self._last_validation = seconds
        self._all_validations += seconds
        self.interval.restart()
        self.recent.restart()

    def validation_is_due(self, state: TrainingState) -> bool:
        """Returns whether to validate now.

        If steps rule, this depends on the step alone, so that a repetition keeps the same checkpoints.
        """
        done, interval = state.step - state.first_step, self._training.validation_interval
        if interval:
            return done % interval == 0
        if self._training.budget is not None:
            affordable = self._all_validations + 2 * self._last_validation <= BUDGET_VALIDATING * self._training.budget
            return affordable and self.interval.elapsed >= max(BUDGET_SHARE * self._last_validation, self._training.budget / BUDGET_PARTS)
        least = min(VALIDATE_LEAST, max(1, (state.last_step - state.first_step) // VALIDATE_PARTS))
        return done % max(least, VALIDATE_AFTER * self._validation_symbols * self._chunks // self._symbols) == 0
