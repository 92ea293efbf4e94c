"""Adapts gunicorn's threaded worker so that no slow client can hold a thread.

gthread gives a thread to every connection that sends anything. The thread waits without limit for the rest of a request, and for a
client that does not read its response, so one half-sent request per thread stops the service. The main thread of gthread also closes
connections, and may wait two seconds for each.

Here the main thread gathers requests (`service.web.slow_clients`) and waits for no client. A complete request gets a thread, few
threads may wait for large bodies, and every wait on a socket has a limit. If there are too many connections, those that have waited
longest are closed. While requests wait for a thread, few threads serve slow readers.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from gunicorn import util
from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, ParseException, UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker
from werkzeug.exceptions import BadRequest

from service.web.slow_clients import ANY, HEAD, SLOWEST, Arrival, Largest, Outgoing

if TYPE_CHECKING:
    from service.web.service_config import ServiceConfig

NEXT_BYTES = 10.0  # seconds that a thread waits for more of a body
WHOLE_REQUEST = 30.0  # seconds in which all of a request must arrive; a large body gets more time as its bytes arrive
LINGER = 0.5  # seconds for a client to read the last response before its connection is closed
PARTING = 2.0  # seconds for the rest of a request that is arriving when the service stops
LARGE_BODIES = 16  # large bodies that may arrive at the same time, each in a thread
SLOW_READERS = 8  # slow readers that keep their threads while requests wait for one
CROWDED = 1.0  # seconds that a request must wait for a thread, and sending for a slow reader, before the reader loses its thread

# What gunicorn raises for requests that break the rules of HTTP.
STATUSES = (
    (LimitRequestLine, 414),
    (LimitRequestHeaders, 431),
    (ExpectationFailed, 417),
    (UnsupportedTransferCoding, 501),
    (ParseException, 400),
)
NO_FILES = (errno.EMFILE, errno.ENFILE)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class GthreadWorker(ThreadWorker):  # type: ignore[misc]
    """Adds limits to `ThreadWorker`. A connection's `arrival` is the request that it sends, which must be complete by `deadline`."""

    wsgi: Application

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[TConn, None] = {}  # connections without a thread, the oldest first; used by the main thread only
        self._queued: dict[TConn, float] = {}  # requests that wait for a thread, and the time since which they wait
        self._busy: dict[Outgoing, None] = {}  # connections that have a thread
        self._late: dict[Outgoing, Late] = {}  # bodies that threads wait for
        self._large = threading.BoundedSemaphore(LARGE_BODIES)
        self._largest = ANY
        self._stops: float | None = None
        self.cfg.set("sendfile", False)  # files are sent by `Outgoing`, as all responses are

    def load_wsgi(self) -> None:
        """Loads the application and wraps it in `_enter`."""
        super().load_wsgi()
        config: ServiceConfig = cast(Any, self.wsgi).extensions["charloom"].config
        self._largest = Largest(config.max_body, config.max_upload)
        self.wsgi = partial(self._enter, self.wsgi)

    # ── the main thread: requests without a thread ────────────────────────────────────────────────────────────────────

    def accept(self, listener: Any) -> None:
        """Accepts a new connection."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in NO_FILES and self._make_room():
                return  # the poller reports the connection again at once
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK, *NO_FILES):
                raise
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, Outgoing(sock), address, listener.getsockname())
        self._begin(conn)
        if self.nr_conns >= self.worker_connections:
            self._make_room(conn)

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Begins the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._begin(conn)

    def finish_request(self, conn: TConn, fs: Any) -> None:
        """Ends a request, and begins the next one if its bytes are there already."""
        super().finish_request(conn, fs)
        if getattr(conn, "ahead", b"") and self.keepalived_conns and self.keepalived_conns[-1] is conn:
            self.on_client_socket_readable(conn, conn.sock)

    def _begin(self, conn: TConn) -> None:
        conn.arrival, conn.deadline = Arrival(self._largest), time.monotonic() + WHOLE_REQUEST
        conn.sock.setblocking(False)
        self._arriving[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        ahead, conn.ahead = getattr(conn, "ahead", b""), b""
        if ahead:
            self._add(conn, ahead)
        else:
            self._receive(conn, conn.sock)

    def _receive(self, conn: TConn, sock: socket.socket) -> None:
        try:
            data = sock.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._add(conn, data)
        else:
            self._drop(conn)

    def _add(self, conn: TConn, data: bytes) -> None:
        conn.arrival.add(data)
        if conn.arrival.endless:
            self._drop(conn, 431, f"the headers have more than {HEAD:,} bytes, the limit; send shorter ones")
        elif conn.arrival.ready:
            self._forget(conn)
            self.enqueue_req(conn)

    def enqueue_req(self, conn: TConn) -> None:
        """Lets the next free thread handle a request."""
        self._queued[conn] = time.monotonic()
        super().enqueue_req(conn)

    def _forget(self, conn: TConn) -> None:
        del self._arriving[conn]
        self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn, status: int = 0, message: str = "") -> None:
        """Closes a connection that has no thread, after an error response if the client has begun to send."""
        self._forget(conn)
        self.nr_conns -= 1
        if status and conn.arrival.data:
            with contextlib.suppress(OSError):
                conn.sock.send(refusal(status, message))
        conn.close()

    def _make_room(self, newest: TConn | None = None) -> bool:
        """Closes the connection that has been idle longest, but not `newest`; returns whether there was one."""
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
            return True
        oldest = next((conn for conn in self._arriving if conn is not newest), None)
        if oldest is not None:
            self._drop(oldest, 503, "there are more connections than this service can hold; try again in a moment")
        return oldest is not None

    def notify(self) -> None:
        """Ends connections and bodies that are late; the main thread calls it at least every second."""
        super().notify()
        now = time.monotonic()
        if not self.alive and self._stops is None:
            self._stops = now + PARTING
        for conn in list(self._arriving):
            if now > conn.deadline or (self._stops is not None and (now > self._stops or not conn.arrival.data)):
                self._drop(conn, 408, "the request did not arrive in time; send it again")
        for sock, late in list(self._late.items()):
            if now > late.deadline:
                late.deadline = math.inf
                with contextlib.suppress(OSError):  # its thread sees the end of the body, and can still send a response
                    sock.shutdown(socket.SHUT_RD)
        self._free_threads(now)

    def _free_threads(self, now: float) -> None:
        """Disconnects the slowest readers, at most one for each request that waits for a thread."""
        needed = sum(now - since > CROWDED for since in list(self._queued.values()))
        if not needed:
            return
        slow = [sock for sock in list(self._busy) if sock.waited(now) > CROWDED]
        slow.sort(key=lambda sock: (sock.behind(now), sock.waited(now)))
        for sock in slow[SLOW_READERS:][-needed:]:
            self._busy.pop(sock, None)
            with contextlib.suppress(OSError):  # the thread that sends sees a broken connection
                sock.shutdown(socket.SHUT_RDWR)

    # ── the threads: complete requests and large bodies ───────────────────────────────────────────────────────────────

    def handle(self, conn: TConn) -> Any:
        """Handles one request."""
        del self._queued[conn]
        conn.sock.begin()
        self._busy[conn.sock] = None
        try:
            return self._handle(conn)
        finally:
            self._busy.pop(conn.sock, None)

    def _handle(self, conn: TConn) -> Any:
        arrival: Arrival = conn.arrival
        limited(conn.sock)
        if arrival.coding:
            self._say(conn.sock, 501, f"the body is sent as {arrival.coding[:60]}; send it as it is, or in chunks and nothing else")
            return self._part(conn)
        if not arrival.whole:
            if not self._large.acquire(blocking=False):
                self._say(conn.sock, 429, f"{LARGE_BODIES} large requests are arriving already, the limit; try again in a moment")
                return self._part(conn)
            self._late[conn.sock] = Late()
        try:
            conn.sock.setblocking(True)
            conn.init()
            conn.parser.unreader.unread(bytes(arrival.data))
            arrival.data.clear()
            result = super().handle(conn)
        finally:
            self._arrived(conn.sock)
        if not result:
            return self._part(conn)
        conn.ahead = conn.parser.unreader.take_buffered()
        return result

    def _arrived(self, sock: Outgoing) -> None:
        """Ends the wait for a large body, so that another one may arrive while the response to this one is generated."""
        if self._late.pop(sock, None) is not None:
            self._large.release()

    def _part(self, conn: TConn) -> bool:
        util.close_graceful(conn.sock, LINGER)
        conn.close = lambda graceful=False: None
        return False

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answers a request whose headers were read; 100 Continue is sent once the application reads the body."""
        late = self._late.get(conn.sock)
        if late is not None:
            late.asks = getattr(req, "_expected_100_continue", False)
        req._expected_100_continue = False  # or gunicorn sends it at once, also for requests that will be refused
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answers malformed HTTP and failed requests with an error response (`refusal`)."""
        status = next((status for kind, status in STATUSES if isinstance(exc, kind)), 500)
        if status == 500:
            self.log.exception("a request failed")
        self._say(client, status, str(exc) if status != 500 else "something went wrong inside the service; its log says what")

    def _say(self, client: socket.socket, status: int, message: str) -> None:
        with contextlib.suppress(OSError):
            client.sendall(refusal(status, message))

    def _enter(self, application: Application, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sock, length = environ["gunicorn.socket"], environ.get("CONTENT_LENGTH")
        if length not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ:
            arrived = partial(self._arrived, sock)
            environ["wsgi.input"] = LimitedBody(environ["wsgi.input"], int(length) if length else None, sock, self._late.get(sock), arrived)
        environ["charloom.stopping"] = lambda: not self.alive  # streams end if it is true
        return application(environ, start_response)


@dataclass
class Late:
    """Holds the deadline of a body that a thread waits for; `asks` is true if the client waits for 100 Continue."""

    deadline: float = field(default_factory=lambda: time.monotonic() + WHOLE_REQUEST)
    asks: bool = False


class LimitedBody:
    """Replaces `wsgi.input` for a request with a body.

    Reading sends 100 Continue if the client asks for it, moves the deadline as bytes arrive, and calls `arrived` after the last one.
    """

    def __init__(self, stream: Any, length: int | None, sock: socket.socket, late: Late | None, arrived: Callable[[], object]) -> None:
        self._stream, self._left, self._sock, self._late, self._arrived = stream, length, sock, late, arrived

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes. Raises `BadRequest` if chunks are malformed."""
        if self._late is not None and self._late.asks:
            self._late.asks = False
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            data: bytes = self._stream.read(size)
        except ParseException as error:
            raise BadRequest(f"the chunks of the body are malformed ({error}); send it again") from None
        if self._late is not None:
            self._late.deadline += len(data) / SLOWEST
        if self._left is not None:
            self._left -= len(data)
        if not data or self._left == 0:
            self._arrived()
        return data


def refusal(status: int, message: str) -> bytes:
    """Builds a complete error response, for requests that the application never sees."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": HTTPStatus(status).name.lower()}
    body = json.dumps({"error": error}).encode() + b"\n"
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Connection: close",
        "Content-Type: application/json",
        "X-Content-Type-Options: nosniff",
        f"Content-Length: {len(body)}",
        *(["Retry-After: 1"] if status in (429, 503) else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def limited(sock: socket.socket) -> None:
    """Limits every wait for a client's bytes to `NEXT_BYTES` seconds; a longer wait raises `BlockingIOError`."""
    timeval = struct.pack("ll", int(NEXT_BYTES), int(NEXT_BYTES % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
