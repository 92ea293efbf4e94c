"""Judges a run by its learning curve: compares it with the baselines of its text, and estimates what more time would gain.

The results are shown to users; neither weights nor checkpoints depend on them.

The estimate is a straight line through the validation losses of the last three quarters of the training, against the logarithm of
the text read. Its slope is the median of the slopes between all pairs of them (Theil 1950, Sen 1968), so that outliers do not matter.
Losses follow such a line for a while and fall more slowly in the long run. So the line ends at twice the text, and for the rest of a
run it is not steeper than the last third of the training. The estimate ignores the effect of a falling learning rate at the end.

A longer run gains less than this line: its curve is flatter, and a network that knows its text by heart learns little more from it. So
the estimate for a longer run is 0.8 times the line's, multiplied by 1 - 4 g, where g is the gap between validation and training loss
as a share of the validation loss. For 14 runs, which were repeated with about twice the passes, its mean error is 0.03 nats; without
these two factors it is 0.06 nats (tests/integration/test_outlook_of_runs.py).
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

# ── the place between the baselines ──────────────────────────────────────────────────────────────────────────────────

Verdict = Literal["learning", "slowing", "done", "overfitting"]

LEAST = 3  # validations before there is an outlook
LEAST_DONE = 5  # validations before a run may be called done
WINDOW = 4.0  # the line goes through the validations after 1 / 4 of the text read so far
LATEST = 1.5  # for the rest of a run, it is not steeper than the line after 1 / 1.5 of that text, plus noise ...
LEAST_LATEST = 4  # ... if there are this many validations
POINTS = 60  # both lines are thinned to about this many, since each pair of them counts
AGAIN = 0.8  # a longer run gains this share of what the line predicts
BY_HEART = 4.0  # the share of a gain that is lost: this times the gap between training and validation loss, over the latter
NEARLY_OVER = 0.05  # if less than this share of the time for twice the text is left, the estimate is of a longer run

# Estimated gains of twice the time, as shares of the loss. They are judgements: samples side by side show 2 % of 1.5 nats (0.03), but
# not 0.3 %.
SLOW = 0.02
WORTHLESS = 0.003

RISE = 0.005  # overfitting: validation has risen by at least this share of the loss ...
RISE_NOISE = 4.0  # ... and by this many standard deviations of its noise ...
RISEN = 3  # ... in running medians of this many validations, all after the best one


DIVERGED = 2.0  # times the loss of guessing evenly, which a network that has learned nothing has: more is no fluctuation


class Point(NamedTuple):
    """Holds one validation. Losses are nats per symbol, `epoch` counts passes over the training part, `seconds` the time spent."""

    step: int
    epoch: float
    seconds: float
    loss: float  # mean training loss since the validation before
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Says whether the network still learns. Unknown values are None."""

    verdict: Verdict
    gain: float | None = None  # nats that the validation loss is estimated to fall in the next `gain_seconds`
    gain_seconds: float | None = None
    rise: float | None = None  # overfitting: nats that the validation loss is above its best
    since_step: int | None = None  # the step of the best validation loss (overfitting), or after which it hardly fell (done)
    words: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Says where the last validation loss is among the baselines, with the outlook."""

    loss: float  # nats per symbol
    bits_per_char: float
    better_than: str | None  # the best baseline with a higher loss, for example 4-gram; None if there is none
    worse_than: str | None  # the next baseline to beat
    words: str
    outlook: Outlook | None  # None after fewer than `LEAST` validations, and if it has diverged
    diverged: bool = False  # whether the loss is far above that of guessing evenly

    @property
    def sentences(self) -> list[str]:
        """Returns one line about the place, and one about the outlook if it is known."""
        return [self.words, self.outlook.words] if self.outlook else [self.words]


def standing(metrics: Sequence[Metric], seconds_left: float, baselines: Mapping[int, float], symbols_per_char: float) -> Standing:
    """Judges the last validation in `metrics`, with the validations before it. There must be one.

    `metrics` are those of this part of the run, since its learning rate last started anew; rows without a validation loss are
    ignored. `seconds_left` is of this part: 0 if it is over, infinite if unknown. `baselines` are as
    `model.baselines.ngram_losses` returns them, or empty.
    """
    points = validations(metrics)
    loss = points[-1].validation_loss
    bits = symbols_per_char / math.log(2)  # in a nat per symbol
    behind = min(((value, order) for order, value in baselines.items() if value > loss), default=None)
    ahead = max(((value, order) for order, value in baselines.items() if value <= loss), default=None)
    diverged = loss > DIVERGED * baselines.get(0, math.inf)
    far = f": diverged (guessing evenly has {baselines.get(0, 0) * bits:.2f}); lower learning_rate"
    place = far if diverged else _between(behind, ahead, bits)
    return Standing(
        loss=loss,
        bits_per_char=loss * bits,
        better_than=name(behind[1]) if behind else None,
        worse_than=name(ahead[1]) if ahead else None,
        words=f"{loss:.3f} nats = {loss * bits:.2f} bits per character{place}",
        outlook=outlook(points, seconds_left) if len(points) >= LEAST and not diverged else None,
        diverged=diverged,
    )


def validations(metrics: Sequence[Metric]) -> list[Point]:
    """Returns the validations in metrics, each further in the text than the one before: repeated training counts once."""
    points: list[Point] = []
    for each in metrics:
        if each.validation_loss is not None:
            while points and points[-1].epoch >= each.epoch:
                points.pop()
            loss = math.nan if each.loss is None else each.loss
            points.append(Point(each.step, each.epoch, each.seconds, loss, each.validation_loss))
    return points


def _between(behind: tuple[float, int] | None, ahead: tuple[float, int] | None, bits: float) -> str:
    """Returns the baselines (loss, order) on both sides, in words."""

    def told(model: tuple[float, int], noun: str) -> str:
        return f"{name(model[1])}{noun} ({model[0] * bits:.2f})"

    if behind and ahead:
        return f", between a {told(behind, '')} and a {told(ahead, ' model')}"
    if behind:
        return f", better than a {told(behind, ' model')}"
    return f", not yet better than a {told(ahead, ' model')}" if ahead else ""


# ── what more time would gain ─────────────────────────────────────────────────────────────────────────────────────────


def outlook(points: Sequence[Point], seconds_left: float) -> Outlook:
    """Judges from at least two validations whether the network still learns, and what more time would gain."""
    last = points[-1]
    best = min(points, key=lambda point: point.validation_loss)
    if _overfits(points, best):
        rise, fall = last.validation_loss - best.validation_loss, best.loss - last.loss
        words = f"overfitting: validation is up {rise:.3f} since step {best.step:,} while training fell {fall:.3f}; the best is kept"
        return Outlook(verdict="overfitting", rise=rise, since_step=best.step, words=words)
    speed = _speed(points)
    seconds = (last.epoch / speed if speed else 0.0) or None  # until twice the text is read
    nearly_over = seconds is None or seconds_left < NEARLY_OVER * seconds
    slope = AGAIN * _slope(_recent(points)) * _fresh(points) if nearly_over else _slope_now(points)
    # The estimate is never more than the whole run has gained, nor than the loss.
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
    """Returns whether validation has risen since its best, by more than its noise, while the training loss fell."""
    if len(points) - points.index(best) <= RISEN:
        return False
    losses = [point.validation_loss for point in points]
    smooth = [median(losses[i : i + RISEN]) for i in range(len(losses) - RISEN + 1)]  # one lucky validation is no measure
    risen = min(smooth[-1], losses[-1]) - min(smooth)
    learned = best.loss - max(median(point.loss for point in points[-RISEN:]), points[-1].loss)
    return risen > max(RISE * min(smooth), RISE_NOISE * _noise(points)) and learned > 0


def _recent(points: Sequence[Point], window: float = WINDOW) -> Sequence[Point]:
    """Returns the validations after 1 / `window` of the training, but at least the last `LEAST`."""
    return [point for number, point in enumerate(points) if point.epoch * window >= points[-1].epoch or number >= len(points) - LEAST]


def _noise(points: Sequence[Point]) -> float:
    """Returns the standard deviation of recent validation losses around a smooth curve, from their second differences.

    Second differences of independent errors have √6 times their deviation; the mean size of normal ones is √(2/π) of that.
    """
    losses = [point.validation_loss for point in _recent(points)]
    bends = [abs(losses[i] - 2 * losses[i + 1] + losses[i + 2]) for i in range(len(losses) - 2)]
    return mean(bends) / math.sqrt(12 / math.pi)


def _slope(points: Sequence[Point]) -> float:
    """Returns the nats by which the validation loss falls while the text read grows e-fold; 0 if it rises."""
    counted = [point for point in points if point.epoch > 0]
    counted = counted[:: -max(1, len(counted) // POINTS)]
    slopes = [(b.validation_loss - a.validation_loss) / math.log(a.epoch / b.epoch) for a, b in combinations(counted, 2)]
    return max(0.0, median(slopes)) if slopes else 0.0


def _slope_now(points: Sequence[Point]) -> float:
    """Returns the slope of the last three quarters, or that of the last third if it is clearly less."""
    slope, latest = _slope(_recent(points)), _recent(points, LATEST)
    if len(latest) < LEAST_LATEST:
        return slope
    return min(slope, _slope(latest) + _noise(points) / math.log(LATEST))


def _fresh(points: Sequence[Point]) -> float:
    """Returns the share of a gain that the network can still make: 1 if training loss is not below validation loss, at least 0."""
    loss, training = points[-1].validation_loss, median(point.loss for point in points[-RISEN:])
    if not loss or math.isnan(training):
        return 1.0
    return min(1.0, max(0.0, 1 - BY_HEART * (loss - training) / loss))


def _level_since(points: Sequence[Point]) -> int:
    """Returns the first step with a validation loss about as low as now."""
    level = median(point.validation_loss for point in points[-RISEN:])
    return next(point.step for point in points if point.validation_loss <= level * (1 + WORTHLESS))


def _speed(points: Sequence[Point]) -> float | None:
    """Returns the median of the epochs per second between two validations: infinite if almost no time passed, None if none did."""
    speeds = [(b.epoch - a.epoch) / (b.seconds - a.seconds) for a, b in pairwise(points) if b.seconds > a.seconds]
    return median(speeds) if speeds else None


def _nats(loss: float) -> str:
    """Formats an estimate with one digit, since it is not more precise."""
    if loss < 0.001:
        return "less than 0.001 nats"
    rounded = float(f"{loss:.1g}")
    return f"about {rounded:.{max(0, -math.floor(math.log10(rounded)))}f} nats"


def _time(seconds: float) -> str:
    """Formats a duration in seconds, minutes or hours."""
    unit, size = ("second", 1) if seconds < 90 else ("minute", 60) if seconds < 7200 else ("hour", 3600)
    count = max(1, round(seconds / size))
    return f"{count:,} {unit}{'s' if count > 1 else ''}"


# ── the assessor of a run ────────────────────────────────────────────────────────────────────────────────────────────

LEAST_BUDGET = 15.0  # seconds; shorter runs need all their time for training
BUDGET_SHARE = 0.02  # the largest share of a budget that is spent on counting
PACE = 4_000_000  # symbols counted per second, a careful estimate: a Zen 5 counted 9 million of Python's source, alphabet of 200


class Assessor:
    """Judges each validation of a run: the place of its loss among the baselines, and the outlook."""

    def __init__(self, text: Dataset, budget: float | None, earlier: Iterable[Metric]) -> None:
        """Starts with `earlier`, the metrics of this part of the run before an interruption. `budget` is in seconds."""
        self._text = text
        self._metrics = [metric for metric in earlier if metric.validation_loss is not None]
        self._baselines: dict[int, float] | None = None
        self._counted = min(text.split.training, COUNTED)  # symbols at the end of the training part
        if budget is not None:
            self._counted = min(self._counted, int(PACE * BUDGET_SHARE * budget)) if budget >= LEAST_BUDGET else 0

    @property
    def seconds_to_prepare(self) -> float:
        """Estimates the time that `prepare` takes at most."""
        return self._counted / PACE if self._baselines is None else 0.0

    @property
    def baselines(self) -> Mapping[int, float]:
        """Returns the result of `model.baselines.ngram_losses`; empty before `prepare`, and if there is no time to count."""
        return self._baselines or {}

    def prepare(self, tick: Callable[[], None] | None = None) -> None:
        """Counts the baselines once, in seconds at most. A short budget counts fewer symbols, or none.

        `tick` is called now and then; an exception that it raises ends the counting.
        """
        if self._baselines is not None:
            return
        found: dict[int, float] = {}
        if self._counted:
            vocabulary = self._text.vocabulary
            with contextlib.suppress(MemoryError):  # a run can do without baselines
                ids, start, stop = self._text.after(self._counted)
                V, cost, boundary = vocabulary.size, vocabulary.unknown_cost, vocabulary.boundary
                found = ngram_losses(ids, self._counted, start, stop, V, cost, ORDERS, tick, boundary)
        self._baselines = found

    def assess(self, metric: Metric, seconds_left: float) -> Standing:
        """Judges a new validation; `seconds_left` as in `standing`."""
        self._metrics.append(metric)
        return standing(self._metrics, seconds_left, self.baselines, self._text.symbols_per_char)

    def place(self, loss: float) -> Standing:
        """Judges a validation loss alone, without the validations before it."""
        return standing([Metric(step=0, validation_loss=loss)], 0.0, self.baselines, self._text.symbols_per_char)
