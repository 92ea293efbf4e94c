"""Judges a run by its learning curve: against the baselines of its text, and by what more time would gain.

This is for people: neither weights nor checkpoints depend on it.

The estimate is a straight line through the validation losses of the last three quarters of the training, against the logarithm of
the text read. Its slope is the median of the slopes between all pairs of them (Theil 1950, Sen 1968), so that outliers do not matter.
Losses follow such a line for a while and fall more slowly in the long run, so it is never drawn further than to twice the text, nor, for
the rest of a run, more steeply than its last third allows. What a falling learning rate does to the last part of a run is not in it.

What a longer run would gain is another question: its line is less steep, and a network that knows its text by heart learns little more
from it. That estimate is four fifths of the line's, taken down by four times the share of the validation loss that the training loss is
below it. For 14 runs, which were repeated with about twice the passes, it is off by 0.03 nats in the mean, and by 0.06 without
(tests/service/test_outlook_of_runs.py).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import mean, median
from typing import Literal, NamedTuple

from model.baselines import COUNTED, ORDERS, name, ngram_losses
from service.store import Metric
from service.training.dataset import Dataset

# ── standing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Verdict = Literal["learning", "slowing", "done", "overfitting"]

LEAST = 3  # validations before anything is said about how it goes on
LEAST_DONE = 5  # ... and before it may be called done
WINDOW = 4.0  # the line is drawn through what came after a quarter of the text read so far ...
LATEST = 1.5  # ... but it is no steeper, for the rest of a run, than one through what came after two thirds of it ...
LEAST_LATEST = 4  # ... where there are so many validations, and but for their noise
POINTS = 60  # both thinned to about so many points: each pair of them counts
AGAIN = 0.8  # of what the line promises is what a longer run gains
BY_HEART = 4.0  # times the gap between training and validation, as a share of the latter: this share of a gain is lost
NEARLY_OVER = 0.05  # with less than this share of the time left that twice the text would take, the estimate is about that instead

# Shares of the loss that twice the time is estimated to take off; judgements: 2 % of 1.5 nats, 0.03, shows in samples side by side,
# 0.3 % does not.
SLOW = 0.02
WORTHLESS = 0.003

RISE = 0.005  # overfitting: validation has risen by at least this share of the loss ...
RISE_NOISE = 4.0  # ... and so many standard deviations of its own jumps up and down ...
RISEN = 3  # ... in running medians of so many validations, all after the best one


class Point(NamedTuple):
    """One validation. Losses are nats per symbol, `epoch` counts passes over the training part, `seconds` the time spent."""

    step: int
    epoch: float
    seconds: float
    loss: float  # mean training loss since the validation before
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Whether the network still learns. What is not known is None."""

    verdict: Verdict
    gain: float | None = None  # nats that the validation loss is estimated to fall in the next `gain_seconds`
    gain_seconds: float | None = None
    rise: float | None = None  # overfitting: nats that the validation loss is above its best
    since_step: int | None = None  # the step of the best validation loss (overfitting), or from which on it hardly fell (done)
    words: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the last validation tells."""

    loss: float  # nats per symbol
    bits_per_char: float
    better_than: str | None  # the best baseline that is left behind, for example 4-gram; None if there is none
    worse_than: str | None  # the next one to leave behind
    words: str
    outlook: Outlook | None  # None if too little is known: after fewer than `LEAST` validations

    @property
    def sentences(self) -> list[str]:
        """One line about the place, and one about the outlook if that is known."""
        return [self.words, self.outlook.words] if self.outlook else [self.words]


def standing(metrics: Sequence[Metric], seconds_left: float, baselines: Mapping[int, float], symbols_per_char: float) -> Standing:
    """What the last validation among `metrics` tells, seen with those before it. There must be one.

    `metrics`: those of this part of the run, since its learning rate last started anew; rows without a validation loss are passed
    over. `seconds_left`: of this part; 0 if it is over, infinite if that is not known. `baselines`: as
    `model.baselines.ngram_losses` gives them, or empty.
    """
    points = validations(metrics)
    loss = points[-1].validation_loss
    bits = symbols_per_char / math.log(2)  # in a nat per symbol
    behind = min(((value, order) for order, value in baselines.items() if value > loss), default=None)
    ahead = max(((value, order) for order, value in baselines.items() if value <= loss), default=None)
    return Standing(
        loss=loss,
        bits_per_char=loss * bits,
        better_than=name(behind[1]) if behind else None,
        worse_than=name(ahead[1]) if ahead else None,
        words=f"{loss:.3f} nats = {loss * bits:.2f} bits per character{_between(behind, ahead, bits)}",
        outlook=outlook(points, seconds_left) if len(points) >= LEAST else None,
    )


def validations(metrics: Sequence[Metric]) -> list[Point]:
    """The validations among metrics, each further in the text than the one before: what was trained once more counts once."""
    points: list[Point] = []
    for each in metrics:
        if each.validation_loss is not None:
            while points and points[-1].epoch >= each.epoch:
                points.pop()
            loss = math.nan if each.loss is None else each.loss
            points.append(Point(each.step, each.epoch, each.seconds, loss, each.validation_loss))
    return points


def _between(behind: tuple[float, int] | None, ahead: tuple[float, int] | None, bits: float) -> str:
    """The baselines (loss and order) on both sides, in words."""

    def told(model: tuple[float, int], noun: str) -> str:
        return f"{name(model[1])}{noun} ({model[0] * bits:.2f})"

    if behind and ahead:
        return f", between a {told(behind, '')} and a {told(ahead, ' model')}"
    if behind:
        return f", better than a {told(behind, ' model')}"
    return f", not yet better than a {told(ahead, ' model')}" if ahead else ""


# ── how it goes on ────────────────────────────────────────────────────────────────────────────────────────────────────


def outlook(points: Sequence[Point], seconds_left: float) -> Outlook:
    """Whether the network still learns, and what more time would buy; of at least two validations."""
    last = points[-1]
    best = min(points, key=lambda point: point.validation_loss)
    if _overfits(points, best):
        rise, fall = last.validation_loss - best.validation_loss, best.loss - last.loss
        words = f"overfitting: validation is up {rise:.3f} since step {best.step:,} while training fell {fall:.3f}; the best is kept"
        return Outlook(verdict="overfitting", rise=rise, since_step=best.step, words=words)
    speed = _speed(points)
    seconds = (last.epoch / speed if speed else 0.0) or None  # until twice the text has been read
    nearly_over = seconds is None or seconds_left < NEARLY_OVER * seconds
    slope = AGAIN * _slope(_recent(points)) * _fresh(points) if nearly_over else _slope_now(points)
    # More than the whole run has gained, or there is to gain, is never promised.
    most = min(max(0.0, points[0].validation_loss - best.validation_loss), last.validation_loss)
    double = min(most, slope * math.log(2))
    if double <= WORTHLESS * last.validation_loss and len(points) >= LEAST_DONE:
        since = _level_since(points)
        hope = "twice the time would gain little" if nearly_over else "the rest of the run may gain a little"
        return Outlook(verdict="done", since_step=since, words=f"done: hardly any gain since step {since:,}; {hope}")
    learning = double > SLOW * last.validation_loss
    verdict: Verdict = "learning" if learning else "slowing"
    start = "still learning" if learning else "slowing"
    if seconds is None or nearly_over:
        return Outlook(verdict=verdict, gain=double, gain_seconds=seconds, words=f"{start}: twice the time would gain {_nats(double)} more")
    period = f"the {_time(seconds_left)} left" if seconds_left <= seconds else f"the next {_time(seconds)}"
    gain = min(most, slope * math.log1p(min(1.0, seconds_left / seconds)))
    return Outlook(verdict=verdict, gain=gain, gain_seconds=min(seconds_left, seconds), words=f"{start}: {_nats(gain)} more in {period}")


def _overfits(points: Sequence[Point], best: Point) -> bool:
    """Whether validation has risen since its best, by more than its jumps up and down, while the training loss fell."""
    if len(points) - points.index(best) <= RISEN:
        return False
    losses = [point.validation_loss for point in points]
    smooth = [median(losses[i : i + RISEN]) for i in range(len(losses) - RISEN + 1)]  # one lucky validation is no measure
    risen = min(smooth[-1], losses[-1]) - min(smooth)
    learned = best.loss - max(median(point.loss for point in points[-RISEN:]), points[-1].loss)
    return risen > max(RISE * min(smooth), RISE_NOISE * _noise(points)) and learned > 0


def _recent(points: Sequence[Point], window: float = WINDOW) -> Sequence[Point]:
    """What came after 1 / `window` of the training: its last three quarters, or the last `LEAST` validations if that is more."""
    return [point for number, point in enumerate(points) if point.epoch * window >= points[-1].epoch or number >= len(points) - LEAST]


def _noise(points: Sequence[Point]) -> float:
    """The standard deviation of the recent jumps of validation losses around a smooth curve, from their second differences.

    Those of independent errors have √6 times their deviation, and the mean size of normal ones is √(2/π) of that.
    """
    losses = [point.validation_loss for point in _recent(points)]
    bends = [abs(losses[i] - 2 * losses[i + 1] + losses[i + 2]) for i in range(len(losses) - 2)]
    return mean(bends) / math.sqrt(12 / math.pi)


def _slope(points: Sequence[Point]) -> float:
    """Nats that the validation loss falls while the text read grows e-fold; 0 if it rises."""
    counted = [point for point in points if point.epoch > 0]
    counted = counted[:: -max(1, len(counted) // POINTS)]
    slopes = [(b.validation_loss - a.validation_loss) / math.log(a.epoch / b.epoch) for a, b in combinations(counted, 2)]
    return max(0.0, median(slopes)) if slopes else 0.0


def _slope_now(points: Sequence[Point]) -> float:
    """The slope of the last three quarters, or that of the last third if it has clearly become less."""
    slope, latest = _slope(_recent(points)), _recent(points, LATEST)
    if len(latest) < LEAST_LATEST:
        return slope
    return min(slope, _slope(latest) + _noise(points) / math.log(LATEST))


def _fresh(points: Sequence[Point]) -> float:
    """The share of a gain that a network can still make: 1 if it knows its training part no better than the rest, at last 0."""
    loss, training = points[-1].validation_loss, median(point.loss for point in points[-RISEN:])
    if not loss or math.isnan(training):
        return 1.0
    return min(1.0, max(0.0, 1 - BY_HEART * (loss - training) / loss))


def _level_since(points: Sequence[Point]) -> int:
    """The step from which on the validation loss stayed about where it is."""
    level = median(point.validation_loss for point in points[-RISEN:])
    return next(point.step for point in points if point.validation_loss <= level * (1 + WORTHLESS))


def _speed(points: Sequence[Point]) -> float | None:
    """Epochs a second, as is usual between two validations, infinite if hardly any time passed; None if none did."""
    speeds = [(b.epoch - a.epoch) / (b.seconds - a.seconds) for a, b in pairwise(points) if b.seconds > a.seconds]
    return median(speeds) if speeds else None


def _nats(loss: float) -> str:
    """An estimate, with the one digit that it is good for."""
    if loss < 0.001:
        return "less than 0.001 nats"
    rounded = float(f"{loss:.1g}")
    return f"about {rounded:.{max(0, -math.floor(math.log10(rounded)))}f} nats"


def _time(seconds: float) -> str:
    """A duration as one says it."""
    unit, size = ("second", 1) if seconds < 90 else ("minute", 60) if seconds < 7200 else ("hour", 3600)
    count = max(1, round(seconds / size))
    return f"{count:,} {unit}{'s' if count > 1 else ''}"


# ── assessor ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LEAST_BUDGET = 15.0  # seconds; in shorter runs every second is better spent on training
BUDGET_SHARE = 0.02  # of a budget, at most, goes into counting
PACE = 4_000_000  # symbols counted per second, with care: 9 million were on a Zen 5, Python's source with an alphabet of 200


class Assessor:
    """Tells of each validation where its loss stands and how it goes on."""

    def __init__(self, text: Dataset, budget: float | None, earlier: Iterable[Metric]) -> None:
        """`earlier` are the metrics of this part of the run so far, if it was interrupted."""
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
        """As `model.baselines.ngram_losses` gives them; empty before `prepare`, and if there is no time to count."""
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
        """What a new validation tells; `seconds_left` as `service.training.learning_curve.standing` takes it."""
        self._metrics.append(metric)
        return standing(self._metrics, seconds_left, self.baselines, self._text.symbols_per_char)

    def place(self, loss: float) -> Standing:
        """Where a validation loss stands, without what came before it."""
        return standing([Metric(step=0, validation_loss=loss)], 0.0, self.baselines, self._text.symbols_per_char)
