"""One thread that writes every text: each text of each request is a row in the batch of its model's `Sampler`.

Requests join and leave between steps (continuous batching). Whoever waits for a request reads it from the request's own queue;
the thread itself waits for nobody, and sleeps when there is nothing to write. A fault in a step fails the requests of that
batch and nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from model.config import SamplingConfig
from model.errors import CharloomError, GenerationFailed, ServiceStopping, TooManyRequests
from model.sampling import Accepted, Piece
from service import machine
from service.models import Model

PAUSE = 0.001  # seconds for each other row between two messages to a reader: waking readers costs more than writing
LOOK = 0.25  # seconds between two looks whether the client of a silent request is still there

log = logging.getLogger("charloom")

Message = list[Piece] | CharloomError


class Request:
    """A request on its way through the engine: made by `Engine.submit`, read by one thread, as a context manager.

    `accepted` is there with the first pieces. Leaving the context early frees its rows at once.
    """

    def __init__(self, engine: Engine, model: Model, config: SamplingConfig, whole: bool) -> None:
        self.model, self.config, self.whole = model, config, whole
        self.accepted: Accepted | None = None
        self.began = self.ended = 0.0  # when its rows were given to it, and when the last was done
        self.rows = config.n  # texts that are not finished
        self.messages: SimpleQueue[Message] = SimpleQueue()
        self.held: list[Piece] = []  # pieces that the reader has not been given
        self.told = 0.0  # when the reader was given some
        self._engine = engine

    @property
    def seconds(self) -> float:
        """Time spent writing, without the time in the queue."""
        return self.ended - self.began

    def pieces(self, left: Callable[[], bool] = lambda: False) -> Iterator[list[Piece]]:
        """What was written since the last time, until all texts are finished; nothing more once `left()` is true.

        Raises `GenerationFailed` and `ServiceStopping`.
        """
        unfinished = self.config.n
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

    def cancel(self) -> None:
        """Forget it; whatever of it is not finished is not written."""
        self._engine.cancel(self)

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()


class Engine:
    """The thread and its queue. Every method may be called from any thread."""

    def __init__(self, *, max_rows: int = 64, max_waiting: int = 32) -> None:
        """`max_rows`: texts written at the same time; `max_waiting`: requests in the queue before others are refused."""
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._leaving: list[Request] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        # The engine's thread alone touches these: which request of which model is whose, and how many rows they have.
        self._active: dict[Model, dict[int, Request]] = {}
        self._rows = 0

    @property
    def rows(self) -> int:
        """Texts that are being written."""
        return self._rows

    @property
    def waiting(self) -> int:
        """Requests that wait for rows."""
        return len(self._waiting)

    def submit(self, model: Model, config: SamplingConfig, *, whole: bool = False) -> Request:
        """Begin a request; `config` has a seed. With `whole` its pieces come all at once, which costs everybody less.

        Raises `TooManyRequests` and `ServiceStopping`.
        """
        request = Request(self, model, config, whole)
        with self._changed:
            if self._stopping:
                raise ServiceStopping
            if len(self._waiting) >= self._max_waiting:
                raise TooManyRequests(len(self._waiting))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._waiting.append(request)
            self._changed.notify()
        return request

    def cancel(self, request: Request) -> None:
        """Free the rows of a request, or its place in the queue; one that is done is left alone."""
        with self._changed:
            if request in self._waiting:
                self._waiting.remove(request)
            elif request.rows:
                self._leaving.append(request)
            self._changed.notify()

    def stop(self) -> None:
        """Fail what is being written with `ServiceStopping`, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        with machine.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
            while not self._stopping:
                try:
                    self._turn()
                except Exception:
                    log.exception("the engine failed; what it was writing is lost, it goes on")
                    self._fail_all(lambda model: GenerationFailed(model.name))
            self._fail_all(lambda model: ServiceStopping())

    def _turn(self) -> None:
        """Let requests join and leave, then one step of each model that has something to write."""
        with self._changed:
            while not (self._active or self._leaving or self._waiting or self._stopping):
                self._changed.wait()
            leaving, self._leaving = self._leaving, []
        for request in leaving:
            self._leave(request)
        for request in self._admitted():
            self._join(request)
        for model in list(self._active):
            self._step(model)

    def _admitted(self) -> list[Request]:
        """Requests from the queue, first come, first served, as far as there are rows; one that needs more than all gets all."""
        admitted = []
        with self._changed:
            while self._waiting and (not self._rows or self._rows + self._waiting[0].rows <= self._max_rows):
                request = self._waiting.popleft()
                self._rows += request.rows
                admitted.append(request)
        return admitted

    def _join(self, request: Request) -> None:
        model = request.model
        try:
            if model.sampler is None:
                model.sampler = model.new_sampler()
            request.accepted = model.sampler.add(request.config)
        except Exception:
            log.exception("a request for %s could not begin", model.name)
            self._fail(request, GenerationFailed(model.name))
            return
        request.began = time.monotonic()
        self._active.setdefault(model, {})[request.accepted.request] = request

    def _leave(self, request: Request) -> None:
        requests = self._active.get(request.model, {})
        if request.rows and request.accepted and request.model.sampler and requests.pop(request.accepted.request, None):
            request.model.sampler.cancel(request.accepted.request)
            self._give_rows_back(request, request.rows)
            if not requests:
                del self._active[request.model]

    def _step(self, model: Model) -> None:
        requests = self._active[model]
        try:
            assert model.sampler is not None
            pieces = model.sampler.step()
        except Exception:
            log.exception("a step of %s failed", model.name)
            model.sampler = None  # nobody knows what state it is in
            del self._active[model]
            for request in requests.values():
                self._fail(request, GenerationFailed(model.name))
            return
        now = time.monotonic()
        pause = PAUSE * (self._rows - 1)
        touched = {}
        for piece in pieces:
            request = touched[piece.request] = requests[piece.request]
            request.held.append(piece)
            if piece.finish_reason is not None:
                self._give_rows_back(request, 1)
        for number, request in touched.items():
            if not request.rows:
                request.ended = now
                del requests[number]
            if not request.rows or (now - request.told >= pause and not request.whole):
                request.messages.put(request.held)
                request.held, request.told = [], now
        if not requests:
            del self._active[model]

    def _give_rows_back(self, request: Request, rows: int) -> None:
        request.rows -= rows
        self._rows -= rows

    def _fail(self, request: Request, error: CharloomError) -> None:
        self._give_rows_back(request, request.rows)
        request.messages.put(error)

    def _fail_all(self, error: Callable[[Model], CharloomError]) -> None:
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
            self._leaving = []
        active, self._active = self._active, {}
        for model, requests in active.items():
            model.sampler = None
            waiting += requests.values()
        for request in waiting:
            request.rows = 0
            request.messages.put(error(request.model))
        self._rows = 0
