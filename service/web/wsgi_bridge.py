"""Runs a WSGI application behind an ASGI server: in threads while there is work, and in none while a client is slow.

A small body is gathered before a thread is needed. A large one, such as an upload, is read by the thread that handles its request. Requests
get their threads in the order of `service.web.admission`; probes need none. A response passes through a bounded buffer: if its client
reads slowly, the thread leaves the application's iterator as it is, and another one continues it when the client has read.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from werkzeug.exceptions import ClientDisconnected, RequestTimeout

from service.system.errors import ServiceStopping
from service.web.admission import PROBES, Admission
from service.web.auth import READ_BEFORE
from service.web.errors import UNFORESEEN
from service.web.http_connection import (
    LARGEST_HEAD,
    LATE,
    MALFORMED,
    SLOWEST_RATE,
    TOO_LONG,
    WHOLE_REQUEST,
    HttpConnection,
    OpenConnections,
)
from service.web.observability import Refusals

log = logging.getLogger("charloom")

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BODY = 2**16  # bytes of a body that is gathered without a thread, at most
LONGEST_ADDRESS = 2**13  # bytes of a path with its query, at most
NEXT_BYTES = 10.0  # seconds that a thread waits for more of a body
PARTING = 2.0  # seconds for the rest of a body that is arriving when the service stops
LINGER = 2.0  # seconds for the rest of a body that is not read: a connection that ends sooner may take the response with it
REST = 2**26  # bytes of it, at most
BUFFER = 2**16  # bytes of a response that wait for the client before its thread is given back
TICK = 0.5  # seconds between two looks for connections that are late
FRESH = 0.02  # seconds that a probe waits until the state is read anew; else it is told the one that was read before
RECENT = 1.0  # seconds after which that is too old to be told at once ...
PATIENT = 0.5  # ... and for which a probe waits then: on a busy machine reading takes longer than FRESH, and probes may be seldom
READERS = 2  # threads that read it: being ready is found out by writing, which may wait for another process


class WsgiBridge:
    """An ASGI application that answers with a WSGI application.

    It adds to the environment of a request ``charloom.long``, a function that the application calls before it waits or works for long; that
    one returns a function which tells whether the client has left. ``charloom.stopping`` tells whether the service stops, and
    ``charloom.arrived`` is true if reading the body waits for nothing. If the application sets ``charloom.delay``, its response waits for
    that many seconds, without a thread.
    """

    def __init__(
        self,
        application: Application,
        *,
        threads: int,
        connections: int,
        refusals: Refusals | None = None,
        read_state: Callable[[str], None] = lambda path: None,
    ) -> None:
        """Runs at most `threads` requests and holds at most `connections`.

        `read_state` is called in a thread before the application answers a probe, with the probe's path.
        """
        self.application = application
        self.refusals = refusals or Refusals()
        self.connections = OpenConnections(connections, self.refusals)
        self.admission = Admission()
        self.stops = float("inf")  # when bodies that are still arriving are given up
        self.tick: Callable[[], None] = lambda: None  # called every half second by the event loop
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._read_state, self._readers = read_state, ThreadPoolExecutor(READERS, thread_name_prefix="probe")
        self._reading: dict[str, asyncio.Future[None]] = {}  # by the probe's path
        self._read_at: dict[str, float] = {}  # when that ended last while a probe waited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    @property
    def stopping(self) -> bool:
        """Whether the service stops."""
        return self.stops < float("inf")

    def stop(self) -> None:
        """Gives bodies that are arriving `PARTING` seconds more, and tells requests that the service stops."""
        self.stops = min(self.stops, time.monotonic() + PARTING)

    def run(self, work: Callable[[], object]) -> None:
        """Runs `work` in a thread, as soon as one is free."""
        self._pool.submit(work)

    async def read_state(self, path: str) -> None:
        """Lets the state be read anew for a probe. Waits for that `FRESH` seconds at most, or `PATIENT` if the last one is not recent."""
        reading = self._reading.get(path)
        if reading is None or reading.done():
            reading = self._reading[path] = asyncio.get_running_loop().run_in_executor(self._readers, self._read_state, path)
            reading.add_done_callback(_tell_failure)
        recent = time.monotonic() - self._read_at.get(path, float("-inf")) < RECENT
        done, _ = await asyncio.wait([reading], timeout=FRESH if recent else PATIENT)
        if done:
            self._read_at[path] = time.monotonic()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"]["connections"] = self.connections
        ticking = asyncio.create_task(self._keep_ticking())
        await send({"type": "lifespan.startup.complete"})
        with contextlib.suppress(asyncio.CancelledError):  # if the process no longer waits
            await receive()
        ticking.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_ticking(self) -> None:
        while True:
            self.tick()
            self.connections.end_late()
            await asyncio.sleep(TICK)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: HttpConnection = scope["state"]["connection"]
        connection.arrive()
        if fault := _fault(scope):
            await self.refuse(scope, send, *fault)
            return
        environ = environment(scope)
        environ["charloom.stopping"] = lambda: self.stopping
        try:
            body = RequestBody(self, receive, environ)
            if not await body.gather():
                await self.refuse(scope, send, 408, LATE)
                return
            environ["wsgi.input"], environ["charloom.arrived"] = body.file, not body.missing
            connection.answer()
            await Response(self, environ, connection, body).send(scope, send)
        except asyncio.CancelledError:  # the process ends, and waits no longer
            if connection.responds:
                connection.transport.abort()
            else:
                await self.refuse(scope, send, 503, str(ServiceStopping()))

    async def refuse(self, scope: Scope, send: Send, status: int, message: str) -> None:
        """Sends an error response without the application."""
        given_id = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        headers, body = self.refusals.response(status, message, (scope["client"] or ("?",))[0], given_id)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _tell_failure(reading: asyncio.Future[None]) -> None:
    if not reading.cancelled() and (error := reading.exception()) is not None:
        log.error("the state of the service could not be read", exc_info=error)


def _fault(scope: Scope) -> tuple[int, str] | None:
    """Returns the status and the message with which a request is refused for its headers alone; None if they are right."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_ADDRESS:
        return 414, f"the address has more than {LONGEST_ADDRESS:,} bytes, the limit; send a shorter one"
    if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEAD:
        return 431, TOO_LONG
    two_lengths = {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}  # a proxy might have chosen one
    if two_lengths or scope["http_version"] not in ("1.0", "1.1") or _path(scope) is None:
        return 400, MALFORMED
    return None


