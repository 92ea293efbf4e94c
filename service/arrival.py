"""A request while it arrives: when enough of it is there that a thread can be given to it.

Threads are few, and a client that sends half a request and no more would keep one. So bytes are gathered without a thread until the
request is whole; only the body of an upload, which is too large to be kept, is left to the thread that reads it.
"""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

HEAD = 2**15  # bytes of a request line with its headers
BODY = 2**16  # bytes of a body that is gathered; a larger one is read by its thread
LONGEST_LINE = 300  # bytes before a chunk, its extensions included

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)
UNDERSTOOD = frozenset({"", "chunked", "identity"})
UPLOAD = re.compile(rb"POST /v1/files[ ?]")
CONTINUE = re.compile(rb"\r\nexpect:", re.IGNORECASE)
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


class Largest(NamedTuple):
    """The largest bodies that are taken, in bytes."""

    body: int
    upload: int


ANY = Largest(sys.maxsize, sys.maxsize)


class Arrival:
    """The bytes of one request. `ready` once a thread should have it; it is `whole` where that thread will wait for nothing.

    Where the head tells that the request will be refused, it is `ready` at once: its body is larger than may be, or in a transfer
    `coding` that nobody here understands.
    """

    def __init__(self, largest: Largest = ANY) -> None:
        self._largest = largest
        self.coding = ""
        self.data = bytearray()
        self.ready = self.whole = self.endless = False  # endless: its head is longer than any is
        self._seen = 0  # bytes in which the end of the head, or of a chunk, was looked for
        self._body: int | None = None  # where it begins
        self._length: int | None = None  # of the body; None for chunks

    def add(self, data: bytes) -> None:
        """Take what has arrived; what it costs does not grow with what was there before."""
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
        if CONTINUE.search(head):  # the client waits for a word
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
        """Follow the chunks from where the last one ended; malformed ones are left to whoever reads the request."""
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
