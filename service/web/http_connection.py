"""Limits what connections hold: the time for a request to arrive, the time for a response to be read, and open files.

uvicorn reads requests, with h11, and writes responses. It waits without limit for the rest of a request, and for a client that does not
read. `HttpConnection` adds these limits in the methods that asyncio calls, and in two that uvicorn calls: at the end of a response, and for
what is not HTTP.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("charloom")

WHOLE_REQUEST = 30.0  # seconds in which the headers of a request must arrive, and a body that is gathered
HEAD = 2**15  # bytes of a request line with its headers, at most
AHEAD = 2**19  # bytes that a client may send before its last request is answered: two reads of asyncio
READING = 20.0  # seconds that a client may lag behind in reading its response
SLOWEST = 2**14  # bytes a second; a slower client lags behind
UNSENT = 2**16  # bytes that the kernel may hold and has not sent yet; it would accept megabytes that may never be read

TOO_MANY = "there are more connections than this service can hold; try again in a moment"
TOO_LONG = f"the headers have more than {HEAD:,} bytes, the limit; send shorter ones"
TOO_FAR_AHEAD = f"more than {AHEAD:,} bytes of further requests arrived before this one was answered; wait for the answers"
LATE = "the request did not arrive in time; send it again"
MALFORMED = "this is not valid HTTP/1.1; check the request line, the headers and the chunks"


class OpenConnections:
    """The open connections, those that have waited longest for a request first. Used by the event loop only."""

    def __init__(self, most: int) -> None:
        """Holds at most `most` connections."""
        self._most = most
        self._open: dict[HttpConnection, None] = {}

    def add(self, connection: HttpConnection) -> None:
        """Adds a connection; closes the one that has waited longest for a request if there are too many."""
        self._open[connection] = None
        if len(self._open) > self._most:
            waiting = (each for each in self._open if not each.answers and not each.transport.is_closing())
            next(waiting).refuse(503, TOO_MANY)  # the new one, if no other waits

    def waits(self, connection: HttpConnection) -> None:
        """Notes that a connection begins to wait for its next request."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: HttpConnection) -> None:
        """Forgets a connection that has ended."""
        self._open.pop(connection, None)

    def end_late(self) -> None:
        """Ends all connections that are late with a request, or lag behind in reading a response."""
        now = time.monotonic()
        for connection in list(self._open):
            connection.end_if_late(now)


class HttpConnection(H11Protocol):
    """Adds limits to one connection of uvicorn.

    The application finds it as ``scope["state"]["connection"]``. It calls `arrive` when it gets a request, and `answer` when the body
    was gathered. `lost` is true if the client has left, and `on_lost` is called then.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], **more: Any) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, **more)
        self._all: OpenConnections = app_state["connections"]
        self._deadline = time.monotonic() + WHOLE_REQUEST  # of the headers that must arrive now
        self._head = 0  # bytes of a request whose headers are not complete
        self._has_request = False  # whether the headers of a request have arrived, and no complete response was sent
        self._is_new = True  # whether no request has arrived yet
        self._behind = 0.0  # seconds that the client lags behind a reader of `SLOWEST` bytes a second, without the present wait
        self._since: float | None = None  # start of the present wait for the client
        self._unread = 0  # bytes that waited then
        self._end_since: float | None = None  # since when the end of a response waits for the client
        self.answers = False  # whether a request is being answered
        self.responds = False  # whether a part of its response was sent
        self.lost = False
        self.on_lost: Callable[[], None] | None = None

    # ── called by asyncio ─────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """Limits what the kernel holds of a response, and counts the connection."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the application that the client has left."""
        self._all.remove(self)
        self.lost = True
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Parses bytes; refuses headers without end, and requests far ahead of their answers."""
        if not self._has_request:
            if not self._head:
                self._deadline = time.monotonic() + WHOLE_REQUEST
            self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head > HEAD and not self._has_request and self.conn.their_state is h11.IDLE:
            self.refuse(431, TOO_LONG)
        elif self._has_request and len(self.conn.trailing_data[0]) > AHEAD:
            self.refuse(400, TOO_FAR_AHEAD)

    def pause_writing(self) -> None:
        """Begins to count how long the client does not read."""
        self._since, self._unread = time.monotonic(), self.transport.get_write_buffer_size()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Counts the wait that ends."""
        self._behind, self._since = self.behind(time.monotonic()), None
        super().resume_writing()

    # ── called by the application ─────────────────────────────────────────────────────────────────────────────────────

    def arrive(self) -> None:
        """Notes that the headers of a request have arrived."""
        self._head, self._is_new, self._has_request, self.responds = 0, False, True, False
        self._deadline = math.inf

    def answer(self) -> None:
        """Notes that the request is being answered: from now on the connection does not make room for others."""
        self.answers = True

    # ── called by uvicorn ─────────────────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self.answers = self._has_request = False
        self._behind = 0.0
        self._all.waits(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        self.refuse(400, MALFORMED)

    # ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def behind(self, now: float) -> float:
        """Returns the seconds that the client lags behind a reader of `SLOWEST` bytes a second.

        Never below zero: a client that was quick once gets no credit for it later. Time in which nothing is there to be read does not
        count.
        """
        if self._since is None:
            return self._behind
        read = self._unread - self.transport.get_write_buffer_size()
        return max(0.0, self._behind + now - self._since - read / SLOWEST)

    def end_if_late(self, now: float) -> None:
        """Ends the connection if a request does not arrive in time, or if a response is not read in time."""
        if self.answers or not self.transport.get_write_buffer_size():
            self._end_since = None
        elif self._end_since is None:
            self._end_since = now
        if now > self._deadline:
            self._deadline = math.inf
            if self._head:
                self.refuse(408, LATE)
            else:
                self.transport.close()
        elif self.behind(now) > READING or (self._end_since is not None and now - self._end_since > READING):
            self.transport.abort()

    def refuse(self, status: int, message: str) -> None:
        """Ends the connection, after an error response if a request has begun to arrive and nothing else is being sent."""
        begun = self._has_request and not self.responds
        if begun or (not self._has_request and self._head) or (self._is_new and status == 503):
            log.info("a connection from %s is refused with %d: %s", (self.client or ("?",))[0], status, message)
            self.transport.write(refusal(status, message))
        self.transport.close()


def refusal(status: int, message: str) -> bytes:
    """Builds a complete error response, for requests that the application never sees."""
    head, body = refusal_parts(status, message)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(name + b": " + value for name, value in head)]
    return b"\r\n".join([*lines, b"", b""]) + body


def refusal_parts(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Builds the headers and the body of an error response, after which the connection ends."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": HTTPStatus(status).name.lower()}
    body = json.dumps({"error": error}).encode() + b"\n"
    head = [
        (b"connection", b"close"),
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 503:
        head.append((b"retry-after", b"1"))
    return head, body
