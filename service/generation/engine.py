"""Runs the thread that writes every text: each text of each request is a row in the batch of its model's `Sampler`.

Requests join and leave between steps (continuous batching). A reader takes its pieces from its request's own queue, so that the thread
never waits for a reader; the texts of a request whose reader falls behind rest until it has caught up. The thread sleeps while there is
nothing to write. A fault in a step fails the requests of that batch only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from model.config import SamplingConfig
from model.copy_guard import CopySource
from model.errors import CharloomError
from model.output_text import Piece
from model.record_sampling import RecordSource
from service.generation.model_cache import LoadedModel
from service.generation.request import Part, Request
from service.generation.scheduler import RequestPart, Scheduler
from service.system import hardware
from service.system.errors import GenerationFailed, ServiceStopping, WaitedTooLong

PAUSE = 0.0015  # minimum seconds between two messages to a reader, per additional active row: waking readers costs more than writing
NEVER = float("inf")

log = logging.getLogger("charloom")

TemperatureChange = tuple[Request, float, SimpleQueue[bool]]  # the queue gets True once the new temperature applies


class Observer:
    """Base class of what receives the engine's measurements; its methods do nothing. Only the engine's thread calls it."""

    def first_characters(self, seconds: float) -> None:
        """Receive the time from the submission of a request to its first piece."""

    def turn(self, seconds: float, characters: int) -> None:
        """Receive how long a turn of one model took, a few steps for all its texts, and how many characters it wrote."""


class Engine:
    """The thread that writes, and its scheduler. Every method may be called from any thread."""

    def __init__(
        self,
        *,
        max_rows: int = 64,
        max_waiting: int = 32,
        max_logprobs: int = 1_000_000,
        max_seconds: float = NEVER,
        observer: Observer | None = None,
    ) -> None:
        """`max_rows`: texts written at the same time; `max_waiting`: requests in the queue before others are refused.

        `max_logprobs`: log-probabilities that the texts written at the same time may get. A request that takes `max_seconds`, its time in
        the queue included, ends with what is written of it.
        """
        self._max_seconds = max_seconds
        self._observer = observer or Observer()
        self._changed = threading.Condition()
        self._requests: set[Request] = set()  # that are not finished
        self._scheduler = Scheduler(max_rows, max_waiting, max_logprobs)
        self._leaving: list[Request] = []
        self._resuming: list[Request] = []
        self._woken = False  # whether there may be something to do beside the steps
        self._changes: deque[TemperatureChange] = deque()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._deadline = NEVER  # the earliest of all requests
        # By model, the parts that its sampler writes, by their numbers there. Only the engine's thread touches it.
        self._batches: dict[LoadedModel, dict[int, RequestPart]] = {}

    @property
    def rows(self) -> int:
        """Texts that are being written."""
        return self._scheduler.rows

    @property
    def waiting(self) -> int:
        """Requests that wait for rows."""
        return self._scheduler.waiting

    def submit(
        self,
        model: LoadedModel,
        configs: Sequence[SamplingConfig],
        *,
        whole: bool = False,
        source: CopySource | None = None,
        records: RecordSource | None = None,
        caller: str = "",
    ) -> Request:
        """Queue a request of one or more prompts; each config has a seed, and all ask for the same number of texts.

        With `whole` its pieces come all at once, which costs all requests less. `source` is the text that `max_copy` is about, `records`
        are those of the corpus, for `new` and `valid`. Callers share what there is. Raises `TooManyRequests`, `ServiceStopping`, and
        `InvalidSetting` for records of a model of prose.
        """
        request = Request(
            model,
            configs,
            whole=whole,
            seconds=self._max_seconds,
            source=source,
            records=records,
            caller=caller,
            cancel=self.cancel,
            set_temperature=self.set_temperature,
            resume=self._resume,
        )
        with self._changed:
            if self._stopping:
                raise ServiceStopping
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._scheduler.add(request)
            self._requests.add(request)
            self._deadline = min(self._deadline, request.deadline)
            self._wake()
        return request

    def cancel(self, request: Request) -> None:
        """Free the rows of a request and take it out of the queue; one that is finished is left alone."""
        with self._changed:
            self._scheduler.remove(request)
            if request in self._requests:
                self._leaving.append(request)
                self._wake()

    def set_temperature(self, request: Request, value: float) -> None:
        """Change the temperature of the symbols that are not drawn yet; returns when it is in force. Raises `ServiceStopping`."""
        done: SimpleQueue[bool] = SimpleQueue()
        with self._changed:
            if self._stopping:
                raise ServiceStopping
            self._changes.append((request, value, done))
            self._wake()
        done.get()

    def _resume(self, request: Request) -> None:
        with self._changed:
            self._resuming.append(request)
            self._wake()

    def _wake(self) -> None:
        self._woken = True
        self._changed.notify()

    def stop(self) -> None:
        """Fail all requests with `ServiceStopping` and end the thread."""
        with self._changed:
            self._stopping = True
            self._wake()
            thread = self._thread
        if thread is not None:
            thread.join()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        with hardware.blas_threads(1):  # as for every sample: the same seed gives the same text everywhere
            while not self._stopping:
                try:
                    self._turn()
                except Exception:
                    log.exception("the engine failed; the texts it was writing are lost, and it goes on")
                    self._fail_all(lambda model: GenerationFailed(model.name))
            self._fail_all(lambda model: ServiceStopping())

    def _turn(self) -> None:
        """Let requests leave, change and join, then step each model that has something to write."""
        with self._changed:
            while not (self._woken or self._busy() or time.monotonic() >= self._deadline):
                self._changed.wait(None if self._deadline == NEVER else max(0.0, self._deadline - time.monotonic()))
            self._woken = False
            leaving, self._leaving = self._leaving, []
            resuming, self._resuming = self._resuming, []
        for request in leaving:
            self._leave(request)  # the request may have finished meanwhile
        for request in resuming:
            request.resume()
        while self._changes:
            request, value, done = self._changes[0]  # it stays in the queue until it is done, so that its caller also hears of a fault
            self._change(request, value)
            self._changes.popleft()
            done.put(True)
        if time.monotonic() >= self._deadline:
            self._cut_late()
        with self._changed:
            joining = self._scheduler.acquire()
        for request, part in joining:
            if request in self._requests:
                self._join(request, part)
            else:  # another part of it could not begin
                self._scheduler.release(request, part)
        for model in self._busy():
            self._step(model)
            self._woken = True  # rows may be free now

    def _busy(self) -> list[LoadedModel]:
        """Return the models that have something to write."""
        return [model for model in self._batches if model.sampler is not None and model.sampler.busy]

    def _join(self, request: Request, part: Part) -> None:
        model = request.model
        try:
            if model.sampler is None:
                model.sampler = model.new_sampler()
            number = request.begin(part, model.sampler)
        except Exception:
            log.exception("a request for %s could not begin", model.name)
            self._leave(request, GenerationFailed(model.name))
            self._scheduler.release(request, part)  # the sampler does not know it
            return
        self._batches.setdefault(model, {})[number] = request, part

    def _leave(self, request: Request, error: CharloomError | None = None) -> None:
        """Take a request out of the queue and the batch; its reader is given the error, if any."""
        with self._changed:
            self._requests.discard(request)
            self._scheduler.remove(request)
        for part in request.running:
            if request.model.sampler is not None:  # else it has failed
                part.cancel()
            self._remove(request, part)
        if error is not None:
            request.fail(error)

    def _remove(self, request: Request, part: Part) -> None:
        """Take a part of a request out of the batch of its model."""
        self._scheduler.release(request, part)
        batch = self._batches[request.model]
        del batch[part.leave()]
        if not batch:
            del self._batches[request.model]

    def _change(self, request: Request, value: float) -> None:
        if request in self._requests:
            request.apply_temperature(value)

    def _cut_late(self) -> None:
        """End the requests whose time is over."""
        now = time.monotonic()
        with self._changed:
            late = [request for request in self._requests if request.deadline <= now]
            self._deadline = min((request.deadline for request in self._requests if request.deadline > now), default=NEVER)
        for request in late:
            if request.admitted:
                for part, piece in request.end_early():
                    self._hold(request, part, piece)
                self._deliver(request, time.monotonic())
                self._leave(request)
            else:
                self._leave(request, WaitedTooLong(self._max_seconds))

    def _step(self, model: LoadedModel) -> None:
        batch, began = self._batches[model], time.monotonic()
        try:
            assert model.sampler is not None
            pieces = model.sampler.step()
        except Exception:
            log.exception("a step of %s failed", model.name)
            model.sampler = None  # its state is unknown
            for request in {request for request, _ in batch.values()}:
                self._leave(request, GenerationFailed(model.name))
            return
        now = time.monotonic()
        self._observer.turn(now - began, sum(len(piece.text) for piece in pieces))
        pause = PAUSE * (self._scheduler.rows - 1)
        touched = set()
        for piece in pieces:
            request, part = batch[piece.request]
            self._hold(request, part, piece)
            touched.add(request)
            if piece.finish_reason is not None:
                self._scheduler.release(request, part, part.finish_text())
                if not part.rows:
                    self._remove(request, part)
        for request in touched:
            if request.is_due(now, pause):
                self._deliver(request, now)

    def _hold(self, request: Request, part: Part, piece: Piece) -> None:
        if request.hold(part, piece):
            self._observer.first_characters(time.monotonic() - request.submitted)

    def _deliver(self, request: Request, now: float) -> None:
        if not request.unfinished:
            self._requests.discard(request)
        request.deliver(now)

    def _fail_all(self, error: Callable[[LoadedModel], CharloomError]) -> None:
        with self._changed:
            requests, self._requests = self._requests, set()
            changes, self._changes = self._changes, deque()
            self._scheduler.clear()
            self._leaving.clear()
            self._resuming.clear()
        for model in self._batches:
            model.sampler = None
        self._batches = {}
        for request in requests:
            request.fail(error(request.model))
        for _, _, done in changes:
            done.put(False)