def _path(scope: Scope) -> bytes | None:
    """Returns the path of a request's target (RFC 9112, 3.2); None if it has none that can be answered, as that of CONNECT."""
    target: bytes = scope["raw_path"]
    if scope["method"] == "CONNECT":
        return None
    if target.startswith(b"/") or (target == b"*" and scope["method"] == "OPTIONS"):
        return target
    try:
        address = urlsplit(target)  # the whole address, as for a proxy
    except ValueError:
        return None
    return address.path or b"/" if address.scheme in (b"http", b"https") and address.netloc else None


def environment(scope: Scope) -> dict[str, Any]:
    """Returns the WSGI environment (PEP 3333) of an ASGI scope. Headers whose names have `_` could pass for others and are left out."""
    server, client = scope.get("server") or ("localhost", 80), scope.get("client") or ("", 0)
    raw_path = _path(scope) or b"/"
    path = unquote_to_bytes(raw_path).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    found = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_URI": raw_path.decode("latin-1") + (f"?{query}" if query else ""),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1")
        if "_" in name:
            continue
        name = name.replace("-", "_")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        found[key] = f"{found[key]}{';' if name == 'COOKIE' else ','}{value}" if key in found else value
    return found


class RequestBody:
    """The body of one request. It is gathered by the event loop, or read by a thread if it is large."""

    def __init__(self, bridge: WsgiBridge, receive: Receive, environ: dict[str, Any]) -> None:
        self._bridge, self._receive = bridge, receive
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.asked_for = "HTTP_EXPECT" in environ  # such a client waits until the application reads
        self.missing = length > 0 or "HTTP_TRANSFER_ENCODING" in environ  # whether a part has not arrived
        self._large = self.asked_for or length > BODY
        self._loop = asyncio.get_running_loop()
        self._deadline = time.monotonic() + WHOLE_REQUEST
        self._data = b""  # arrived, and not read yet
        self.waits: Callable[[], None] = lambda: None  # called by a thread before it waits for a part of the body ...
        self.has_arrived: Callable[[], None] = lambda: None  # ... and once it has got the last one

    async def gather(self) -> bool:
        """Waits for all of a small body; returns False if it does not arrive in time."""
        parts: list[bytes] = []
        while self.missing and not self._large:
            left = min(self._deadline, self._bridge.stops) - time.monotonic()
            if left < 0:
                return False
            try:
                async with asyncio.timeout(min(left, TICK)):  # the service may stop meanwhile
                    parts.append(await self._next())
            except TimeoutError:
                continue
            except ClientDisconnected:
                return False
            self._large = sum(map(len, parts)) > BODY
        self._data = b"".join(parts)
        return True

    @property
    def file(self) -> Any:
        """The body as a file for the application."""
        return self if self.missing else io.BytesIO(self._data)

    def read(self, size: int = -1) -> bytes:
        """Returns up to `size` bytes, or all for -1, in a thread. Raises `RequestTimeout`, `ClientDisconnected` and `ServiceStopping`."""
        if size < 0:
            parts = [self._data]
            while self.missing:
                parts.append(self._wait())
            self._data = b""
            return b"".join(parts)
        while self.missing and not self._data:
            self._data = self._wait()
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _wait(self) -> bytes:
        self.waits()
        left = min(self._deadline, self._bridge.stops) - time.monotonic()
        future = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            data = future.result(max(0.0, min(NEXT_BYTES, left)))
        except TimeoutError:
            future.cancel()
            raise RequestTimeout("the body did not arrive in time, or not as a whole; send it again") from None
        except CancelledError:
            raise ServiceStopping from None
        self._deadline += len(data) / SLOWEST_RATE
        if not self.missing:
            self.has_arrived()
        return data

    async def drop_rest(self) -> bool:
        """Receives the rest of a body that is not read; returns whether that was all."""
        size = 0
        with contextlib.suppress(TimeoutError, ClientDisconnected):
            async with asyncio.timeout(LINGER):
                while self.missing and size < REST:
                    size += len(await self._next())
        return not self.missing

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientDisconnected
        self.missing = message.get("more_body", False)
        data: bytes = message.get("body", b"")
        return data


