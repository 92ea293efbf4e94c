"""Limits what a caller may ask for in a minute, and the large bodies it sends at a time.

The symbols that were read and written for a caller count once a request has ended, so that none is counted that was never written. A
caller whose minute is used up waits until it has refilled; one request may take more than is left. The headers ``x-ratelimit-*`` have
the meaning and the form of OpenAI's: `reset` is the time until all of the limit is there again, as ``6m0s`` or ``12ms``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from flask import Flask, Request, Response, current_app, g, request

from service.system.concurrency import Allowance, Places
from service.system.errors import RateLimitExceeded, TooManyUploads
from service.web.auth import WRITING, caller
from service.web.service_config import ServiceConfig

LARGE_BODIES = 16  # that the server reads at the same time
HEADERS = {
    "x-ratelimit-limit-requests": "requests that the caller may send in a minute",
    "x-ratelimit-remaining-requests": "requests that are left of it",
    "x-ratelimit-reset-requests": "time until all of them are left again, such as 1s or 6m0s",
    "x-ratelimit-limit-tokens": "symbols that may be read and written for the caller in a minute",
    "x-ratelimit-remaining-tokens": "symbols that are left of it",
    "x-ratelimit-reset-tokens": "time until all of them are left again",
}


class RateLimits:
    """What each caller has left of its minute, and the places for large bodies. May be used from any thread."""

    def __init__(self, config: ServiceConfig) -> None:
        self.requests = Allowance(config.caller_requests, config.caller_requests / 60)
        self.symbols = Allowance(config.caller_symbols, config.caller_symbols / 60)
        self.bodies = Places(LARGE_BODIES, config.caller_uploads)

    def admit(self, caller: str) -> None:
        """Count a request. Raises `RateLimitExceeded` if the caller has no request or no symbol left."""
        for allowance, what in ((self.requests, "requests"), (self.symbols, "symbols")):
            if wait := allowance.seconds_until(caller, 1):
                raise RateLimitExceeded(what, int(allowance.limit), math.ceil(wait))
        self.requests.spend(caller, 1)

    def headers(self, caller: str) -> dict[str, str]:
        """Return the headers that tell what a caller has left."""
        found = {}
        for name, each in (("requests", self.requests), ("tokens", self.symbols)):
            found[f"x-ratelimit-limit-{name}"] = str(int(each.limit))
            found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(each.left(caller))))
            found[f"x-ratelimit-reset-{name}"] = reset_time(each.seconds_until(caller, each.limit))
        return found


def install(app: Flask, limits: RateLimits) -> None:
    """Count the requests of `app`, and add the headers to their answers."""

    @app.before_request
    def admit() -> None:
        if is_limited(request.endpoint or "", request.method):
            g.limited = True
            limits.admit(caller())

    @app.after_request
    def tell(response: Response) -> Response:
        if g.get("limited"):
            response.headers.update(limits.headers(caller()))
        return response


def is_limited(endpoint: str, method: str) -> bool:
    """Return whether the requests of a route are counted: those for texts, or about texts."""
    return method == "POST" and endpoint.partition(".")[0] in WRITING


@contextlib.contextmanager
def place_for_body(request: Request) -> Iterator[None]:
    """Hold a place of the request's caller while a thread reads its body, unless all of it has arrived. Raises `TooManyUploads`."""
    if request.environ.get("charloom.arrived"):
        yield
        return
    with place_for_work():
        yield


@contextlib.contextmanager
def place_for_work() -> Iterator[None]:
    """Hold a place of the request's caller while a thread reads a large body, or a stored text as long. Raises `TooManyUploads`."""
    bodies: Places = current_app.extensions["charloom"].limits.bodies
    give_back = bodies.take(caller())
    if give_back is None:
        raise TooManyUploads(bodies.each)
    try:
        yield
    finally:
        give_back()


def reset_time(seconds: float) -> str:
    """Return a time as Go writes it, to a millisecond: ``0s``, ``12ms``, ``1.5s``, ``6m0s``, ``1h0m0.25s``."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    found = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{found}" if hours else f"{minutes}m{found}" if minutes else found
