"""Holds one request for text: its prompts, what its reader is given, and what the engine's thread does with it.

A request has one or more prompts. Each prompt is a `Part` that joins the batch by itself. The choices of a request are numbered
through all its parts: choice ``i n + j`` is text j of prompt i.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from model.config import SamplingConfig
from model.copy_guard import CopySource
from model.errors import CharloomError
from model.output_text import JoinedPieces, Piece
from model.record_sampling import RecordSource, Tries, missing, rows_of
from model.sampling import Accepted, Sampler, encoded_prompt
from model.settings import SchedulePairs
from service.generation.model_cache import LoadedModel
from service.generation.sample import shortage
from service.system.errors import CompletionNotFound, NoMoreRecords

# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CLIENT_CHECK = 0.25  # seconds without a message after which a reader checks whether its client is still connected

Message = list[Piece] | CharloomError

# Bytes that a reader may leave unread before its texts rest: some hundred pieces, milliseconds of the fastest model. Two such lots can
# be in memory for one request, the second in the hands of its reader.
BACKLOG = 2**17
PIECE_BYTES, LOGPROB_BYTES = 200, 100  # of a piece without its text, and of a log-probability; measured in CPython 3.11

SYMBOLS_PER_CHARACTER = 4  # at most: the bytes of a character; its letters after normalisation are fewer


def most_logprobs(config: SamplingConfig, max_prompt: int) -> int:
    """Return how many log-probabilities the texts of one prompt may get, each of which takes some hundred bytes."""
    if config.logprobs is None:
        return 0
    read = len(config.prompt_ids) if config.prompt_ids is not None else SYMBOLS_PER_CHARACTER * len(config.prompt)
    symbols = config.most_symbols + (min(max_prompt, read) if config.echo or config.records else 0)
    return config.texts * symbols * (1 + config.logprobs)


class Part:
    """One prompt of a request. Once it has rows, only the engine's thread changes it."""

    def __init__(self, config: SamplingConfig, first: int, model: LoadedModel) -> None:
        """`first` is the number of the choice that its first text is.

        The prompt becomes ids here, not in the engine's thread. Of one that is longer than what is read, only these are kept: many
        requests may wait.
        """
        self.prompt = encoded_prompt(model.checkpoint.vocabulary, config, model.max_prompt)
        self.config = replace(config, prompt="", prompt_ids=None) if self.prompt.truncated else config
        self.first = first
        self.logprobs = most_logprobs(config, model.max_prompt)
        self.course: SchedulePairs = config.temperature_schedule  # the temperatures in force, by position
        self.accepted: Accepted | None = None  # once it has begun
        self.rows = rows_of(config)  # that it holds or will need; for texts, one for each that is not finished
        self.unfinished = config.texts
        self._place: tuple[Sampler, int] | None = None  # the sampler that writes it, and its number there

    @property
    def running(self) -> bool:
        """Whether a sampler writes its texts."""
        return self._place is not None

    @property
    def tries(self) -> Tries | None:
        """What was tried so far, if it asks for records."""
        return self.accepted.tries if self.accepted else None

    @property
    def shortage(self) -> NoMoreRecords | None:
        """Why it has fewer records than it asks for, if it gave up."""
        return None if self.tries is None else shortage(self.config, self.tries)

    def finish_text(self) -> int:
        """Count a text as finished; returns how many rows are free then: those of records at the end of all."""
        self.unfinished -= 1
        if self.config.records is None:
            return 1
        return 0 if self.unfinished else self.rows

    def begin(self, sampler: Sampler, source: CopySource | None, records: RecordSource | None) -> int:
        """Add the prompt to a sampler; returns its number there."""
        self.accepted = sampler.add(self.config, source, self.prompt, records)
        self._place = sampler, self.accepted.request
        return self.accepted.request

    def set_temperature(self, value: float) -> None:
        """Change the temperature of the symbols that are not drawn yet."""
        if self._place is not None:
            sampler, number = self._place
            sampler.set_temperature(number, value)
            self.course = sampler.schedule(number)
        elif self.rows:
            self.config = replace(self.config, temperature=value)
            self.course = self.config.temperature_schedule

    def end(self) -> list[Piece]:
        """End its unfinished texts as if their length were reached; returns their last pieces."""
        if self._place is None:
            waiting = [Piece(0, choice, "", 0, "length") for choice in range(self.config.n)]
            return waiting if self.config.records is None else missing(self.config)
        sampler, number = self._place
        return sampler.end(number)

    def pause(self) -> None:
        """Let its texts rest, if a sampler writes them."""
        if self._place is not None:
            sampler, number = self._place
            sampler.pause(number)

    def resume(self) -> None:
        """Write its texts on after `pause`."""
        if self._place is not None:
            sampler, number = self._place
            sampler.resume(number)

    def cancel(self) -> None:
        """Drop its unfinished texts from the sampler."""
        if self._place is not None:
            sampler, number = self._place
            sampler.cancel(number)

    def leave(self) -> int:
        """Let go of the sampler, which has no text of it any more; returns the number it had there."""
        assert self._place is not None
        (_, number), self._place = self._place, None
        return number


