"""The log-probabilities of a text that is read, in words: of a prompt that is repeated, of a text that is scored."""

from __future__ import annotations

from collections.abc import Sequence

from model.decoding import TextWriter
from model.scoring import Slice
from model.texts import Alternatives, Score


class Echo:
    """Grows while the text is read."""

    def __init__(self, writer: TextWriter, names: Sequence[str]) -> None:
        """`names` are the symbols in words, the unknown one last."""
        self.scores: list[Score] = []
        self._writer, self._names = writer, names

    def begin(self, symbol: int) -> None:
        """The first symbol, where nobody asked how likely it is."""
        self._add(symbol, self._names[symbol], None, [])

    def add(self, part: Slice, spelled: Sequence[str] = ()) -> None:
        """The next symbols; `spelled` is how they look, where some of them are not in the alphabet and yet known."""
        for index, (symbol, logprob, others, logs) in enumerate(zip(*(each.tolist() for each in part), strict=True)):
            alternatives = [(self._names[other], log) for other, log in zip(others, logs, strict=True)]
            self._add(symbol, spelled[index] if spelled else self._names[symbol], logprob, alternatives)

    def _add(self, symbol: int, text: str, logprob: float | None, alternatives: Alternatives) -> None:
        self._writer.push(symbol)
        self.scores.append(Score(text, logprob, alternatives, self._writer.position))
