"""Sending an answer to a client that may read it slowly, or not at all.

`socket.sendall` waits for as long as now and then a byte is taken, and the kernel takes megabytes that nobody may ever read. Here an
answer goes out in small pieces, of which the kernel holds few, so that a client that falls behind shows as it does.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

READING = 20.0  # seconds that a client may be behind with reading its answer
SLOWEST = 2**14  # bytes a second below which it falls behind
PIECE = 2**14  # bytes that are sent at once
UNSENT = 2**16  # bytes that the kernel may hold beside those that are on their way


class Outgoing(socket.socket):
    """A connection to a client, with an account of how long it has kept its sender waiting since `begin`.

    Only waiting counts: not the time in which the next bytes of an answer are made, however long that takes.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take a connected socket over."""
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        if self.family in (socket.AF_INET, socket.AF_INET6):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self.begin()

    def begin(self) -> None:
        """Forget the account: a new answer begins."""
        self._behind = self._waited = 0.0
        self._since: float | None = None  # when the wait began that goes on

    def waited(self, now: float) -> float:
        """Seconds that sending had to wait, in all."""
        return self._waited + self._waiting(now)

    def behind(self, now: float) -> float:
        """Seconds that sending had to wait, less those that what was sent takes at `SLOWEST`.

        It never gets below zero: who was quick once may not be slow for it later.
        """
        return self._behind + self._waiting(now)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of it. Raises `BlockingIOError` as soon as the client is `READING` seconds behind."""
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
        """Wait until more can be sent, or the connection has ended."""
        ready = select.poll()
        ready.register(self, select.POLLOUT)
        began = self._since = time.monotonic()
        ready.poll((READING - self._behind) * 1000)
        self._since = None  # first, or another thread might count this wait twice
        took = time.monotonic() - began
        self._behind += took
        self._waited += took
        if self._behind >= READING:
            raise BlockingIOError(errno.EAGAIN, "the client reads its answer too slowly")
