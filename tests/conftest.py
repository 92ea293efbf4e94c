"""What all tests share: hypothesis' profile, one BLAS thread each, how many run side by side, and fixtures for the service:

a store in a folder of its own, with a short tale in it, models that know nothing yet, and a real service.
"""

from __future__ import annotations

import os

# The networks of tests are tiny: one thread is quickest, and pytest's other workers have the other cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.kernels.library import NUMPY, VARIABLE, shortcoming
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Corpus, Metric, Run, Store
from service.system import disk, processes
from tests.served import Server, end, start

disk.RESERVE = disk.SMALLEST = 64  # bytes: one for each of a thousand databases would take much room; subprocesses have a real one
if shortcoming():
    os.environ[VARIABLE] = NUMPY  # chosen, so that no run and no text says what is missing

settings.register_profile(
    "charloom",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Continuous integration draws the same examples each time; whoever develops draws new ones.
    derandomize=bool(os.environ.get("CI")),
    database=None,
)
settings.load_profile("charloom")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for two processors: many tests wait for a process, a browser or a clock."""
    return 3 * (os.cpu_count() or 1) // 2 or 1


WORDS = "the loom weaves a thread of red and gold, night after night; who counts its knots?".split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "charloom.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass for what this process waits for from processes that it cannot see."""

    processes._first_seen.cache_clear()

    def pass_(seconds: float) -> None:
        now = processes.monotonic
        monkeypatch.setattr(processes, "monotonic", lambda: now() + seconds)

    return pass_


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
        separator: str | None = None,
        **config: object,
    ) -> Run:
        model = ModelConfig.from_dict({"cell": "gru", "hidden_size": 8, **config})
        vocabulary = Vocabulary.build(SymbolCounts(model.level, model.normalization).add([text]), separator=separator)
        store.runs.create(name, corpus=corpus, model_config=model.to_dict(), training_config={"steps": 400})
        run = store.runs.claim(name)
        for step in steps:
            weights = LanguageModel.new(model, vocabulary.size, seed + step, boundary=vocabulary.boundary)
            checkpoint = Checkpoint(weights, vocabulary, {"step": step})
            metric = Metric(step=step, epoch=step / 100, loss=2.0, validation_loss=2.0 - step / 1e6, bits_per_char=2.9)
            store.checkpoints.save(run, metric, checkpoint.to_bytes(), b"a training state")
        return store.runs.get(name) if state == "running" else store.runs.release(run, state)

    return put


@pytest.fixture
def add_model(store: Store, put_model: Callable[..., Run]) -> Callable[..., Run]:
    """`put_model` into the test's own store."""
    return partial(put_model, store)


# ── a real service ───────────────────────────────────────────────────────────────────────────────────────────────────


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
