"""Refuses requests that may not pass, before they are routed and before their bodies are read.

A service that only this machine reaches needs no key: there, web pages are the danger. A page that someone opens in a browser on
this machine can send requests here, and can make its own name mean 127.0.0.1 (DNS rebinding). So the Host must be a name of this
machine, and if a request changes something, the Origin, which no page can forge, must be ours. Any other service, and any service
with keys, asks for a key.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, g, render_template, request

from service.store.api_keys import Keyring, Keys
from service.system.errors import ForeignHost, ForeignOrigin, InvalidApiKey
from service.web.service_config import Network, ServiceConfig

OPEN = frozenset({"health.health", "pages.index", "static"})  # endpoints that need no key
SITE = 64  # bits of an IPv6 address that name a network
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def install(app: Flask, keys: Keys, config: ServiceConfig) -> None:
    """Check every request of `app`, and set `flask.g.caller`."""
    keyring = Keyring(keys, config.keys)
    closed = not config.loopback

    @app.before_request
    def check() -> None:
        nonlocal closed
        g.caller = f"address:{whereabouts(request.remote_addr)}"
        closed = closed or bool(keyring)  # from the first key on: revoking the last one must not open the service
        if not closed and is_here(request.remote_addr):  # else it came through a trusted proxy
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


def whereabouts(peer: str | None) -> str:
    """Return a client's address, of IPv6 the network that one customer of a provider has (RFC 6177): its addresses are countless."""
    address = address_in(peer or "")
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, SITE), strict=False))
    return str(address)


def is_here(peer: str | None) -> bool:
    """Return whether a client is on this machine; a peer without an address, behind a Unix socket, is."""
    address = address_in(peer or "")
    return address is None or address.is_loopback


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


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """WSGI middleware that sets REMOTE_ADDR to the address of the client, as the trusted proxies tell it in `X-Forwarded-For`.

    Each proxy appends the address that it was called from, so the list is read from its end: the first address that is no trusted
    proxy's is the client's. What stands before it was written by the client and could be any lie. The header of any other peer is ignored.
    """

    def __init__(self, app: WSGIApplication, networks: tuple[Network, ...]) -> None:
        self._app, self._networks = app, networks

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.trusts(environ.get("REMOTE_ADDR")):
            environ["REMOTE_ADDR"] = self.client(environ["REMOTE_ADDR"], environ.get("HTTP_X_FORWARDED_FOR", ""))
        return self._app(environ, start_response)

    def trusts(self, peer: str | None) -> bool:
        """Return whether `X-Forwarded-...` headers of a peer are believed."""
        address = address_in(peer or "")
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address, as the trusted proxy `peer` tells it; the nearest known address if that is no address."""
        for hop in reversed(forwarded.split(",")):
            if (address := address_in(hop)) is None:
                break
            peer = str(address)
            if not self.trusts(peer):
                break
        return peer


def address_in(hop: str) -> Address | None:
    """Return the address in a hop, which may have a port; IPv6's form of an IPv4 address means the latter. None if there is none."""
    found = re.fullmatch(r"\s*(?:\[([^\[\]]+)\](?::\d+)?|([^:\s]+):\d+|(\S+))\s*", hop)
    try:
        address = ipaddress.ip_address(found[1] or found[2] or found[3]) if found else None
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