class Request:
    """Made by `Engine.submit` and read by one thread, as a context manager: leaving it early frees its rows at once.

    The facts about its parts are set before their first pieces arrive. `cut` tells whether its time ran out before all was written. Its
    texts are `paused` while its reader leaves more than `BACKLOG` bytes unread.
    """

    def __init__(
        self,
        model: LoadedModel,
        configs: Sequence[SamplingConfig],
        *,
        whole: bool,
        seconds: float,
        source: CopySource | None,
        records: RecordSource | None,
        caller: str,
        cancel: Callable[[Request], None],
        set_temperature: Callable[[Request, float], None],
        resume: Callable[[Request], None],
    ) -> None:
        """`configs` ask for the same number of texts each; `seconds` is the time the request may take, its time in the queue included.

        `source` is the text that `max_copy` forbids to copy from, `records` are those of the corpus,
        `caller` the name of who asks. `cancel`, `set_temperature` and `resume`
        are the engine's.
        """
        self.model, self.whole, self._source, self._records = model, whole, source, records
        self.caller = caller
        self.parts = [Part(config, index * config.texts, model) for index, config in enumerate(configs)]
        self.choices = sum(config.texts for config in configs)
        self.unfinished = self.choices
        self.submitted = time.monotonic()
        self.deadline = self.submitted + seconds
        self.cut = self.paused = False
        self._cancel, self._set_temperature, self._resume = cancel, set_temperature, resume
        self._admitted = 0  # parts that were given rows
        self._began = self._ended = 0.0  # when its first part joined the batch, and when its last text was finished
        self._written = False  # whether it has a piece
        self._held: list[Piece] = []  # pieces that are not delivered yet
        self._joined = [JoinedPieces() for _ in range(self.choices)] if whole else []
        self._given = self._taken = 0  # bytes: counted by the engine's thread, and by the reader
        self._delivered = 0.0  # when pieces were last delivered
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._symbols = [0] * self.choices  # that were written
        self.settle: Callable[[int], None] | None = None  # called once, with the symbols that were read and written

    @property
    def seconds(self) -> float:
        """The time from its first row to its last symbol, without the time in the queue."""
        return self._ended - self._began

    @property
    def symbols(self) -> int:
        """Symbols that were written: for records, in all tries that were judged."""
        return sum(self._symbols) + sum(part.tries.symbols for part in self.parts if part.tries)

    @property
    def drawn(self) -> int:
        """Symbols that were written: for records, in all tries, also in those that are not judged."""
        return sum(self._symbols) + sum(part.tries.drawn for part in self.parts if part.tries)

    # ── for its reader ────────────────────────────────────────────────────────────────────────────────────────────────

    def pieces(self, left: Callable[[], bool] = lambda: False) -> Iterator[list[Piece]]:
        """Yield what was written since the last time, until all texts are finished or the client has `left`.

        Raises `GenerationFailed`, `WaitedTooLong` and `ServiceStopping`.
        """
        unfinished = self.choices
        while unfinished:
            try:
                message = self._messages.get(timeout=CLIENT_CHECK)
            except Empty:
                if left():
                    return
                continue
            if isinstance(message, CharloomError):
                raise message
            while not self._messages.empty():  # under load, what has gathered meanwhile goes out together
                more = self._messages.get()
                if isinstance(more, CharloomError):
                    raise more
                message += more
            self._taken += _bytes(message)
            if self.paused:
                self._resume(self)
            unfinished -= sum(piece.finish_reason is not None for piece in message)
            yield message

    def set_temperature(self, value: float) -> None:
        """Change the temperature of the symbols that are not drawn yet. Raises `ServiceStopping`."""
        self._set_temperature(self, value)

    def cancel(self) -> None:
        """Stop writing its unfinished texts. Its reader calls it at the end in any case."""
        self._cancel(self)
        settle, self.settle = self.settle, None
        if settle is not None:
            settle(self.drawn + sum(part.accepted.prompt_symbols for part in self.parts if part.accepted))

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()

    # ── for the scheduler and the engine's thread ─────────────────────────────────────────────────────────────────────

    @property
    def waiting(self) -> list[Part]:
        """The parts that have no rows yet."""
        return self.parts[self._admitted :]

    @property
    def running(self) -> list[Part]:
        """The parts whose texts are being written."""
        return [part for part in self.parts if part.running]

    @property
    def admitted(self) -> bool:
        """Whether a part of it was given rows."""
        return self._admitted > 0

    def admit(self) -> Part:
        """Count the next part as one that has rows, and return it."""
        self._admitted += 1
        return self.parts[self._admitted - 1]

    def begin(self, part: Part, sampler: Sampler) -> int:
        """Add a part to the sampler; returns its number there."""
        number = part.begin(sampler, self._source, self._records)
        if self.paused:
            part.pause()
        self._began = self._began or time.monotonic()
        return number

    def hold(self, part: Part, piece: Piece) -> bool:
        """Keep a piece until it is delivered; returns whether it is the request's first one."""
        if part.first:
            piece = piece._replace(choice=part.first + piece.choice)
        if part.tries is None:
            self._symbols[piece.choice] = piece.symbols
        if self.whole:
            self._joined[piece.choice].add(piece)
        else:
            self._held.append(piece)
        self.unfinished -= piece.finish_reason is not None
        first, self._written = not self._written, True
        return first

    def is_due(self, now: float, pause: float) -> bool:
        """Whether its pieces should be delivered: at its end, and otherwise after `pause` seconds if it is not read as a whole."""
        return not self.unfinished or (not self.whole and now - self._delivered >= pause)

    def deliver(self, now: float) -> None:
        """Give the reader the pieces that are held. If it leaves too much unread, the texts rest until it takes that."""
        if not self.unfinished:
            self._ended = now
        if self.whole:
            self._held = [each.piece() for each in self._joined]
            self._joined = []
        self._given += _bytes(self._held)
        self._messages.put(self._held)
        self._held, self._delivered = [], now
        if self.unfinished and not self.paused and self._given - self._taken > BACKLOG:
            self.paused = True
            for part in self.running:
                part.pause()
            if self._given - self._taken <= BACKLOG:  # the reader took all just before it could see that the texts rest
                self.resume()

    def resume(self) -> None:
        """Write its texts on, if they rest."""
        if self.paused:
            self.paused = False
            for part in self.running:
                part.resume()

    def fail(self, error: CharloomError) -> None:
        """Raise an error in the reader."""
        self._messages.put(error)

    def apply_temperature(self, value: float) -> None:
        """Change the temperature in all parts."""
        for part in self.parts:
            part.set_temperature(value)

    def end_early(self) -> list[tuple[Part, Piece]]:
        """End all unfinished texts with what is written of them; returns their last pieces."""
        self.cut = True
        return [(part, piece) for part in self.parts for piece in part.end()]


