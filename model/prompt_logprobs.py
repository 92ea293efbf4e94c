"""The log-probabilities of a text that is read, in words: of a prompt that is repeated, of a text that is scored."""

from __future__ import annotations

from collections.abc import Sequence

from model.detokenizer import Detokenizer
from model.log_likelihood import LogprobSlice
from model.output_text import Alternatives, SymbolLogprob


class PromptLogprobs:
    """Grows while the text is read."""

    def __init__(self, writer: Detokenizer, names: Sequence[str]) -> None:
        """`names` are the symbols in words, the unknown one last."""
        self.scores: list[SymbolLogprob] = []
        self._writer, self._names = writer, names

    def begin(self, symbol: int) -> None:
        """The first symbol, where nobody asked how likely it is."""
        self._add(symbol, self._names[symbol], None, [])

    def add(self, part: LogprobSlice, spelled: Sequence[str] = ()) -> None:
        """The next symbols; `spelled` is how they look, where some of them are not in the alphabet and yet known."""
        for index, (symbol, logprob, others, logs) in enumerate(zip(*(each.tolist() for each in part), strict=True)):
            alternatives = [(self._names[other], log) for other, log in zip(others, logs, strict=True)]
            self._add(symbol, spelled[index] if spelled else self._names[symbol], logprob, alternatives)

    def _add(self, symbol: int, text: str, logprob: float | None, alternatives: Alternatives) -> None:
        self._writer.push(symbol)
        self.scores.append(SymbolLogprob(text, logprob, alternatives, self._writer.position))
