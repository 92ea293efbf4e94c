"""Lets one caller take all that it can of a service, and measures what another one gets: ``python -m tools.greedy_caller``.

The greedy caller sends 33 requests of 64 texts at a time, prompts whose log-probabilities are asked for, texts to score, 16 uploads that
arrive at 17 KiB a second, orders of training jobs and clients that follow one, each as often as it is let. The modest one streams a text,
and in between uploads, scores, orders and follows. It must never be refused, and see its first characters within 200 ms at the
median. The times of an idle service are measured first. The status is 1 if one of this does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.store import Metric, Store, api_keys

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Once upon a time there was a loom, and all who heard it at night knew that the winter would be long.\n"
MEDIAN = 0.2  # seconds until the first characters, at most
SLOWLY = 17 * 1024  # bytes a second of each upload of the greedy caller
UPLOADS = 16
FORM = "multipart/form-data; boundary=x"
PART = '--x\r\nContent-Disposition: form-data; name="{}"'
HEAD = PART.format("name") + "\r\n\r\n{}\r\n" + PART.format("file") + '; filename="a"\r\n\r\n'


@dataclass
class Caller:
    """One caller: its key, and what its requests were answered."""

    port: int
    key: str
    statuses: dict[str, Counter[int]] = field(default_factory=dict)  # by kind of request; 0 if there was no answer
    first_characters: list[float] = field(default_factory=list)  # seconds
    at_work: bool = True  # what is answered later, when the service ends, does not count

    def count(self, kind: str, status: int) -> None:
        """Note a status."""
        if self.at_work:
            self.statuses.setdefault(kind, Counter())[status] += 1

    @contextmanager
    def answered(self, kind: str, path: str, body: Any, content: str = "application/json") -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, whose status is noted; a GET without a body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": content}
            connection.request("GET" if body is None else "POST", path, data, headers)
            answer = connection.getresponse()
            self.count(kind, answer.status)
            yield answer

    def ask(self, kind: str, path: str, body: Any = None, content: str = "application/json") -> int:
        """The status of an answer, which is read to its end."""
        with self.answered(kind, path, body, content) as answer:
            answer.read()
            return answer.status

    def stream(self) -> None:
        """Have a short text written, and note the time until its first characters."""
        began = time.perf_counter()
        with self.answered("text", "/v1/completions", {"max_tokens": 50, "stream": True}) as answer:
            if answer.status == 200:
                answer.readline()
                self.first_characters.append(time.perf_counter() - began)
            answer.read()

    def upload(self, name: str) -> None:
        """Upload a text of 200 kB."""
        self.ask("upload", "/v1/files", (HEAD.format(name) + TEXT * 2000 + "\r\n--x--\r\n").encode(), FORM)

    def follow(self) -> None:
        """Begin to follow a job, and leave again."""
        with self.answered("follow", "/v1/fine_tuning/jobs/job/events?stream=true", None) as answer:
            answer.readline()


class Greed:
    """All that the greedy caller does, in threads, until the service has ended."""

    def __init__(self, caller: Caller, texts: int, requests: int) -> None:
        self._caller = caller
        self._stopping = threading.Event()
        prompts = [TEXT * 20] * 16
        kinds: list[tuple[int, Callable[[], object]]] = [
            (requests, lambda: caller.ask("text", "/v1/completions", {"n": texts, "max_tokens": 2000})),
            (
                2,
                lambda: caller.ask(
                    "log-probabilities", "/v1/completions", {"prompt": prompts, "echo": True, "logprobs": 5, "max_tokens": 0}
                ),
            ),
            (8, lambda: caller.ask("score", "/v1/score", {"text": TEXT * 1000})),
            (UPLOADS, self._upload_slowly),
            (1, lambda: caller.ask("order", "/v1/fine_tuning/jobs", {"model": "gru", "training_file": "tale", "steps": 10**6})),
            (16, self._follow),
        ]
        self._threads = [threading.Thread(target=self._again, args=(work,)) for count, work in kinds for _ in range(count)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing further."""
        self._caller.at_work = False
        self._stopping.set()

    def join(self) -> None:
        """Wait for the end of what was begun, when the service has ended."""
        for thread in self._threads:
            thread.join()

    def _again(self, work: Callable[[], object]) -> None:
        while not self._stopping.is_set():
            try:
                work()
            except (OSError, http.client.HTTPException):  # it was given up, since it was too slow, or the service has ended
                self._caller.count("broken off", 0)
            self._stopping.wait(0.1)  # a client in a loop, not an attack on the listening socket

    def _upload_slowly(self) -> None:
        with socket.create_connection(("127.0.0.1", self._caller.port), timeout=120) as connection:
            head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._caller.key}\r\nContent-Type: {FORM}\r\n"
            connection.sendall((head + "Content-Length: 100000000\r\n\r\n" + HEAD.format("slow") + TEXT * 1000).encode())
            connection.settimeout(0.01)
            while not self._stopping.wait(0.5):
                with contextlib.suppress(TimeoutError):
                    if answer := connection.recv(100):
                        self._caller.count("slow upload", int(answer.split()[1]))
                    return
                connection.sendall(b"a" * (SLOWLY // 2))

    def _follow(self) -> None:
        with self._caller.answered("follow", "/v1/fine_tuning/jobs/job/events?stream=true", None) as answer:
            while answer.status == 200 and not self._stopping.is_set() and answer.readline():
                pass


def prepared(db: Path) -> tuple[str, str]:
    """Store a model, a text, a paused job and two keys in a new database; returns the keys."""
    keys = api_keys.new(), api_keys.new()
    with Store(db) as store:
        store.corpora.add("tale", [TEXT * 50], "tale")
        config = ModelConfig(cell="lstm", hidden_size=128, num_layers=2)
        vocabulary = Vocabulary.build(SymbolCounts(config.level, config.normalization).add([TEXT]))
        for name, state in (("model", "succeeded"), ("job", "paused")):
            run = store.runs.create(name, corpus="tale", model_config=config.to_dict(), training_config={"steps": 100})
            run = store.runs.claim(name)
            checkpoint = Checkpoint(LanguageModel.new(config, vocabulary.size, 1), vocabulary, {"step": 1})
            store.checkpoints.save(run, Metric(step=1, epoch=0.1, loss=2.0), checkpoint.to_bytes(), b"")
            store.runs.release(run, state)
        for name, key in zip(("greedy", "modest"), keys, strict=True):
            store.keys.add(api_keys.hashed(key), name, scope="train")
    return keys


@contextmanager
def service(db: Path, *options: str) -> Iterator[int]:
    """A service over a database, without a worker; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--db", str(db), "--port", str(port), "--workers", "0", *options]
    with (db.parent / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                    connection.request("GET", "/health")
                    if connection.getresponse().status == 200:
                        break
                if time.monotonic() > deadline or process.poll() is not None:
                    raise AssertionError((db.parent / "log").read_text())
                time.sleep(0.1)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it would wait for those that read


def carry_out(folder: Path, seconds: float, texts: int, requests: int) -> tuple[list[float], Caller, Caller]:
    """The first characters' times of the idle service, and the greedy and the modest caller after some `seconds`."""
    db = folder / "charloom.db"
    greedy_key, modest_key = prepared(db)
    # The modest caller has a process of its own, so that it does not wait for the greedy one's threads.
    elsewhere = ProcessPoolExecutor(1, get_context("spawn"))
    with elsewhere, service(db, "--log-level", "error", "--min-disk", "0") as port:
        idle, greedy = elsewhere.submit(live, Caller(port, modest_key), 1.0).result(), Caller(port, greedy_key)
        greed = Greed(greedy, texts, requests)
        greed.start()
        try:
            time.sleep(2.0)  # until it has taken what it gets
            modest = elsewhere.submit(live, Caller(port, modest_key), seconds).result()
        finally:
            greed.stop()
    greed.join()
    return idle.first_characters, greedy, modest


def live(modest: Caller, seconds: float) -> Caller:
    """Do what a modest caller does, for some `seconds`; returns what it was answered."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(5):
            modest.stream()
        modest.upload(f"mine-{time.time_ns()}")
        modest.ask("score", "/v1/score", {"text": TEXT})
        modest.follow()
        modest.ask("list", "/v1/models")
    modest.ask("order", "/v1/fine_tuning/jobs", {"model": "gru", "training_file": "tale", "steps": 1})
    return modest


def faults(modest: Caller) -> list[str]:
    """What the modest caller was promised and did not get."""
    found = [
        f"{count} of its requests ({kind}) were answered with {status}"
        for kind, statuses in modest.statuses.items()
        for status, count in statuses.items()
        if status != 200
    ]
    if (median := statistics.median(modest.first_characters)) > MEDIAN:
        found.append(f"its first characters came after {1000 * median:.0f} ms at the median")
    return found


def main() -> None:
    """Measure, and print what each caller got."""
    parser = argparse.ArgumentParser(prog="python -m tools.greedy_caller", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the greedy caller is at work")
    parser.add_argument("--texts", type=int, default=64, help="texts of one of its requests")
    parser.add_argument("--requests", type=int, default=33, help="its requests for texts at a time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        idle, greedy, modest = carry_out(Path(folder), given.seconds, given.texts, given.requests)
    for name, times in (("idle", idle), ("beside the greedy caller", modest.first_characters)):
        ordered = sorted(1000 * seconds for seconds in times)
        worst = ordered[int(0.95 * (len(ordered) - 1))]
        sys.stdout.write(f"first characters, {name}: median {statistics.median(ordered):.0f} ms, 95 % within {worst:.0f} ms\n")
    for name, caller in (("greedy", greedy), ("modest", modest)):
        for kind, statuses in caller.statuses.items():
            counts = ", ".join(f"{count} x {status or 'broken off'}" for status, count in sorted(statuses.items()))
            sys.stdout.write(f"{name}, {kind}: {counts}\n")
    if found := faults(modest):
        sys.exit("the modest caller did not get its share: " + "; ".join(found))


if __name__ == "__main__":
    main()
