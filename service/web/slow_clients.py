"""Gathers requests without a thread, and measures how far clients lag behind in reading responses.

There are few threads, and a client that sends half a request and stops would keep one. So the main thread gathers bytes until the
request is complete. Only a large body, such as an upload, is read by the thread that handles its request.

`socket.sendall` waits without limit while the client takes a byte now and then, and the kernel accepts megabytes that may never be
read. Here a response is sent in small pieces, of which the kernel holds few, so that a slow client is noticed as soon as it lags.
"""

from __future__ import annotations

import errno
import re
import select
import socket
import sys
import time
from typing import Any, NamedTuple

# ── requests that arrive ──────────────────────────────────────────────────────────────────────────────────────────────

HEAD = 2**15  # bytes of a request line with its headers, at most
BODY = 2**16  # bytes of a body that the main thread gathers, at most; a thread reads a larger one
LONGEST_LINE = 300  # bytes of the line before a chunk, with its extensions, at most

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)
UNDERSTOOD = frozenset({"", "chunked", "identity"})
UPLOAD = re.compile(rb"POST /v1/files[ ?]")
CONTINUE = re.compile(rb"\r\nexpect:", re.IGNORECASE)
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class Largest(NamedTuple):
    """Holds the sizes of the largest bodies that are accepted, in bytes."""

    body: int
    upload: int


ANY = Largest(sys.maxsize, sys.maxsize)


class Arrival:
    """Gathers the bytes of one request. It is `ready` if a thread should handle it, and `whole` if no more bytes are missing.

    A request that will be refused is `ready` as soon as its headers show it: the body is too large, or has a transfer `coding` that
    is not supported.
    """

    def __init__(self, largest: Largest = ANY) -> None:
        self._largest = largest
        self.coding = ""
        self.data = bytearray()
        self.ready = self.whole = self.endless = False  # endless: the headers are longer than HEAD
        self._seen = 0  # bytes already searched for the end of the head, or of a chunk
        self._body: int | None = None  # the offset of the body
        self._length: int | None = None  # of the body; None for chunks

    def add(self, data: bytes) -> None:
        """Adds the next bytes; the cost does not grow with the bytes before them."""
        self.data += data
        if self._body is None:
            self._find_head()
        if self._body is not None and not self.ready:
            self._look_at_body(self._body)

    def _find_head(self) -> None:
        end = self.data.find(b"\r\n\r\n", max(0, self._seen - 3))
        self._seen = len(self.data)
        if end < 0 or end > HEAD:
            self.endless = end > HEAD or self._seen > HEAD
            return
        self._body = self._seen = end + 4
        head = bytes(self.data[: end + 2])
        lengths = LENGTH.findall(head)
        if CONTINUE.search(head):  # the client waits for 100 Continue
            self.ready = True
        codings = b",".join(CODINGS.findall(head)).decode("latin-1")
        self.coding = codings.strip() if any(each.strip(" \t").lower() not in UNDERSTOOD for each in codings.split(",")) else ""
        if not CODINGS.search(head):
            self._length = int(lengths[0]) if lengths else 0
            self.ready = self.ready or self._length > (self._largest.upload if UPLOAD.match(head) else self._largest.body)
        self.ready = self.ready or bool(self.coding)
        self.whole = self._length is not None and len(self.data) - self._body >= self._length

    def _look_at_body(self, begin: int) -> None:
        arrived = len(self.data) - begin
        if self._length is None:
            self._look_at_chunks()
        else:
            self.whole = arrived >= self._length
        self.ready = self.ready or self.whole or arrived >= BODY

    def _look_at_chunks(self) -> None:
        """Finds the chunks after the last complete one; gunicorn's parser reports malformed ones."""
        while (found := CHUNK.match(self.data, self._seen)) is not None:
            size = int(found[1], 16)
            if size == 0:  # trailers may follow, up to an empty line
                self.ready = self.whole = self.data.find(b"\r\n\r\n", found.end() - 2) >= 0
                return
            end = found.end() + size
            if end + 2 > len(self.data):
                return
            if self.data[end : end + 2] != b"\r\n":
                self.ready = True
                return
            self._seen = end + 2
        line = self.data[self._seen : self._seen + LONGEST_LINE]
        self.ready = b"\r\n" in line or len(line) == LONGEST_LINE


# ── responses that are sent ───────────────────────────────────────────────────────────────────────────────────────────

READING = 20.0  # seconds that a client may lag behind in reading its response
SLOWEST = 2**14  # bytes a second; a slower client lags behind
PIECE = 2**14  # bytes that are sent at once
UNSENT = 2**16  # bytes that the kernel may hold and has not sent yet


class Outgoing(socket.socket):
    """Sends responses to a client, and counts how long sending has waited since `begin`.

    Only waiting counts, not the time in which the next bytes of a response are generated.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Takes over a connected socket."""
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        if self.family in (socket.AF_INET, socket.AF_INET6):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self.begin()

    def begin(self) -> None:
        """Resets the counts for the next response."""
        self._behind = self._waited = 0.0
        self._since: float | None = None  # start of the present wait

    def waited(self, now: float) -> float:
        """Returns the seconds that sending has waited, in total."""
        return self._waited + self._waiting(now)

    def behind(self, now: float) -> float:
        """Returns the seconds that the client lags behind a reader of `SLOWEST` bytes a second.

        Never below zero: a client that was quick once gets no credit for it later.
        """
        return self._behind + self._waiting(now)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Sends all of `data`. Raises `BlockingIOError` as soon as the client lags `READING` seconds behind."""
        left = memoryview(data).cast("B")
        while left:
            try:
                sent = self.send(left[:PIECE], flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait()
            else:
                self._behind = max(0.0, self._behind - sent / SLOWEST)
                left = left[sent:]

    def _waiting(self, now: float) -> float:
        since = self._since
        return now - since if since is not None else 0.0

    def _wait(self) -> None:
        """Waits until more can be sent, or the connection has ended. Raises `BlockingIOError` as `sendall`."""
        ready = select.poll()
        ready.register(self, select.POLLOUT)
        began = self._since = time.monotonic()
        ready.poll((READING - self._behind) * 1000)
        self._since = None  # reset first, or another thread might count this wait twice
        took = time.monotonic() - began
        self._behind += took
        self._waited += took
        if self._behind >= READING:
            raise BlockingIOError(errno.EAGAIN, "the client reads its answer too slowly")
