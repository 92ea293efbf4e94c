"""Measures serving over HTTP: many streams, time to the first characters during training, and more clients than allowed.

Ours is started by the command line and called over loopback, like a plain service that answers each request separately. The bare
`Sampler` with as many texts is measured in the same minutes.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from bench import ours, services
from bench.clients import Answer, ask
from bench.measuring import PAUSE
from bench.networks import Network
from bench.processes import tell
from bench.services import Service
from bench.texts import lines_of
from bench.watching import family, pss, unwatchable
from service.system import hardware

NETWORK = Network("lstm", 2, 256)
STREAMS, LENGTH = 64, 500
TEMPERATURE = 0.8
CROWD = 1000  # connections
ROUNDS = 6  # of a crowd, until there are all threads
EVERY = 0.1  # seconds between two looks at the memory, and between two clients that come one after the other


def measure(quick: bool, only: str = "") -> dict[str, Any]:
    """Throughput of `STREAMS` streams, times to the first characters, and what becomes of a `CROWD`. `only` names one of the parts."""
    found: dict[str, Any] = {"network": str(NETWORK), "texts": STREAMS, "length": LENGTH}
    with tempfile.TemporaryDirectory(prefix="charloom-bench-") as folder:
        for name, part in PARTS.items():
            if only in name:
                db = Path(folder) / f"{name}.db"
                services.write_model(db, NETWORK)
                tell(f"  serving: {name}")
                found[name] = part(db, quick)
    return found


# ── throughput ────────────────────────────────────────────────────────────────────────────────────────────────────────


def streams(db: Path, quick: bool) -> dict[str, Any]:
    """Characters per second of each repetition: ours, the plain service's with the number of threads that suits it, the bare sampler's."""
    repetitions = 1 if quick else 3
    found: dict[str, Any] = {"charloom": [], "bare": [], "plain": {}}
    with services.charloom(db, "--workers", "0") as service:
        ask(service.port, "/v1/completions", [ours_body(seed) for seed in range(STREAMS)])  # warm
        for _ in range(repetitions):
            time.sleep(PAUSE)
            found["charloom"].append(rate(ask(service.port, "/v1/completions", [ours_body(seed) for seed in range(STREAMS)])))
            found["bare"].append(bare())
    for threads in sorted({1, hardware.cores()}):
        with services.plain(STREAMS, threads) as service:
            ask(service.port, "/generate", [plain_body(10)] * 2)  # warm
            length = 20 if quick else LENGTH
            rates = [rate(ask(service.port, "/generate", [plain_body(length)] * STREAMS)) for _ in range(repetitions)]
        found["plain"][threads] = rates
        tell(f"  serving, plain with {threads} PyTorch threads: {median(rates):,.0f}")
    fastest = max(found["plain"].values(), key=median)
    found["plain_ratio"] = min(found["charloom"]) / median(fastest)
    found["bare_ratio"] = min(ours / bare for ours, bare in zip(found["charloom"], found["bare"], strict=True))
    return found


def ours_body(seed: int, length: int = LENGTH) -> dict[str, Any]:
    """A request for one text."""
    return {"model": services.NAME, "prompt": "a", "max_tokens": length, "temperature": TEMPERATURE, "seed": seed, "stream": True}


def plain_body(length: int) -> dict[str, Any]:
    """The same for the plain service."""
    return {"length": length, "temperature": TEMPERATURE}


def rate(answers: list[Answer]) -> float:
    """Characters per second, from the first request to the last answer. Raises `RuntimeError` where one is not whole."""
    broken = [answer for answer in answers if answer.status != 200 or not answer.whole]
    if broken:
        raise RuntimeError(f"{len(broken)} of {len(answers)} streams broke: {bytes(broken[0].data[-300:])!r}")
    return sum(len(answer.text) for answer in answers) / max(answer.last for answer in answers)


def bare() -> float:
    """Characters per second of the sampler by itself, in this process, with as many threads as the service has."""
    run = ours.sampling(NETWORK.weights()[0], STREAMS, TEMPERATURE, hardware.cores())
    run(10)
    began = time.perf_counter()
    run(LENGTH)
    return STREAMS * LENGTH / (time.perf_counter() - began)


# ── the first characters ──────────────────────────────────────────────────────────────────────────────────────────────


def first_characters(db: Path, quick: bool) -> dict[str, Any]:
    """Seconds until the first characters of clients that come one after the other: while nothing else is done, and during a job."""
    clients = 10 if quick else 100
    with services.charloom(db) as service:
        idle = arrivals(service, clients)
        with Training(service):
            busy = arrivals(service, clients)
    return {"idle": idle, "training": busy, "idle_median": median(idle), "training_median": median(busy)}


def arrivals(service: Service, clients: int) -> list[float]:
    """The time to the first characters of each client."""
    found = []
    for seed in range(clients):
        [answer] = ask(service.port, "/v1/completions", [ours_body(seed, 100)])
        rate([answer])
        found.append(answer.first or answer.last)
        time.sleep(EVERY)
    return found


class Training:
    """A job that the service carries out meanwhile."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._job = ""

    def __enter__(self) -> None:
        text = "\n".join(lines_of("python")).encode()[:2_000_000]
        boundary = "charloom-bench"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="bench.txt"\r\n\r\n'.encode()
        body = head + text + f"\r\n--{boundary}--\r\n".encode()
        file = self._service.ask("POST", "/v1/files", body, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})
        job = self._service.ask("POST", "/v1/fine_tuning/jobs", {"model": "lstm", "training_file": file["id"], "budget": 600})
        self._job = f"/v1/fine_tuning/jobs/{job['id']}"
        while self._service.ask("GET", self._job)["meta"]["step"] < 1:
            time.sleep(EVERY)

    def __exit__(self, *error: object) -> None:
        self._service.ask("POST", f"{self._job}/cancel")


# ── a crowd ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def crowd(db: Path, quick: bool) -> dict[str, Any]:
    """What becomes of `CROWD` requests at once, the most memory meanwhile, and what is left of them in the end.

    They come several times before, since threads of a pool are made when they are first needed: then there should be as many as before.
    """
    clients = 100 if quick else CROWD
    with services.charloom(db, "--workers", "0") as service:
        before = -1
        for _ in range(1 if quick else ROUNDS):
            ask(service.port, "/v1/completions", [ours_body(seed) for seed in range(clients)])
            if threads(service) == before:
                break
            before = threads(service)
        with Memory(service.process.pid) as memory:
            answers = ask(service.port, "/v1/completions", [ours_body(seed) for seed in range(clients)])
        health = service.ask("GET", "/health")
        statuses = Counter(answer.status for answer in answers)
        written = sum(answer.whole and len(answer.text) == LENGTH for answer in answers if answer.status == 200)
        return {
            "clients": clients,
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "written": written,  # in full
            "seconds": max(answer.last for answer in answers),
            "peak": memory.peak,
            "threads": threads(service),
            "threads_before": before,
            "rows": health["rows"],
            "waiting": health["waiting"],
        }


def threads(service: Service) -> int:
    """Of all processes of a service; 0 where the system does not tell."""
    return 0 if unwatchable() else sum(map(services.threads_of, family(service.process.pid)))


class Memory:
    """The most memory (PSS) that a process and its children held meanwhile; 0 where the system does not tell."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not unwatchable() and not self._over.wait(EVERY):
            self.peak = max(self.peak, sum(map(pss, family(self._pid))))

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


PARTS = {"streams": streams, "first": first_characters, "crowd": crowd}
