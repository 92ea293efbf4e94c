"""The events of a training job as a stream: those that are there, and then each as it happens, until the job ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from model.errors import CharloomError, ServiceStopping, TooManyFollowers
from service import jobs
from service.api.answers import DONE, KEEP_ALIVE, event
from service.api.jobs import event_shown
from service.errors import body_of
from service.serving import Service
from service.store.runs import ENDED

LOOK = 0.5  # seconds between two looks into the store
SILENCE = 15.0  # seconds after which a comment says that the stream is alive; what stands between may close it after 30 or 60
PART = 100  # events that are read at once

log = logging.getLogger("charloom")


class Followers:
    """Counts the clients that follow a job: each holds a thread, however little there is to say."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.BoundedSemaphore(most)

    def join(self) -> Callable[[], None]:
        """One more; call what is returned when it leaves, once or more often. Raises `TooManyFollowers`."""
        if not self._free.acquire(blocking=False):
            raise TooManyFollowers(self._most)
        left = threading.Lock()

        def leave() -> None:
            if left.acquire(blocking=False):
                self._free.release()

        return leave


def follow(service: Service, name: str, after: int, gone: Callable[[], bool], stopping: Callable[[], bool]) -> Iterator[bytes]:
    """Server-sent events for all that happened to a run after an event, ended by ``[DONE]`` once the run has ended.

    It is over when the client is `gone`; with an error, which is the last event, where the run is deleted or the service `stopping`.
    """
    try:
        told = -SILENCE  # where there is nothing to tell yet, a comment goes first, and the headers with it: the client is heard
        while not gone():
            if stopping():
                raise ServiceStopping
            ended = service.store.runs.get(name).state in ENDED  # before the events are read, so that its last are among them
            found = jobs.events(service.store, name, after=after, limit=PART)
            for each in found:
                yield event(shown := event_shown(each), shown.id)
                after, told = each.id, time.monotonic()
            if found:
                continue
            if ended:
                yield DONE
                return
            if time.monotonic() - told > SILENCE:
                yield KEEP_ALIVE
                told = time.monotonic()
            time.sleep(LOOK)
    except Exception as error:  # it is too late for a status
        if not isinstance(error, CharloomError):
            log.exception("a stream of events failed")
        yield event(body_of(error, service))
