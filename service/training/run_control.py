"""Whether a run is to stop: what others want of it in the store, and what its own process was told. And the sign that it lives.

It is asked at every step, and now and then while something takes long; it looks into the store seldom enough to cost nothing.
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
    """Ends what would take long when the run is to stop."""


class StopRequest(NamedTuple):
    """That a run is to end before its time."""

    reason: str
    state: str  # that it then gets
    moment: float  # when it was asked


class RunControl:
    """Looks out for a claimed run. `stop` may be called from a signal handler or another thread."""

    def __init__(self, store: Store, run: Run, clock: Callable[[], float]) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._looked = float("-inf")
        self._beat = clock()
        self.stopping: StopRequest | None = None  # the first one that was asked for

    def stop(self, reason: str, state: str) -> None:
        """Ask the run to stop."""
        self.stopping = self.stopping or StopRequest(reason, state, self._clock())

    def look(self) -> None:
        """Notice what is wanted in the store, and be seen there. A locked database is looked at again later.

        Raises `StoreError`, and as `Runs.check_owner` where the run is another's now.
        """
        now = self._clock()
        if now - self._looked < POLL:
            return
        self._looked = now
        with contextlib.suppress(DatabaseBusy):
            wanted = self._store.queue.wanted(self._run)
            if wanted:  # what is wanted when it has stopped comes first; if that is nothing any more, it goes on later
                self.stop(f"{wanted} on request", "queued" if self._run.queued else "paused")
            if now - self._beat > HEARTBEAT:
                self._beat = now  # if it fails, the next one will do
                self._store.runs.heartbeat(self._run)

    def tick(self) -> None:
        """Look while it validates. Raises `Stopped`."""
        self.look()
        if self.stopping:
            raise Stopped

    def tick_reading(self) -> None:
        """Look while it reads. Raises `Stopped`, but rather waits for the first step."""
        self.look()
        if self.stopping and self._clock() - self.stopping.moment > PATIENCE:
            raise Stopped

    def saved(self) -> None:
        """A checkpoint was stored, which is a sign of life, too."""
        self._beat = self._clock()
