"""Polls for pause and cancel requests and writes the heartbeat of a run while it trains.

`RunControl` is called at every step, and often while a text is read or a model is validated. It reads the store every `POLL` seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from service.store import Run, Store
from service.system.errors import DatabaseBusy
from service.system.processes import HEARTBEAT, POLL

PATIENCE = 1.0  # seconds that a stop waits for the first step, so that there is a checkpoint to keep


class Stopped(Exception):
    """Ends reading or validating after a request to stop."""


class StopRequest(NamedTuple):
    """Asks a run to end early."""

    reason: str
    state: str  # of the run afterwards
    moment: float  # of the request, in seconds on the clock of `RunControl`


class RunControl:
    """Polls for requests to stop a claimed run. `stop` may be called from a signal handler or another thread."""

    def __init__(self, store: Store, run: Run, clock: Callable[[], float]) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._polled = float("-inf")
        self._heartbeat = clock()
        self.stopping: StopRequest | None = None  # the first request

    def stop(self, reason: str, state: str) -> None:
        """Asks the run to stop, unless it was asked before; `state` is its state afterwards."""
        self.stopping = self.stopping or StopRequest(reason, state, self._clock())

    def look(self) -> None:
        """Polls for a request and writes the heartbeat, if it is time for them. A locked database is tried again at the next poll.

        Raises `StoreError`, and as `Runs.check_owner` if another process has the run now.
        """
        now = self._clock()
        if now - self._polled < POLL:
            return
        self._polled = now
        with contextlib.suppress(DatabaseBusy):
            wanted = self._store.queue.wanted(self._run)
            if wanted:  # read again when the run has stopped; if the request was withdrawn by then, the run goes on later
                self.stop(f"{wanted} on request", "queued" if self._run.queued else "paused")
            if now - self._heartbeat > HEARTBEAT:
                self._heartbeat = now  # first: a heartbeat that fails is not repeated
                self._store.runs.heartbeat(self._run)

    def tick(self) -> None:
        """Polls during a validation. Raises `Stopped` after a request."""
        self.look()
        if self.stopping:
            raise Stopped

    def tick_reading(self) -> None:
        """Polls while a text is read. Raises `Stopped` if reading goes on for more than `PATIENCE` seconds after a request."""
        self.look()
        if self.stopping and self._clock() - self.stopping.moment > PATIENCE:
            raise Stopped

    def saved(self) -> None:
        """Counts a stored checkpoint as a heartbeat."""
        self._heartbeat = self._clock()
