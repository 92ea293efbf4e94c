"""Starts services in separate processes: ours over a database with one model, and a plain one with the same network."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import ours
from bench.networks import VOCABULARY, Network
from bench.processes import ROOT, environment
from model.checkpoint import Checkpoint
from model.vocabulary import Vocabulary
from service.store import Metric, Store

FIRST = 32  # code point of the alphabet's first symbol
NAME = "bench"


class Service(NamedTuple):
    """One that answers."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON that it answers. Raises `RuntimeError` where it refuses."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {found}")
        return found


@contextmanager
def charloom(db: Path, *options: str) -> Iterator[Service]:
    """Ours, as the command line starts it."""
    command = ours.command("serve", "--port", str(free_port()), "--db", db, "--log-level", "warning", *options)
    with _running(command, environment()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://[0-9.]+:(\d+)", line):
                yield Service(process, int(found[1]))
                return
        raise RuntimeError("the service did not start")


@contextmanager
def plain(threads: int, torch_threads: int) -> Iterator[Service]:
    """Starts the plain service, with one thread per request."""
    port = free_port()
    options = ["--workers", "1", "--threads", str(threads), "--timeout", "600", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    command = [sys.executable, "-m", "gunicorn", *options, "bench.peers.plain:app"]
    with _running(command, environment() | {"TORCH_THREADS": str(torch_threads)}) as process:
        until_open(port)
        yield Service(process, port)


@contextmanager
def _running(command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def until_open(port: int) -> None:
    """Waits until the port is open. Raises `RuntimeError` after two minutes."""
    for _ in range(1200):
        with socket.socket() as connection:
            if not connection.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


def write_model(db: Path, network: Network) -> None:
    """Store a network, which was never trained, as a finished run."""
    model, _ = network.weights()
    vocabulary = Vocabulary("char", "none", range(FIRST, FIRST + VOCABULARY))
    with Store(db) as store:
        store.runs.create(NAME, corpus=None, model_config=model.config.to_dict(), training_config={})
        run = store.runs.claim(NAME)
        store.checkpoints.save(run, Metric(step=0), Checkpoint(model, vocabulary, {"step": 0}).to_bytes(), None)
        store.runs.release(run, "succeeded")


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))
