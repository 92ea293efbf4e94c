"""Collects the log-probabilities of a text that is read: of a prompt that is echoed, or of a text that is scored."""

from __future__ import annotations

from collections.abc import Sequence

from model.detokenizer import Detokenizer
from model.log_likelihood import LogprobSlice
from model.output_text import Alternatives, SymbolLogprob


class PromptLogprobs:
    """The log-probabilities of the symbols that have been read so far, in `scores`."""

    def __init__(self, detokenizer: Detokenizer, names: Sequence[str]) -> None:
        """`names` are the symbols as text, the unknown one last."""
        self.scores: list[SymbolLogprob] = []
        self._detokenizer, self._names = detokenizer, names

    def begin(self, symbol: int) -> None:
        """Adds the first symbol, which has no log-probability: nothing stands before it."""
        self._add(symbol, self._names[symbol], None, [])

    def add(self, part: LogprobSlice, spelled: Sequence[str] = ()) -> None:
        """Adds the next symbols; `spelled` is their text, if some of them are outside the alphabet but known to the caller."""
        for index, (symbol, logprob, others, logs) in enumerate(zip(*(each.tolist() for each in part), strict=True)):
            alternatives = [(self._names[other], log) for other, log in zip(others, logs, strict=True)]
            self._add(symbol, spelled[index] if spelled else self._names[symbol], logprob, alternatives)

    def _add(self, symbol: int, text: str, logprob: float | None, alternatives: Alternatives) -> None:
        self._detokenizer.push(symbol)
        self.scores.append(SymbolLogprob(text, logprob, alternatives, self._detokenizer.position))
