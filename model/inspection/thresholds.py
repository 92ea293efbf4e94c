"""Finds the threshold of a unit that predicts a feature best: by F1, the harmonic mean of precision and recall."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.functions import Array

BINS = 256  # thresholds that are tried, evenly spread over what a unit holds


class Threshold(NamedTuple):
    """Predicts the feature if the activation is at or above a number, or if it is below it."""

    value: float
    above: bool

    def says(self, activation: Array) -> Array:
        """Returns the prediction for each activation."""
        return activation >= self.value if self.above else activation < self.value


class ThresholdScore(NamedTuple):
    """The quality of a prediction."""

    f1: float
    precision: float
    recall: float


def score(predicted: Array, holds: Array) -> ThresholdScore:
    """Scores `predicted` (N,) against `holds` (N,); a quotient of zeros is 0."""
    right = int((predicted & holds).sum())
    said, true = int(predicted.sum()), int(holds.sum())
    return ThresholdScore(2 * right / max(1, said + true), right / max(1, said), right / max(1, true))


class BestThreshold(NamedTuple):
    """The unit that predicts best, and how."""

    unit: int
    threshold: Threshold
    f1: float


def thresholds(held: Array, wanted: Array) -> list[BestThreshold]:
    """Returns for each column of wanted (n, F) the unit and threshold of the highest F1; held (U, n)."""
    if not wanted.shape[1]:
        return []
    # Few of all combinations of features occur: counting those is counting all features at once.
    combinations, which = np.unique(wanted, axis=0, return_inverse=True)  # (P, F), (n,)
    P, which, weights = len(combinations), which.ravel(), combinations.astype(np.float64)
    best = [BestThreshold(0, Threshold(0.0, True), -1.0)] * wanted.shape[1]
    for unit, a in enumerate(held):
        low, high = float(a.min()), float(a.max())
        width = (high - low) / BINS or 1.0
        bins = np.minimum((a - low) / width, BINS - 1).astype(np.intp)
        counts = np.bincount(bins * P + which, minlength=BINS * P).reshape(BINS, P)
        f1, cuts, above = _best_cuts(counts.sum(axis=1), counts.astype(np.float64) @ weights)
        for feature in np.flatnonzero(f1 > [choice.f1 for choice in best]).tolist():
            threshold = Threshold(low + width * int(cuts[feature]), bool(above[feature]))
            best[feature] = BestThreshold(unit, threshold, float(f1[feature]))
    return best


def _best_cuts(all_: Array, holding: Array) -> tuple[Array, Array, Array]:
    """Where to cut the bins so that F1 is highest, for each feature: the F1, the first bin above the cut, and whether above means yes.

    all_ (BINS,): how many characters fall into each bin. holding (BINS, F): for how many of them a feature holds.
    """
    below, holding_below = _running(all_), _running(holding)  # (BINS+1,), (BINS+1, F) in the bins before each cut
    true = holding.sum(axis=0)
    right = np.stack([true - holding_below, holding_below])  # (2, BINS+1, F)
    said = np.stack([all_.sum() - below, below])[..., None]  # (2, BINS+1, 1)
    f1 = 2 * right / np.maximum(1, said + true)
    flat = f1.reshape(-1, f1.shape[2])
    best = flat.argmax(axis=0)
    side, cut = np.divmod(best, len(below))
    return flat[best, np.arange(len(best))], cut, side == 0


def _running(counts: Array) -> Array:
    """The sums of the first 0, 1, 2, ... rows."""
    return np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
