"""Lets a real service work for a long time and shows that it takes no more and no more: ``python -m tools.soak --minutes 120``.

It is started through the command line over a new database, and gets `--rate` requests a second, of all kinds: texts, streams that are
read and streams that are left, inspections, scores, novelty, lists, uploads (plain, packed, harmful) and their deletion, training jobs
that finish or are cancelled and deleted, models that are imported and deleted, and requests that must be refused.

Meanwhile memory, threads and open files of each process that stays, and the sizes of the database and its cache, are written down. In
the end a line through the last half of each series tells by how much it grows a minute. The status is 1 if the process that answers
takes more than `--most` MB or grows by more than `--slope` MB a minute, if files or threads grow, or if an answer was an error of the
service. ``own MB`` are without mapped files, such as the indexes of corpora. `--log FILE` keeps all figures as lines of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.watching import family
from service.store import Store
from tools.watched_service import ENVIRONMENT, MB, ROOT, WatchedService, command_of, figures, put_model, size_of, watched_service

WORDS = "the loom weaves a thread of red and gold, night after night; who counts its knots? (nobody) [so far]".split()
MODELS = 6  # that stay; half of them are larger
KEPT = 8  # corpora and finished jobs of the test that are kept at a time
CLIENTS = 8
EVERY = 2.0  # seconds between two looks
HALF = 0.5  # of the time over which the slopes are taken, at the end


def prose(rng: random.Random, characters: int) -> str:
    """Return a text in lines of a few words."""
    parts: list[str] = []
    while characters > 0:
        parts.append(" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) + "\n")
        characters -= len(parts[-1])
    return "".join(parts)


class Load:
    """Sends requests. May be used from several threads, each with a generator of random numbers of its own."""

    def __init__(self, service: WatchedService, folder: Path) -> None:
        self._service, self._folder = service, folder
        self.answers: Counter[str] = Counter()  # by what was asked, and the kind of status
        self.faults: list[str] = []
        self._files: list[str] = []
        self._number = 0
        self._lock = threading.Lock()
        self.kinds: list[tuple[int, Callable[[random.Random], None]]] = [
            (28, self.text),
            (22, self.stream),
            (5, self.left_stream),
            (10, self.inspection),
            (6, self.score),
            (3, self.novelty),
            (12, self.lists),
            (6, self.upload),
            (2, self.job),
            (1, self.imported),
            (5, self.refused),
        ]

    def one(self, rng: random.Random) -> None:
        """Send a request of a random kind."""
        [kind] = rng.choices([kind for _, kind in self.kinds], [weight for weight, _ in self.kinds])
        try:
            kind(rng)
        except Exception as error:
            self.faults.append(f"{kind.__name__}: {error!r}")

    def _ask(self, what: str, method: str, path: str, body: Any = None) -> bytes:
        status, data = self._service.ask(method, path, body)
        return self._counted(what, status, data)

    def _counted(self, what: str, status: int, data: bytes) -> bytes:
        self.answers[f"{what} {status // 100}xx"] += 1
        if status >= 500 and status != 507 and b"index_not_ready" not in data:
            self.faults.append(f"{what}: {status} {data[:200]!r}")
        return data

    def _model(self, rng: random.Random) -> str:
        return f"model-{rng.randrange(MODELS)}"

    def _new_name(self, kind: str) -> str:
        with self._lock:
            self._number += 1
            return f"{kind}-{self._number}"

    def text(self, rng: random.Random) -> None:
        """Ask for texts that come as a whole."""
        body = {"model": self._model(rng), "prompt": prose(rng, rng.choice([5, 200, 3000])), "length": rng.choice([50, 200, 1000])}
        self._ask("text", "POST", "/generate", body | {"n": rng.choice([1, 1, 4]), "temperature": rng.random()})

    def _streamed(self, rng: random.Random, length: int) -> tuple[Any, Any]:
        connection = self._service.connection()
        body = {"model": self._model(rng), "prompt": "the ", "max_tokens": length, "stream": True, "logprobs": rng.choice([None, 3])}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def stream(self, rng: random.Random) -> None:
        """Read a stream."""
        connection, answer = self._streamed(rng, 300)
        self._counted("stream", answer.status, answer.read())
        connection.close()

    def left_stream(self, rng: random.Random) -> None:
        """Leave a long stream after its beginning."""
        connection, answer = self._streamed(rng, 20_000)
        self._counted("left stream", answer.status, answer.read(500))
        connection.close()

    def inspection(self, rng: random.Random) -> None:
        """Look inside: each time another text."""
        body = {"model": self._model(rng), "text": prose(rng, rng.choice([200, 2000, 6000])), "units": ["0:1", "0:2"]}
        self._ask("inspection", "POST", "/v1/inspect", body)

    def score(self, rng: random.Random) -> None:
        """Score a text."""
        self._ask("score", "POST", "/v1/score", {"model": self._model(rng), "text": prose(rng, 2000), "logprobs": 3})

    def novelty(self, rng: random.Random) -> None:
        """Compare a text with the corpus of a job's model."""
        self._ask("novelty", "POST", "/v1/novelty", {"model": "latest", "text": prose(rng, 500)})

    def lists(self, rng: random.Random) -> None:
        """Read what there is."""
        paths = ("/health", "/metrics", "/v1/models", "/v1/files", "/v1/fine_tuning/jobs", "/", "/openapi.json", "/v1/models/model-0")
        self._ask("list", "GET", rng.choice(paths))

    def upload(self, rng: random.Random) -> None:
        """Upload a text, and delete the oldest ones if there are enough; one that a job still needs is deleted later."""
        data = prose(rng, rng.choice([1000, 30_000, 300_000])).encode()
        name = self._new_name("tale")
        packed = rng.choice([data, data, gzip.compress(data), lzma.compress(data), zipped(data), lzma.compress(data)[:-20]])
        status, answer = self._service.upload(f"{name}.txt", packed, name=name)
        self._counted("upload", status, answer)
        if status == 200:
            with self._lock:
                self._files.append(name)
                count = max(0, len(self._files) - KEPT)
                oldest, self._files = self._files[:count], self._files[count:]
            for each in oldest:
                status, answer = self._service.ask("DELETE", f"/v1/files/{each}")
                self._counted("delete file", status, answer)
                if status == 409:
                    with self._lock:
                        self._files.append(each)

    def job(self, rng: random.Random) -> None:
        """Order a job, cancel another one now and then, and delete old ones."""
        with self._lock:
            name = rng.choice(self._files) if self._files else None
        if name is not None:
            body = {"model": rng.choice(["gru", "lstm"]), "training_file": name, "hidden_size": 16, "steps": 40, "batch_size": 4}
            self._ask("job", "POST", "/v1/fine_tuning/jobs", body)
        found = json.loads(self._ask("list", "GET", "/v1/fine_tuning/jobs?limit=100&order=desc")).get("data", [])
        if found and rng.random() < 0.2:
            self._ask("cancel job", "POST", f"/v1/fine_tuning/jobs/{found[0]['id']}/cancel")
        for each in found[KEPT:]:
            self._ask("delete job", "DELETE", f"/v1/models/{each['id']}")

    def imported(self, rng: random.Random) -> None:
        """Import a model with another process, write with it, and delete it."""
        name = self._new_name("imported")
        command = [
            sys.executable,
            "cli.py",
            "import",
            str(self._folder / "model.safetensors"),
            "--name",
            name,
            "--db",
            str(self._service.db),
        ]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
        self._ask("imported", "POST", "/generate", {"model": name, "length": 50})
        self._ask("delete imported", "DELETE", f"/v1/models/{name}")

    def refused(self, rng: random.Random) -> None:
        """Ask for what cannot be."""
        bodies = (b"{", b"[" * 100_000, {"length": -1}, {"model": "none-such"}, {"prompt": "a" * 2_000_000}, {"n": 10**6}, b"\xff")
        self._ask("refused", "POST", rng.choice(["/generate", "/v1/completions", "/v1/inspect"]), rng.choice(bodies))


