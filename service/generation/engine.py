"""One thread that writes every text: each text of each request is a row in the batch of its model's `Sampler`.

Requests join and leave between steps (continuous batching). Whoever waits for a request reads it from the request's own queue;
the thread itself waits for nobody, and sleeps when there is nothing to write. A fault in a step fails the requests of that
batch and nothing else.

What the engine tells of its work: one call a turn, cheap enough for networks that take 20 microseconds for a step.
"""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue

from model.config import SamplingConfig
from model.copy_guard import CopySource
from model.errors import CharloomError
from model.output_text import Piece
from service.generation.model_cache import LoadedModel
from service.generation.scheduler import Part, Request, RequestPart, RequestQueue
from service.system import hardware
from service.system.errors import GenerationFailed, ServiceStopping, TooManyRequests, WaitedTooLong

# ── observer ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # seconds: upper ends of a histogram's buckets
STEP = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


class Observer:
    """Is told, and does nothing with it. All calls come from the engine's thread."""

    def began(self, seconds: float) -> None:
        """A request has its first characters, so many seconds after it was put to the engine."""

    def stepped(self, seconds: float, characters: int) -> None:
        """A turn of one model, a few steps for all its texts, took so long, and so many characters came of it."""


class Histogram:
    """How often a duration fell into each bucket. One thread writes; others may read, and then see the last moment or so."""

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)  # the last is for what is longer than all ends
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.ends, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper end, how many were no longer), as Prometheus wants it."""
        found, total = [], 0
        for end, count in zip((*map(repr, self.ends), "+Inf"), list(self.counts), strict=True):
            total += count
            found.append((end, float(total)))
        return found


class Measurements(Observer):
    """Keeps count."""

    def __init__(self) -> None:
        self.characters = 0
        self.first = Histogram(FIRST)
        self.step = Histogram(STEP)

    def began(self, seconds: float) -> None:
        self.first.add(seconds)

    def stepped(self, seconds: float, characters: int) -> None:
        self.step.add(seconds)
        self.characters += characters


# ── engine ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PAUSE = 0.0015  # seconds for each other row between two messages to a reader: waking readers costs more than writing
NEVER = float("inf")

log = logging.getLogger("charloom")

Change = tuple[Request, float, SimpleQueue[bool]]  # a temperature, and where to tell that it is in force


class Engine:
    """The thread and its queue. Every method may be called from any thread."""

    def __init__(self, *, max_rows: int = 64, max_waiting: int = 32, max_seconds: float = NEVER, observer: Observer | None = None) -> None:
        """`max_rows`: texts written at the same time; `max_waiting`: requests in the queue before others are refused.

        A request that takes `max_seconds`, the time in the queue included, is ended with what is written of it.
        """
        self._max_waiting, self._max_seconds = max_waiting, max_seconds
        self._observer = observer or Observer()
        self._changed = threading.Condition()
        self._requests: set[Request] = set()  # that are not done
        self._queue = RequestQueue(max_rows)
        self._leaving: list[Request] = []
        self._changes: deque[Change] = deque()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._deadline = NEVER  # the first that may come
        # The engine's thread alone touches this: which number of which model's sampler is whose.
        self._active: dict[LoadedModel, dict[int, RequestPart]] = {}

    @property
    def rows(self) -> int:
        """Texts that are being written."""
        return self._queue.rows

    @property
    def waiting(self) -> int:
        """Requests that wait for rows."""
        return len(self._queue)

    def submit(
        self, model: LoadedModel, configs: Sequence[SamplingConfig], *, whole: bool = False, source: CopySource | None = None
    ) -> Request:
        """Begin a request of one or more prompts; each config has a seed, and they ask for the same number of texts.

        With `whole` its pieces come all at once, which costs everybody less. `source` is what `max_copy` is about. Raises
        `TooManyRequests` and `ServiceStopping`.
        """
        request = Request(
            model,
            configs,
            whole=whole,
            seconds=self._max_seconds,
            source=source,
            cancel=self.cancel,
            set_temperature=self.set_temperature,
        )
        with self._changed:
            if self._stopping:
                raise ServiceStopping
            stuck = self._queue.stuck(request)
            if stuck > self._max_waiting:
                raise TooManyRequests(stuck - 1)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._requests.add(request)
            self._queue.add(request)
            self._deadline = min(self._deadline, request.deadline)
            self._changed.notify()
        return request

    def cancel(self, request: Request) -> None:
        """Free the rows of a request, and its place in the queue; one that is done is left alone."""
        with self._changed:
            self._queue.remove(request)
            if request in self._requests:
                self._leaving.append(request)
                self._changed.notify()

    def set_temperature(self, request: Request, value: float) -> None:
        """Change the temperature of what is not written yet; it is in force when this returns. Raises `ServiceStopping`."""
        done: SimpleQueue[bool] = SimpleQueue()
        with self._changed:
            if self._stopping:
                raise ServiceStopping
            self._changes.append((request, value, done))
            self._changed.notify()
        done.get()

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
        with hardware.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
            while not self._stopping:
                try:
                    self._turn()
                except Exception:
                    log.exception("the engine failed; what it was writing is lost, it goes on")
                    self._fail_all(lambda model: GenerationFailed(model.name))
            self._fail_all(lambda model: ServiceStopping())

    def _turn(self) -> None:
        """Let requests join, leave and change, then one step of each model that has something to write."""
        with self._changed:
            while not (self._active or self._leaving or len(self._queue) or self._changes or self._stopping):
                self._changed.wait()
            leaving, self._leaving = self._leaving, []
        for request in leaving:
            self._leave(request)  # which may have ended meanwhile
        while self._changes:
            request, value, done = self._changes[0]  # which stays there until it is done: whoever waits is told of a fault, too
            self._change(request, value)
            self._changes.popleft()
            done.put(True)
        if time.monotonic() >= self._deadline:
            self._cut_late()
        with self._changed:
            admitted = self._queue.admitted()
        for request, part in admitted:
            if request in self._requests:
                self._join(request, part)
            else:  # another part of it could not begin
                self._queue.rows -= part.rows
        for model in list(self._active):
            self._step(model)

    def _join(self, request: Request, part: Part) -> None:
        model = request.model
        try:
            if model.sampler is None:
                model.sampler = model.new_sampler()
            part.accepted = model.sampler.add(part.config, request.source)
        except Exception:
            log.exception("a request for %s could not begin", model.name)
            self._leave(request, GenerationFailed(model.name))
            self._queue.rows -= part.rows  # of which the sampler knows nothing
            return
        request.began = request.began or time.monotonic()
        self._active.setdefault(model, {})[part.accepted.request] = request, part

    def _leave(self, request: Request, error: CharloomError | None = None) -> None:
        """Give back whatever a request has, here and in the queue; whoever reads it is told the error."""
        with self._changed:
            self._requests.discard(request)
            self._queue.remove(request)
        for number, part in self._parts_of(request):
            if request.model.sampler:
                request.model.sampler.cancel(number)
            self._forget(request.model, number, part)
        if error is not None:
            request.messages.put(error)

    def _parts_of(self, request: Request) -> list[tuple[int, Part]]:
        """Those that are being written, with their numbers."""
        return [(number, part) for number, (whose, part) in self._active.get(request.model, {}).items() if whose is request]

    def _forget(self, model: LoadedModel, number: int, part: Part) -> None:
        self._queue.rows -= part.rows
        part.rows = 0
        del self._active[model][number]
        if not self._active[model]:
            del self._active[model]

    def _change(self, request: Request, value: float) -> None:
        for number, part in self._parts_of(request):
            assert request.model.sampler is not None
            request.model.sampler.set_temperature(number, value)
            part.course = request.model.sampler.schedule(number)
        for part in request.parts[request.begun :]:
            part.config = replace(part.config, temperature=value)
            part.course = part.config.temperature_schedule

    def _cut_late(self) -> None:
        """End the requests whose time is over."""
        now = time.monotonic()
        with self._changed:
            late = [request for request in self._requests if request.deadline <= now]
            self._deadline = min((request.deadline for request in self._requests if request.deadline > now), default=NEVER)
        for request in late:
            self._cut(request)

    def _cut(self, request: Request) -> None:
        if not request.begun:
            self._leave(request, WaitedTooLong(self._max_seconds))
            return
        request.cut = True
        last = []
        for number, part in self._parts_of(request):
            assert request.model.sampler is not None
            last += [(part, piece) for piece in request.model.sampler.end(number)]
        for part in request.parts[request.begun :]:
            last += [(part, Piece(0, choice, "", 0, "length")) for choice in range(part.rows)]
        for part, piece in last:
            self._hold(request, part, piece)
        self._tell(request, time.monotonic())
        self._leave(request)

    def _step(self, model: LoadedModel) -> None:
        places, began = self._active[model], time.monotonic()
        try:
            assert model.sampler is not None
            pieces = model.sampler.step()
        except Exception:
            log.exception("a step of %s failed", model.name)
            model.sampler = None  # nobody knows what state it is in
            for request in {request for request, _ in places.values()}:
                self._leave(request, GenerationFailed(model.name))
            return
        now = time.monotonic()
        self._observer.stepped(now - began, sum(len(piece.text) for piece in pieces))
        pause = PAUSE * (self._queue.rows - 1)
        touched = set()
        for piece in pieces:
            request, part = places[piece.request]
            self._hold(request, part, piece)
            touched.add(request)
            if piece.finish_reason is not None:
                self._queue.rows -= 1
                part.rows -= 1
                if not part.rows:
                    self._forget(model, piece.request, part)
        for request in touched:
            if not request.unfinished or (now - request.told >= pause and not request.whole):
                self._tell(request, now)

    def _hold(self, request: Request, part: Part, piece: Piece) -> None:
        """Keep a piece until the request's reader is told."""
        request.held.append(piece._replace(choice=part.first + piece.choice) if part.first else piece)
        request.unfinished -= piece.finish_reason is not None
        if not request.written:
            request.written = True
            self._observer.began(time.monotonic() - request.submitted)

    def _tell(self, request: Request, now: float) -> None:
        if not request.unfinished:
            request.ended = now
            self._requests.discard(request)
        request.messages.put(request.held)
        request.held, request.told = [], now

    def _fail_all(self, error: Callable[[LoadedModel], CharloomError]) -> None:
        with self._changed:
            requests, self._requests = self._requests, set()
            changes, self._changes = self._changes, deque()
            self._queue.clear()
            self._leaving.clear()
        for model in self._active:
            model.sampler = None
        self._active = {}
        for request in requests:
            request.messages.put(error(request.model))
        for _, _, done in changes:
            done.put(False)
