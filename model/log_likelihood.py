"""Scores a given text: the log-probability of each symbol, and the likeliest symbols in its place.

A text is read as after a line end, as it would be written from an empty prompt. It is read in slices, so that memory does not grow
with its length and other requests can be served between two slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.backend import Network
from model.functions import Array, Ids
from model.vocabulary import Vocabulary

SLICE = 256  # symbols that are read at a time
LOGITS = 2**20  # at most, in memory at the same time


class LogprobSlice(NamedTuple):
    """T symbols of a text, in order."""

    ids: Ids  # (T,)
    logprobs: NDArray[np.float64]  # (T,) nats
    likeliest: Ids  # (T, K), the likeliest first
    likeliest_logprobs: NDArray[np.float64]  # (T, K)


def likeliest(logs: Array, count: int) -> Ids:
    """Returns the `count` likeliest of V symbols by their log-probabilities; of equals the first. ``(..., V) -> (..., count)``"""
    if not count:
        return np.empty((*logs.shape[:-1], 0), np.intp)
    return np.argsort(-logs, axis=-1, kind="stable")[..., :count]


def score_slice(network: Network, ids: Ids, state: Array, alternatives: int, unknown_cost: float) -> tuple[LogprobSlice, Array]:
    """Scores ids (T+1,) except the first, read from state (L, S, 1, H); returns the scores and the state before the last id.

    There are `alternatives` likeliest symbols for each.
    """
    output, state = network.read(ids[:-1, None], state)
    return score_outputs(network, output[:, 0], ids[1:], alternatives, unknown_cost), state


def score_outputs(network: Network, output: Array, targets: Ids, alternatives: int, unknown_cost: float) -> LogprobSlice:
    """Scores targets (T,), T > 0, each from the top layer's output (T, H) before it."""
    V = network.model.vocabulary_size
    parts = []
    for start in range(0, len(output), max(1, LOGITS // V)):
        part = slice(start, start + max(1, LOGITS // V))
        logs = network.log_probabilities(output[part])  # (T, V)
        ids = targets[part]
        own = logs[np.arange(len(ids)), np.minimum(ids, V - 1)]
        best = likeliest(logs, alternatives)
        parts.append(LogprobSlice(ids, np.where(ids < V, own, -unknown_cost), best, np.take_along_axis(logs, best, axis=-1)))
    return LogprobSlice(*map(np.concatenate, zip(*parts, strict=True)))


def score(network: Network, vocabulary: Vocabulary, ids: Ids, alternatives: int = 0) -> Iterator[LogprobSlice]:
    """Yields the scores of a text's ids (N,), slice after slice.

    A symbol outside the alphabet costs as much as a choice among all characters (`Vocabulary.unknown_cost`), so that a tiny alphabet
    gains nothing.
    """
    state = network.model.zero_state(1)
    ids = np.concatenate([vocabulary.encode_prompt("", 1).ids, ids])
    for start in range(0, len(ids) - 1, SLICE):
        found, state = score_slice(network, ids[start : start + SLICE + 1], state, alternatives, vocabulary.unknown_cost)
        yield found
