"""Starts a real service through the command line, and measures its processes from outside: memory, threads, open files, disk."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from bench.watching import family
from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Metric, Store

ROOT = Path(__file__).resolve().parent.parent
PROC = Path("/proc")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("CHARLOOM_", "OPENBLAS_"))}
MB = 10**6


class Figures(NamedTuple):
    """What one process takes now. Memory is in bytes."""

    rss: int
    own: int  # of rss, without mapped files
    peak: int  # of rss, since the process started or `WatchedService.forget_peak`
    threads: int
    files: int


class WatchedService(NamedTuple):
    """A service in other processes. `serving` is the one that answers."""

    process: subprocess.Popen[str]
    port: int
    db: Path
    serving: int

    def connection(self, timeout: float = 60) -> http.client.HTTPConnection:
        """Open a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json", timeout: float = 60) -> tuple[int, bytes]:
        """Return the status and the body of an answer; a `body` that is not bytes is sent as JSON."""
        connection = self.connection(timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def upload(self, file_name: str, data: bytes, **fields: str) -> tuple[int, bytes]:
        """Upload a file, and return as `ask`."""
        parts = [f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
        parts += [f'--b\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n']
        body = "".join(parts).encode() + data + b"\r\n--b--\r\n"
        return self.ask("POST", "/v1/files", body, "multipart/form-data; boundary=b", timeout=120)

    def figures(self) -> Figures:
        """Measure the process that answers."""
        return figures(self.serving)

    def forget_peak(self) -> None:
        """Let `Figures.peak` begin anew, if the system can."""
        with suppress(OSError):
            (PROC / str(self.serving) / "clear_refs").write_text("5")


def figures(pid: int) -> Figures:
    """Measure a process. Raises `OSError` if it is gone."""
    text = (PROC / str(pid) / "status").read_text()
    value = {key: int(found) for key, found in re.findall(r"^(VmRSS|RssAnon|VmHWM|Threads):\s+(\d+)", text, re.MULTILINE)}
    files = len(os.listdir(PROC / str(pid) / "fd"))
    return Figures(
        1024 * value.get("VmRSS", 0), 1024 * value.get("RssAnon", 0), 1024 * value.get("VmHWM", 0), value.get("Threads", 0), files
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if there is none."""
    if path.is_dir():
        return sum(size_of(each) for each in path.iterdir())
    with suppress(OSError):
        return path.stat().st_size
    return 0


def put_model(store: Store, name: str, text: str, seed: int = 0, corpus: str | None = None, **config: Any) -> None:
    """Store a model that was drawn and never trained as a finished run."""
    chosen = ModelConfig.from_dict({"cell": "lstm", "hidden_size": 64, **config})
    vocabulary = Vocabulary.build(SymbolCounts(chosen.level, chosen.normalization).add([text]))
    store.runs.create(name, corpus=corpus, model_config=chosen.to_dict(), training_config={})
    run = store.runs.claim(name)
    checkpoint = Checkpoint(LanguageModel.new(chosen, vocabulary.size, seed), vocabulary, {"step": 0})
    store.checkpoints.save(run, Metric(step=0), checkpoint.to_bytes(), None)
    store.runs.release(run, "succeeded")


@contextmanager
def watched_service(db: Path, *options: str, memory: int | None = None) -> Iterator[WatchedService]:
    """Start a service at a free port, and end it afterwards. With `memory`, its processes cannot have more bytes of address space."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "cli.py", "serve", "--port", str(port), "--db", str(db), "--log-level", "error", *options]
    if memory is not None:
        command = [sys.executable, "-c", LIMITED, str(memory), *command]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            if not any("http://127.0.0.1:" in line for line in process.stdout):
                errors.seek(0)
                raise RuntimeError(f"the service did not start: {errors.read()}")
            service = WatchedService(process, port, db, 0)
            service.ask("GET", "/health")
            yield service._replace(serving=_answering(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                for pid in reversed(family(process.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _answering(pid: int) -> int:
    """Return the process that answers: the first one, or its fork, if that is how it is served."""
    return [each for each in family(pid) if command_of(each) == command_of(pid)][-1]


def command_of(pid: int) -> bytes:
    """Return the command of a process; nothing if it is gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes()
    return b""


HEALTH = """
import http.client, json, sys, threading, time
found, failures, over = [], [], threading.Event()
def ask():
    while not over.is_set():
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=130)
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 200:
                failures.append(f"/health has status {answer.status}")
        except Exception as error:
            failures.append(f"/health: {error!r}")
        found.append(time.monotonic() - began)
        over.wait(0.05)
thread = threading.Thread(target=ask)
thread.start()
sys.stdin.read()
over.set()
thread.join()
json.dump([found, failures], sys.stdout)
"""


class HealthWatch:
    """Asks ``/health`` again and again in a process of its own: `seconds` has how long each answer took."""

    def __init__(self, service: WatchedService) -> None:
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self._service = service

    def __enter__(self) -> HealthWatch:
        command = [sys.executable, "-c", HEALTH, str(self._service.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        output, _ = self._process.communicate()
        self.seconds, self.failures = json.loads(output)
