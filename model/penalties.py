"""Changes the logits before anything else does: penalties for symbols that occurred already, and a bias for each symbol.

::

    s = s / r if s > 0, else s r          for symbols that prompt or text contain      repetition_penalty r (Keskar et al. 2019, CTRL)
    s = s - p - f count                   for symbols that the text contains           presence_penalty p, frequency_penalty f
    s = s + b                                                                          logit_bias b

s is the logit of a symbol, count how often the text has it.
"""

from __future__ import annotations

import numpy as np

from model.config import SamplingConfig
from model.functions import Array, Ids


class Penalties:
    """The penalties of one text, with the counts of its symbols."""

    def __init__(self, config: SamplingConfig, prompt: Ids, V: int) -> None:
        """`prompt` (N,): ids as they are read; V: size of the alphabet."""
        self._repetition = np.float32(config.repetition_penalty)
        self._presence, self._frequency = np.float32(config.presence_penalty), np.float32(config.frequency_penalty)
        self._present = np.zeros(V, bool)  # in prompt or text
        self._present[prompt[prompt < V]] = True
        self._counts = np.zeros(V, np.float32)  # in the text
        self._bias = np.zeros(V, np.float32)
        for symbol, bias in config.logit_bias.items():
            if 0 <= symbol < V:
                self._bias[symbol] = bias

    @staticmethod
    def needed(config: SamplingConfig) -> bool:
        """Whether a request has any penalty or bias."""
        return bool(config.repetition_penalty != 1 or config.presence_penalty or config.frequency_penalty or config.logit_bias)

    def apply(self, logits: Array) -> None:
        """Changes the logits (V,) of the next symbol in place."""
        if self._repetition != 1:
            seen = logits[self._present]
            logits[self._present] = np.where(seen > 0, seen / self._repetition, seen * self._repetition)
        logits -= self._frequency * self._counts
        logits -= self._presence * (self._counts > 0)
        logits += self._bias

    def count(self, symbol: int) -> None:
        """Counts a symbol that was written."""
        self._counts[symbol] += 1
        self._present[symbol] = True
