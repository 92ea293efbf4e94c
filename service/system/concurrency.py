"""Threads: a pool for equal pieces of work, and turns among requests.

Threads that share the work of one: what they do must spend its time outside of Python's lock, as products of matrices do.

Turns of requests that read: a few at a time, beside whoever writes, and none for too long.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from werkzeug.exceptions import ClientDisconnected

from service.system.errors import TookTooLong, TooManyRequests, WaitedTooLong

# ── crew ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T")


class ThreadPool:
    """So many threads, of which one is whoever asks. May be used from any thread, by one at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(max(1, size - 1), thread_name_prefix="crew")  # started when they are needed

    def __call__(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, which are done side by side; the first of their exceptions, once all are done."""
        others = [self._others.submit(task) for task in tasks[1:]]
        try:
            results = [task() for task in tasks[:1]]
        finally:
            for other in others:
                other.exception()  # waits
        return results + [other.result() for other in others]

    def close(self) -> None:
        """End the threads."""
        self._others.shutdown()


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAUSE = 0.005  # seconds: about as long as reading a slice of a text takes


class Turns:
    """May be used from any thread."""

    def __init__(self, at_once: int, waiting: int, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """`at_once` requests are served at a time, `waiting` others wait for that; `seconds` is what one may take, waiting included.

        While texts are being written, which `writing` tells, those who have their turn `pause` again and again.
        """
        self._waiting, self._seconds, self._writing = waiting, seconds, writing
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._turns = threading.BoundedSemaphore(at_once)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have one's turn inside. Raises `TooManyRequests` and `WaitedTooLong`."""
        if not self._places.acquire(blocking=False):
            raise TooManyRequests(self._waiting)
        try:
            if not self._turns.acquire(timeout=self._seconds):
                raise WaitedTooLong(self._seconds)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()

    def pause(self) -> None:
        """Let whoever writes go first: to be called between two parts of the work."""
        if self._writing():
            time.sleep(PAUSE)

    def clock(self, left: Callable[[], bool]) -> Callable[[], None]:
        """A function to be called now and then by who began at this moment.

        It raises `TookTooLong` once the time is over, and `ClientDisconnected` where whoever asked has `left`.
        """
        deadline = time.monotonic() + self._seconds

        def tick() -> None:
            if time.monotonic() > deadline:
                raise TookTooLong(self._seconds)
            if left():
                raise ClientDisconnected
            self.pause()

        return tick


# ── caches ───────────────────────────────────────────────────────────────────────────────────────────────────────────

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values in memory by key. May be used from any thread."""

    def __init__(self, limit: int, size: Callable[[V], int] = lambda value: 1) -> None:
        """The `size` of all values together is at most `limit`; without a `size`, that is the number of values."""
        self.limit, self._size = limit, size
        self._values: OrderedDict[K, V] = OrderedDict()  # the most recently used one is the last
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Returns a value, which is now the most recently used one, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keeps a value, and drops the least recently used ones until all fit."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while sum(map(self._size, self._values.values())) > self.limit:
                self._values.popitem(last=False)
