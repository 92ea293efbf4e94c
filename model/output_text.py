"""One text while it is written: what of its symbols can be shown, with their log-probabilities, and when it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from model.config import SamplingConfig
from model.copy_guard import CopyGuard
from model.detokenizer import Detokenizer
from model.functions import Ids
from model.penalties import Penalties
from model.stop_strings import StopWatch
from model.temperature import Temperatures

DRAWS = 64  # random numbers that a text takes from its generator at a time
BELOW_ONE = 1 - 2.0**-40  # draws are scaled by it, so that rounding never carries one past the last symbol
FINISHING = 8  # further symbols that a text may take to finish the character in which it would be cut

FinishReason = Literal["length", "stop", "max_copy"]
Alternatives = list[tuple[str, float]]  # symbols and their log-probabilities, the likeliest first
Opinion = tuple[str, float, Alternatives]  # what a `Score` begins with


class SymbolLogprob(NamedTuple):
    """What the plain model thought of one symbol, in nats: before penalties, temperature and filters."""

    text: str  # the symbol
    logprob: float | None  # None for the first symbol of a prompt
    alternatives: Alternatives  # the likeliest symbols in its place
    position: int  # of its character in the text


class Piece(NamedTuple):
    """Something new to show of one text."""

    request: int
    choice: int  # which of the request's n texts
    text: str
    symbols: int  # drawn so far
    finish_reason: FinishReason | None  # in the last piece of a text
    logprobs: Sequence[SymbolLogprob] = ()  # where they were asked for: of the symbols whose characters are in the piece


class Start(NamedTuple):
    """What all texts of a request begin with."""

    request: int
    config: SamplingConfig
    prompt: Ids  # (N,)
    echo: str  # the text of the prompt where texts begin with it
    echo_scores: list[SymbolLogprob]  # and of its symbols, where they are told
    temperatures: Temperatures
    stops: StopWatch


class OutputText:
    """One text that is being written: a row of the batch."""

    def __init__(self, start: Start, choice: int, writer: Detokenizer, V: int, guard: CopyGuard | None = None) -> None:
        """`choice` is which of the request's n texts, V the number of symbols; a `guard` keeps it from copying."""
        self.request, self.choice, self.config, self.temperatures = start.request, choice, start.config, start.temperatures
        config = start.config
        self.writer, self.guard, self._stops = writer, guard, start.stops.again()
        self.last = int(start.prompt[-1])
        self.filtered = bool(config.top_k or config.top_p < 1 or config.min_p)
        self.penalties = Penalties(config, start.prompt, V) if Penalties.wanted(config) else None
        self.symbols = 0
        self._echo, self._shown = start.echo, 0  # what is not shown yet, and how many characters are
        self._echoed = len(start.echo)
        self._scores = deque(start.echo_scores)  # of symbols whose characters are not shown yet
        self._rng = np.random.Generator(np.random.PCG64((config.seed or 0) + choice))
        self._draws: list[float] = []

    def draw(self, count: int) -> list[float]:
        """The text's next random numbers, in [0, 1)."""
        while len(self._draws) < count:
            self._draws += (BELOW_ONE * self._rng.random(DRAWS)).tolist()
        taken, self._draws = self._draws[:count], self._draws[count:]
        return taken

    @property
    def temperature(self) -> float:
        """That of the next symbol."""
        return self.temperatures.at(self.symbols)

    @property
    def left(self) -> int:
        """Symbols that may be drawn before anything has to be looked at again."""
        most = 1 if self.writer.guide else max(1, self.config.length - self.symbols)
        return self.temperatures.left(self.symbols, most) if self.temperatures.moves else most

    def opening(self) -> Piece:
        """The piece before the first symbol: the prompt."""
        return self._piece("", None)

    def take(self, symbols: list[int], opinions: Sequence[Opinion] = (), *, stuck: bool = False) -> Piece | None:
        """Add drawn symbols, of which those behind a stop string count no more; returns what there is to show, if anything.

        There is an opinion on each where scores are wanted. A text that is `stuck` has no symbol that could follow them.
        """
        text = ""
        if self.config.stop or opinions:
            for index, symbol in enumerate(symbols):
                self.symbols += 1
                written = self.writer.push(symbol)
                if opinions:
                    self._scores.append(SymbolLogprob(*opinions[index], self._echoed + self.writer.position))
                text += self._stops.push(written, self.symbols - self.writer.held >= self.config.min_length)
                if self._stops.stopped:
                    return self.finish(text)
        else:
            self.symbols += len(symbols)
            text = self.writer.write(symbols)
        if stuck:
            return self.finish(text, "max_copy")
        self.last = symbols[-1]
        over = self.symbols - self.config.length
        if over >= 0 and (not self.writer.inside_character or over >= FINISHING):
            return self.finish(text)
        return self._piece(text, None) if text else None

    def finish(self, text: str = "", reason: FinishReason = "length") -> Piece:
        """The last piece, with all that was held back; `reason` is why it ends where no stop string is why."""
        if not self._stops.stopped:
            text += self._stops.push(self.writer.flush(), self.symbols >= self.config.min_length)
        if self._stops.stopped:
            return self._piece(text, "stop")
        return self._piece(text + self._stops.flush(), reason)

    def _piece(self, text: str, finish_reason: FinishReason | None) -> Piece:
        if self._echo:
            text, self._echo = self._echo + text, ""
        self._shown += len(text)
        if not self._scores:
            return Piece(self.request, self.choice, text, self.symbols, finish_reason)
        scores = []
        while self._scores and self._scores[0].position < self._shown:
            scores.append(self._scores.popleft())
        return Piece(self.request, self.choice, text, self.symbols, finish_reason, scores)
