"""Draws the next symbols of a batch of texts: one row of the arrays (B, ...) for each text.

A batch is made once and serves until texts join or leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.copy_guard import Mask
from model.decode_step import NetworkStepper
from model.filters import filter_probabilities
from model.functions import OVERFLOW, Array, Ids, log_probabilities, plain_arithmetic
from model.log_likelihood import likeliest
from model.output_text import DrawnLogprob, OutputText, Piece
from model.temperature import inverse_temperatures, unnormalized_softmax
from model.utf8_constraint import Utf8Guide


class SamplingBatch:
    """Some texts, with their part of the network's state."""

    def __init__(self, stepper: NetworkStepper, texts: list[OutputText], guide: Utf8Guide | None, names: Sequence[str]) -> None:
        """Row b of the stepper belongs to text b. `names` are the symbols as text."""
        self.texts = texts
        self._stepper, self._guide, self._names = stepper, guide, names
        self._filtered = [(row, text.config) for row, text in enumerate(texts) if text.filtered]
        self._penalized = [(row, text.penalties) for row, text in enumerate(texts) if text.penalties]
        self._with_logprobs = [row for row, text in enumerate(texts) if text.config.logprobs is not None]
        self._guarded = [(row, text.guard) for row, text in enumerate(texts) if text.guard]
        self._stuck: dict[int, int] = {}  # row in which every next symbol is forbidden -> how many of this step's symbols stand
        self._logprobs: list[list[DrawnLogprob]] = [[] for _ in texts]
        self._sums = np.empty((len(texts), stepper.logits.shape[1]))
        self.refresh_temperatures()

    def refresh_temperatures(self) -> None:
        """Reads the temperatures anew, since they may have changed."""
        self._moving = any(text.temperatures.moves for text in self.texts)
        temperatures = np.array([text.temperature for text in self.texts])
        self._inverse, self._greedy = inverse_temperatures(temperatures), np.flatnonzero(temperatures == 0)

    def step(self, count: int) -> list[Piece]:
        """Draws `count` symbols of each text, at most the `max_burst` of each; returns what can be shown."""
        if self._moving:
            self.refresh_temperatures()
        random = np.array([text.random_numbers(count) for text in self.texts]).T  # (count, B)
        drawn = np.empty((count, len(self.texts)), np.intp)
        last = np.array([text.last for text in self.texts])  # (B,)
        with plain_arithmetic():  # a model that overflows still writes something; see draw
            for index in range(count):
                drawn[index] = last = self.draw(self._stepper.step(last), random[index], self._forbidden(index))
                self._advance(last)
        symbols = drawn.T.tolist()
        if not (self._with_logprobs or self._stuck):
            return [piece for text, own in zip(self.texts, symbols, strict=True) if (piece := text.append(own))]
        logprobs, self._logprobs = self._logprobs, [[] for _ in self.texts]
        stuck, self._stuck = self._stuck, {}
        rows = zip(self.texts, symbols, logprobs, map(stuck.get, range(len(symbols))), strict=True)
        return [piece for text, own, logs, end in rows if (piece := text.append(own[:end], logs[:end], stuck=end is not None))]

    def _forbidden(self, index: int) -> Mask | None:
        """Returns which symbols each row must not get as its symbol `index` of this step, (B, V); None if all are allowed."""
        forbidden = ~self._guide.allowed[[text.detokenizer.utf8_state for text in self.texts]] if self._guide else None
        for row, guard in self._guarded:
            copied = None if row in self._stuck else guard.forbidden()
            if copied is None:
                continue
            if copied.all():
                self._stuck[row] = index  # symbols drawn there from now on are dropped
                continue
            if forbidden is None:
                forbidden = np.zeros((len(self.texts), len(copied)), bool)
            forbidden[row] |= copied
        return forbidden

    def _advance(self, drawn: Ids) -> None:
        for row, guard in self._guarded:
            if row not in self._stuck:
                guard.advance(int(drawn[row]))

    def draw(self, logits: Array, random: Array, forbidden: Mask | None = None) -> Ids:
        """Draws one symbol per row of logits (B, V), which are overwritten, with one random number (B,) each.

        Each row depends only on its own logits and settings. If weights are so large that a sum overflows, some logits are NaN: those
        symbols are drawn only if all are.
        """
        plain = logits[self._with_logprobs] if self._with_logprobs else None
        for row, penalties in self._penalized:
            penalties.apply(logits[row])
        if forbidden is not None:
            logits[forbidden] = -np.inf
        highest = np.maximum.reduce(logits, axis=1, keepdims=True)
        if not math.isfinite(np.add.reduce(highest, axis=None)):
            np.nan_to_num(logits, copy=False, nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW)
            if forbidden is not None:
                logits[forbidden] = -np.inf
            highest = np.maximum.reduce(logits, axis=1, keepdims=True)
        p = unnormalized_softmax(logits, highest, self._inverse)
        for row, config in self._filtered:
            p[row] = filter_probabilities(p[row], config.top_k, config.top_p, config.min_p)
        sums = np.add.accumulate(p, axis=1, dtype=np.float64, out=self._sums)
        thresholds = random * sums[:, -1]
        drawn: Ids = (sums > thresholds[:, None]).argmax(axis=1)
        if self._greedy.size:
            drawn[self._greedy] = p[self._greedy].argmax(axis=1)
        for row, penalties in self._penalized:
            penalties.count(int(drawn[row]))
        if plain is not None:
            self._note_logprobs(plain, drawn)
        return drawn

    def _note_logprobs(self, logits: Array, drawn: Ids) -> None:
        """Notes the log-probabilities of the drawn symbols for the rows that report them; `logits` are those of these rows."""
        for row, logs in zip(self._with_logprobs, log_probabilities(logits), strict=True):
            symbol = int(drawn[row])
            best = likeliest(logs, self.texts[row].config.logprobs or 0)
            alternatives = [(self._names[each], float(logs[each])) for each in best.tolist()]
            self._logprobs[row].append((self._names[symbol], float(logs[symbol]), alternatives))
