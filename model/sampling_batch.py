"""Draws the next symbols of a batch of texts: one row of the state (L, S, B, H) for each text.

A batch is made once and serves until texts join or leave. `NumpyBatch` is the definition; `model.kernels.sampling` does the same in C.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.backend import Network
from model.copy_guard import Mask
from model.filters import filter_probabilities
from model.functions import OVERFLOW, Array, log_probabilities
from model.log_likelihood import likeliest
from model.output_text import DrawnLogprob, OutputText, Piece
from model.temperature import inverse_temperature
from model.utf8_constraint import Utf8Guide

BELOW_ONE = 1 - 2.0**-40  # random numbers are scaled by it, so that rounding never carries one past the last symbol


class Drawn(NamedTuple):
    """Symbols that were drawn for each text, with the log-probabilities of those that report them."""

    symbols: list[list[int]]  # (B, count)
    logprobs: dict[int, list[DrawnLogprob]]  # row -> count entries


class SamplingBatch(ABC):
    """Some texts, with their state."""

    def __init__(self, texts: list[OutputText], state: Array, guide: Utf8Guide | None, names: Sequence[str]) -> None:
        """Row b of the state (L, S, B, H), which is updated in place, belongs to text b. `names` are the symbols as text."""
        self.texts, self.state, self._guide, self._names = texts, state, guide, names
        self._guarded = [(row, text.guard) for row, text in enumerate(texts) if text.guard]

    @property
    def max_burst(self) -> int:
        """How many symbols may be drawn in one step."""
        return min([text.max_burst for text in self.texts] + [max(1, guard.free) for _, guard in self._guarded])

    def refresh_temperatures(self) -> None:  # noqa: B027  (a batch that keeps no copy of them has nothing to do)
        """Reads the temperatures anew, since they may have changed."""

    @abstractmethod
    def draw(self, random: NDArray[np.float64], forbidden: dict[int, Mask]) -> Drawn:
        """Draws symbols with random (B, count); `forbidden` has, by row, which symbols (V,) must not come, and only if count is 1."""

    def step(self, count: int) -> list[Piece]:
        """Draws `count` symbols of each text, at most `max_burst`; returns what can be shown."""
        forbidden, stuck = {}, set()  # stuck: every next symbol is forbidden
        for row, guard in self._guarded:
            mask = guard.forbidden()
            if mask is not None and mask.all():
                stuck.add(row)
            elif mask is not None:
                forbidden[row] = mask
        random = np.empty((len(self.texts), count))
        for numbers, text in zip(random, self.texts, strict=True):
            text.fill_random(numbers)
        symbols, logprobs = self.draw(BELOW_ONE * random, forbidden)
        for row, guard in self._guarded:
            for symbol in () if row in stuck else symbols[row]:
                guard.advance(symbol)
        pieces = []
        for row, text in enumerate(self.texts):
            if row in stuck:
                piece = text.append([], stuck=True)
            else:
                piece = text.append(symbols[row], logprobs.get(row, ()))
            if piece:
                pieces.append(piece)
        return pieces


class NumpyBatch(SamplingBatch):
    """Draws one symbol after the other, text by text."""

    def __init__(self, network: Network, texts: list[OutputText], state: Array, guide: Utf8Guide | None, names: Sequence[str]) -> None:
        super().__init__(texts, state, guide, names)
        self._network = network

    def draw(self, random: NDArray[np.float64], forbidden: dict[int, Mask]) -> Drawn:
        """See `SamplingBatch`."""
        drawn: list[list[int]] = []
        logprobs: dict[int, list[DrawnLogprob]] = {}
        for row, text in enumerate(self.texts):
            symbols: list[int] = []
            if text.config.logprobs is not None:
                logprobs[row] = []
            utf8 = text.detokenizer.utf8_state
            for number in random[row].tolist():
                last = np.array([[symbols[-1] if symbols else text.last]])
                logits, self.state[:, :, row : row + 1] = self._network.forward(last, self.state[:, :, row : row + 1])
                excluded = forbidden.get(row)
                if self._guide:
                    excluded = ~self._guide.allowed[utf8] if excluded is None else excluded | ~self._guide.allowed[utf8]
                symbol = draw_symbol(logits[0, 0].copy(), text, number, excluded)
                if text.config.logprobs is not None:
                    logprobs[row].append(report(logits[0, 0], symbol, text.config.logprobs, self._names))
                if text.penalties:
                    text.penalties.count(symbol)
                if self._guide:
                    utf8 = self._guide.next_state(utf8, symbol)
                symbols.append(symbol)
            drawn.append(symbols)
        return Drawn(drawn, logprobs)


def draw_symbol(logits: Array, text: OutputText, random: float, excluded: Mask | None = None) -> int:
    """Draws the next symbol of a text from logits (V,), which are overwritten, with a random number in [0, 1).

    If weights are so large that a sum overflows, some logits are NaN: those symbols are drawn only if all are.
    """
    config, temperature = text.config, text.temperature
    with np.errstate(all="ignore"):
        if text.penalties:
            text.penalties.apply(logits)
        np.nan_to_num(logits, copy=False, nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW)
        if excluded is not None:
            logits[excluded] = -np.inf
        if temperature == 0:
            return int(logits.argmax())
        p = np.exp((logits - logits.max()) * inverse_temperature(temperature))
    if text.filtered:
        p = filter_probabilities(p, config.top_k, config.top_p, config.min_p)
    sums = np.cumsum(p, dtype=np.float64)
    return int((sums > random * sums[-1]).argmax())


def report(logits: Array, symbol: int, alternatives: int, names: Sequence[str]) -> DrawnLogprob:
    """Returns the log-probability of a drawn symbol by the plain model, and the likeliest symbols in its place, from logits (V,)."""
    logs = log_probabilities(logits)
    best = likeliest(logs, alternatives)
    return names[symbol], float(logs[symbol]), [(names[each], float(logs[each])) for each in best.tolist()]
