"""Finds units that follow a readable feature of a text.

For every feature and every unit the threshold is taken that predicts the feature best: by F1, the harmonic mean of precision and
recall, with the feature on either side. The best unit of each feature is then measured on text that was not used to find it. A
feature that holds for more than half of the characters is negated, so that predicting it always is never good. Features that
are numbers are predicted by a straight line, whose measure is the share of the variance that it explains.

What is looked at of an LSTM's unit is tanh(c), as Karpathy, Johnson and Li (2015) did; of other cells it is h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.functions import Array
from model.inspection.features import FEATURES, GRADED
from model.inspection.state_reader import slices
from model.inspection.text_sample import LENGTH, STRETCHES, TextSample
from model.inspection.thresholds import BestThreshold, Threshold, ThresholdScore, score, thresholds
from model.inspection.unit_activations import Unit
from model.language_model import LanguageModel

MOST_HELD = 2**25  # numbers that are held in memory: 128 MB
LEAST = 100  # characters for which a feature must hold, and for which it must not, in both samples
MIXED = 0.2  # share of a stretch in which a feature holds, and in which it does not, that a picture should have
UNBOUNDED = 1e30  # more than that a diverged rnn's unit is not said to hold, so that sums of it stay finite
STILL = 1e-9  # variance below which a unit counts as constant
GOOD = 0.8  # F1 of a cell that is called found


class UnitMatch(NamedTuple):
    """The unit that follows a feature best."""

    feature: str
    meaning: str
    negated: bool  # whether it follows the negation, which `meaning` then names
    unit: Unit
    threshold: Threshold
    score: ThresholdScore  # on the text that was not used to find it
    f1_found: float  # on the text where it was found
    share: float  # of that other text's characters for which it holds
    excerpt: Excerpt

    @property
    def always(self) -> float:
        """The F1 of always predicting the feature."""
        return 2 * self.share / (1 + self.share)

    @property
    def found(self) -> bool:
        """Whether F1 is 0.8 or more, and at least half of the way from `always` to 1."""
        return self.score.f1 >= max(GOOD, (1 + self.always) / 2)


class Excerpt(NamedTuple):
    """A typical stretch of the other text."""

    text: str  # N characters
    activations: Array  # (N,)
    holds: Array  # (N,)


class Gauge(NamedTuple):
    """The unit that follows a feature that is a number best."""

    feature: str
    meaning: str
    unit: Unit
    explained: float  # share of the variance, on text that was not used to find it; negative where the mean would be better
    explained_found: float


class Findings(NamedTuple):
    """The cells and gauges of a model, the best first."""

    cells: list[UnitMatch]
    gauges: list[Gauge]


def most_stretches(model: LanguageModel) -> int:
    """Returns how many stretches a sample may have, so that the activations of one half fit into memory."""
    units = model.config.num_layers * model.config.hidden_size
    return max(2, min(STRETCHES, 2 * MOST_HELD // (units * LENGTH)))


def search(model: LanguageModel, found_on: TextSample, tested_on: TextSample) -> Findings:
    """Returns the best unit for each feature that is frequent enough in both samples; of features that are equal there, for the first."""
    if not (found_on.counts.any() and tested_on.counts.any()):
        return Findings([], [])
    labels, tested = found_on.labels[found_on.counts], tested_on.labels[tested_on.counts]  # (n, F)
    negated = labels.mean(axis=0) > 0.5  # (F,)
    wanted = labels ^ negated
    features = [index for index in _different(labels, tested) if _occurs(labels[:, index]) and _occurs(tested[:, index])]
    held = _held(model, found_on)  # (U, n)
    choices, lines = thresholds(held, wanted[:, features]), _lines(held, found_on.numbers[found_on.counts])
    del held
    units = sorted({choice.unit for choice in choices} | {line.unit for line in lines})
    columns = dict(zip(units, _held(model, tested_on, units), strict=True))
    findings = Findings(
        [
            _cell(model, index, bool(negated[index]), choice, columns[choice.unit], tested_on)
            for index, choice in zip(features, choices, strict=True)
        ],
        [_gauge(model, number, line, columns[line.unit], tested_on) for number, line in enumerate(lines) if line.explained],
    )
    findings.cells.sort(key=lambda cell: -cell.score.f1)
    findings.gauges.sort(key=lambda gauge: -gauge.explained)
    return findings


def _occurs(holds: Array) -> bool:
    count = int(np.count_nonzero(holds))
    return LEAST <= count <= len(holds) - LEAST


def _different(*labels: Array) -> list[int]:
    """The first columns of those that are the same in each of several (n, F)."""
    firsts: dict[bytes, int] = {}
    for index in range(labels[0].shape[1]):
        firsts.setdefault(b"".join(np.packbits(each[:, index]).tobytes() for each in labels), index)
    return list(firsts.values())


def _held(model: LanguageModel, sample: TextSample, units: list[int] | None = None) -> Array:
    """(U, n) what all units of all layers held, or a few, once each of the n characters that count was read."""
    U = len(units) if units is not None else model.config.num_layers * model.config.hidden_size
    found = np.empty((U, int(sample.counts.sum())), np.float32)
    start = 0
    for part in slices(model, sample.ids):
        memory = np.concatenate([layer.memory for layer in part.layers], axis=2)[sample.counts[part.steps]]  # (t, L*H)
        found[:, start : start + len(memory)] = (memory if units is None else memory[:, units]).T
        start += len(memory)
    return np.clip(np.nan_to_num(found, copy=False), -UNBOUNDED, UNBOUNDED, out=found)


def _unit(model: LanguageModel, unit: int) -> Unit:
    return Unit(*divmod(unit, model.config.hidden_size))


# ── yes or no ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cell(model: LanguageModel, index: int, negated: bool, choice: BestThreshold, held: Array, sample: TextSample) -> UnitMatch:
    holds = sample.labels[..., index][sample.counts] ^ negated
    feature, says = FEATURES[index], choice.threshold.says(held)
    measured = score(says, holds)
    return UnitMatch(
        feature=feature.name,
        meaning=feature.negation if negated else feature.meaning,
        negated=negated,
        unit=_unit(model, choice.unit),
        threshold=choice.threshold,
        score=measured,
        f1_found=choice.f1,
        share=float(holds.mean()),
        excerpt=_excerpt(held, holds, says, sample, measured.f1),
    )


def _excerpt(held: Array, holds: Array, says: Array, sample: TextSample, f1: float) -> Excerpt:
    """Of the stretches in which the feature comes and goes, the one on which the unit is as good as on all."""
    of = np.nonzero(sample.counts)[1]  # (n,) the stretch of each character that counts
    stretches = [of == stretch for stretch in np.unique(of).tolist()]
    changing = [stretch for stretch in stretches if MIXED <= holds[stretch].mean() <= 1 - MIXED]
    typical = min(changing or stretches, key=lambda stretch: abs(score(says[stretch], holds[stretch]).f1 - f1))
    text = sample.texts[of[typical][0]]
    begins = text.find("\n", 0, len(text) // 3) + 1  # with a whole line, where the lines are not too long
    return Excerpt(text[begins:], held[typical][begins:], holds[typical][begins:])


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Line(NamedTuple):
    """A number is about slope times activation plus offset."""

    unit: int
    slope: float
    offset: float
    explained: float


def _lines(held: Array, numbers: Array) -> list[_Line]:
    """For each column of numbers (n, G) the unit whose straight line explains most of its variance, by least squares; held (U, n)."""
    mean, variance = (np.array([measure(a, dtype=np.float64) for a in held]) for measure in (np.mean, np.var))  # (U,)
    variance[variance < STILL] = np.inf
    means = numbers.mean(axis=0, dtype=np.float64)  # (G,)
    centred = (numbers - means).astype(np.float32)
    covariance = (held @ centred).astype(np.float64) / len(numbers)  # (U, G)
    explained = covariance**2 / variance[:, None] / np.maximum((centred**2).mean(axis=0), np.finfo(np.float32).tiny)
    lines = []
    for number, unit in enumerate(explained.argmax(axis=0).tolist()):
        slope = float(covariance[unit, number] / variance[unit])
        lines.append(_Line(unit, slope, float(means[number] - slope * mean[unit]), float(explained[unit, number])))
    return lines


def _gauge(model: LanguageModel, number: int, line: _Line, held: Array, sample: TextSample) -> Gauge:
    y = sample.numbers[..., number][sample.counts].astype(np.float64)
    total = float(((y - y.mean()) ** 2).sum())
    rest = float(((y - (line.slope * held + line.offset)) ** 2).sum())
    each = GRADED[number]
    return Gauge(each.name, each.meaning, _unit(model, line.unit), 1 - rest / total if total else 0.0, line.explained)
