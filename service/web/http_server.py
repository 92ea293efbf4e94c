"""Answers requests with uvicorn and the application, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import threading
import time

import uvicorn

from service.web.app import create_app
from service.web.http_connection import HttpConnection
from service.web.observability import Refusals
from service.web.service_config import ServiceConfig
from service.web.state import Service
from service.web.supervisor import BACKLOG, Pulse
from service.web.wsgi_bridge import WsgiBridge

log = logging.getLogger("charloom")

CONNECTIONS = 2000  # at most; fewer if the system allows fewer open files
# For requests that are answered at once, beside those that generate, wait or follow; and for what else one caller can hold: 47 large
# bodies, scores, inspections, searches and comparisons.
SPARE_THREADS = 80
OTHER_FILES = 160  # open files beside those of threads and connections: the database, models, uploads, connections that are refused
AT_ONCE = 64  # connections that are accepted in a row
KEEP_ALIVE = 75  # seconds that an idle connection stays open: longer than proxies keep theirs, which would use one that just ends
GRACE = 30.0  # seconds for requests that are being answered after SIGTERM
LAST_WORDS = 5.0  # seconds in which streams that end early send why


def answer_requests(settings: ServiceConfig, listener: socket.socket, pulse: Pulse) -> None:
    """Answers requests until SIGTERM or SIGINT. Raises `StoreError`."""
    for name in ("asyncio", "uvicorn.error"):  # which warn of clients that leave, or that do not speak HTTP
        logging.getLogger(name).setLevel(logging.ERROR)
    app = create_app(settings)
    service: Service = app.extensions["charloom"]
    threads, connections = within_files(threads_of(settings))
    try:
        refusals = Refusals(app.extensions["charloom.count_refusal"])
        read_state = app.extensions["charloom.read_state"]
        bridge = WsgiBridge(app, threads=threads, connections=connections, refusals=refusals, read_state=read_state)
        HttpServer(bridge, service, pulse, listener).run(sockets=[listener])
    finally:
        service.close()


def threads_of(settings: ServiceConfig) -> int:
    """Returns how many requests are handled at the same time: more than one caller can hold."""
    return settings.max_rows + settings.max_waiting + settings.max_followers + SPARE_THREADS


def within_files(threads: int) -> tuple[int, int]:
    """Returns how many threads and connections there may be, so that the files that this process may open are enough.

    A thread needs three for the database; a connection one, and so does one that is accepted only to be refused.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = min(threads, max(8, (files - OTHER_FILES) // 4))
    if possible < threads:
        log.warning(
            "this process may open %d files, so it handles %d requests at a time instead of %d (ulimit -n)", files, possible, threads
        )
    return possible, max(16, min(CONNECTIONS, files - 3 * possible - OTHER_FILES))


class HttpServer(uvicorn.Server):
    """Ends after SIGTERM when all requests are answered, and at once after SIGINT or a second signal."""

    def __init__(self, bridge: WsgiBridge, service: Service, pulse: Pulse, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                bridge,
                http=HttpConnection,
                ws="none",
                lifespan="on",
                interface="asgi3",
                loop="asyncio",
                proxy_headers=False,
                server_header=False,
                access_log=False,
                log_config=None,
                timeout_keep_alive=KEEP_ALIVE,
                backlog=AT_ONCE,
                h11_max_incomplete_event_size=2**20,  # `HttpConnection` has a smaller limit, and tells it
            )
        )
        self._bridge, self._service, self._pulse, self._listener = bridge, service, pulse, listener
        self._ends = float("inf")  # when requests are no longer waited for
        self._hurried = False
        bridge.tick = self._tick

    def handle_exit(self, sig: int, frame: object) -> None:
        """Begins to end; called by Python between two steps of the event loop."""
        grace = GRACE if sig == signal.SIGTERM and not self.should_exit else 0.0
        self.should_exit = True
        self._ends = min(self._ends, time.monotonic() + grace)
        asyncio.get_running_loop().call_soon_threadsafe(self._tick)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept connections, few at once: asyncio accepts as many in a row as may wait, and only then ends others."""
        await super().startup(sockets)
        self._listener.listen(BACKLOG)

    def _tick(self) -> None:
        """Shows that requests are answered; hurries those that are left when the time is up."""
        if not self._pulse.beat() and not self.should_exit:  # the supervisor was killed
            self.handle_exit(signal.SIGTERM, None)
        now = time.monotonic()
        if self.should_exit and not self._bridge.stopping:
            log.info("the service stops; requests that are being answered have %.0f seconds", max(0.0, self._ends - now))
            self._bridge.stop()
        if now > self._ends:
            if not self._hurried:
                self._hurried = True
                threading.Thread(target=self._service.engine.stop, daemon=True).start()  # streams end with an error event
            self.force_exit = now > self._ends + LAST_WORDS