def _bytes(pieces: list[Piece]) -> int:
    """Return about how much memory pieces take."""
    logprobs = sum(1 + len(each.alternatives) for piece in pieces for each in piece.logprobs)
    return sum(len(piece.text) for piece in pieces) + PIECE_BYTES * len(pieces) + LOGPROB_BYTES * logprobs


# ── completions ──────────────────────────────────────────────────────────────────────────────────────────────────────


class RunningRequests:
    """Maps the id of a completion that is being written to its request. May be used from any thread."""

    def __init__(self) -> None:
        self._requests: dict[str, tuple[str, Request]] = {}  # id -> its caller and the request
        self._lock = threading.Lock()

    @staticmethod
    def new() -> str:
        """Return an id that cannot be guessed."""
        return f"cmpl-{secrets.token_hex(12)}"

    def add(self, caller: str, request: Request) -> str:
        """Give a request an id until `remove`."""
        name = self.new()
        with self._lock:
            self._requests[name] = caller, request
        return name

    def remove(self, name: str) -> None:
        """Forget an id, if it is known."""
        with self._lock:
            self._requests.pop(name, None)

    def get(self, caller: str, name: str) -> Request:
        """Return the request of an id to the caller that began it. Raises `CompletionNotFound`, also for one that is finished."""
        with self._lock:
            owner, request = self._requests.get(name, (None, None))
        if request is None or owner != caller or not request.unfinished:
            raise CompletionNotFound(name)
        return request
