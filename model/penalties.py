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
        self.repetition = np.float32(config.repetition_penalty)
        self.presence, self.frequency = np.float32(config.presence_penalty), np.float32(config.frequency_penalty)
        self.present = np.zeros(V, bool)  # in prompt or text
        self.present[prompt[prompt < V]] = True
        self.counts = np.zeros(V, np.float32)  # in the text
        self.bias = np.zeros(V, np.float32)
        for symbol, bias in config.logit_bias.items():
            if 0 <= symbol < V:
                self.bias[symbol] = bias

    @staticmethod
    def needed(config: SamplingConfig) -> bool:
        """Whether a request has any penalty or bias."""
        return bool(config.repetition_penalty != 1 or config.presence_penalty or config.frequency_penalty or config.logit_bias)

    def apply(self, logits: Array) -> None:
        """Changes the logits (V,) of the next symbol in place."""
        if self.repetition != 1:
            seen = logits[self.present]
            logits[self.present] = np.where(seen > 0, seen / self.repetition, seen * self.repetition)
        logits -= self.frequency * self.counts
        logits -= self.presence * (self.counts > 0)
        logits += self.bias

    def count(self, symbol: int) -> None:
        """Counts a symbol that was written."""
        self.counts[symbol] += 1
        self.present[symbol] = True
