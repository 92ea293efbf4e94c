"""Reads the bodies of requests: JSON, models, and uploaded files while they arrive.

The multipart body of an upload is read once, piece by piece, and the file's bytes are passed on as they arrive. It is never held as a
whole, neither in memory nor in a temporary file (except a zip, whose table is at its end).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from threading import Semaphore
from types import TracebackType
from typing import Any, Self

from flask import Request
from werkzeug.exceptions import BadRequest, ClientDisconnected, HTTPException, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from corpora.naming import printable
from model.errors import InvalidSetting, MissingSetting, UnknownSetting, Word
from service.web.rate_limits import place_for_body
from service.web.validation import Query

# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


LATE = "the body did not arrive in time, or not as a whole; send it again"
BLOCK = 64 * 1024  # bytes per read


def json_body(request: Request) -> bytes:
    """Return the body of a request that should be JSON; empty if none was sent.

    Raises `UnsupportedMediaType`, which also refuses forms of foreign web pages, `TooManyUploads`, `RequestTimeout`, and
    `RequestEntityTooLarge`.
    """
    refuse_packed(request)
    late = RequestTimeout(LATE)
    try:
        with place_for_body(request):
            data = request.get_data(cache=False)
    except ClientDisconnected:
        raise late from None
    if len(data) < (request.content_length or 0):
        raise late
    if len(data) >= (request.max_content_length or sys.maxsize) and request.content_length is None:
        raise RequestEntityTooLarge  # werkzeug silently cuts a chunked body off there
    kind = request.mimetype
    if data and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"the content type is {kind or 'not given'}; it must be application/json (-H 'Content-Type: application/json')"
        )
    return data


def expect_large(request: Request, most: int) -> None:
    """Allow up to `most` bytes for the body of this request.

    Raises `RequestEntityTooLarge` if its header announces more, and `UnsupportedMediaType` if the body has a content encoding.
    """
    request.max_content_length = most
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge
    refuse_packed(request)


def binary_body(request: Request, most: int, take: Callable[[int], None]) -> bytes:
    """Return a body of up to `most` bytes; `take(bytes)` is called before memory is used for a part of it, and may raise.

    Raises as `expect_large`, `RequestTimeout` and `TooManyUploads`.
    """
    expect_large(request, most)
    parts, read = [], 0
    with place_for_body(request):
        try:
            while block := request.stream.read(BLOCK):
                take(len(block))
                parts.append(block)
                read += len(block)
        except ClientDisconnected:
            raise RequestTimeout(LATE) from None
    if read < (request.content_length or 0):
        raise RequestTimeout(LATE)
    return b"".join(parts)


def refuse_packed(request: Request) -> None:
    """Raise `UnsupportedMediaType` if the body has a content encoding, which this service does not decode."""
    coding = request.headers.get("Content-Encoding", "").strip()
    if coding.lower() not in ("", "identity"):
        raise UnsupportedMediaType(f"the content encoding is {coding[:60]}; send the body as it is, without Content-Encoding")


def client_left(request: Request) -> Callable[[], bool]:
    """Return a function that tells whether the client has closed the connection; always False if the server does not tell.

    Call it before the request waits or works for long: from now on, others begin.
    """
    takes_long: Callable[[], Callable[[], bool]] | None = request.environ.get("charloom.long")
    return takes_long() if takes_long else lambda: False


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────────────

LONGEST_FIELD = 256 * 1024  # bytes; of the headers of a part, too
MOST_PARTS = 100
EXPIRES = ("expires_after[anchor]", "expires_after[seconds]")  # fields that OpenAI's clients may send: files stay until they are deleted
REST = 64 * 1024**2  # bytes still read after an error: many clients read the answer only when they have sent everything


class Upload:
    """The form of a request, with one file called ``file``: a stream of the file's bytes, with fields around it.

    ::

        with Upload(request, FORM) as upload:
            settings = upload.begin()
            while data := upload.read(65536):
                ...
            upload.finish()

    Reading raises `BadRequest` if the form is malformed, `RequestEntityTooLarge`, `RequestTimeout`, and `InvalidSetting`,
    `UnknownSetting` or `MissingSetting` for its fields. The rest of the body after an error is read and dropped.

    Inside, the upload has one of a few places at work. It leaves its place while it waits for bytes. Therefore a hundred uploads take
    little more processor and memory at a time than two, and others are answered meanwhile.
    """

    def __init__(self, request: Request, form: Query, places: Semaphore) -> None:
        """Raises `UnsupportedMediaType` and `BadRequest` if the headers announce no form."""
        kind, boundary = request.mimetype, request.mimetype_params.get("boundary")
        if kind != "multipart/form-data":
            raise UnsupportedMediaType(
                f"the content type is {kind or 'not given'}; it must be multipart/form-data (curl -F file=@tale.txt sends that)"
            )
        if not boundary:
            raise BadRequest("the content type multipart/form-data names no boundary; let your client set that header by itself")
        self.file_name, self.expires = "", False  # whether the client asked that the file be deleted after a time
        self._request, self._form, self._places = request, form, places
        self._boundary = b"--" + boundary.encode("utf-8", "replace")
        self._decoder = MultipartDecoder(self._boundary[2:])
        self._values: dict[str, list[str]] = {}
        self._data = self._file_data()
        self._held = b""
        self._read = 0
        self._place = contextlib.ExitStack()
        self._begun = self._ended = False

    def begin(self) -> dict[str, Any]:
        """Read up to the file; returns the fields before it."""
        self._held = next(self._data, b"")
        return self._form.read(self._values)

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes of the file; none at its end."""
        while not self._held:
            data = next(self._data, None)
            if data is None:
                return b""
            self._held = data
        data, self._held = self._held[:size], self._held[size:]
        return data

    def finish(self) -> None:
        """Read the rest of the form."""
        for _ in self._data:
            pass

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let others work while this upload waits for something."""
        self._places.release()
        try:
            yield
        finally:
            self._places.acquire()

    def seekable(self) -> bool:
        """Return False: the file comes over the network."""
        return False

    def __enter__(self) -> Self:
        """Raises `TooManyUploads`."""
        self._place.enter_context(place_for_body(self._request))
        self._places.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._places.release()
        enough = self._read + REST
        with self._place:
            if isinstance(error, Exception):
                with contextlib.suppress(HTTPException):
                    while not self._ended and self._read < enough:
                        self._more()

    # ── parsing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _file_data(self) -> Iterator[bytes]:
        """Yield the bytes of the file, after an empty piece at its beginning; keeps the fields before and after it."""
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
        """Return whether the part is the file."""
        if name == "file":
            if self._begun:
                raise InvalidSetting(
                    "file", getattr(event, "filename", ""), "sent once", "upload several files one by one, or as an archive"
                )
            self._begun, self.file_name = True, printable(getattr(event, "filename", ""))
            return True
        if name in EXPIRES:
            self.expires = True
            return False
        if name not in self._form.fields:
            raise UnknownSetting(name[:60], [*self._form.fields, "file"])
        if self._begun and name != "purpose":
            raise InvalidSetting(name, Word("sent after the file"), "sent before it", "which is read as it arrives")
        return False

    def _next(self) -> object:
        """Return the decoder's next event."""
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
        """Return whether the buffer may end within a boundary's line, whose CR the decoder would take for a byte of the file."""
        _, found, rest = self._decoder.buffer.rpartition(self._boundary)
        return bool(found) and not rest.strip(b"- \t")

    def _more(self) -> bytes:
        """Return the next block of the body; nothing at its end."""
        late = RequestTimeout("the file did not arrive in time, or not as a whole; send it again")
        length = self._request.content_length
        self._ended = True  # unless there is more
        if self._read == length:
            return b""
        try:
            with self.waiting():
                data = self._request.stream.read(BLOCK)
        except ClientDisconnected:
            raise late from None
        if not data and length is not None:
            raise late
        self._read += len(data)
        self._ended = not data
        return data