class Response:
    """Runs the application for one request, and sends what it returns."""

    def __init__(self, bridge: WsgiBridge, environ: dict[str, Any], connection: HttpConnection, body: RequestBody) -> None:
        self._bridge, self._environ, self._connection, self._body = bridge, environ, connection, body
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        # Of the thread
        self._status_and_headers: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._iterable: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] | None = None
        self._bytes_made = 0
        self._error: BaseException | None = None
        # Of both
        self._pieces: deque[bytes] = deque()
        self._will_look = False  # whether the event loop will look at them soon
        # Of the event loop
        self._begun: Callable[[], None] = lambda: None  # lets another request begin
        self._changed = asyncio.Event()
        self._bytes_sent = 0
        self._parked = False  # whether the application waits for the client
        self._is_made = False  # whether nothing more will come
        self._is_over = False  # whether nothing more will be sent

    # ── in a thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        """Runs the application until its response ends, the client leaves, or too much waits for the client."""
        finished = self._context.run(self._run)
        self._loop.call_soon_threadsafe(self._finish if finished else self._park)

    def _takes_long(self) -> Callable[[], bool]:
        """Lets another request begin; returns the function that tells whether the client has left."""
        self._let_another_begin()
        return lambda: self._connection.lost

    def _let_another_begin(self) -> None:
        self._loop.call_soon_threadsafe(self._begun)

    def _begin_again(self) -> None:
        """Waits, after a large body has arrived, until its request is admitted: what follows is parsing it."""
        admitted = threading.Event()

        def ask() -> None:
            self._begun()
            self._begun = self._bridge.admission.admit(admitted.set)

        self._loop.call_soon_threadsafe(ask)
        admitted.wait(NEXT_BYTES)

    def _run(self) -> bool:
        try:
            if self._iterator is None and not self._connection.lost:
                self._iterable = self._bridge.application(self._environ, self._start)
                self._iterator = iter(self._iterable)
            while self._iterator is not None and not self._connection.lost:
                piece = next(self._iterator, None)
                if piece is None:
                    break
                if not piece:
                    continue
                self._bytes_made += len(piece)
                self._pieces.append(piece)
                if self._bytes_made - self._bytes_sent > BUFFER:
                    return False
                self._tell()
        except BaseException as error:
            self._error = error
        try:
            if (close := getattr(self._iterable, "close", None)) is not None:
                close()
        except BaseException as error:
            self._error = self._error or error
        return True

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        self._status_and_headers = int(status[:3]), [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return self._pieces.append

    def _tell(self) -> None:
        if not self._will_look:
            self._will_look = True
            self._loop.call_soon_threadsafe(self._look)

    # ── in the event loop ─────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        self._will_look = False
        self._begun()
        self._changed.set()

    def _finish(self) -> None:
        self._is_made = True
        self._begun()
        self._changed.set()

    def _park(self) -> None:
        self._parked = True
        self._begun()
        self._changed.set()
        if self._is_over:
            self._continue()  # which closes the application's response

    def _continue(self) -> None:
        self._parked = False
        self._bridge.run(self._work)

    async def send(self, scope: Scope, send: Send) -> None:
        """Sends the response; returns when all of it is sent, or the client has left."""
        self._connection.on_lost = self._changed.set
        if self._environ["PATH_INFO"] in PROBES and self._environ["REQUEST_METHOD"] in ("GET", "HEAD") and not self._body.missing:
            await self._answer_probe()
        else:
            self._environ["charloom.long"] = self._takes_long
            self._body.waits, self._body.has_arrived = self._let_another_begin, self._begin_again
            self._begun = self._bridge.admission.admit(lambda: self._bridge.run(self._work))
        try:
            await self._send_pieces(scope, send)
        finally:
            self._connection.on_lost = None
            self._is_over = True
            if self._parked:
                self._continue()

    async def _answer_probe(self) -> None:
        """Runs the application here: for a probe it waits for nothing."""
        await self._bridge.read_state(self._environ["PATH_INFO"])
        self._environ[READ_BEFORE] = True
        self._is_made = self._context.run(self._run)
        self._changed.set()

    async def _send_pieces(self, scope: Scope, send: Send) -> None:
        length: int | None = None  # unknown until the headers are sent
        while not self._connection.lost:
            await self._changed.wait()
            self._changed.clear()
            while self._pieces and not self._connection.lost:
                if length is None:
                    length = await self._send_head(send)
                piece, more = self._pieces.popleft(), True
                for begin in range(0, len(piece), BUFFER):
                    part = piece if len(piece) <= BUFFER else memoryview(piece)[begin : begin + BUFFER]
                    self._bytes_sent += len(part)
                    more = self._bytes_sent != length or self._body.missing
                    await send({"type": "http.response.body", "body": part, "more_body": more})
                if self._bytes_sent == length:
                    if more:
                        await self._send_end(scope, send, started=True)
                    return
            if self._is_made:
                await self._send_end(scope, send, started=length is not None)
                return
            if self._parked and self._bytes_made - self._bytes_sent <= BUFFER // 2:
                self._continue()

    async def _send_head(self, send: Send) -> int:
        """Sends the status and the headers; returns the length that they announce, or -1."""
        assert self._status_and_headers is not None
        status, headers = self._status_and_headers
        if delay := self._environ.get("charloom.delay", 0):  # seconds
            await asyncio.sleep(delay)
        if self._body.asked_for and self._body.missing:  # it may come or not: nothing after it could be understood
            headers.append((b"connection", b"close"))
        self._connection.responds = True
        await send({"type": "http.response.start", "status": status, "headers": headers})
        return next((int(value) for name, value in headers if name.lower() == b"content-length"), -1)

    async def _send_end(self, scope: Scope, send: Send, *, started: bool) -> None:
        if self._error is not None or self._status_and_headers is None:
            log.error("a request failed", exc_info=self._error)
            if started:
                self._connection.transport.abort()  # so that the client does not take a part for the whole
            else:
                await self._bridge.refuse(scope, send, 500, UNFORESEEN)
            return
        if not started:
            await self._send_head(send)
        if self._body.missing and not self._body.asked_for and not await self._body.drop_rest():
            self._connection.transport.close()
        await send({"type": "http.response.body", "body": b""})
