"""Serving over HTTP: gunicorn in one process with many threads, and beside it, where asked for, a process that trains a first model.

Nothing here imports numpy before `serve` has limited its BLAS to one thread: many threads that each multiply small matrices
would only fight each other, and the process that forks must have no second thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from model.errors import AddressUnusable, InvalidSetting
from service.blas import THREAD_VARIABLES
from service.config import ServiceConfig
from service.connections import Log, Worker

if TYPE_CHECKING:
    from flask import Flask

    from service.serving import Service

SPARE_THREADS = 32  # beside those that write or wait: for everything that is answered at once
GRACE = 30  # seconds for open streams after SIGTERM
SAVING = 60  # seconds for the trainer of the first model to save, after SIGTERM
SHARED_MEMORY = "/dev/shm"  # gunicorn's sign of life is a file, which should not wait for a disk

log = logging.getLogger("charloom")


def announcement(url: str) -> None:
    """Say on standard output where the service is, and how to try it."""
    body = '{"prompt": "def ", "length": 300}'
    sys.stdout.write(f"\nCharloom is at {url}\n\n  curl {url}/generate -H 'Content-Type: application/json' -d '{body}'\n\n")
    sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class ServerSettings(ServiceConfig):
    """A `ServiceConfig` and where to listen; port 0 takes a free one.

    `train_command` trains a first model, or goes on with it; it is started where none is stored. `announce` is called with the
    URL once requests are answered.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    train_command: Sequence[str] | None = None
    announce: Callable[[str], None] = announcement


def serve(settings: ServerSettings) -> NoReturn:
    """Serve until SIGTERM (open streams finish) or SIGINT (they end), and leave with `SystemExit` (0).

    Raises `StoreError`, `InvalidSetting` for a port that is none, and `AddressUnusable`, before anything is started.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    command = settings.train_command if _needs_first_model(settings) else None
    listener = listen(settings.host, settings.port)
    trainer = FirstModel(command)
    _raise_file_limit()
    _Arbiter(_Application(replace(settings, first_model=trainer.is_working), listener, trainer), trainer).run()
    raise SystemExit  # the arbiter leaves by itself


def _needs_first_model(settings: ServerSettings) -> bool:
    """Whether no model can be used yet, or the first one waits to be finished. Opens the store, which may fail with a sentence."""
    from service.first import unfinished
    from service.store import Store

    with Store(settings.db) as store:
        return not any(run.checkpoints for run in store.runs.list()) or unfinished(store) is not None


# ── where to listen ───────────────────────────────────────────────────────────────────────────────────────────────────


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `InvalidSetting` and `AddressUnusable`."""
    if not 0 <= port < 2**16:
        raise InvalidSetting("port", port, "a whole number from 0 to 65,535", "0 takes a free one")
    try:
        if "\0" in host:  # a C string would end there
            raise ValueError
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no host can have that name"
        raise AddressUnusable(host, port, f"{why}; give an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)  # localhost is 127.0.0.1 where it can be
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
    """The URL by which this machine itself reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each connection is one, each thread's database three."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))


# ── gunicorn ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Application(BaseApplication):  # type: ignore[misc]
    """What gunicorn asks: its options, and the WSGI application, which is made in the worker."""

    def __init__(self, settings: ServerSettings, listener: socket.socket, trainer: FirstModel) -> None:
        self._settings, self._trainer = settings, trainer
        self._url = url_of(listener)
        self._listener = listener.detach()  # gunicorn takes the descriptor over
        super().__init__()

    def load_config(self) -> None:
        threads = self._settings.max_rows + self._settings.max_waiting + SPARE_THREADS
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        options = {
            "bind": [f"fd://{self._listener}"],
            "workers": 1,
            "threads": threads,
            "worker_class": Worker,
            # A connection more than there are files for would end the worker.
            "worker_connections": max(threads + 1, min(1000, files - 3 * threads - 64)),
            "worker_tmp_dir": SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None,
            "control_socket_disable": True,
            "graceful_timeout": GRACE,
            "timeout": 120,  # for the main thread, which never waits for a stream
            "logger_class": Log,
            "loglevel": "warning",
            "when_ready": lambda arbiter: self._when_ready(),
            "worker_int": lambda worker: self._service.engine.stop(),  # Ctrl-C: whoever waits for text is told at once
            "worker_exit": lambda arbiter, worker: self._service.close(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _when_ready(self) -> None:
        self._trainer.start()
        self._settings.announce(self._url)

    def load(self) -> Flask:
        from service.app import create_app

        app = create_app(self._settings)
        self._service: Service = app.extensions["charloom"]
        return app


class _Arbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master, which also looks after the trainer of the first model."""

    def __init__(self, application: _Application, trainer: FirstModel) -> None:
        self._trainer = trainer
        super().__init__(application)

    def reap_workers(self) -> None:
        self._trainer.look()  # before gunicorn, which would take its exit status
        super().reap_workers()

    def manage_workers(self) -> None:
        self._trainer.look()
        super().manage_workers()

    def stop(self, graceful: bool = True) -> None:
        self._trainer.terminate()
        super().stop(graceful)
        self._trainer.wait()

    def handle_hup(self) -> None:
        """A closed terminal ends the service; there is no configuration to read anew."""
        raise StopIteration


# ── the first model ───────────────────────────────────────────────────────────────────────────────────────────────────


class FirstModel:
    """The process that trains a first model. It saves and pauses when it gets SIGTERM, and can go on at the next start."""

    def __init__(self, command: Sequence[str] | None) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._terminated = False
        self._working = mmap.mmap(-1, 1)  # shared with the worker, which is forked later
        self._working[0] = command is not None

    def is_working(self) -> bool:
        """Whether it is at work; may be asked in the worker, too."""
        return bool(self._working[0])

    def start(self) -> None:
        """Start it; what it prints goes to the log."""
        if self._command is None:
            return
        environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
        try:
            # In a session of its own, so that Ctrl-C reaches it once, through `terminate`.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), env=environment, start_new_session=True
            )
        except OSError as error:
            log.error("the first model cannot be trained: %s", error)
            self._working[0] = False

    def look(self) -> None:
        """Notice its end."""
        if self._process is not None and self._process.poll() is not None:
            if self._process.returncode and not self._terminated:
                log.error("training the first model ended with exit status %s; it goes on at the next start", self._process.returncode)
            self._process = None
            self._working[0] = False

    def terminate(self) -> None:
        """Ask it to save and pause."""
        if self._process is not None:
            self._terminated = True
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until it has saved."""
        if self._process is not None:
            try:
                self._process.wait(SAVING)
            except subprocess.TimeoutExpired:
                log.error("the trainer of the first model did not end in %s seconds and was killed; its last checkpoint is kept", SAVING)
                self._process.kill()
