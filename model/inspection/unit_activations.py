"""What a network does with a text, character by character: what it expected, what its units held, how its gates stood.

The text is read behind one line end, as the empty prompt is, by a network that has read nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.errors import InvalidSetting
from model.functions import Array, Ids
from model.inspection.alignment import Aligned, align
from model.inspection.gates import Saturation, SaturationCounts
from model.inspection.state_reader import Tick, slices, untroubled
from model.language_model import LanguageModel
from model.log_likelihood import LogprobSlice, score, score_outputs
from model.vocabulary import Vocabulary

LONGEST = 100_000  # characters that are looked at in one go
ALTERNATIVES = 5


class Unit(NamedTuple):
    """A hidden unit; both numbers count from 0."""

    layer: int
    number: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.number}"


class Surprise(NamedTuple):
    """What a network expected of N characters."""

    bits: Array  # (N,) -log2 of the probability that it gave to each
    likeliest: Ids  # (N, K) the likeliest symbols where each character's first symbol came, the likeliest first
    probabilities: Array  # (N, K) theirs

    @property
    def bits_per_char(self) -> float:
        """The mean; 0 for an empty text."""
        return float(self.bits.mean()) if len(self.bits) else 0.0


class Activity(NamedTuple):
    """What the units and gates did while a text was read."""

    gates: list[Saturation]
    liveliest: Unit  # whose activation varied most
    expected: Surprise | None = None  # where alternatives were wanted
    held: Array | None = None  # (L, H, N) float16, what every unit held once each character was read, where that was to be kept


def read_text(vocabulary: Vocabulary, text: str) -> Aligned:
    """The text as characters and symbols. Raises `InvalidSetting` where it is too long to be looked at."""
    if len(text) > 4 * LONGEST:  # not even normalised
        raise too_long(text, len(text))
    aligned = align(vocabulary, text)
    if len(aligned.text) > LONGEST:
        raise too_long(text, len(aligned.text))
    return aligned


def too_long(beginning: str, count: int) -> InvalidSetting:
    """What is said of a text of `count` characters, more than `LONGEST`, that begins so."""
    return InvalidSetting("text", beginning[:100], f"of at most {LONGEST:,} characters to be looked at", f"it has {count:,}")


def surprise(
    model: LanguageModel, vocabulary: Vocabulary, aligned: Aligned, alternatives: int = ALTERNATIVES, tick: Tick = untroubled
) -> Surprise:
    """How surprising each character was. One of several symbols costs what they cost together; an unknown one what any could cost.

    `tick` is called now and then; what it raises ends the reading.
    """
    parts = []
    for part in score(model, vocabulary, aligned.ids, alternatives):
        parts.append(part)
        tick()
    return _surprise(aligned, parts, alternatives)


def _surprise(aligned: Aligned, parts: list[LogprobSlice], alternatives: int) -> Surprise:
    if not parts:
        return Surprise(np.zeros(0), np.zeros((0, alternatives), np.intp), np.zeros((0, alternatives)))
    costs = -np.concatenate([part.logprobs for part in parts]) / math.log(2)  # (S,)
    bits = np.add.reduceat(costs, aligned.starts)
    likeliest = np.concatenate([part.likeliest for part in parts])[aligned.starts]
    return Surprise(bits, likeliest, np.exp(np.concatenate([part.likeliest_logprobs for part in parts])[aligned.starts]))


def activity(
    model: LanguageModel,
    vocabulary: Vocabulary,
    aligned: Aligned,
    *,
    alternatives: int | None = None,
    keep: bool = False,
    tick: Tick = untroubled,
) -> Activity:
    """How often gates are saturated, and which unit is the liveliest.

    From the same reading, `alternatives` also gives what was expected, as `surprise` does, and `keep` what all units held. `tick` is
    called now and then; what it raises ends the reading.
    """
    ids, places = _behind_line_end(vocabulary, aligned.ids), aligned.ends + 1
    counts, sums = SaturationCounts(), np.zeros((2, *_units(model)))  # of activations, of squares
    held = np.empty((*_units(model), len(places)), np.float16) if keep else None
    scores: list[LogprobSlice] = []
    with np.errstate(over="ignore", invalid="ignore"):  # relu and identity do not bound what an rnn's unit holds
        for part in slices(model, ids[:, None], tick):
            counts.add(part.layers)
            memory = np.stack([layer.memory[:, 0] for layer in part.layers], axis=1).astype(np.float64)  # (t, L, H)
            sums += memory.sum(axis=0), (memory * memory).sum(axis=0)
            targets = ids[part.steps.start + 1 : part.steps.stop + 1]
            if alternatives is not None and len(targets):
                scores.append(score_outputs(model, part.layers[-1].h[: len(targets)], targets, alternatives, vocabulary.unknown_cost))
            if held is not None:
                first, last = np.searchsorted(places, (part.steps.start, part.steps.stop))
                held[..., first:last] = np.moveaxis(memory[places[first:last] - part.steps.start], 0, -1)
        mean, square = sums / len(ids)
        variance = np.nan_to_num(square - mean * mean, posinf=0.0)
    layer, number = np.unravel_index(np.argmax(variance), variance.shape)
    expected = None if alternatives is None else _surprise(aligned, scores, alternatives)
    return Activity(counts.shares(), Unit(int(layer), int(number)), expected, held)


def check(model: LanguageModel, unit: Unit) -> None:
    """Raise `InvalidSetting` for a unit that the network does not have."""
    layers, H = _units(model)
    if not (0 <= unit.layer < layers and 0 <= unit.number < H):
        raise InvalidSetting("unit", str(unit), f"LAYER:UNIT with a layer from 0 to {layers - 1} and a unit from 0 to {H - 1:,}")


def activations(model: LanguageModel, vocabulary: Vocabulary, aligned: Aligned, units: Sequence[Unit], tick: Tick = untroubled) -> Array:
    """(N, U) what units held once each character was read: an LSTM's tanh(c), which is what Karpathy et al. drew, else h.

    Numbers that are not finite, which a diverged rnn holds, come as the largest ones that are.

    Raises `InvalidSetting` for a unit that the network does not have.
    """
    for unit in units:
        check(model, unit)
    found = np.zeros((len(aligned.ids) + 1, len(units)), np.float32)
    with np.errstate(over="ignore"):
        for part in slices(model, _behind_line_end(vocabulary, aligned.ids)[:, None], tick):
            for column, unit in enumerate(units):
                found[part.steps, column] = part.layers[unit.layer].memory[:, 0, unit.number]
    return np.nan_to_num(found[aligned.ends + 1])


def _units(model: LanguageModel) -> tuple[int, int]:
    return model.config.num_layers, model.config.hidden_size


def _behind_line_end(vocabulary: Vocabulary, ids: Ids) -> Ids:
    return np.concatenate([vocabulary.encode_prompt("", 1).ids, ids])
