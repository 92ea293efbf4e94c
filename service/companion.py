"""The process beside the service that carries out the queue: started with it, started anew where it died, ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from service.config import ServiceConfig

ROOT = Path(__file__).resolve().parent.parent
AGAIN = 5.0  # seconds from one start to the next, at least
SAVING = 60.0  # seconds that it has to let its jobs save

log = logging.getLogger("charloom")


class Companion:
    """A worker (`service.worker`) for the jobs of a service; none where the settings ask for no `workers`."""

    def __init__(self, settings: ServiceConfig) -> None:
        self._jobs = settings.workers
        self._options = ["--jobs", str(settings.workers), "--log-format", settings.log_format, "--log-level", settings.log_level]
        self._db = settings.db
        self._process: subprocess.Popen[bytes] | None = None
        self._started = float("-inf")
        self._ending = False

    def start(self) -> None:
        """Start it; what it says goes to the log."""
        if not self._jobs or self._ending:
            return
        self._started = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        command = [sys.executable, "-m", "service.worker", str(self._db), "--parent", str(os.getpid()), *self._options]
        try:
            # In a session of its own, so that Ctrl-C reaches it once, through `terminate`.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), env=environment, start_new_session=True
            )
        except OSError as error:
            log.error("no worker could be started, so jobs wait: %s", error)

    def look(self) -> None:
        """Notice its end, and start another."""
        if self._process is not None and self._process.poll() is not None:
            if not self._ending:
                log.error("the worker ended with status %s; another is started", self._process.returncode)
            self._process = None
        if self._process is None and time.monotonic() - self._started > AGAIN:
            self.start()

    def terminate(self) -> None:
        """Ask it to let its jobs save, and to end."""
        self._ending = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until they have saved."""
        if self._process is not None:
            try:
                self._process.wait(SAVING)
            except subprocess.TimeoutExpired:
                log.error("the worker did not end in %.0f seconds and was killed; the last checkpoints of its jobs are kept", SAVING)
                self._process.kill()
