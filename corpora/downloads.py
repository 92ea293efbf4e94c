"""Downloads a text over http or https: into a nameless temporary file, so that a broken download leaves nothing behind."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from corpora.decoding import BLOCK
from corpora.expansion import temporary_copy, wrapping_errors
from corpora.reading import ReadOptions
from model.errors import ChecksumMismatch, DownloadFailed, SourceError, TextTooLarge, UnreadableSource

TIMEOUT = 30.0  # seconds without a single byte
Progress = Callable[[int, int | None], None]  # bytes received, total bytes if the server says so


def is_url(what: str) -> bool:
    """Whether `what` is an http or https URL."""
    return what.lower().startswith(("http://", "https://"))


def check_url(url: str) -> str:
    """Returns the URL in percent-encoding. Raises `UnreadableSource` without a host, or with a password, which would be stored."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UnreadableSource(url, str(error)) from None
    if parts.username is not None:
        host = f"{host}:{port}" if port else host
        raise UnreadableSource(f"{parts.scheme}://…@{host}", "a URL with a user name or password is not supported; fetch the file yourself")
    if not host:
        raise UnreadableSource(url, "the URL names no host")
    return urlunsplit(
        (parts.scheme, parts.netloc, quote(parts.path or "/", "/%:@!$&'()*+,;=~"), quote(parts.query, "/%:@!$&'()*+,;=~?"), "")
    )


def file_name_of(url: str) -> str:
    """Returns the last part of a URL's path, or the host if the path is empty."""
    parts = urlsplit(url)
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or ""


@contextlib.contextmanager
def download(
    url: str, options: ReadOptions, sha256: str | None = None, progress: Progress | None = None, timeout: float = TIMEOUT
) -> Iterator[BinaryIO]:
    """Yields the body of a URL's response as a temporary file, which is deleted afterwards.

    Raises `DownloadFailed`, `TextTooLarge`, and `ChecksumMismatch` if `sha256` (lower-case hex) is given and differs.
    """
    with tempfile.TemporaryFile(dir=options.scratch) as file:
        encoding = _received(url, file, options, progress, timeout)
        with contextlib.ExitStack() as stack:
            body = cast(BinaryIO, file)
            # For a .gz file some servers send "Content-Encoding: gzip"; the file itself is compressed, and is opened as such later.
            if encoding in ("gzip", "x-gzip") and not urlsplit(url).path.endswith((".gz", ".tgz")):
                file.seek(0)
                stream = stack.enter_context(gzip.GzipFile(fileobj=file))
                with wrapping_errors(url):
                    body = stack.enter_context(temporary_copy(stream, options))
            elif encoding not in ("", "identity", "gzip", "x-gzip"):
                raise DownloadFailed(url, f"the server sent it encoded as {encoding}, which was not requested")
            check_sha256(body, url, sha256)
            yield body


def check_sha256(file: BinaryIO, origin: str, expected: str | None) -> None:
    """Raises `ChecksumMismatch` if a hash is expected and the file has another one; rewinds the file."""
    if expected is not None:
        file.seek(0)
        found = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        if found != expected:
            raise ChecksumMismatch(origin, expected, found)
    file.seek(0)


def _received(url: str, file: IO[bytes], options: ReadOptions, progress: Progress | None, timeout: float) -> str:
    """Writes the body into the file and returns its Content-Encoding."""
    try:
        request = urllib.request.Request(check_url(url), headers={"User-Agent": "charloom", "Accept-Encoding": "identity"})
        with _opener().open(request, timeout=timeout) as response:
            total = int(length) if (length := response.headers["Content-Length"] or "").isdecimal() else None
            if total is not None and total > options.limits.size:
                raise TextTooLarge(url, options.limits.size)
            count = 0
            while data := response.read(BLOCK):
                count += len(data)
                if count > options.limits.size:
                    raise TextTooLarge(url, options.limits.size)
                options.check_room(len(data))
                file.write(data)
                if progress:
                    progress(count, total)
            if total is not None and count < total:
                raise DownloadFailed(url, f"the connection ended after {count:,} of {total:,} bytes")
            return (response.headers["Content-Encoding"] or "").strip().lower()
    except SourceError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(url, _why(error, timeout)) from None


def _why(error: Exception, timeout: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError) else error
    match cause:
        case urllib.error.HTTPError():
            cause.close()
            return f"the server answered {cause.code} {cause.msg.splitlines()[0] if cause.msg else ''}".rstrip()
        case socket.gaierror():
            return "the name of its host is not known, or there is no network"
        case TimeoutError():
            return f"nothing came for {timeout:g} seconds"
        case http.client.IncompleteRead() | ConnectionError():
            return f"the connection was refused or broke off ({cause})"
        case _:
            return str(cause) or type(cause).__name__


def _opener() -> urllib.request.OpenerDirector:
    """Returns an opener that follows redirections to http and https only; the default one would also follow one to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
