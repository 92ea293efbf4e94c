"""What happens while a run is trained: the events that `service.trainer` yields and that displays turn into text."""

from __future__ import annotations

from dataclasses import dataclass

from model.training import Progress
from service.standing import Standing
from service.store import Metric, Run


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
