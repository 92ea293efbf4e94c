"""Refuses requests that may not pass, before they are routed and before their bodies are read.

A service that only this machine reaches needs no key: there, web pages are the danger. A page that someone opens in a browser on
this machine can send requests here, and can make its own name mean 127.0.0.1 (DNS rebinding). So the Host must be a name of this
machine, and if a request changes something, the Origin, which no page can forge, must be ours or one of `allow_origin`. Any other
service, and any service with keys, asks for a key, whose scope must include the route's.

Guessing keys is slow: after some wrong keys from one address, the answers to further wrong ones are held back, and the log says so. The
server does that without a thread (``charloom.delay`` in the environment of the request). Valid keys from the same address pass at once.

Pages of the origins in `allow_origin` may call and read the answers (CORS). They never call with a browser's credentials (cookies,
client certificates), because the service has none: a page sends its key itself.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import re
from collections.abc import Callable, Collection, Iterable
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, g, render_template, request

from model.errors import InvalidSetting
from service.store.api_keys import ApiKey, Keyring
from service.system.concurrency import Allowance
from service.system.errors import ExpiredApiKey, ForeignHost, ForeignOrigin, InvalidApiKey, ScopeTooNarrow, StoreError
from service.web.service_config import Network, ServiceConfig, as_root_path

OPEN = frozenset({"health.health", "health.ready", "pages.index", "static"})  # endpoints that need no key
# The scopes of routes that change or compute something, by blueprint; all others of them need `admin`.
WRITING = frozenset({"completions", "generate", "inspect", "novelty", "score", "tokenize"})
TRAINING = frozenset({"files", "fine_tuning", "model_content"})
SITE = 64  # bits of an IPv6 address that name a network
READING = frozenset({"GET", "HEAD", "OPTIONS"})
ANY = "*"
# What a page may read of an answer, beside what browsers always show: https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name
EXPOSED = (
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-ID",
    "X-Should-Retry",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)
READ_BEFORE = "charloom.state_was_read"  # in the environment of a request if the server has let the state be read before
REMEMBERED = 600  # seconds for which a browser keeps the answer to a preflight; Chromium takes up to 7200
GUESSES = 10  # wrong keys in a row from one address that are answered at once; then one a second
LONGEST_DELAY = 10  # seconds

log = logging.getLogger("charloom")


def install(app: Flask, keyring: Keyring, config: ServiceConfig) -> None:
    """Check every request of `app`; sets `flask.g.caller`, and `flask.g.key` if the request needs one.

    A probe that the server answers in its event loop waits for no database, so it is checked with the keys that were read last.
    """
    guessing = Guessing()
    closed = not config.loopback
    if config.allow_origin:
        app.after_request(share)

    def identify(*, last: bool = False) -> None:
        """Find the key that the request sends; a wrong one counts as a guess."""
        secret = bearer()
        try:
            g.key = holder(keyring, secret, last=last)
        except InvalidApiKey as error:
            if secret:
                error.retry_after = guessing.wrong(whereabouts(request.remote_addr))
                request.environ["charloom.delay"] = error.retry_after or 0
            raise
        g.caller, g.check_again = f"key:{g.key.name}", partial(holder, keyring, secret)

    @app.before_request
    def check() -> Response | None:
        nonlocal closed
        g.caller = f"address:{whereabouts(request.remote_addr)}"
        last = READ_BEFORE in request.environ
        try:
            closed = closed or keyring.has_any(last=last)  # from the first key on: revoking the last one must not open the service
        except StoreError:
            if request.endpoint not in OPEN:
                raise
        asks = closed or not is_here(request.remote_addr)  # for a key: who is elsewhere came through a trusted proxy
        g.origin = admitted(request.headers.get("Origin"), config.allow_origin, asks)
        if is_preflight():
            if g.origin is None:
                raise ForeignOrigin(request.headers["Origin"])
            return Response(status=204)  # browsers send no key with it
        g.asks = asks
        if not asks:
            foreign = None if g.origin else request.environ.get("HTTP_ORIGIN")
            check_origin(request.environ.get("HTTP_HOST", ""), foreign, request.method)
        elif request.endpoint not in OPEN or request.method not in READING:
            identify()
            needed = scope_of(request.endpoint or "", request.method)
            if not g.key.allows(needed):
                raise ScopeTooNarrow(g.key.name, g.key.scope, needed)
        elif request.endpoint == "health.health":  # which tells more to those who send one
            with contextlib.suppress(InvalidApiKey, StoreError):
                identify(last=last)
        return None

    @app.after_request
    def show_key_page(response: Response) -> Response:
        if response.status_code == 401 and request.method == "GET" and prefers_html():
            response.set_data(render_template("key.html"))  # a browser that opens an address cannot send a key
            response.mimetype = "text/html"
        return response


def caller() -> str:
    """Return who sent the request: the name of its API key, or its address if no key is needed."""
    return str(g.caller)


def is_known() -> bool:
    """Return whether the caller has the key that it needs, or needs none."""
    return not g.asks or "key" in g


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
    return "train" if blueprint in TRAINING and method in ("POST", "PUT") else "admin"


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


def holder(keyring: Keyring, secret: str, *, last: bool = False) -> ApiKey:
    """Return the key of a request. Raises `InvalidApiKey` and `ExpiredApiKey`."""
    key = keyring.find(secret, last=last) if secret else None
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


# ── pages of other origins ────────────────────────────────────────────────────────────────────────────────────────────


def is_preflight() -> bool:
    """Return whether a browser asks if a page may send another request."""
    return request.method == "OPTIONS" and "Origin" in request.headers and "Access-Control-Request-Method" in request.headers


def admitted(origin: str | None, allowed: Collection[str], asks: bool) -> str | None:
    """Return what Access-Control-Allow-Origin says to a page of `origin`: the origin, `*`, or None if it may not read the answer.

    `*` admits pages only if the service `asks` for keys: otherwise every page on the web could use it.
    """
    if origin is not None and origin.lower() in allowed:
        return origin
    return ANY if origin and asks and ANY in allowed else None


def share(response: Response) -> Response:
    """Let the page of an admitted origin read the response."""
    response.vary.add("Origin")
    if g.get("origin"):
        response.headers["Access-Control-Allow-Origin"] = g.origin
        response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        if is_preflight():
            response.headers["Access-Control-Allow-Methods"] = "GET, HEAD, POST, PUT, PATCH, DELETE"
            response.headers["Access-Control-Max-Age"] = str(REMEMBERED)
            # Clients send headers of their own (x-stainless-..., traceparent), and none of them does harm here.
            if names := request.headers.get("Access-Control-Request-Headers"):
                response.headers["Access-Control-Allow-Headers"] = names
    return response


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
    """WSGI middleware that tells the application what the client asked for, as the trusted proxies tell it in `X-Forwarded-...`.

    `For`: each proxy appends the address that it was called from, so the list is read from its end: the first address that is no trusted
    proxy's is the client's, REMOTE_ADDR. What stands before it was written by the client and could be any lie. `Proto` is the scheme.
    `Prefix`, by default `root_path`, is the path below which the service is published: SCRIPT_NAME, from which all links are made. It may
    or may not still be part of the path. The headers of any other peer are ignored, and SCRIPT_NAME as the server made it of its
    environment or of a header is too.
    """

    def __init__(self, app: WSGIApplication, networks: tuple[Network, ...], root_path: str = "") -> None:
        self._app, self._networks, self._root_path = app, networks, root_path

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefix, path = self._root_path, environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self.trusts(environ.get("REMOTE_ADDR")):
            environ["REMOTE_ADDR"] = self.client(environ["REMOTE_ADDR"], environ.get("HTTP_X_FORWARDED_FOR", ""))
            if (scheme := last(environ, "PROTO")) in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
            with contextlib.suppress(InvalidSetting):
                prefix = as_root_path(last(environ, "PREFIX")) or prefix
        if prefix and (path + "/").startswith(prefix + "/"):
            path = path[len(prefix) :] or "/"
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path
        return self._app(environ, start_response)

    def trusts(self, peer: str | None) -> bool:
        """Return whether `X-Forwarded-...` headers of a peer are believed."""
        address = address_in(peer or "") if self._networks else None
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


def last(environ: WSGIEnvironment, name: str) -> str:
    """Return the value of an `X-Forwarded-...` header that the nearest proxy has set or appended."""
    return str(environ.get(f"HTTP_X_FORWARDED_{name}", "")).rpartition(",")[2].strip()


def address_in(hop: str) -> Address | None:
    """Return the address in a hop, which may have a port; IPv6's form of an IPv4 address means the latter. None if there is none."""
    found = re.fullmatch(r"\s*(?:\[([^\[\]]+)\](?::\d+)?|([^:\s]+):\d+|(\S+))\s*", hop)
    try:
        address = ipaddress.ip_address(found[1] or found[2] or found[3]) if found else None
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
