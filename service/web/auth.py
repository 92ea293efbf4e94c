"""Refuses requests that may not pass, before they are routed and before their bodies are read.

A service that only this machine reaches needs no key: there, web pages are the danger. A page that someone opens in a browser on
this machine can send requests here, and can make its own name mean 127.0.0.1 (DNS rebinding). So the Host must be a name of this
machine, and if a request changes something, the Origin, which no page can forge, must be ours. Any other service, and any service
with keys, asks for a key.
"""

from __future__ import annotations

import ipaddress
import re

from flask import Flask, Response, g, render_template, request

from service.store.api_keys import Keyring
from service.system.errors import ForeignHost, ForeignOrigin, InvalidApiKey
from service.web.state import Service

OPEN = frozenset({"health.health", "pages.index", "static"})  # endpoints that need no key
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: Flask, service: Service) -> None:
    """Check every request of `app`, and set `flask.g.caller`."""
    keyring = Keyring(service.store.keys, service.config.keys)
    closed = not service.config.loopback

    @app.before_request
    def check() -> None:
        nonlocal closed
        g.caller = f"address:{request.remote_addr}"
        closed = closed or bool(keyring)  # from the first key on: revoking the last one must not open the service
        if not closed:
            check_origin(request.environ.get("HTTP_HOST", ""), request.environ.get("HTTP_ORIGIN"), request.method)
        elif request.endpoint not in OPEN or request.method not in READING:
            g.caller = f"key:{holder(keyring)}"

    @app.after_request
    def show_key_page(response: Response) -> Response:
        if response.status_code == 401 and request.method == "GET" and prefers_html():
            response.set_data(render_template("key.html"))  # a browser that opens an address cannot send a key
            response.mimetype = "text/html"
        return response


def caller() -> str:
    """Return who sent the request: the name of its API key, or its address if no key is needed."""
    return str(g.caller)


def prefers_html() -> bool:
    """Return whether the client prefers HTML to JSON, as browsers do when they open an address."""
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def holder(keyring: Keyring) -> str:
    """Return the name of the key that the request sends. Raises `InvalidApiKey`."""
    shown = request.authorization
    key = shown.token if shown is not None and shown.type == "bearer" else None
    name = keyring.holder(key) if key else None
    if name is None:
        raise InvalidApiKey(given=bool(key))
    return name


def check_origin(host: str, origin: str | None, method: str) -> None:
    """Raise `ForeignHost` if `host` is no name of this machine, `ForeignOrigin` if a foreign page asks for a change."""
    if not is_loopback(host):
        raise ForeignHost(host)
    if method not in READING and origin is not None and origin.lower().partition("://")[2] != host.lower():
        raise ForeignOrigin(origin)


def is_loopback(host: str) -> bool:
    """Return whether a Host header, with or without a port, means this machine without asking a name server."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::[0-9]*)?", host)
    if found is None:
        return False
    name = (found[1] or found[2]).lower().rstrip(".")
    if name == "localhost" and not found[1]:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback and (address.version == 6) == bool(found[1])
