"""Fixtures: a store in a folder of its own, with a short tale in it, models that know nothing yet, and a real gunicorn."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Corpus, Metric, Run, Store

WORDS = "the loom weaves a thread of red and gold, night after night; who counts its knots?".split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "charloom.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def tale() -> str:
    """1500 characters in lines of a few words."""
    rng = random.Random(1)
    lines = (" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) + "\n" for _ in range(200))
    return "".join(lines)[:1500]


@pytest.fixture
def corpus(store: Store, tale: str) -> Corpus:
    return store.corpora.add("tale", [tale], "tale.txt")


@pytest.fixture(scope="session")
def put_model() -> Callable[..., Run]:
    """Store a run in any state with checkpoints of some steps, whose weights were drawn and never trained."""

    def put(
        store: Store,
        name: str = "first",
        *,
        steps: tuple[int, ...] = (100,),
        state: str = "succeeded",
        text: str = "abc \n",
        corpus: str | None = None,
        seed: int = 0,
        **config: object,
    ) -> Run:
        model = ModelConfig.from_dict({"cell": "gru", "hidden_size": 8, **config})
        vocabulary = Vocabulary.build(SymbolCounts(model.level, model.normalization).add([text]))
        store.runs.create(name, corpus=corpus, model_config=model.to_dict(), training_config={"steps": 400})
        run = store.runs.claim(name)
        for step in steps:
            checkpoint = Checkpoint(LanguageModel.new(model, vocabulary.size, seed + step), vocabulary, {"step": step})
            metric = Metric(step=step, epoch=step / 100, loss=2.0, validation_loss=2.0 - step / 1e6, bits_per_char=2.9)
            store.checkpoints.save(run, metric, checkpoint.to_bytes(), b"a training state")
        return store.runs.get(name) if state == "running" else store.runs.release(run, state)

    return put


@pytest.fixture
def add_model(store: Store, put_model: Callable[..., Run]) -> Callable[..., Run]:
    """`put_model` into the test's own store."""
    return partial(put_model, store)


# ── a real gunicorn ───────────────────────────────────────────────────────────────────────────────────────────────────

ROOT = Path(__file__).resolve().parents[2]

SERVE = """
import json, sys
from pathlib import Path
from service import connections, sending, server
from service.server import ServerSettings, serve

limits = json.loads(sys.argv[2])
connections.NEXT_BYTES, connections.WHOLE_REQUEST = limits.pop("next_bytes", 10.0), limits.pop("whole_request", 30.0)
sending.READING = limits.pop("reading", sending.READING)
server.CONNECTIONS = limits.pop("connections", server.CONNECTIONS)
serve(ServerSettings(db=Path(sys.argv[1]), port=0, **limits))
"""


class Server(NamedTuple):
    """A service in another process."""

    process: subprocess.Popen[str]
    port: int
    greeting: str
    db: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, JSON)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = json.loads(answer.read())
        connection.close()
        return answer.status, data

    def health(self) -> Any:
        """What /health says."""
        return self.ask("GET", "/health")[1]

    def connect(self, data: bytes = b"") -> socket.socket:
        """A connection over which `data` was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(data)
        return connection

    def stop(self, how: int = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, what it wrote on stderr)"""
        self.process.send_signal(how)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def start(path: Path, environment: Mapping[str, str] | None = None, **limits: Any) -> Server:
    """A service over a database, without workers; `limits` are fields of its `ServerSettings`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path), json.dumps({"log_level": "warning", "workers": 0, **limits})],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    greeting = "".join(process.stdout.readline() for _ in range(5))
    found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
    if found is None:
        process.kill()
        raise AssertionError(process.communicate()[1])
    return Server(process, int(found[1]), greeting, path)


def end(server: Server) -> None:
    """Kill a service that still runs."""
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


@pytest.fixture
def launch(path: Path) -> Iterator[Callable[..., Server]]:
    """Start services over the test's own database, or another; what still runs at its end is killed."""
    with ExitStack() as stack:

        def launched(environment: Mapping[str, str] | None = None, db: Path = path, **limits: Any) -> Server:
            server = start(db, environment, **limits)
            stack.callback(end, server)
            return server

        yield launched


@pytest.fixture(scope="module")
def server_settings() -> dict[str, Any]:
    """What a module's `server` is given; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, put_model: Callable[..., Run], server_settings: dict[str, Any]) -> Iterator[Server]:
    """One service, with an untrained model, for a module's tests that leave it idle; it must not have reported anything at the end."""
    path = tmp_path_factory.mktemp("server") / "charloom.db"
    with Store(path) as store:
        put_model(store)
    started = start(path, **server_settings)
    yield started
    left = started.health()["rows"], started.stop()
    end(started)
    assert left == (0, (0, ""))
