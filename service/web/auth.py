"""Refuses requests that may not pass, before they are routed and before their bodies are read.

A service that only this machine reaches needs no key: there, web pages are the danger. A page that someone opens in a browser on
this machine can send requests here, and can make its own name mean 127.0.0.1 (DNS rebinding). So the Host must be a name of this
machine, and if a request changes something, the Origin, which no page can forge, must be ours. Any other service, and any service
with keys, asks for a key, whose scope must include the route's.

Guessing keys is slow: after some wrong keys from one address, the answers to further wrong ones are held back, and the log says so. The
server does that without a thread (``charloom.delay`` in the environment of the request). Valid keys from the same address pass at once.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, g, render_template, request

from service.store.api_keys import ApiKey, Keyring, Keys
from service.system.concurrency import Allowance
from service.system.errors import ExpiredApiKey, ForeignHost, ForeignOrigin, InvalidApiKey, ScopeTooNarrow
from service.web.service_config import Network, ServiceConfig

OPEN = frozenset({"health.health", "pages.index", "static"})  # endpoints that need no key
# The scopes of routes that change or compute something, by blueprint; all others of them need `admin`.
WRITING = frozenset({"completions", "generate", "inspect", "novelty", "score", "tokenize"})
TRAINING = frozenset({"files", "fine_tuning"})
SITE = 64  # bits of an IPv6 address that name a network
READING = frozenset({"GET", "HEAD", "OPTIONS"})
GUESSES = 10  # wrong keys in a row from one address that are answered at once; then one a second
LONGEST_DELAY = 10  # seconds

log = logging.getLogger("charloom")


def install(app: Flask, keys: Keys, config: ServiceConfig) -> None:
    """Check every request of `app`; sets `flask.g.caller`, and `flask.g.key` if the request needs one."""
    keyring, guessing = Keyring(keys, config.keys), Guessing()
    closed = not config.loopback

    @app.before_request
    def check() -> None:
        nonlocal closed
        g.caller = f"address:{whereabouts(request.remote_addr)}"
        closed = closed or bool(keyring)  # from the first key on: revoking the last one must not open the service
        if not closed and is_here(request.remote_addr):  # else it came through a trusted proxy
            check_origin(request.environ.get("HTTP_HOST", ""), request.environ.get("HTTP_ORIGIN"), request.method)
        elif request.endpoint not in OPEN or request.method not in READING:
            secret = bearer()
            try:
                g.key = holder(keyring, secret)
            except InvalidApiKey as error:
                if secret:
                    error.retry_after = guessing.wrong(whereabouts(request.remote_addr))
                    request.environ["charloom.delay"] = error.retry_after or 0
                raise
            g.caller, g.check_again = f"key:{g.key.name}", partial(holder, keyring, secret)
            needed = scope_of(request.endpoint or "", request.method)
            if not g.key.allows(needed):
                raise ScopeTooNarrow(g.key.name, g.key.scope, needed)

    @app.after_request
    def show_key_page(response: Response) -> Response:
        if response.status_code == 401 and request.method == "GET" and prefers_html():
            response.set_data(render_template("key.html"))  # a browser that opens an address cannot send a key
            response.mimetype = "text/html"
        return response


def caller() -> str:
    """Return who sent the request: the name of its API key, or its address if no key is needed."""
    return str(g.caller)


def may_administer() -> bool:
    """Return whether the caller may do everything: its key has that scope, or no key is needed."""
    return "key" not in g or g.key.allows("admin")


def check_again() -> Callable[[], object]:
    """Return a function that raises `InvalidApiKey` once the key of the request is revoked or has expired, for answers that take long."""
    return g.get("check_again", lambda: None)  # type: ignore[no-any-return]


def scope_of(endpoint: str, method: str) -> str:
    """Return the scope that a key needs for a route; the least if there is none, so that the client learns that."""
    blueprint = endpoint.partition(".")[0]
    if not endpoint or method in READING or (blueprint in WRITING and method != "DELETE"):
        return "write"
    return "train" if blueprint in TRAINING and method == "POST" else "admin"


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


def bearer() -> str:
    """Return the key that the request sends; empty if it sends none."""
    shown = request.authorization
    return (shown.token or "") if shown is not None and shown.type == "bearer" else ""


def holder(keyring: Keyring, secret: str) -> ApiKey:
    """Return the key of a request. Raises `InvalidApiKey` and `ExpiredApiKey`."""
    key = keyring.find(secret) if secret else None
    if key is None:
        raise InvalidApiKey(given=bool(secret))
    if key.expired:
        raise ExpiredApiKey(key.name, key.expires_at or "")
    return key


class Guessing:
    """Counts the wrong keys of each address of late, and logs addresses that send many, once a minute each."""

    def __init__(self) -> None:
        self._attempts = Allowance(GUESSES, per_second=1, debt=LONGEST_DELAY)
        self._notes = Allowance(1, per_second=1 / 60)

    def wrong(self, address: str) -> int | None:
        """Count a wrong key; returns the seconds for which its answer is held back, or None."""
        self._attempts.spend(address, 1)
        wait = math.ceil(self._attempts.seconds_until(address, 0))
        if wait and self._notes.left(address) >= 1:
            self._notes.spend(address, 1)
            log.warning("more than %d wrong keys in a row came from %s: answers to further ones are held back", GUESSES, address)
        return wait or None


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
