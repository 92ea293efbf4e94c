"""Follows one text while it is written: which characters can be shown, their log-probabilities, and when the text ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import SamplingConfig
from model.copy_guard import CopyGuard
from model.detokenizer import Detokenizer
from model.functions import Ids
from model.penalties import Penalties
from model.stop_strings import StopStringMatcher
from model.temperature import TemperatureSchedule

APART = 256  # pieces of a text that are not joined yet, at most
FINISHING = 8  # further symbols that a text may take to finish the character in which it would be cut

# "stop": a stop string, or the end of a record; "missing": no further record was found
FinishReason = Literal["length", "stop", "max_copy", "missing"]
Alternatives = list[tuple[str, float]]  # symbols with their log-probabilities, the likeliest first
DrawnLogprob = tuple[str, float, Alternatives]  # the first three fields of a `SymbolLogprob`


class SymbolLogprob(NamedTuple):
    """The log-probability of one symbol, in nats, by the plain model: before penalties, temperature and filters."""

    text: str  # the symbol
    logprob: float | None  # None for the first symbol of a prompt
    alternatives: Alternatives  # the likeliest symbols in its place
    position: int  # of its character in the text


class Piece(NamedTuple):
    """New characters of one text."""

    request: int
    choice: int  # which of the request's n texts
    text: str
    symbols: int  # drawn so far; at the end without those of a stop string
    finish_reason: FinishReason | None  # in the last piece of a text
    logprobs: Sequence[SymbolLogprob] = ()  # if requested: of the symbols whose characters are in the piece


class JoinedPieces:
    """Joins the pieces of one text, which take ten times the memory while they are apart."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._logprobs: list[SymbolLogprob] = []
        self._last: Piece | None = None

    def add(self, piece: Piece) -> None:
        """Adds the next piece."""
        self._texts.append(piece.text)
        if len(self._texts) == APART:
            self._texts = ["".join(self._texts)]
        self._logprobs += piece.logprobs
        self._last = piece

    @property
    def symbols(self) -> int:
        """The symbols drawn so far."""
        return 0 if self._last is None else self._last.symbols

    @property
    def finished(self) -> bool:
        """Whether the text is finished."""
        return self._last is not None and self._last.finish_reason is not None

    def piece(self) -> Piece:
        """Returns all pieces, of which there is one, as one."""
        assert self._last is not None
        return self._last._replace(text="".join(self._texts), logprobs=self._logprobs)


class RequestStart(NamedTuple):
    """What all texts of a request share at their beginning."""

    request: int
    config: SamplingConfig
    prompt: Ids  # (N,) without a boundary in front
    last: int  # symbol that was read, or will be read by the first step
    echo: str  # the text of the prompt, if texts begin with it
    echo_logprobs: list[SymbolLogprob]  # of its symbols, if requested
    temperatures: TemperatureSchedule
    stop_strings: StopStringMatcher
    end: int | None = None  # the boundary, if each text is one record


class OutputText:
    """One text that is being written: a row of the batch."""

    def __init__(self, start: RequestStart, choice: int, detokenizer: Detokenizer, V: int, guard: CopyGuard | None = None) -> None:
        """`choice`: which of the request's n texts; V: size of the alphabet; `guard` keeps the text from copying."""
        self.request, self.choice, self.config, self.temperatures = start.request, choice, start.config, start.temperatures
        config = start.config
        self.detokenizer, self.guard, self._stop_strings = detokenizer, guard, start.stop_strings.restarted()
        self.last = start.last
        self._end, self._length = start.end, config.most_symbols + (start.end is not None)  # the boundary is one symbol more
        self.filtered = bool(config.top_k or config.top_p < 1 or config.min_p)
        self.penalties = Penalties(config, start.prompt, V) if Penalties.needed(config) else None
        self.symbols = 0
        self._echo, self._shown = start.echo, 0  # what is not shown yet, and how many characters are
        self._echoed = len(start.echo)
        self._logprobs = deque(start.echo_logprobs)  # of symbols whose characters are not shown yet
        self._positions: deque[int] = deque()  # of these symbols in the text, if a stop string may end it
        self._rng = np.random.Generator(np.random.PCG64((config.seed or 0) + choice))

    def fill_random(self, numbers: NDArray[np.float64]) -> None:
        """Fills an array (N,) with the text's next random numbers, in [0, 1)."""
        self._rng.random(out=numbers)

    @property
    def temperature(self) -> float:
        """The temperature of the next symbol."""
        return self.temperatures.at(self.symbols)

    @property
    def max_burst(self) -> int:
        """How many symbols may be drawn before the length or the temperature must be checked again."""
        most = max(1, self._length - self.symbols)
        return self.temperatures.left(self.symbols, most) if self.temperatures.moves else most

    def prompt_piece(self) -> Piece:
        """Returns the piece before the first symbol: the echoed prompt."""
        return self._piece("", None)

    def append(self, symbols: list[int], logprobs: Sequence[DrawnLogprob] = (), *, stuck: bool = False) -> Piece | None:
        """Adds drawn symbols and ignores those behind a stop string or the end of the record; returns what can be shown, if anything.

        `logprobs` has an entry for each symbol if the request asks for them. A text is `stuck` if every next symbol is forbidden.
        """
        text, ended = "", self._end is not None and self._end in symbols
        if ended:
            symbols = symbols[: symbols.index(self._end)]  # type: ignore[arg-type]
        if self.config.stop or logprobs:
            for index, symbol in enumerate(symbols):
                self.symbols += 1
                written = self.detokenizer.push(symbol)
                self._positions.append(self._echoed + self.detokenizer.position)
                if logprobs:
                    self._logprobs.append(SymbolLogprob(*logprobs[index], self._positions[-1]))
                text += self._stop_strings.push(written, self.symbols - self.detokenizer.held >= self.config.min_length)
                if self._stop_strings.stopped:
                    return self.finish(text)
        else:
            self.symbols += len(symbols)
            text = self.detokenizer.write(symbols)
        if ended:
            return self.finish(text, "stop")
        if stuck:
            return self.finish(text, "max_copy")
        self.last = symbols[-1]
        over = self.symbols - self._length
        if over >= 0 and (not self.detokenizer.inside_character or over >= FINISHING):
            return self.finish(text)
        return self._piece(text, None) if text else None

    def finish(self, text: str = "", reason: FinishReason = "length") -> Piece:
        """Returns the last piece, with all that was held back; `reason` is the finish reason unless a stop string is found."""
        if not self._stop_strings.stopped:
            text += self._stop_strings.push(self.detokenizer.flush(), self.symbols >= self.config.min_length)
        if self._stop_strings.stopped:
            return self._piece(text, "stop")
        return self._piece(text + self._stop_strings.flush(), reason)

    def _piece(self, text: str, finish_reason: FinishReason | None) -> Piece:
        if self._echo:
            text, self._echo = self._echo + text, ""
        self._shown += len(text)
        while self._positions and self._positions[0] < self._shown:
            self._positions.popleft()
        if finish_reason == "stop":
            self.symbols -= len(self._positions)
        if not self._logprobs:
            return Piece(self.request, self.choice, text, self.symbols, finish_reason)
        logprobs = []
        while self._logprobs and self._logprobs[0].position < self._shown:
            logprobs.append(self._logprobs.popleft())
        return Piece(self.request, self.choice, text, self.symbols, finish_reason, logprobs)
