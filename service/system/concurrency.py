"""Lets few requests read at a time (`Turns`), and keeps what was read last (`LruCache`)."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from werkzeug.exceptions import ClientDisconnected

from service.system.errors import MemoryTaken, TookTooLong, TooManyRequests, WaitedTooLong

T = TypeVar("T")


PAUSE = 0.005  # seconds: about the time to read a slice of a text


class Turns:
    """Lets a few requests read at a time, beside those that generate, and none for too long. May be used from any thread."""

    def __init__(self, at_once: int, waiting: int, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """Serves `at_once` requests at a time while at most `waiting` others wait; `seconds` is what one may take, waiting included.

        While `writing()` is true, that is while texts are generated, the requests that have their turn `pause` again and again.
        """
        self._waiting, self._seconds, self._writing = waiting, seconds, writing
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._turns = threading.BoundedSemaphore(at_once)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for a turn and holds it inside. Raises `TooManyRequests` and `WaitedTooLong`."""
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
        """Lets generating requests go first; call it between two parts of the work."""
        if self._writing():
            time.sleep(PAUSE)

    def clock(self, left: Callable[[], bool]) -> Callable[[], None]:
        """Starts the time of a request and returns a function that the request calls now and then.

        That function raises `TookTooLong` once the time is over, and `ClientDisconnected` if the client has `left`.
        """
        deadline = time.monotonic() + self._seconds

        def tick() -> None:
            if time.monotonic() > deadline:
                raise TookTooLong(self._seconds)
            if left():
                raise ClientDisconnected
            self.pause()

        return tick


class MemoryBudget:
    """Memory that requests share, and take before they use it. May be used from any thread."""

    def __init__(self, limit: int, seconds: float, waiting: int) -> None:
        """`limit`: bytes that all may take together; `seconds`: how long one waits for others to give theirs back; at most `waiting` do."""
        self._limit, self._seconds, self._most_waiting = limit, seconds, waiting
        self._taken = self._waiting = 0
        self._changed = threading.Condition()

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yields a function by which one request takes bytes, all of which it gives back at the end.

        A request may take any number of bytes while no other one has any; otherwise the function raises `MemoryTaken`.
        """
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            with self._changed:
                self._waiting += 1
                try:
                    seconds = self._seconds if self._waiting <= self._most_waiting else 0
                    if not self._changed.wait_for(lambda: self._taken in (0, mine) or self._taken + size <= self._limit, seconds):
                        raise MemoryTaken(size, self._limit)
                finally:
                    self._waiting -= 1
                self._taken += size
                mine += size

        try:
            yield take
        finally:
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()


# ── caches ───────────────────────────────────────────────────────────────────────────────────────────────────────────

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values in memory by key. May be used from any thread."""

    def __init__(self, limit: int, size: Callable[[V], int] = lambda value: 1) -> None:
        """The `size` of all values together is at most `limit`; without a `size`, that is the number of values."""
        self.limit, self._size = limit, size
        self._values: OrderedDict[K, V] = OrderedDict()  # the most recently used one is the last
        self._total = 0  # size
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
            if key in self._values:
                self._total -= self._size(self._values.pop(key))
            self._values[key] = value
            self._total += self._size(value)
            while self._total > self.limit:
                _, dropped = self._values.popitem(last=False)
                self._total -= self._size(dropped)
