"""Supervises the two processes of a service: the one that answers requests, and the training worker.

Each is started again if it ends. The process that answers requests is forked from this one, which has one thread and little memory. The
listening socket stays open here, so requests wait in it until another process answers. The forked process sends a `Pulse`; if the pulse
stops, it is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from model.errors import CharloomError
from service.system.processes import start_child
from service.web.service_config import ServiceConfig

log = logging.getLogger("charloom")

BACKLOG = 1024  # connections that wait in the listening socket to be accepted
RESTART = 5.0  # seconds between two starts of a process, at least
SILENT = 120.0  # seconds without a beat after which the process that answers requests is killed
ENDING = 45.0  # seconds that it has to end: its grace, and some more
SAVING = 60.0  # seconds that the training worker has to let its jobs save
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # SIGHUP: the terminal was closed


class Pulse:
    """Shows one process that another one lives: a pipe into which it writes a byte now and then."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)

    def beat(self) -> bool:
        """Writes a byte; returns False if the other process has ended."""
        try:
            os.write(self._writing, b".")
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def heard(self) -> bool:
        """Returns whether there were beats since the last call."""
        try:
            return bool(os.read(self.reading, 2**16))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Closes both ends."""
        os.close(self.reading)
        os.close(self._writing)

    def keep(self, *, reading: bool) -> None:
        """Closes the end that this process does not use."""
        os.close(self._writing if reading else self.reading)


class Supervisor:
    """Runs `answer_requests` in a process of its own until a signal comes, and the training worker beside it."""

    def __init__(
        self, settings: ServiceConfig, listener: socket.socket, answer_requests: Callable[[Pulse], None], announce: Callable[[], None]
    ) -> None:
        """`announce` is called once, as soon as requests are answered."""
        self._listener, self._answer_requests, self._announce = listener, answer_requests, announce
        self._worker = TrainingWorker(settings)
        self._process: int | None = None
        self._pulse: Pulse | None = None
        self._started = self._beat = float("-inf")
        self._ready = False
        self._signals: list[int] = []

    def run(self) -> NoReturn:
        """Supervises until SIGTERM, SIGINT or SIGHUP, and then raises `SystemExit`; with 1 if requests were never answered."""
        wake, writing = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(writing, False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        while not self._signals:
            self._start_if_ended()
            self._wait(wake, 1.0)
            self._look()
            if self._ready:
                self._worker.restart_if_ended()
        self._end(wake)
        raise SystemExit

    def _wait(self, wake: int, seconds: float) -> None:
        """Waits for a signal, a beat, or some seconds."""
        select.select([wake, *([self._pulse.reading] if self._pulse else [])], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 2**10)

    def _start_if_ended(self) -> None:
        if self._process is not None or time.monotonic() - self._started < RESTART:
            return
        pulse = Pulse()
        self._started = self._beat = time.monotonic()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a signal that came before the child has handlers would be lost
        try:
            process = os.fork()
            if process == 0:
                self._be_child(pulse)
        except OSError as error:
            pulse.close()
            if not self._ready:
                raise
            log.error("no process could be started, so requests wait: %s", error)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        pulse.keep(reading=True)
        self._process, self._pulse = process, pulse

    def _be_child(self, pulse: Pulse) -> NoReturn:
        """Answers requests in the forked process."""
        status = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone, which passes it on
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: os._exit(0))  # until it answers requests
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pulse.keep(reading=False)
            self._worker.release()  # otherwise this process would keep the worker alive if the supervisor is killed
            self._answer_requests(pulse)
            status = 0
        except CharloomError as error:
            log.error("%s", error)
        except BaseException:
            log.exception("requests cannot be answered")
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(status)

    def _look(self) -> None:
        """Notes beats, and the end of the process that answers requests."""
        if self._process is None or self._pulse is None:
            return
        now = time.monotonic()
        if self._pulse.heard():
            self._beat = now
            if not self._ready:
                self._ready = True
                self._worker.start()
                self._announce()
        if self._has_ended():
            if not self._ready:
                raise SystemExit(1)  # it has said why
            if not self._signals:
                log.error("the process that answers requests has ended; another is started")
        elif now - self._beat > SILENT:
            log.error(
                "the process that answers requests has not shown a beat for %.0f seconds; it is killed, and another is started",
                now - self._beat,
            )
            self._kill(signal.SIGKILL)
            self._beat = now

    def _has_ended(self) -> bool:
        """Returns whether there is no process that answers requests any more."""
        if self._process is not None and os.waitpid(self._process, os.WNOHANG)[0]:
            self._process = None
            if self._pulse is not None:
                os.close(self._pulse.reading)
                self._pulse = None
        return self._process is None

    def _kill(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, number)

    def _end(self, wake: int) -> None:
        """Passes signals on until the process that answers requests has ended; then waits for the training worker."""
        self._listener.close()  # from now on connections are refused
        self._worker.terminate()
        passed_on = 0
        deadline = time.monotonic() + ENDING
        while not self._has_ended():
            for number in self._signals[passed_on:]:
                self._kill(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
                passed_on += 1
            if self._pulse is not None:
                self._pulse.heard()  # or the wait below would end at once
            if time.monotonic() > deadline:
                log.error("the process that answers requests did not end in %.0f seconds and is killed", ENDING)
                self._kill(signal.SIGKILL)
                deadline += ENDING
            self._wait(wake, 0.1)
        self._worker.wait()


class TrainingWorker:
    """The process of the training worker (`service.training.worker`), if `workers` is not 0."""

    def __init__(self, settings: ServiceConfig) -> None:
        self._jobs = settings.workers
        self._options = ["--jobs", str(settings.workers), "--min-disk", str(settings.min_disk)]
        self._options += ["--log-format", settings.log_format, "--log-level", settings.log_level]
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
