"""Bodies of requests: JSON, and uploads in pieces.

Reading what a client sends, and whether it is still there.

A file that is being uploaded: its multipart body is read once, piece by piece, and what the file holds goes on as it arrives.

Nothing is ever held as a whole, neither in memory nor in a temporary file (but for a zip, whose table stands at its end).
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from flask import Request
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from corpora.naming import printable
from model.errors import InvalidSetting, MissingSetting, UnknownSetting, Word
from service.web.validation import Query

# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def json_body(request: Request) -> bytes:
    """The body of a request that should be JSON; empty where none was sent.

    Raises `UnsupportedMediaType`, which also keeps forms of foreign web pages out, `RequestTimeout`, and `RequestEntityTooLarge`.
    """
    refuse_packed(request)
    late = RequestTimeout("the body did not arrive in time, or not as a whole; send it again")
    try:
        data = request.get_data(cache=False)
    except ClientDisconnected:
        raise late from None
    if len(data) < (request.content_length or 0):
        raise late
    if len(data) >= (request.max_content_length or sys.maxsize) and request.content_length is None:
        raise RequestEntityTooLarge  # werkzeug cuts a body in chunks off there without a word
    kind = request.mimetype
    if data and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"the content type is {kind or 'not given'}; it must be application/json (-H 'Content-Type: application/json')"
        )
    return data


def expect_large(request: Request, most: int) -> None:
    """Let the body of a request have up to `most` bytes, whatever others may.

    Raises `RequestEntityTooLarge` where its header tells of more, and `UnsupportedMediaType` where the body is packed.
    """
    request.max_content_length = most
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge
    refuse_packed(request)


def refuse_packed(request: Request) -> None:
    """Raise `UnsupportedMediaType` where the body has a content encoding, which nobody here undoes."""
    coding = request.headers.get("Content-Encoding", "").strip()
    if coding.lower() not in ("", "identity"):
        raise UnsupportedMediaType(f"the content encoding is {coding[:60]}; send the body as it is, without Content-Encoding")


def client_left(request: Request) -> Callable[[], bool]:
    """A function that tells whether the client of a request has hung up. Servers other than gunicorn cannot tell: never."""
    connection: socket.socket | None = request.environ.get("gunicorn.socket")

    def left() -> bool:
        if connection is None:
            return False
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    return left


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

BLOCK = 64 * 1024  # bytes that are read at once
LONGEST_FIELD = 256 * 1024  # bytes; of the headers of a part, too
MOST_PARTS = 100
IGNORED = ("expires_after[anchor]", "expires_after[seconds]")  # that OpenAI's clients may send: files stay until they are deleted
REST = 64 * 1024**2  # bytes behind an error that are still read: many clients listen only when they have sent everything


class Upload:
    """The form of a request, with one file called ``file``: a stream of the file's bytes, with fields around it.

    ::

        with Upload(request, FORM) as upload:
            settings = upload.begin()
            while data := upload.read(65536):
                ...
            upload.finish()

    Reading raises `BadRequest` where the form is malformed, `RequestEntityTooLarge`, `RequestTimeout`, and `InvalidSetting`,
    `UnknownSetting` or `MissingSetting` for what is wrong with the fields. What is left after an error is read and thrown away.
    """

    def __init__(self, request: Request, form: Query) -> None:
        """Raises `UnsupportedMediaType` and `BadRequest` where the headers tell that it is no form."""
        kind, boundary = request.mimetype, request.mimetype_params.get("boundary")
        if kind != "multipart/form-data":
            raise UnsupportedMediaType(
                f"the content type is {kind or 'not given'}; it must be multipart/form-data (curl -F file=@tale.txt sends that)"
            )
        if not boundary:
            raise BadRequest("the content type multipart/form-data names no boundary; let your client set that header by itself")
        self.file_name = ""
        self._request, self._form = request, form
        self._boundary = b"--" + boundary.encode("utf-8", "replace")
        self._decoder = MultipartDecoder(self._boundary[2:])
        self._values: dict[str, list[str]] = {}
        self._data = self._file_data()
        self._held = b""
        self._read = 0
        self._begun = self._ended = False

    def begin(self) -> dict[str, Any]:
        """Read up to the file; the fields that stand before it."""
        self._held = next(self._data, b"")
        return self._form.read(self._values)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes of the file; none at its end."""
        while not self._held:
            data = next(self._data, None)
            if data is None:
                return b""
            self._held = data
        data, self._held = self._held[:size], self._held[size:]
        return data

    def finish(self) -> None:
        """Read what stands behind the file."""
        for _ in self._data:
            pass

    def seekable(self) -> bool:
        """It comes over the network."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        enough = self._read + REST
        if isinstance(error, Exception):
            with contextlib.suppress(HTTPException):
                while not self._ended and self._read < enough:
                    self._more()

    # ── parsing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _file_data(self) -> Iterator[bytes]:
        """The bytes of the file; fields are noted on the way. It begins with an empty piece."""
        name, field, parts = "", bytearray(), 0
        while not isinstance(event := self._next(), Epilogue):
            if isinstance(event, (File, Field)):
                name, field, parts = event.name or "", bytearray(), parts + 1
                if parts > MOST_PARTS:
                    raise BadRequest(f"the form has more than {MOST_PARTS} parts; it has one file and a few fields")
                if self._begin_part(name, event):
                    yield b""
            elif isinstance(event, Data) and name == "file":
                yield event.data
            elif isinstance(event, Data):
                field += event.data
                if len(field) > LONGEST_FIELD:
                    raise BadRequest(f"the field {name} is longer than {LONGEST_FIELD:,} bytes; send a shorter one")
                if not event.more_data:
                    self._values.setdefault(name, []).append(field.decode("utf-8", "replace"))
        self._form.read(self._values)
        if not self._begun:
            raise MissingSetting("file", "a text, or an archive of texts")

    def _begin_part(self, name: str, event: File | Field) -> bool:
        """Whether it is the file."""
        if name == "file":
            if self._begun:
                raise InvalidSetting(
                    "file", getattr(event, "filename", ""), "sent once", "upload several files one by one, or as an archive"
                )
            self._begun, self.file_name = True, printable(getattr(event, "filename", ""))
            return True
        if name in IGNORED:
            return False
        if name not in self._form.fields:
            raise UnknownSetting(name[:60], [*self._form.fields, "file"])
        if self._begun and name != "purpose":
            raise InvalidSetting(name, Word("sent behind the file"), "sent before it", "which is read as it arrives")
        return False

    def _next(self) -> object:
        """The decoder's next event."""
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                self._feed()
                while self._ends_in_boundary() and not self._ended:
                    self._feed()
        except ValueError as error:
            raise BadRequest(f"the form cannot be read ({error}); send multipart/form-data as curl -F file=@tale.txt does") from None
        return event

    def _feed(self) -> None:
        if len(self._decoder.buffer) > LONGEST_FIELD:
            raise BadRequest(f"the form has a part whose headers are longer than {LONGEST_FIELD:,} bytes")
        self._decoder.receive_data(self._more() or None)

    def _ends_in_boundary(self) -> bool:
        """Whether what has arrived may end in the middle of a boundary's line: of such a one the decoder gives its CR to the file."""
        _, found, rest = self._decoder.buffer.rpartition(self._boundary)
        return bool(found) and not rest.strip(b"- \t")

    def _more(self) -> bytes:
        """Some more of the body; nothing at its end."""
        late = RequestTimeout("the file did not arrive in time, or not as a whole; send it again")
        length = self._request.content_length
        self._ended = True  # unless it is seen that there is more
        if self._read == length:
            return b""
        try:
            data = self._request.stream.read(BLOCK)
        except ClientDisconnected:
            raise late from None
        if not data and length is not None:
            raise late
        self._read += len(data)
        self._ended = not data
        return data
