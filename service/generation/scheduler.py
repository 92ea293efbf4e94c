"""Requests for text: their parts, their queue, and the ids under which they can be changed.

A request for texts on its way through the engine: what it asks for, and how what is written reaches whoever reads it.

One request may have several prompts; each is a part of its own in the engine, and their texts are counted through: choice
``i n + j`` is text j of prompt i.

Who waits for rows, first come, first served. Used under the engine's lock, but for the count of rows, which is its thread's alone.

Completions that are being written, by id: whoever began one can still change its temperature.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from model.config import SamplingConfig
from model.copy_guard import CopySource
from model.errors import CharloomError
from model.output_text import Piece
from model.sampling import Accepted
from model.settings import SchedulePairs
from service.generation.model_cache import LoadedModel
from service.system.errors import CompletionNotFound

# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LOOK = 0.25  # seconds between two looks whether the client of a silent request is still there

Message = list[Piece] | CharloomError


class Part:
    """One prompt of a request. Once it has begun, the engine's thread alone changes it."""

    def __init__(self, config: SamplingConfig, first: int) -> None:
        """`first` is which choice its first text is."""
        self.config, self.first = config, first
        self.accepted: Accepted | None = None  # once it has begun
        self.rows = config.n  # texts that are not finished
        self.course: SchedulePairs = config.temperature_schedule  # the temperatures that are in force


class Request:
    """Made by `Engine.submit`, read by one thread, as a context manager: leaving it early frees its rows at once.

    What is known of its parts is there with their first pieces. `cut` tells whether its time ran out before all was written.
    """

    def __init__(
        self,
        model: LoadedModel,
        configs: Sequence[SamplingConfig],
        *,
        whole: bool,
        seconds: float,
        source: CopySource | None,
        cancel: Callable[[Request], None],
        set_temperature: Callable[[Request, float], None],
    ) -> None:
        """`cancel` and `set_temperature` are the engine's.

        `configs` ask for the same number of texts each. `seconds` is the time it may take, with that in the queue.

        `source` is what its texts must not copy from, where they must not.
        """
        self.model, self.whole, self.source = model, whole, source
        self.parts = [Part(config, index * config.n) for index, config in enumerate(configs)]
        self.submitted = time.monotonic()
        self.deadline = self.submitted + seconds
        self.began = self.ended = 0.0  # when its first rows were given to it, and when the last was done
        self.cut = False
        self.written = False  # whether any of it was
        self.begun = 0  # parts that were given rows
        self.choices = sum(part.rows for part in self.parts)
        self.unfinished = self.choices  # for the engine's thread
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.held: list[Piece] = []  # pieces that the reader has not been given
        self.told = 0.0  # when the reader was given some
        self._cancel, self._set_temperature = cancel, set_temperature

    @property
    def seconds(self) -> float:
        """Time spent writing, without the time in the queue."""
        return self.ended - self.began

    def pieces(self, left: Callable[[], bool] = lambda: False) -> Iterator[list[Piece]]:
        """What was written since the last time, until all texts are finished; nothing more once `left()` is true.

        Raises `GenerationFailed`, `WaitedTooLong` and `ServiceStopping`.
        """
        unfinished = self.choices
        while unfinished:
            try:
                message = self.messages.get(timeout=LOOK)
            except Empty:
                if left():
                    return
                continue
            if isinstance(message, CharloomError):
                raise message
            while not self.messages.empty():  # under load, what has gathered meanwhile goes out together
                more = self.messages.get()
                if isinstance(more, CharloomError):
                    raise more
                message += more
            unfinished -= sum(piece.finish_reason is not None for piece in message)
            yield message

    def set_temperature(self, value: float) -> None:
        """Change the temperature of all that is not written yet. Raises `ServiceStopping`."""
        self._set_temperature(self, value)

    def cancel(self) -> None:
        """Forget it; whatever of it is not finished is not written."""
        self._cancel(self)

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()


# ── queueing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

RequestPart = tuple[Request, Part]  # which part of which request


class RequestQueue:
    """Requests that have a part without rows. One that needs more rows than there are gets all of them."""

    def __init__(self, max_rows: int) -> None:
        self.rows = 0  # that are taken
        self._max_rows = max_rows
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """At the end."""
        self._waiting.append(request)

    def remove(self, request: Request) -> None:
        """Wherever it stands, if it does."""
        if request in self._waiting:
            self._waiting.remove(request)

    def clear(self) -> None:
        """Nobody waits, and no row is taken."""
        self._waiting.clear()
        self.rows = 0

    def stuck(self, another: Request) -> int:
        """How many would have to wait if there were another one: many may come at once for rows that are free."""
        rows, queue = self.rows, [*self._waiting, another]
        for index, request in enumerate(queue):
            for part in request.parts[request.begun :]:
                if rows and rows + part.rows > self._max_rows:
                    return len(queue) - index
                rows += part.rows
        return 0

    def admitted(self) -> list[RequestPart]:
        """Those whose turn it is, with rows that are theirs from now on."""
        places = []
        while self._waiting:
            request = self._waiting[0]
            part = request.parts[request.begun]
            if self.rows and self.rows + part.rows > self._max_rows:
                break
            request.begun += 1
            if request.begun == len(request.parts):
                self._waiting.popleft()
            self.rows += part.rows
            places.append((request, part))
        return places


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunningRequests:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, Request]] = {}
        self._lock = threading.Lock()

    @staticmethod
    def new() -> str:
        """An id that nobody can guess."""
        return f"cmpl-{secrets.token_hex(12)}"

    def add(self, caller: str, request: Request) -> str:
        """Give a request an id until `remove`."""
        name = self.new()
        with self._lock:
            self._found[name] = caller, request
        return name

    def remove(self, name: str) -> None:
        """Forget an id, if it is known."""
        with self._lock:
            self._found.pop(name, None)

    def get(self, caller: str, name: str) -> Request:
        """The request that has an id, for the same caller. Raises `CompletionNotFound`, also where it has just been written to its end."""
        with self._lock:
            owner, request = self._found.get(name, (None, None))
        if request is None or owner != caller or not request.unfinished:
            raise CompletionNotFound(name)
        return request
