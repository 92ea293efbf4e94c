"""Tells the state of the service: ``/health``, whether it is alive, and ``/ready``, whether it can do all of its work.

The state is read from the database in a thread. The server answers probes in its event loop, with what was read last, because a thread
would have to wait for the interpreter's lock among all others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

import msgspec
from flask import Blueprint, Response, request

from model.errors import CharloomError
from service.store.api_keys import Keyring
from service.system import hardware
from service.system.errors import DatabaseReplaced, NotReady, NoWorker, StoreError
from service.web.api.protocol import Health, Ready, Training
from service.web.api.responses import answer
from service.web.auth import READ_BEFORE, is_known
from service.web.openapi import operation
from service.web.state import Service

log = logging.getLogger("charloom")

NEGLECT = 30.0  # seconds that a job may wait for a worker that has nothing to do; one that has ended is replaced after 5
OLD = 10.0  # seconds after which what was read is no longer told: a database that does not answer for so long cannot be read
SILENT = "the database does not answer"


class StateReader:
    """Reads the state of the service, and keeps what was read last. May be used from any thread."""

    def __init__(self, service: Service, keyring: Keyring, version: str) -> None:
        self._service, self._keyring, self._version = service, keyring, version
        self._readiness = Readiness(service)
        self._health, self._health_read = self._unreadable(), time.monotonic()
        self._reasons: list[str] = [SILENT]
        self._ready_read = float("-inf")

    def read(self, path: str) -> None:
        """Reads what the probe at `path` tells."""
        if path == "/ready":
            began = time.monotonic()
            self._reasons = self._readiness.shortcomings()
            self._ready_read = began
        else:
            began = time.monotonic()
            self._health = self._read_health()
            self._health_read = began
            self._keyring.refresh()

    def health(self) -> Health:
        """Returns the state that was read last, with all facts."""
        return self._health if time.monotonic() - self._health_read <= OLD else self._unreadable()

    def check_ready(self) -> None:
        """Raises `NotReady` with all reasons that were found last."""
        reasons = self._reasons if time.monotonic() - self._ready_read <= OLD else [SILENT]
        if reasons:
            raise NotReady(reasons)

    def _unreadable(self) -> Health:
        return Health(status="unreadable", version=self._version, training=None)

    def _read_health(self) -> Health:
        service, store = self._service, self._service.store
        try:
            models = sum(run.checkpoints > 0 for run in store.runs.list())
            training = service.training()
        except StoreError:
            found = self._unreadable()
        else:
            now = Training(**asdict(training)) if training else None
            found = Health(status="training" if training and not models else "ok", version=self._version, training=now, models=models)
        found.arithmetic, found.threads = hardware.arithmetic(), hardware.cores()
        found.sqlite_version, found.journal_mode = store.sqlite_version, store.journal_mode
        found.rows, found.waiting = service.engine.rows, service.engine.waiting
        found.disk_free, found.no_room = store.room.free, store.room.shortage()
        found.no_reserve, found.damaged = store.room.no_reserve(), store.damaged
        if found.damaged and found.status != "unreadable":
            found.status = "damaged"
        return found


class Readiness:
    """Finds out whether the service can do all of its work: write to the database and the disk, and train what was ordered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._neglected: dict[int, float] = {}  # id of a run -> when it was first seen to wait for an idle worker
        self._told: list[str] = []
        self._lock = threading.Lock()

    def shortcomings(self) -> list[str]:
        """Returns what it cannot do, in words that give nothing away, because no key is needed. The log has the details, once."""
        found: dict[str, CharloomError] = {}
        checks: tuple[tuple[str, Callable[[], None]], ...] = (
            ("the database cannot be written", self._service.store.check_writable),
            ("the disk has less room than min_disk must leave", self._service.check_room),
            ("jobs wait and no worker takes them", self._check_worker),
        )
        for words, check in checks:
            try:
                check()
            except DatabaseReplaced as error:
                return self._told_once({"the database file was moved, deleted or replaced": error})
            except CharloomError as error:
                found[words] = error
        return self._told_once(found)

    def _told_once(self, found: dict[str, CharloomError]) -> list[str]:
        """Logs reasons that are new, or that there are none any more; returns the reasons."""
        reasons = list(found)
        with self._lock:
            told, self._told = self._told, reasons
        if reasons and reasons != told:
            log.warning("not ready: %s", "; ".join(map(str, found.values())))
        if told and not reasons:
            log.warning("ready again")
        return reasons

    def _check_worker(self) -> None:
        """Raises `NoWorker`. A database that cannot be read has been told."""
        workers, now = self._service.config.workers, time.monotonic()
        try:
            found = self._service.store.queue.neglected(workers) if workers else []
        except DatabaseReplaced:
            raise
        except StoreError:
            return
        with self._lock:
            self._neglected = {run.id: self._neglected.get(run.id, now) for run in found}
        for run in found:
            if now - self._neglected[run.id] > NEGLECT:
                raise NoWorker(run.name, self._service.store.path)


def routes(reader: StateReader) -> Blueprint:
    """Returns the blueprint of `/health` and `/ready`."""
    blueprint = Blueprint("health", __name__)

    def read_now() -> None:
        if not request.environ.get(READ_BEFORE):
            reader.read(request.path)

    @blueprint.get("/health")
    @operation("service", answer=Health)
    def health() -> Response:
        """Report that the service is alive, with its state and what is being trained.

        The status is 200 as long as requests are answered, whatever the state is. If the database does not answer at once, the state is the
        one of up to ten seconds ago.
        """
        read_now()
        found = reader.health()
        if is_known():
            return answer(found)
        hidden = found.training and msgspec.structs.replace(found.training, run=None)
        return answer(Health(status=found.status, version=found.version, training=hidden))

    @blueprint.get("/ready")
    @operation("service", answer=Ready, raises=(NotReady,))
    def ready() -> Response:
        """Report whether the service can do all of its work: 200 if it can, else 503 with the reasons.

        It can if the database can be written, the disk has the room that `min_disk` must leave, and no job has waited for 30 seconds
        although its workers have nothing to do. Reading, and generating text, need none of these.
        """
        read_now()
        reader.check_ready()
        return answer(Ready(status="ready"))

    return blueprint
