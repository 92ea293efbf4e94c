"""Writes whole records: tries one after the other, and keeps those that fit.

A model of records ends each record itself, with the boundary. Try t begins after the prompt and has a random generator of its own, seeded
with seed + t. Tries are judged in this order, however many are written at the same time: which records are kept depends on neither the
company nor the number of threads.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, Protocol

from model.config import SamplingConfig
from model.functions import Array
from model.output_text import JoinedPieces, OutputText, Piece
from model.temperature import TemperatureSchedule

ROWS = 32  # tries of a request that are written at the same time: more would hardly be faster, and take others' rows
AHEAD = 8 * ROWS  # tries that may be begun behind one that is not finished, so that what waits to be judged is bounded
FRUITLESS = 2000  # tries in a row without a record that is kept, after which there are no more

LeftOut = Literal["unfinished", "short", "invalid", "known", "repeated"]

REASONS: dict[LeftOut, tuple[str, str]] = {  # of one try, and of several
    "unfinished": ("was longer than its limit", "were longer than their limit"),
    "short": ("was empty or too short", "were empty or too short"),
    "invalid": ("had another form", "had another form"),
    "known": ("stands in the corpus", "stand in the corpus"),
    "repeated": ("was repeated", "were repeated"),
}


class RecordSource(Protocol):
    """The records of a corpus."""

    def has_record(self, record: str) -> bool:
        """Whether a record stands in the corpus."""
        ...

    def is_valid(self, record: str) -> bool:
        """Whether a record has the form of those of the corpus."""
        ...


@dataclass
class Tries:
    """What was tried for a request so far."""

    count: int = 0
    symbols: int = 0  # that were drawn, with the boundaries, and of records that were left out, too
    drawn: int = 0  # ... and of tries that are not judged: all that they cost, which depends on the company
    kept: int = 0
    numbers: array[int] = field(default_factory=lambda: array("q"))  # of the tries that were kept
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    gave_up: bool = False  # after `FRUITLESS` tries in a row

    @property
    def words(self) -> str:
        """What was tried, in words: ``12 tries, of which 3 stand in the corpus and 1 was repeated``."""
        parts = [f"{times:,} {REASONS[reason][times != 1]}" for reason, times in self.left_out.most_common()]
        causes = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return f"{self.count:,} {'try' if self.count == 1 else 'tries'}" + (f", of which {causes}" if parts else "")


def rows_of(config: SamplingConfig) -> int:
    """Returns how many texts of a request are written at the same time."""
    if config.records is None:
        return config.n
    return min(ROWS, 4 * config.records if config.new or config.unique or config.valid else config.records)


class RecordWriter:
    """The tries of one request."""

    def __init__(
        self,
        config: SamplingConfig,
        tries: Tries,
        state: Array,
        temperatures: TemperatureSchedule,
        separator: str,
        new_text: Callable[[int], OutputText],
        source: RecordSource | None,
    ) -> None:
        """`state` (L, S, 1, H) is that after the prompt, and `new_text` begins the try of a number."""
        self.state, self.temperatures = state, temperatures
        self._config, self._tries, self._separator, self._new_text, self._source = config, tries, separator, new_text, source
        self._begun = self._running = 0
        self._fruitless = 0  # tries since the last record that was kept
        self._seen: set[int] = set()  # hashes of the records that were kept: two different ones with the same hash would cost only a try
        self._pieces: dict[int, JoinedPieces] = {}  # of tries that are not judged yet

    @property
    def done(self) -> bool:
        """Whether all records are written, or there are no more."""
        return self._tries.gave_up or self._tries.kept == self._config.texts

    def begin(self) -> list[OutputText]:
        """Begins as many tries as there is room for."""
        stop = min(self._begun + rows_of(self._config) - self._running, self._tries.count + AHEAD)
        texts = [self._new_text(number) for number in range(self._begun, stop)]
        self._begun += len(texts)
        self._running += len(texts)
        self._pieces.update((text.choice, JoinedPieces()) for text in texts)
        return texts

    def add(self, piece: Piece) -> list[Piece]:
        """Adds a piece of a try; returns the records that are known to be kept now, each as one piece."""
        joined = self._pieces[piece.choice]
        self._tries.drawn += max(0, piece.symbols - joined.symbols) + (piece.finish_reason == "stop")
        joined.add(piece)
        self._running -= piece.finish_reason is not None
        kept: list[Piece] = []
        for number in count(self._tries.count):
            first = self._pieces.get(number)
            if first is None or not first.finished or self.done:
                break
            kept += self._judged(self._pieces.pop(number).piece())
        return kept

    def _judged(self, record: Piece) -> list[Piece]:
        tries = self._tries
        tries.count += 1
        tries.symbols += record.symbols + (record.finish_reason == "stop")
        reason = self._flaw(record)
        if reason is not None:
            tries.left_out[reason] += 1
            self._fruitless += 1
            tries.gave_up = self._fruitless == FRUITLESS
            return self.missing() if tries.gave_up else []
        self._fruitless = 0
        tries.kept += 1
        tries.numbers.append(tries.count - 1)
        return [record._replace(choice=tries.kept - 1)]

    def _flaw(self, record: Piece) -> LeftOut | None:
        """Returns why a record is left out."""
        config, text = self._config, record.text
        if record.finish_reason != "stop":
            return "unfinished"
        if record.symbols < config.min_length or not text.strip():
            return "short"
        if self._separator != "\n" and self._separator in text:  # a line end may stand inside quotation marks
            return "invalid"
        if self._source is not None:
            if config.valid and not self._source.is_valid(text):
                return "invalid"
            if config.new and self._source.has_record(text):
                return "known"
        if config.unique:
            if hash(text) in self._seen:
                return "repeated"
            self._seen.add(hash(text))
        return None

    def missing(self) -> list[Piece]:
        """Returns the last pieces of the records that will not be written."""
        return missing(self._config, self._tries.kept)


def missing(config: SamplingConfig, kept: int = 0) -> list[Piece]:
    """Returns the pieces of the records of a request that are not written, all but the first `kept`."""
    return [Piece(0, choice, "", 0, "missing") for choice in range(kept, config.texts)]
