"""Reading what a client sends, and whether it is still there."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from flask import Request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout, UnsupportedMediaType


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
