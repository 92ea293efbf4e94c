"""Serves HTTP with gunicorn in one process with many threads, and starts the training worker.

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
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from model.errors import CharloomError, InvalidSetting
from model.kernels.library import library, shortcoming
from service.store import api_keys
from service.system.errors import AddressUnusable
from service.system.log_format import formatter
from service.system.processes import THREAD_VARIABLES, start_child
from service.web.gthread import GthreadWorker
from service.web.service_config import ServiceConfig

if TYPE_CHECKING:
    from flask import Flask

    from service.web.state import Service

log = logging.getLogger("charloom")
Config = TypeVar("Config", bound=ServiceConfig)

CONNECTIONS = 2000  # at most; fewer if the system allows fewer open files
SPARE_THREADS = 32  # for requests that are answered at once, beside the threads that generate, wait or follow
GRACE = 30  # seconds for open streams after SIGTERM
SHARED_MEMORY = "/dev/shm"  # for the file by which gunicorn's worker shows that it is alive; a disk could delay it
RESTART = 5.0  # seconds between two starts of the training worker, at least
SAVING = 60.0  # seconds that the training worker has to let its jobs save


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
    option = "" if str(db) == "charloom.db" else f" --db {shlex.quote(str(db))}"
    if access.key:
        where = [f"{url}/#key={access.key}", f"  (this key is shown once; for another: charloom key new{option})"]
    elif access.asks:
        where = [url, f"  (it asks for a key: one that was set, or made with charloom key new{option})"]
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
    library()
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    listener = listen(settings.host, settings.port)
    settings, access = admitted(settings, listener.getsockname()[0])
    if settings.train_default:
        _order_first_model(settings)
    supervisor = WorkerSupervisor(settings)
    _raise_file_limit()
    _Arbiter(_Application(settings, access, listener, supervisor), supervisor).run()
    raise SystemExit  # the arbiter leaves by itself


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
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
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


# ── the training worker ───────────────────────────────────────────────────────────────────────────────────────────────


class WorkerSupervisor:
    """Starts the training worker (`service.training.worker`), restarts it if it ends, and stops it; does nothing if `workers` is 0."""

    def __init__(self, settings: ServiceConfig) -> None:
        self._jobs = settings.workers
        self._options = ["--jobs", str(settings.workers), "--log-format", settings.log_format, "--log-level", settings.log_level]
        self._db = settings.db
        self._process: subprocess.Popen[bytes] | None = None
        self._started = float("-inf")
        self._ending = False

    def start(self) -> None:
        """Starts the worker; its output goes to the log."""
        if not self._jobs or self._ending:
            return
        self._started = time.monotonic()
        try:
            self._process = start_child("service.training.worker", self._db, *self._options, stdout=sys.stderr.fileno())
        except OSError as error:
            log.error("no worker could be started, so jobs wait: %s", error)

    def restart_if_ended(self) -> None:
        """Starts a new worker if the old one has ended."""
        if self._process is not None and self._process.poll() is not None:
            if not self._ending:
                log.error("the worker ended with status %s; another is started", self._process.returncode)
            self.release()
            self._process = None
        if self._process is None and time.monotonic() - self._started > RESTART:
            self.start()

    def release(self) -> None:
        """Closes this process's end of the pipe by which the worker notices that the service has ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def terminate(self) -> None:
        """Asks the worker to end after its jobs have saved."""
        self._ending = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits until the worker has ended; kills it after `SAVING` seconds."""
        if self._process is not None:
            try:
                self._process.wait(SAVING)
            except subprocess.TimeoutExpired:
                log.error("the worker did not end in %.0f seconds and was killed; the last checkpoints of its jobs are kept", SAVING)
                self._process.kill()
            self.release()


# ── gunicorn's options, process and log ───────────────────────────────────────────────────────────────────────────────


class _Application(BaseApplication):  # type: ignore[misc]
    """Gives gunicorn its options and the WSGI application, which gunicorn's worker creates."""

    def __init__(self, settings: ServerSettings, access: Access, listener: socket.socket, supervisor: WorkerSupervisor) -> None:
        self._settings, self._access, self._supervisor = settings, access, supervisor
        self._url = url_of(listener)
        self._listener = listener.detach()  # gunicorn closes the descriptor
        super().__init__()

    def load_config(self) -> None:
        threads = self._settings.max_rows + self._settings.max_waiting + self._settings.max_followers + SPARE_THREADS
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        options = {
            "bind": [f"fd://{self._listener}"],
            "workers": 1,
            "threads": threads,
            "worker_class": GthreadWorker,
            # One connection more than the open files allow would end the worker.
            "worker_connections": max(threads + 1, min(CONNECTIONS, files - 3 * threads - 64)),
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "control_socket_disable": True,
            "graceful_timeout": GRACE,
            "timeout": 120,  # for the main thread, which never waits for a stream
            "logger_class": logger_class(self._settings.log_format, self._settings.log_level),
            "loglevel": "warning",
            "when_ready": lambda arbiter: self._when_ready(),
            # Otherwise this process would keep the training worker alive if the arbiter is killed.
            "post_fork": lambda arbiter, worker: self._supervisor.release(),
            "worker_int": lambda worker: self._service.engine.stop(),  # Ctrl-C ends streams at once
            "worker_exit": lambda arbiter, worker: self._service.close(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _when_ready(self) -> None:
        self._supervisor.start()
        if why := shortcoming():
            log.warning("%s", why)
        self._settings.announce(self._url, self._access, self._settings.db)

    def load(self) -> Flask:
        from service.web.app import create_app

        app = create_app(self._settings)
        self._service: Service = app.extensions["charloom"]
        return app


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Runs gunicorn's master process, which also supervises the training worker."""

    def __init__(self, application: _Application, supervisor: WorkerSupervisor) -> None:
        self._supervisor = supervisor
        super().__init__(application)

    def reap_workers(self) -> None:
        self._supervisor.restart_if_ended()  # first, since gunicorn would take the exit status of the training worker
        super().reap_workers()

    def manage_workers(self) -> None:
        self._supervisor.restart_if_ended()
        super().manage_workers()

    def stop(self, graceful: bool = True) -> None:
        self._supervisor.terminate()
        super().stop(graceful)
        self._supervisor.wait()

    def handle_hup(self) -> None:
        """Ends the service when its terminal is closed; there is no configuration to reload."""
        raise StopIteration


class Log(Logger):  # type: ignore[misc]
    """Writes the log of gunicorn and of the service, without clients that timed out."""

    form, level = "lines", "info"

    def setup(self, cfg: Any) -> None:
        """Sets formats and levels when gunicorn starts."""
        super().setup(cfg)
        self.error_log.addFilter(is_news)
        for handler in self.error_log.handlers:
            handler.setFormatter(formatter(self.form))
        log.handlers, log.propagate = self.error_log.handlers, False
        log.setLevel(self.level.upper())


def logger_class(form: str, level: str) -> type[Log]:
    """Returns a class for gunicorn's `logger_class`, which passes only gunicorn's own configuration to its instances."""
    return type("Log", (Log,), {"form": form, "level": level})


def is_news(record: logging.LogRecord) -> bool:
    """Returns False for the record of a client that timed out, which is not logged."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
