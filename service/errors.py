"""Exception -> HTTP status, in one JSON shape: ``{"error": {"message", "type", "param", "code"}}``.

A `CharloomError` is worded for users and says itself what was wrong. Of any other exception the answer tells nothing; the log does.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from model.errors import (
    CharloomError,
    CheckpointError,
    Conflict,
    GenerationFailed,
    NotFound,
    OutOfMemory,
    ServiceError,
    StoreError,
    TooManyRequests,
)
from service.api.answers import answer
from service.serving import Service

log = logging.getLogger("charloom")

# The first class that fits decides; whatever else Charloom refuses is the client's to mend.
STATUSES: tuple[tuple[type[CharloomError], int], ...] = (
    (TooManyRequests, 429),
    (GenerationFailed, 500),
    (ServiceError, 503),
    (OutOfMemory, 503),
    (StoreError, 503),
    (CheckpointError, 500),
    (NotFound, 404),
    (Conflict, 409),
    (CharloomError, 400),
)
TYPES = {429: "rate_limit_error", 409: "conflict_error", 404: "not_found_error", 405: "not_found_error"}
RETRY_AFTER = {429: 1, 503: 5}  # seconds
UNFORESEEN = "something went wrong inside the service; its log says what"


def status_of(error: Exception) -> int:
    """The HTTP status for an exception."""
    if isinstance(error, HTTPException):
        return error.code or 500
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def body_of(error: Exception, service: Service) -> dict[str, Any]:
    """The one shape. `code` is the error's name in snake case."""
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
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def install(app: Flask, service: Service) -> None:
    """Answer every exception of `app` in the one shape."""

    def handle(error: Exception) -> Response | RequestRedirect:
        if isinstance(error, RequestRedirect):
            return error
        status = status_of(error)
        if status >= 500 and not isinstance(error, ServiceError):
            log.error("%s %s failed", request.method, request.path, exc_info=error)
        response = answer(body_of(error, service), status)
        if isinstance(error, HTTPException):
            for name, value in error.get_headers(request.environ):
                if name.lower() not in ("content-type", "content-length"):
                    response.headers[name] = value
        if status in RETRY_AFTER:
            response.headers["Retry-After"] = str(RETRY_AFTER[status])
        return response

    app.register_error_handler(Exception, handle)


def _sentence(error: HTTPException, service: Service) -> str:
    """What werkzeug found wrong, with the limit and the next step."""
    if error.code == 404:
        return f"there is nothing at {request.path[:200]}; the page at / shows what there is"
    if error.code == 405:
        allowed = ", ".join(sorted(set(getattr(error, "valid_methods", None) or ()) - {"OPTIONS", "HEAD"}))
        return f"{request.path} does not take {request.method}; it takes {allowed}"
    if error.code == 413:
        return f"the body is larger than {service.config.max_body:,} bytes, the limit of this service; send a shorter one"
    return error.description or error.name
