"""Turns exceptions into HTTP answers of one JSON shape: ``{"error": {"message", "type", "param", "code"}}``.

The message of a `CharloomError` is worded for users. Any other exception goes to the log only, and its answer does not describe it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from model.errors import CharloomError, CheckpointError, TextTooLarge
from service.system.errors import (
    AccessRefused,
    Conflict,
    GenerationFailed,
    InvalidApiKey,
    NoRoomLeft,
    NotFound,
    OutOfMemory,
    ServiceError,
    StoreError,
    TooManyRequests,
)
from service.web.api.responses import answer
from service.web.state import Service

log = logging.getLogger("charloom")

# The first class that matches decides; any other `CharloomError` is the fault of the request.
STATUSES: tuple[tuple[type[CharloomError], int], ...] = (
    (TooManyRequests, 429),
    (GenerationFailed, 500),
    (ServiceError, 503),
    (OutOfMemory, 503),
    (NoRoomLeft, 507),
    (StoreError, 503),
    (CheckpointError, 500),
    (InvalidApiKey, 401),
    (AccessRefused, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TextTooLarge, 413),
    (CharloomError, 400),
)
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
# When a client gets which status: for /openapi.json, /docs and docs/http.md.
REASONS = {
    400: "a value is of the wrong type or out of its range, a field is not known, settings contradict each other, a text cannot be read",
    401: "a key is needed, and none was sent, or it is not valid or has expired",
    403: "the key has too narrow a scope; or the request came under a foreign name, or from a foreign page",
    404: "it does not exist; no model is trained yet",
    405: "another method is needed",
    408: "the request did not arrive in time",
    409: "it is in use, taken, or in a state that does not allow it; `X-Should-Retry: false` says that a retry would fail, too",
    413: "the body or the file is larger than the limit",
    414: "the address is too long",
    415: "the body is of another content type than the route takes, or packed (`Content-Encoding`)",
    416: "a file of the pages has no such bytes (`Range`)",
    429: "too many requests are waiting, or the caller has reached a limit of its own; `Retry-After` says when to try again",
    431: "the headers are too long",
    500: "an internal error, described in the log; or a stored checkpoint is damaged",
    503: "the model is being trained, the database is locked or cannot be used, memory is short, the service is stopping or not ready",
    507: "the disk has less room than must be left",
}
RETRY_AFTER = {429: 1, 503: 5}  # seconds
UNFORESEEN = "something went wrong inside the service; its log says what"


@contextlib.contextmanager
def about(param: str) -> Iterator[None]:
    """Name `param` as the wrong parameter in every `CharloomError` that is raised inside."""
    try:
        yield
    except CharloomError as error:
        error.param = param
        raise


def status_of(error: Exception) -> int:
    """Return the HTTP status for an exception."""
    return (error.code or 500) if isinstance(error, HTTPException) else status_of_kind(type(error))


def status_of_kind(kind: type[Exception]) -> int:
    """Return the HTTP status for exceptions of a class."""
    return next((status for base, status in STATUSES if issubclass(kind, base)), 500)


def body_of(error: Exception, service: Service) -> dict[str, Any]:
    """Return the JSON of an error; `code` is the name of its class in snake case."""
    status = status_of(error)
    if isinstance(error, CharloomError):
        path = service.store.path
        message, param = str(error).replace(str(path), path.name), error.param
    elif isinstance(error, HTTPException):
        message, param = _sentence(error, service), None
    else:
        message, param = UNFORESEEN, None
    known = isinstance(error, CharloomError | HTTPException)
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower() if known else "internal_error"
    found = error_object(status, message, code, param)
    if proposals := [{"encoding": name, "sample": sample} for name, sample in getattr(error, "proposals", ())]:
        found["error"]["encodings"] = proposals
    if columns := getattr(error, "columns", None):
        found["error"]["columns"] = columns
    return found


def error_object(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the JSON of an error, whose type follows from its status."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def install(app: Flask, service: Service) -> None:
    """Answer every exception of `app` in this shape."""

    def handle(error: Exception) -> Response | RequestRedirect:
        if isinstance(error, RequestRedirect):
            return error
        status = status_of(error)
        if status >= 500 and not isinstance(error, ServiceError):
            known = isinstance(error, CharloomError)
            log.error("%s %s failed%s", request.method, request.path, f": {error}" if known else "", exc_info=None if known else error)
        response = answer(body_of(error, service), status)
        if isinstance(error, HTTPException):
            for name, value in error.get_headers(request.environ):
                if name.lower() not in ("content-type", "content-length"):
                    response.headers[name] = value
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="Charloom"'
        if status in (409, 507):
            response.headers["X-Should-Retry"] = "false"  # OpenAI's clients would send the same again
        if wait := getattr(error, "retry_after", None) or RETRY_AFTER.get(status):
            response.headers["Retry-After"] = str(wait)
        return response

    app.register_error_handler(Exception, handle)


CONTINUES = "these models only continue a text: send it as `prompt` to /v1/completions"
# Routes of OpenAI's API that clients ask for, and what to do instead.
INSTEAD = {
    "/v1/chat/completions": CONTINUES,
    "/v1/responses": CONTINUES,
    "/v1/embeddings": "these models have no embeddings of texts; /v1/inspect shows what is inside them",
    "/v1/uploads": "send a file of any size in one request to /v1/files",
    "/v1/batches": "send several prompts in one request to /v1/completions",
}


def _instead(path: str) -> str:
    """Return the next step for a path that has no route."""
    for theirs, step in INSTEAD.items():
        if f"/v1{path.removeprefix('/v1')}/".startswith(f"{theirs}/"):
            return step
    routes = current_app.create_url_adapter(request)
    for other in (f"/v1{path}", path.removeprefix("/v1"), path.replace("/v1/v1", "/v1", 1)):
        if other not in ("", path) and routes is not None and routes.test(other, request.method):
            return f"it is at {request.root_path}{other}{'; the base address of a client ends in /v1, once' if '/v1/' in other else ''}"
    return f"the page at {request.root_path}/ and {request.root_path}/docs show what there is"


def _sentence(error: HTTPException, service: Service) -> str:
    """Return a message for werkzeug's error, with the limit and the next step."""
    if error.code == 404:
        return f"there is nothing at {request.path[:200]}; {_instead(request.path)}"
    if error.code == 405:
        allowed = ", ".join(sorted(set(getattr(error, "valid_methods", None) or ()) - {"OPTIONS", "HEAD"}))
        return f"{request.path} does not take {request.method}; it takes {allowed}"
    if error.code == 413:
        limit = request.max_content_length or service.config.max_body
        return f"the body is larger than {limit:,} bytes, the limit of this service; send a shorter one"
    return error.description or error.name
