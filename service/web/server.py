"""Opens the address and the keys of a service, and begins to serve.

Nothing here imports numpy before `serve` has limited its BLAS to one thread. Otherwise many threads that each multiply small
matrices would compete for the cores, and the process that forks would have a second thread, which is not safe.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from model.errors import CharloomError, InvalidSetting
from model.kernels.library import library, shortcoming
from service.store import api_keys
from service.system.errors import AddressUnusable, proposed
from service.system.log_format import log_to_stderr
from service.system.processes import THREAD_VARIABLES, return_memory
from service.web.service_config import ServiceConfig
from service.web.supervisor import BACKLOG, Pulse, Supervisor

log = logging.getLogger("charloom")
Config = TypeVar("Config", bound=ServiceConfig)


class Access(NamedTuple):
    """Says whether the service asks for keys; `key` is the one made for this start, which is shown once and never stored."""

    asks: bool
    key: str | None = None


def admitted(config: Config, address: str) -> tuple[Config, Access]:
    """Completes the configuration for an IP address; makes a key if other machines can reach the service and no key is set.

    Opens the store. Raises `StoreError`.
    """
    from service.store import Store

    config = replace(config, loopback=ipaddress.ip_address(address).is_loopback)
    with Store(config.db) as store:
        if config.keys or store.keys.list():
            return config, Access(asks=True)
        if config.loopback:
            return config, Access(asks=False)
        key, unstored = api_keys.first(store.keys)
    return replace(config, keys=unstored), Access(asks=True, key=key)


def announcement(url: str, access: Access, db: Path) -> None:
    """Prints the URL of the service, and a request to try."""
    if access.key:
        where = [f"{url}/#key={access.key}", f"  (this key is shown once; for another: {proposed('key new', db)})"]
    elif access.asks:
        where = [url, f"  (it asks for a key: one that was set, or made with {proposed('key new', db)})"]
    else:
        where = [url]
    header = f" -H 'Authorization: Bearer {access.key or 'KEY'}'" if access.asks else ""
    body = '{"prompt": "def ", "length": 300}'
    lines = [
        "",
        f"Charloom is at {where[0]}",
        *where[1:],
        "",
        f"  curl {url}/generate{header} -H 'Content-Type: application/json' -d '{body}'",
    ]
    sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class ServerSettings(ServiceConfig):
    """Adds to `ServiceConfig` the address to listen at; port 0 takes a free one.

    With `train_default`, the first model is queued if it is missing or unfinished. `announce` is called with the URL, the
    access and the database as soon as requests are answered.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    train_default: bool = False
    announce: Callable[[str, Access, Path], None] = announcement


def serve(settings: ServerSettings) -> NoReturn:
    """Serves until SIGTERM (open streams finish) or SIGINT (open streams end), then raises `SystemExit` (0).

    Raises `StoreError`, `InvalidSetting` for an impossible port, `AddressUnusable` and `KernelsUnusable`, before any process starts.
    """
    return_memory()
    library()
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    listener = listen(settings.host, settings.port)
    settings, access = admitted(settings, listener.getsockname()[0])
    if settings.train_default:
        _order_first_model(settings)
    _raise_file_limit()
    log_to_stderr(settings.log_format, settings.log_level)

    def announce() -> None:
        if why := shortcoming():
            log.warning("%s", why)
        settings.announce(url_of(listener) + settings.root_path, access, settings.db)

    def answer_requests(pulse: Pulse) -> None:
        from service.web.http_server import answer_requests

        answer_requests(settings, listener, pulse)

    Supervisor(settings, listener, answer_requests, announce).run()


def _order_first_model(settings: ServerSettings) -> None:
    """Queues the first model if it is missing or unfinished; logs an error, since the service can run without this model."""
    from service.store import Store
    from service.training import default_model

    try:
        with Store(settings.db) as store:
            default_model.order(store)
    except CharloomError as error:
        log.error("the first model cannot be trained: %s", error)


# ── the listening socket ──────────────────────────────────────────────────────────────────────────────────────────────


def listen(host: str, port: int) -> socket.socket:
    """Opens a listening socket. Raises `InvalidSetting` and `AddressUnusable`."""
    if not 0 <= port < 2**16:
        raise InvalidSetting("port", port, "a whole number from 0 to 65,535", "0 takes a free one")
    try:
        if "\0" in host:  # a C string would end there
            raise ValueError
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no host can have that name"
        raise AddressUnusable(host, port, f"{why}; give an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # IPv4 first: localhost is 127.0.0.1 if possible
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only if it knows the protocol
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnusable(host, port, _why(error)) from None
    return listener


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken by another program; choose another with --port"
    if error.errno == errno.EACCES:
        return "this port needs privileges; choose one from 1024 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; give one that it has, such as 127.0.0.1 or 0.0.0.0"
    return error.strerror or str(error)


def url_of(listener: socket.socket) -> str:
    """Returns the URL at which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_file_limit() -> None:
    """Allows as many open files as the system permits: a connection needs one, the database three for each thread."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))
