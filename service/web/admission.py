"""Orders what the event loop does: the state of the service is told first, and few requests begin at a time.

A thread that runs Python holds the interpreter's lock, and the event loop waits for all such threads in turn at each of its steps. With a
hundred of them, `/health` took seconds. So requests wait here without a thread, and bytes that arrive are parsed in slices of time, between
which bytes of probes are looked for.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable

PROBES = frozenset({"/health", "/ready"})
PROBE_STARTS = tuple(f"{method} {path}".encode() for method in ("GET", "HEAD") for path in PROBES)
SLICE = 0.003  # seconds in which requests are parsed in a row: about ten
AT_ONCE = 2  # requests that begin at a time: one holds the interpreter's lock, and one may read the database
LONG = 0.25  # seconds after which a request has begun, whatever it does: it may wait for a lock that another one holds
# Seconds after which a thread that runs Python lets another one run: usually as Python has it, and while requests begin. With 0.005, bodies
# of a megabyte kept `/health` waiting for 0.4 s, with 0.0005 while they begin for 0.2 s. A short time costs streams, which switch often.
USUAL_SWITCH, SHORT_SWITCH = 0.005, 0.0005


def is_probe(data: bytes | bytearray) -> bool:
    """Returns whether a request begins in `data` that asks for the state of the service."""
    return data.startswith(PROBE_STARTS)


class ParsingOrder:
    """Calls functions that parse requests, in order, in slices of time. Used by the event loop only."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._goes_on = False  # whether the event loop will call `_parse`

    def put(self, parse: Callable[[], None]) -> None:
        """Calls `parse` in its turn."""
        self._waiting.append(parse)
        self._go_on()

    def _parse(self) -> None:
        self._goes_on = False
        ends = time.monotonic() + SLICE
        try:
            while self._waiting and time.monotonic() <= ends:
                self._waiting.popleft()()
        finally:  # the event loop looks at its sockets, and then goes on, whatever became of one request
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting and not self._goes_on:
            self._goes_on = True
            asyncio.get_running_loop().call_soon(self._parse)


class Admission:
    """Lets at most `AT_ONCE` requests begin at a time, the others in order. Used by the event loop only.

    A request has begun once it waits for a text, a turn or its body, once its response begins, or after `LONG` seconds.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._beginning = 0

    def admit(self, start: Callable[[], object]) -> Callable[[], None]:
        """Calls `start` in its turn; returns the function to call once the request has begun."""
        entry = _Entry(self, start)
        self._waiting.append(entry.start)
        self._next()
        return entry.has_begun

    def _next(self) -> None:
        while self._waiting and self._beginning < AT_ONCE:
            self._beginning += 1
            sys.setswitchinterval(SHORT_SWITCH)
            self._waiting.popleft()()
        if not self._beginning:
            sys.setswitchinterval(USUAL_SWITCH)

    def leave(self) -> None:
        """Notes that a request has begun."""
        self._beginning -= 1
        self._next()


class _Entry:
    """One request that begins."""

    def __init__(self, admission: Admission, start: Callable[[], object]) -> None:
        self._admission, self._start = admission, start
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LONG, self.has_begun)
        self._start()

    def has_begun(self) -> None:
        """Lets the next request begin, once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._admission.leave()
