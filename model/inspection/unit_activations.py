"""Computes what a network does with a text: surprise, activations of units and saturation of gates, character by character.

The text is read after one line end, as the empty prompt is, from the zero state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.backend import network_for
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
    """The surprise of N characters."""

    bits: Array  # (N,) -log2 of the probability that it gave to each; of a separator the first character has all
    likeliest: Ids  # (N, K) the likeliest symbols where each character's first symbol came, the likeliest first
    probabilities: Array  # (N, K) theirs

    @property
    def bits_per_char(self) -> float:
        """The mean; 0 for an empty text."""
        return float(self.bits.mean()) if len(self.bits) else 0.0


class Activity(NamedTuple):
    """The gates and units of a network while it read a text."""

    gates: list[Saturation]
    liveliest: Unit  # whose activation varied most
    expected: Surprise | None = None  # if alternatives were asked for
    held: Array | None = None  # (L, H, N) float16, activations of all units once each character was read; if `keep`


def read_text(vocabulary: Vocabulary, text: str) -> Aligned:
    """Returns the text as characters and symbols. Raises `InvalidSetting` if it is too long."""
    if len(text) > 4 * LONGEST:  # not even normalised
        raise too_long(text, len(text))
    aligned = align(vocabulary, text)
    if len(aligned.text) > LONGEST:
        raise too_long(text, len(aligned.text))
    return aligned


def too_long(beginning: str, count: int) -> InvalidSetting:
    """Returns the error for a text of `count` characters, more than `LONGEST`, with its beginning."""
    return InvalidSetting("text", beginning[:100], f"of at most {LONGEST:,} characters to be looked at", f"it has {count:,}")


def surprise(
    model: LanguageModel, vocabulary: Vocabulary, aligned: Aligned, alternatives: int = ALTERNATIVES, tick: Tick = untroubled
) -> Surprise:
    """Returns the surprise of each character. The bits of its symbols add up; an unknown one costs what any character could.

    `tick` is called now and then; what it raises ends the reading.
    """
    parts = []
    for part in score(network_for(model), vocabulary, aligned.ids, alternatives):
        parts.append(part)
        tick()
    return _surprise(aligned, parts, alternatives)


def _surprise(aligned: Aligned, parts: list[LogprobSlice], alternatives: int) -> Surprise:
    if not parts:
        return Surprise(np.zeros(0), np.zeros((0, alternatives), np.intp), np.zeros((0, alternatives)))
    costs = -np.concatenate([part.logprobs for part in parts]) / math.log(2)  # (S,)
    starts, leads = aligned.starts, aligned.leads
    bits = np.zeros(len(starts))
    bits[leads] = np.add.reduceat(costs, starts[leads])
    likeliest = np.concatenate([part.likeliest for part in parts])[starts]
    return Surprise(bits, likeliest, np.exp(np.concatenate([part.likeliest_logprobs for part in parts])[starts]))


def activity(
    model: LanguageModel,
    vocabulary: Vocabulary,
    aligned: Aligned,
    *,
    alternatives: int | None = None,
    keep: bool = False,
    tick: Tick = untroubled,
) -> Activity:
    """Returns how often gates are saturated, and the liveliest unit.

    From the same reading, `alternatives` also gives the surprise, as `surprise` does, and `keep` the activations of all units. `tick` is
    called now and then; what it raises ends the reading.
    """
    ids, places = _behind_line_end(vocabulary, aligned.ids), aligned.ends + 1
    counts, sums = SaturationCounts(), np.zeros((2, *_units(model)))  # of activations, of squares
    held = np.empty((*_units(model), len(places)), np.float16) if keep else None
    scores: list[LogprobSlice] = []
    network = network_for(model)
    with np.errstate(over="ignore", invalid="ignore"):  # relu and identity do not bound what an rnn's unit holds
        for part in slices(model, ids[:, None], tick):
            counts.add(part.layers)
            memory = np.stack([layer.memory[:, 0] for layer in part.layers], axis=1).astype(np.float64)  # (t, L, H)
            sums += memory.sum(axis=0), (memory * memory).sum(axis=0)
            targets = ids[part.steps.start + 1 : part.steps.stop + 1]
            if alternatives is not None and len(targets):
                scores.append(score_outputs(network, part.layers[-1].h[: len(targets), 0], targets, alternatives, vocabulary.unknown_cost))
            if held is not None:
                first, last = np.searchsorted(places, (part.steps.start, part.steps.stop))
                held[..., first:last] = np.moveaxis(memory[places[first:last] - part.steps.start], 0, -1)
        mean, square = sums / len(ids)
        variance = np.nan_to_num(square - mean * mean, posinf=0.0)
    layer, number = np.unravel_index(np.argmax(variance), variance.shape)
    expected = None if alternatives is None else _surprise(aligned, scores, alternatives)
    return Activity(counts.shares(), Unit(int(layer), int(number)), expected, held)


def check(model: LanguageModel, unit: Unit) -> None:
    """Raises `InvalidSetting` for a unit that the network does not have."""
    layers, H = _units(model)
    if not (0 <= unit.layer < layers and 0 <= unit.number < H):
        raise InvalidSetting("unit", str(unit), f"LAYER:UNIT with a layer from 0 to {layers - 1} and a unit from 0 to {H - 1:,}")


def activations(model: LanguageModel, vocabulary: Vocabulary, aligned: Aligned, units: Sequence[Unit], tick: Tick = untroubled) -> Array:
    """Returns activations (N, U) once each character was read: an LSTM's tanh(c), which is what Karpathy et al. drew, else h.

    NaN, which a diverged rnn can have, becomes 0, and infinity the largest finite number.

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