def zipped(data: bytes) -> bytes:
    """Return a zip of two files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", data[: len(data) // 2])
        archive.writestr("b/b.txt", data[len(data) // 2 :])
    return file.getvalue()


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Series:
    """Figures over time, by name."""

    def __init__(self) -> None:
        self.minutes: list[float] = []
        self.values: dict[str, list[float]] = {}

    def add(self, minutes: float, found: dict[str, float]) -> None:
        """Append a look."""
        self.minutes.append(minutes)
        for name, value in found.items():
            self.values.setdefault(name, []).append(value)

    def last_half(self, name: str) -> tuple[list[float], list[float]]:
        """Return the minutes and the values of the last half of the time."""
        start = next(i for i, each in enumerate(self.minutes) if each >= HALF * self.minutes[-1])
        return self.minutes[start:], self.values[name][start:]

    def slope(self, name: str) -> float:
        """Return by how much a series grows a minute over the last half, by least squares."""
        x, y = self.last_half(name)
        middle, level = sum(x) / len(x), sum(y) / len(y)
        spread = sum((each - middle) ** 2 for each in x)
        return sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0


def look(service: WatchedService) -> dict[str, float]:
    """Measure what stays: the processes of the service that are not for one job, and the files. Memory and sizes in MB."""
    found: dict[str, float] = {"database": size_of(service.db) / MB, "cache": size_of(Path(f"{service.db}.cache")) / MB}
    stays = [each for each in family(service.process.pid) if each == service.serving or each == service.process.pid or is_worker(each)]
    for pid in stays:
        name = "serving" if pid == service.serving else "worker" if is_worker(pid) else "first"
        now = figures(pid)
        found |= {f"{name} MB": now.rss / MB, f"{name} own MB": now.own / MB, f"{name} threads": now.threads, f"{name} files": now.files}
    return found


def is_worker(pid: int) -> bool:
    """Return whether a process is the one that works through the queue of jobs."""
    return b"service.training.worker" in command_of(pid)


def soak(seconds: float, rate: float, seed: int = 1, log: Path | None = None, options: tuple[str, ...] = ()) -> tuple[Series, Load]:
    """Start a service, send requests for some time and look at it meanwhile."""
    with tempfile.TemporaryDirectory(prefix="charloom-soak-") as name:
        folder = Path(name)
        rng = random.Random(seed)
        with Store(folder / "soak.db") as store:
            for number in range(MODELS):
                put_model(store, f"model-{number}", prose(rng, 2000), number, hidden_size=(64, 128)[number % 2])
        command = [sys.executable, "cli.py", "export", "model-0", str(folder / "model.safetensors"), "--db", str(folder / "soak.db")]
        subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
        with watched_service(folder / "soak.db", *options) as service:
            load, series, began, over = Load(service, folder), Series(), time.monotonic(), threading.Event()

            def client(number: int) -> None:
                own = random.Random(seed * 1000 + number)
                while not over.wait(own.expovariate(rate / CLIENTS)):
                    load.one(own)

            threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
            for thread in threads:
                thread.start()
            try:
                while (now := time.monotonic() - began) < seconds and service.process.poll() is None:
                    found = look(service)
                    series.add(now / 60, found)
                    if log is not None:
                        with log.open("a") as file:
                            file.write(json.dumps({"minutes": round(now / 60, 3), **found, "answers": sum(load.answers.values())}) + "\n")
                    over.wait(min(EVERY, max(0.0, seconds - now)))
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            if service.process.poll() is not None:
                load.faults.append(f"the service ended with status {service.process.returncode}")
        return series, load


def verdict(series: Series, load: Load, most: float, slope: float) -> list[str]:
    """Return what does not hold."""
    wrong = [f"{len(load.faults)} faults, the first: {load.faults[0]}"] if load.faults else []
    memory = series.values["serving MB"]
    if max(memory) > most:
        wrong.append(f"the process that answers took {max(memory):.0f} MB, more than {most:.0f}")
    if series.slope("serving MB") > slope:
        wrong.append(f"its memory grew by {series.slope('serving MB'):.2f} MB a minute, more than {slope}")
    for name in ("serving threads", "serving files"):
        _, last = series.last_half(name)
        if series.slope(name) > 0.5 and last[-1] > 1.5 * last[0] + 8:
            wrong.append(f"{name} grew from {last[0]:.0f} to {last[-1]:.0f}")
    return wrong


def report(series: Series, load: Load) -> str:
    """Return the table of what was seen."""
    lines = [f"{'':18}{'at first':>10}{'at last':>10}{'most':>10}{'a minute':>12}  (over the last half)"]
    for name, values in series.values.items():
        if len(values) == len(series.minutes):
            lines.append(f"{name:18}{values[0]:10.1f}{values[-1]:10.1f}{max(values):10.1f}{series.slope(name):+12.3f}")
    answers = ", ".join(f"{what} {count:,}" for what, count in sorted(load.answers.items()))
    return "\n".join([*lines, f"{sum(load.answers.values()):,} answers in {series.minutes[-1]:.1f} minutes: {answers}"])


def main() -> None:
    """Read the arguments, soak, and exit with 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="how long (default 120)")
    parser.add_argument("--rate", type=float, default=5, help="requests a second (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the requests (default 1)")
    parser.add_argument("--most", type=float, default=200, help="MB that the process that answers may take (default 200)")
    parser.add_argument("--slope", type=float, default=0.1, help="MB a minute by which it may grow (default 0.1)")
    parser.add_argument("--log", type=Path, help="a file for all figures, as lines of JSON")
    parser.add_argument("options", nargs="*", help="options of `charloom serve`, behind --")
    given = parser.parse_args()
    series, load = soak(60 * given.minutes, given.rate, given.seed, given.log, tuple(given.options))
    print(report(series, load))
    wrong = verdict(series, load, given.most, given.slope)
    print("\n".join(wrong) or "flat")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
