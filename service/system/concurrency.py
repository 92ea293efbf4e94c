"""Shares turns, places and amounts among callers, and caches values.

The rules are those of `service.generation.scheduler`: no caller can take all, and one that has nothing yet goes first.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from service.system.errors import MemoryTaken, TookTooLong, TooManyRequests, WaitedTooLong

T = TypeVar("T")

# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PAUSE = 0.005  # seconds: about the time to read a slice of a text
SHARE = 0.25  # of a queue that is free to each caller, one place at least, however many others wait ...
MOST = 0.75  # ... and that one caller takes at most


def may_wait(mine: int, others: int, limit: int) -> bool:
    """Returns whether one more request may wait in a queue of `limit`: `mine` are its caller's, this one included."""
    return mine <= max(min(1, limit), SHARE * limit) or (mine <= max(1, MOST * limit) and mine + others <= limit)


class _Ticket:
    """One request for a turn."""

    def __init__(self, caller: str) -> None:
        self.caller, self.called = caller, False


class Turns:
    """Lets a few requests read at a time, beside those that generate, and none for too long. May be used from any thread.

    Of the callers that wait, the one with the fewest turns is next. One that has none does not wait for those that do: up to twice as
    many requests as `at_once` may read, the second half one for each caller.
    """

    def __init__(self, at_once: int, waiting: int, seconds: float, writing: Callable[[], bool] = lambda: False) -> None:
        """Serves `at_once` requests at a time while at most `waiting` others wait; `seconds` is what one may take, waiting included.

        While `writing()` is true, that is while texts are generated, the requests that have their turn `pause` again and again.
        """
        self._at_once, self._waiting, self._seconds, self._writing = at_once, waiting, seconds, writing
        self._reading: Counter[str] = Counter()  # turns by caller
        self._queue: list[_Ticket] = []
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, caller: str = "") -> Iterator[None]:
        """Waits for a turn and holds it inside. Raises `TooManyRequests` and `WaitedTooLong`."""
        ticket = _Ticket(caller)
        with self._changed:
            self._queue.append(ticket)
            self._call()
            mine = sum(each.caller == caller for each in self._queue)
            try:
                if not ticket.called and not may_wait(mine, len(self._queue) - mine, self._waiting):
                    raise TooManyRequests(mine - 1, len(self._queue) - mine)
                if not self._changed.wait_for(lambda: ticket.called, self._seconds):
                    raise WaitedTooLong(self._seconds)
            finally:
                if not ticket.called:
                    self._queue.remove(ticket)
        try:
            yield
        finally:
            with self._changed:
                self._reading -= Counter([caller])  # which also drops zeros
                self._call()

    def _call(self) -> None:
        """Gives turns to the requests that are next."""
        while self._queue:
            ticket = min(self._queue, key=lambda each: self._reading[each.caller])  # the first of several
            if self._reading.total() >= self._at_once * (1 if self._reading[ticket.caller] else 2):
                return
            self._queue.remove(ticket)
            self._queue.sort(key=lambda each: each.caller == ticket.caller)  # its other requests go behind those of other callers
            self._reading[ticket.caller] += 1
            ticket.called = True
            self._changed.notify_all()

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
                from werkzeug.exceptions import ClientDisconnected  # which the command line does without

                raise ClientDisconnected
            self.pause()

        return tick


# ── places and allowances ────────────────────────────────────────────────────────────────────────────────────────────


class Places:
    """A number of places, each held for a while. The last quarter is for callers that hold none. May be used from any thread."""

    def __init__(self, limit: int, each: int | None = None) -> None:
        """One caller holds `each` of the `limit` places at most; by default as many as the others leave."""
        self.limit = limit
        self.each = min(int(MOST * limit), limit if each is None else each)
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: str) -> Callable[[], None] | None:
        """Takes a place, and returns the function to call, at least once, to give it back; None if there is none for this caller."""
        with self._lock:
            mine, taken = self._held[caller], self._held.total()
            others = len(self._held) - 1  # whose first places do not count among the three quarters
            further = mine < self.each and taken - others < MOST * self.limit
            if taken >= self.limit or (mine and not further):
                return None
            self._held[caller] += 1
        given_back = threading.Lock()

        def give_back() -> None:
            if given_back.acquire(blocking=False):
                with self._lock:
                    self._held -= Counter([caller])

        return give_back


class Allowance:
    """An amount for each caller, which refills evenly up to `limit` (a token bucket). May be used from any thread.

    A caller may spend more than is left, and then has nothing until that is made up for. Only the `KNOWN` callers of late are remembered:
    the others have all of it.
    """

    KNOWN = 10_000

    def __init__(self, limit: float, per_second: float, debt: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        """`debt` is how much more than there is a caller can have spent."""
        self.limit, self._per_second, self._debt, self._clock = limit, per_second, debt, clock
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when; the last one is of late
        self._lock = threading.Lock()

    def left(self, caller: str) -> float:
        """Returns what is left; below zero if more was spent."""
        left, moment = self._callers.get(caller, (self.limit, 0.0))
        return min(self.limit, left + (self._clock() - moment) * self._per_second)

    def spend(self, caller: str, amount: float) -> None:
        """Takes an amount away, whether it is there or not."""
        with self._lock:
            self._callers[caller] = max(self.left(caller) - amount, -self._debt), self._clock()
            self._callers.move_to_end(caller)
            if len(self._callers) > self.KNOWN:
                self._callers.popitem(last=False)

    def seconds_until(self, caller: str, amount: float) -> float:
        """Returns the seconds until `amount` is left."""
        return max(0.0, (amount - self.left(caller)) / self._per_second)


class MemoryBudget:
    """Memory that requests share, and take before they use it: one caller has half of it at most. May be used from any thread."""

    def __init__(self, limit: int, seconds: float, waiting: int) -> None:
        """`limit`: bytes that all may take together; `seconds`: how long one waits for others to give theirs back; at most `waiting` do."""
        self._limit, self._seconds, self._most_waiting = limit, seconds, waiting
        self._taken = self._waiting = 0
        self._by_caller: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def share(self, caller: str = "") -> Iterator[Callable[[int], None]]:
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
                    if not self._changed.wait_for(lambda: self._taken in (0, mine) or self._has_room(caller, size, mine), seconds):
                        raise MemoryTaken(size, self._limit)
                finally:
                    self._waiting -= 1
                self._taken += size
                self._by_caller[caller] += size
                mine += size

        try:
            yield take
        finally:
            with self._changed:
                self._taken -= mine
                self._by_caller -= Counter({caller: mine})  # which also drops zeros
                self._changed.notify_all()

    def _has_room(self, caller: str, size: int, mine: int) -> bool:
        """Returns whether a request that has `mine` bytes may take `size` more; alone of its caller it may take what all leave."""
        return self._taken + size <= self._limit and (self._by_caller[caller] == mine or self._by_caller[caller] + size <= self._limit // 2)


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
