"""Limits what connections hold: the time for a request to arrive, the time for a response to be read, and open files.

uvicorn reads requests, with h11, and writes responses. It waits without limit for the rest of a request, and for a client that does not
read. `HttpConnection` adds these limits in the methods that asyncio calls, and in two that uvicorn calls: at the end of a response, and for
what is not HTTP. It also answers a client that has sent all that it will send (shutdown of its side of the connection).
"""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.web.admission import ParsingOrder, is_probe
from service.web.observability import Refusals, as_bytes

WHOLE_REQUEST = 30.0  # seconds in which the headers of a request must arrive, and a body that is gathered
LARGEST_HEAD = 2**15  # bytes of a request line with its headers, at most
MOST_AHEAD = 2**19  # bytes that a client may send before its last request is answered: two reads of asyncio
LONGEST_LAG = 20.0  # seconds that a client may lag behind in reading its response
SLOWEST_RATE = 2**14  # bytes a second; a slower client lags behind
MOST_UNSENT = 2**16  # bytes that the kernel may hold and has not sent yet; it would accept megabytes that may never be read
ASKED_AFTER = 1.0  # seconds without an answer after which a client that sends nothing more is asked whether it is still there
ASKED_EVERY = 1.0  # seconds until it is asked again: the second question fails if its system refused the first

TOO_MANY = "there are more connections than this service can hold; try again in a moment"
TOO_LONG = f"the headers have more than {LARGEST_HEAD:,} bytes, the limit; send shorter ones"
TOO_FAR_AHEAD = f"more than {MOST_AHEAD:,} bytes of further requests arrived before this one was answered; wait for the answers"
LATE = "the request did not arrive in time; send it again"
MALFORMED = "this is not valid HTTP/1.1; check the request line, the headers and the chunks"


class OpenConnections:
    """The open connections, those that have waited longest for a request first. Used by the event loop only."""

    def __init__(self, most: int, refusals: Refusals) -> None:
        """Holds at most `most` connections."""
        self._most = most
        self.refusals = refusals
        self.parsing_order = ParsingOrder()
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
        self._received: bytearray | None = None  # of a request that waits to be parsed
        self._deadline = time.monotonic() + WHOLE_REQUEST  # of the headers that must arrive now
        self._head_size = 0  # bytes of a request whose headers are not complete
        self._has_request = False  # whether the headers of a request have arrived, and no complete response was sent
        self._is_new = True  # whether no request has arrived yet
        self._lag_before = 0.0  # seconds that the client lagged behind a reader of `SLOWEST_RATE` bytes a second before the present wait
        self._wait_began: float | None = None  # of the present wait for the client
        self._unread = 0  # bytes that waited then
        self._end_began: float | None = None  # since when the end of a response waits for the client
        self._next_question: float | None = None  # when a client that sends nothing more is asked whether it is still there
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
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the application that the client has left."""
        self._all.remove(self)
        self.lost = True
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Parses bytes, those that begin a request in their turn."""
        if self._has_request:
            self._parse(data)
            return
        if not self._head_size:
            self._deadline = time.monotonic() + WHOLE_REQUEST
        self._head_size += len(data)
        if self._received is not None:
            self._received += data
        elif is_probe(data):
            self._parse(data)
        else:
            self._received = bytearray(data)
            self.transport.pause_reading()
            self._all.parsing_order.put(self._parse_received)

    def _parse_received(self) -> None:
        """Parses the bytes whose turn has come."""
        received, self._received = self._received, None
        if received is not None and not self.transport.is_closing():
            self.transport.resume_reading()
            try:
                self._parse(bytes(received))
            except BaseException:
                self.transport.abort()  # as asyncio does if it calls the parser itself
                raise

    def _parse(self, data: bytes) -> None:
        """Parses bytes; refuses headers without end, and requests far ahead of their answers."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_size > LARGEST_HEAD and not self._has_request and self.conn.their_state is h11.IDLE:
            self.refuse(431, TOO_LONG)
        elif self._has_request and len(self.conn.trailing_data[0]) > MOST_AHEAD:
            self.refuse(400, TOO_FAR_AHEAD)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's always ends the connection
        """Returns whether the connection stays open although the client sends no more: if it waits for the answer to a whole request."""
        if self.responds or self.conn.their_state not in (h11.DONE, h11.MUST_CLOSE):
            return False
        self._next_question = time.monotonic() + ASKED_AFTER
        return True

    def pause_writing(self) -> None:
        """Begins to count how long the client does not read."""
        self._wait_began, self._unread = time.monotonic(), self.transport.get_write_buffer_size()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Counts the wait that ends."""
        self._lag_before, self._wait_began = self.lag(time.monotonic()), None
        super().resume_writing()

    # ── called by the application ─────────────────────────────────────────────────────────────────────────────────────

    def arrive(self) -> None:
        """Notes that the headers of a request have arrived."""
        self._head_size, self._is_new, self._has_request, self.responds = 0, False, True, False
        self._deadline = math.inf

    def answer(self) -> None:
        """Notes that the request is being answered: from now on the connection does not make room for others."""
        self.answers = True

    # ── called by uvicorn ─────────────────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        self.answers = self._has_request = False
        self._lag_before = 0.0
        self._all.waits(self)
        super().on_response_complete()
        if self._next_question is not None and self.conn.our_state is h11.IDLE:
            self.transport.close()  # no further request can come

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        self.refuse(400, MALFORMED)

    # ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def lag(self, now: float) -> float:
        """Returns the seconds that the client lags behind a reader of `SLOWEST_RATE` bytes a second.

        Never below zero: a client that was quick once gets no credit for it later. Time in which nothing is there to be read does not
        count.
        """
        if self._wait_began is None:
            return self._lag_before
        read = self._unread - self.transport.get_write_buffer_size()
        return max(0.0, self._lag_before + now - self._wait_began - read / SLOWEST_RATE)

    def end_if_late(self, now: float) -> None:
        """Ends the connection if a request does not arrive in time, or if a response is not read in time."""
        if now > self._deadline:
            self._deadline = math.inf
            if self._head_size:
                self.refuse(408, LATE)
            else:
                self.transport.close()
        elif self.lag(now) > LONGEST_LAG or self._end_lag(now) > LONGEST_LAG:
            self.transport.abort()
        elif self._next_question is not None and now > self._next_question and not self.responds:
            self._next_question = now + ASKED_EVERY
            self._ask_whether_there()

    def _end_lag(self, now: float) -> float:
        """Returns the seconds that the end of a response has waited for the client."""
        if self.answers or not self.transport.get_write_buffer_size():
            self._end_began = None
            return 0.0
        self._end_began = now if self._end_began is None else self._end_began
        return now - self._end_began

    def _ask_whether_there(self) -> None:
        """Sends an interim response, which each client ignores (RFC 9110, 15.2). If the client is gone, its system ends the connection."""
        if self.conn.our_state is h11.SEND_RESPONSE and self.conn.their_http_version == b"1.1":
            self.transport.write(self.conn.send(h11.InformationalResponse(status_code=100, headers=[], reason="Continue")))

    def refuse(self, status: int, message: str) -> None:
        """Ends the connection, after an error response if a request has begun to arrive and nothing else is being sent."""
        begun = self._has_request and not self.responds
        if begun or (not self._has_request and self._head_size) or (self._is_new and status == 503):
            self.transport.write(as_bytes(status, *self._all.refusals.response(status, message, (self.client or ("?",))[0])))
        self.transport.close()
