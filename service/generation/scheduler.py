"""Gives the requests that wait rows of the batch, in turn among their callers.

What callers share is the rows, one for each text that is written, and the log-probabilities that texts may get, which take memory. Of
the callers whose requests wait, the one that holds the fewest rows is next; its own requests are first come, first served. A caller that
holds no row does not wait for those that do: up to twice the rows may be taken, the second half by first parts alone.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from itertools import chain

from service.generation.request import Part, Request
from service.system.concurrency import may_wait
from service.system.errors import TooManyRequests

RequestPart = tuple[Request, Part]


class _Taken:
    """What is taken of the rows and the log-probabilities."""

    def __init__(self, max_rows: int, max_logprobs: int) -> None:
        self.rows = self.logprobs = 0
        self.by_caller: Counter[str] = Counter()  # rows
        self._max_rows, self._max_logprobs = max_rows, max_logprobs

    def copy(self) -> _Taken:
        """Return the same, to be changed by itself."""
        other = _Taken(self._max_rows, self._max_logprobs)
        other.rows, other.logprobs, other.by_caller = self.rows, self.logprobs, self.by_caller.copy()
        return other

    def has_room(self, caller: str, part: Part) -> bool:
        """Whether a part fits. One that alone needs more than there is runs alone."""
        times = 1 if self.by_caller[caller] else 2
        fits = self.rows + part.rows <= times * self._max_rows and self.logprobs + part.logprobs <= times * self._max_logprobs
        return fits or not self.rows

    def take(self, caller: str, part: Part) -> None:
        """Count a part."""
        self.rows += part.rows
        self.logprobs += part.logprobs
        self.by_caller[caller] += part.rows

    def give_back(self, caller: str, part: Part, rows: int) -> None:
        """Free `rows` rows of a part, and its log-probabilities with the last of them."""
        part.rows -= rows
        self.rows -= rows
        self.by_caller[caller] -= rows
        if not self.by_caller[caller]:
            del self.by_caller[caller]
        if rows and not part.rows:
            self.logprobs -= part.logprobs


class Scheduler:
    """The requests that have a part without rows, and what is taken. May be used from any thread."""

    def __init__(self, max_rows: int, max_waiting: int, max_logprobs: int) -> None:
        self._max_waiting = max_waiting
        self._taken = _Taken(max_rows, max_logprobs)
        self._max = max_rows, max_logprobs
        self._queues: dict[str, deque[Request]] = {}  # by caller, in turn; none is empty
        self._lock = threading.RLock()

    @property
    def rows(self) -> int:
        """Rows that are taken."""
        return self._taken.rows

    @property
    def waiting(self) -> int:
        """How many requests wait for rows."""
        with self._lock:
            return sum(map(len, self._queues.values()))

    def add(self, request: Request) -> None:
        """Append a request to the queue of its caller. Raises `TooManyRequests`."""
        with self._lock:
            mine, others = self._would_wait(request)
            if mine and not may_wait(mine, others, self._max_waiting):
                raise TooManyRequests(mine - 1, others)
            self._queues.setdefault(request.caller, deque()).append(request)

    def _would_wait(self, request: Request) -> tuple[int, int]:
        """How many requests of the caller, this one included, and of others will wait once the free rows are given out.

        Many requests may arrive before the next turn. The first number is 0 if this request will not wait.
        """
        taken = self._taken.copy()
        queues = {caller: deque(queue) for caller, queue in self._queues.items()}
        queues.setdefault(request.caller, deque()).append(request)
        parts = {caller: deque(chain.from_iterable(each.waiting for each in queue)) for caller, queue in queues.items()}
        while (caller := self._next(taken, {caller: queue[0] for caller, queue in parts.items() if queue})) is not None:
            taken.take(caller, parts[caller].popleft())
        if request.waiting[-1] not in parts[request.caller]:
            return 0, 0
        waits = {name: sum(each.waiting[-1] in parts[name] for each in queue) for name, queue in queues.items()}
        return waits[request.caller], sum(waits.values()) - waits[request.caller]

    @staticmethod
    def _next(taken: _Taken, firsts: dict[str, Part]) -> str | None:
        """Return the caller whose first waiting part is given rows now; None if there is no room for it."""
        blocked = False
        for caller in sorted(firsts, key=lambda name: taken.by_caller[name]):
            if taken.has_room(caller, firsts[caller]) and not (blocked and taken.by_caller[caller]):
                return caller
            blocked = True  # those that hold more rows wait for it
        return None

    def remove(self, request: Request) -> None:
        """Take a request out of the queue if it is there."""
        with self._lock:
            queue = self._queues.get(request.caller, deque())
            if request in queue:
                queue.remove(request)
                if not queue:
                    del self._queues[request.caller]

    def acquire(self) -> list[RequestPart]:
        """Give rows to the parts whose turn it is, and return these parts."""
        parts = []
        with self._lock:
            while (caller := self._next(self._taken, {name: queue[0].waiting[0] for name, queue in self._queues.items()})) is not None:
                queue = self._queues.pop(caller)
                request = queue[0]
                part = request.admit()
                self._taken.take(caller, part)
                parts.append((request, part))
                if not request.waiting:
                    queue.popleft()
                if queue:  # behind the others, since those that hold as many rows take turns
                    self._queues[caller] = queue
        return parts

    def release(self, request: Request, part: Part, rows: int | None = None) -> None:
        """Free `rows` rows of a part, by default all that it holds."""
        with self._lock:
            self._taken.give_back(request.caller, part, part.rows if rows is None else rows)

    def clear(self) -> None:
        """Empty the queue and free all rows."""
        with self._lock:
            self._queues.clear()
            self._taken = _Taken(*self._max)
