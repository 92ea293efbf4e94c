"""The texts of some steps as rows of arrays (B, ...), which are made once for all of these steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model.copy_guard import Mask
from model.decode_step import NetworkStepper
from model.filters import filtered
from model.functions import OVERFLOW, Array, Ids, log_probabilities, plain_arithmetic
from model.log_likelihood import likeliest
from model.output_text import Opinion, OutputText, Piece
from model.temperature import coolness, tempered
from model.utf8_constraint import Utf8Guide


class SamplingBatch:
    """Some texts, and the part of the network's state that is theirs."""

    def __init__(self, stepper: NetworkStepper, texts: list[OutputText], guide: Utf8Guide | None, names: Sequence[str]) -> None:
        """Row b of the stepper is of text b. `names` are the symbols in words."""
        self.texts = texts
        self._stepper, self._guide, self._names = stepper, guide, names
        self._filtered = [(row, text.config) for row, text in enumerate(texts) if text.filtered]
        self._penalized = [(row, text.penalties) for row, text in enumerate(texts) if text.penalties]
        self._scored = [row for row, text in enumerate(texts) if text.config.logprobs is not None]
        self._guarded = [(row, text.guard) for row, text in enumerate(texts) if text.guard]
        self._stuck: dict[int, int] = {}  # rows in which no symbol may follow -> how many of this step's symbols could
        self._opinions: list[list[Opinion]] = [[] for _ in texts]
        self._sums = np.empty((len(texts), stepper.logits.shape[1]))
        self.look()

    def look(self) -> None:
        """Look at the temperatures, which may have changed."""
        self._moving = any(text.temperatures.moves for text in self.texts)
        temperatures = np.array([text.temperature for text in self.texts])
        self._coolness, self._cold = coolness(temperatures), np.flatnonzero(temperatures == 0)

    def step(self, count: int) -> list[Piece]:
        """Draw `count` symbols of each text, which is no more than any of them has left. Returns what there is to show."""
        if self._moving:
            self.look()
        draws = np.array([text.draw(count) for text in self.texts]).T  # (count, B)
        drawn = np.empty((count, len(self.texts)), np.intp)
        last = np.array([text.last for text in self.texts])  # (B,)
        with plain_arithmetic():  # a model that overflows still writes something; see choose
            for index in range(count):
                drawn[index] = last = self.choose(self._stepper.step(last), draws[index], self._forbidden(index))
                self._advance(last)
        symbols = drawn.T.tolist()
        if not (self._scored or self._stuck):
            return [piece for text, own in zip(self.texts, symbols, strict=True) if (piece := text.take(own))]
        opinions, self._opinions = self._opinions, [[] for _ in self.texts]
        stuck, self._stuck = self._stuck, {}
        taken = zip(self.texts, symbols, opinions, map(stuck.get, range(len(symbols))), strict=True)
        return [piece for text, own, opinion, end in taken if (piece := text.take(own[:end], opinion[:end], stuck=end is not None))]

    def _forbidden(self, index: int) -> Mask | None:
        """Which symbols no row may be given as its symbol `index` of this step, (B, V), if any."""
        forbidden = ~self._guide.allowed[[text.writer.utf8_state for text in self.texts]] if self._guide else None
        for row, guard in self._guarded:
            copied = None if row in self._stuck else guard.forbidden()
            if copied is None:
                continue
            if copied.all():
                self._stuck[row] = index  # whatever is drawn there from now on is not looked at
                continue
            if forbidden is None:
                forbidden = np.zeros((len(self.texts), len(copied)), bool)
            forbidden[row] |= copied
        return forbidden

    def _advance(self, chosen: Ids) -> None:
        for row, guard in self._guarded:
            if row not in self._stuck:
                guard.advance(int(chosen[row]))

    def choose(self, scores: Array, draws: Array, forbidden: Mask | None = None) -> Ids:
        """One symbol per row of logits (B, V), which are overwritten, with one random number each; some may be `forbidden`.

        Each row depends on nothing but its own logits and settings. Weights so large that a sum overflows give logits that are no
        numbers: those symbols are never drawn but where all are.
        """
        plain = scores[self._scored] if self._scored else None
        for row, penalties in self._penalized:
            penalties.apply(scores[row])
        if forbidden is not None:
            scores[forbidden] = -np.inf
        highest = np.maximum.reduce(scores, axis=1, keepdims=True)
        if not math.isfinite(np.add.reduce(highest, axis=None)):
            np.nan_to_num(scores, copy=False, nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW)
            if forbidden is not None:
                scores[forbidden] = -np.inf
            highest = np.maximum.reduce(scores, axis=1, keepdims=True)
        p = tempered(scores, highest, self._coolness)
        for row, config in self._filtered:
            p[row] = filtered(p[row], config.top_k, config.top_p, config.min_p)
        sums = np.add.accumulate(p, axis=1, dtype=np.float64, out=self._sums)
        places = draws * sums[:, -1]
        chosen: Ids = (sums > places[:, None]).argmax(axis=1)
        if self._cold.size:
            chosen[self._cold] = p[self._cold].argmax(axis=1)
        for row, penalties in self._penalized:
            penalties.count(int(chosen[row]))
        if plain is not None:
            self._score(plain, chosen)
        return chosen

    def _score(self, logits: Array, chosen: Ids) -> None:
        """Note the log-probabilities of what was chosen where they are wanted; logits are those of these rows."""
        for row, logs in zip(self._scored, log_probabilities(logits), strict=True):
            symbol = int(chosen[row])
            found = likeliest(logs, self.texts[row].config.logprobs or 0)
            alternatives = [(self._names[each], float(logs[each])) for each in found.tolist()]
            self._opinions[row].append((self._names[symbol], float(logs[symbol]), alternatives))
