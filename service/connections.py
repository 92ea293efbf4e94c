"""gunicorn's threaded worker, in which nobody can hold a thread by not sending or reading.

gthread waits without end for the rest of a request and for a client that does not take its answer: as many half-sent requests as
there are threads, and nobody else is answered. And it says goodbye to them in its main thread, for up to two seconds each. Here every
wait on a socket has a limit, so has the arrival of a whole request, and the main thread waits for nobody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, ParseException, UnsupportedTransferCoding
from gunicorn.workers.gthread import _DEFER, ThreadWorker
from werkzeug.exceptions import BadRequest

FIRST_BYTES = 1.0  # seconds that a new connection may keep a thread before it sends anything; then it waits without one
NEXT_BYTES = 4.0  # seconds until more of a request must arrive
WHOLE_REQUEST = 30.0  # seconds until all of it must have arrived
READING = 20.0  # seconds until a client must take more of its answer
LINGER = 0.5  # seconds for a client to read the last answer before its connection is closed

# What gunicorn raises for requests that break the rules of HTTP.
STATUSES = (
    (LimitRequestLine, 414),
    (LimitRequestHeaders, 431),
    (ExpectationFailed, 417),
    (UnsupportedTransferCoding, 501),
    (ParseException, 400),
)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Worker(ThreadWorker):  # type: ignore[misc]
    """`ThreadWorker` with limits."""

    wsgi: Application

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadlines: dict[socket.socket, float] = {}  # of requests that are arriving

    def load_wsgi(self) -> None:
        """Load the application behind a door that sees when a request has arrived."""
        super().load_wsgi()
        self.wsgi = partial(self._enter, self.wsgi)

    def handle(self, conn: Any) -> Any:
        """One request, in a thread of the pool."""
        if not conn.initialized and not conn.wait_for_data(FIRST_BYTES):
            return _DEFER
        limited(conn.sock)
        self._deadlines[conn.sock] = time.monotonic() + WHOLE_REQUEST
        try:
            result = super().handle(conn)
        finally:
            self._deadlines.pop(conn.sock, None)
        if result is False:
            util.close_graceful(conn.sock, LINGER)
            conn.close = lambda graceful=False: None
        return result

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what is not even HTTP, in the shape of every error."""
        status = next((status for kind, status in STATUSES if isinstance(exc, kind)), 500)
        if status == 500:
            self.log.exception("a request failed")
        message = str(exc) if status != 500 else "something went wrong inside the service; its log says what"
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"message": message, "type": kind, "param": None, "code": HTTPStatus(status).name.lower()}
        body = json.dumps({"error": error}).encode() + b"\n"
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        with contextlib.suppress(OSError):
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _enter(self, application: Application, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        arrived = partial(self._deadlines.pop, environ["gunicorn.socket"], None)
        length = environ.get("CONTENT_LENGTH")
        if length in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
            arrived()
        else:
            environ["wsgi.input"] = Body(environ["wsgi.input"], int(length) if length else None, arrived)
        return application(environ, start_response)

    def notify(self) -> None:
        """Called at least every second by the main thread."""
        super().notify()
        now = time.monotonic()
        for sock, deadline in list(self._deadlines.items()):
            if now > deadline:
                self._deadlines.pop(sock, None)
                with contextlib.suppress(OSError):  # whoever reads from it sees an end; it can still be answered
                    sock.shutdown(socket.SHUT_RD)


class Body:
    """`wsgi.input` that says when it has been read to its end."""

    def __init__(self, stream: Any, length: int | None, arrived: Callable[[], object]) -> None:
        self._stream, self._left, self._arrived = stream, length, arrived

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes. Raises `BadRequest` where chunks are malformed."""
        try:
            data: bytes = self._stream.read(size)
        except ParseException as error:
            raise BadRequest(f"the chunks of the body are malformed ({error}); send it again") from None
        if self._left is not None:
            self._left -= len(data)
        if not data or self._left == 0:
            self._arrived()
        return data


def limited(sock: socket.socket) -> None:
    """Let no single wait on a socket take longer than its limit; it ends with a `BlockingIOError`."""
    for option, seconds in ((socket.SO_RCVTIMEO, NEXT_BYTES), (socket.SO_SNDTIMEO, READING)):
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), int(seconds % 1 * 1e6)))  # struct timeval


class Log(Logger):  # type: ignore[misc]
    """gunicorn's log, shared by the service, without those who were too slow."""

    error_fmt = "%(asctime)s %(levelname)s %(message)s"
    datefmt = "%Y-%m-%d %H:%M:%S"

    def setup(self, cfg: Any) -> None:
        """Called when gunicorn starts."""
        super().setup(cfg)
        self.error_log.addFilter(is_news)
        own = logging.getLogger("charloom")
        own.handlers, own.propagate = self.error_log.handlers, False
        own.setLevel(logging.INFO)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: a client that ran out of time is not."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
