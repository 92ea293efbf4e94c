"""Kills the service, its workers or its trainers at random moments under load, and shows that every job goes on: see `tools.kill_test`.

A service with a worker, and a second worker, carry out jobs while clients have text written. After each SIGKILL

- the file passes SQLite's ``integrity_check`` and ``foreign_key_check``,
- every job waits, is trained, has ended or says why not; what is kept of it never goes back, and loads with its training state,
- every validation that was told in an event is in the file, and none is told twice or changes,
- of a service that was killed, no process is left behind, and none of its jobs is lost.

In the end all jobs have succeeded, with the same weights, validations, samples and optimizer's memory as without interruption.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, unpack_state
from service.store import Run, Store
from service.training import jobs
from service.training.jobs import JobSpec
from tools.kill_test import ROOT, outcome, require, sound, words

VICTIMS = ("trainer", "worker", "service")
MODEL = {"hidden_size": 24, "num_layers": 2, "dropout": 0.2}  # a network in which everything that must be restored matters
LIMIT = 120.0  # seconds that anything may take that must happen
AT_ONCE = 3  # jobs that wait or are trained
CLIENTS = 4  # that have text written all the time


def eventually(condition: Callable[[], Any], promise: str) -> Any:
    """What the condition gives as soon as that is true. Raises `Lost`."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        require(time.monotonic() < deadline, f"{promise}: not within {LIMIT:.0f} s")
        time.sleep(0.02)
    return found


def cmdline(pid: int) -> str:
    """The command of a living process; empty for one that has ended."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return "" if state in "ZX" else Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def offspring(pid: int) -> list[int]:
    """All processes below one, while it lives."""
    with contextlib.suppress(OSError):
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [*children, *(each for child in children for each in offspring(child))]
    return []


@dataclass
class Siege:
    """A service whose processes of one kind are killed. Needs /proc."""

    folder: Path
    victim: str
    kills: int = 10
    steps: int = 1500  # of each job
    seed: int = 0
    told: dict[tuple[str, int], float] = field(default_factory=dict)  # (job, step) -> validation loss
    kept: dict[str, int] = field(default_factory=dict)  # the step of each job's last checkpoint
    reports: list[str] = field(default_factory=list)
    texts: int = 0  # that clients got

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.db = self.folder / "jobs.db"
        self.text = words(self.random)
        self.port = 0
        self.service: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    # ── what runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start_service(self) -> None:
        """Start it, and wait until it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.service = self.process("serve", "--port", str(self.port), "--workers", "1", "--log-level", "error")
        eventually(lambda: self.ask("GET", "/health")[0] == 200, "the service answers")

    def process(self, *command: str) -> subprocess.Popen[bytes]:
        """A command of the command line."""
        with (self.folder / "log").open("ab") as log:
            command = (sys.executable, str(ROOT / "cli.py"), *command, "--db", str(self.db))
            return subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """(status, body) of an answer; status 0 where there was none."""
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
                connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A service, a second worker, and clients."""
        over = threading.Event()

        def client(number: int) -> None:
            while not over.wait(0.05):
                status, _ = self.ask("POST", "/generate", {"length": 200, "seed": number})
                require(status in (0, 200, 404, 429, 503), f"a client was answered with status {status}")
                self.texts += status == 200

        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        try:
            self.start_service()
            self.worker = self.process("worker")
            for each in clients:
                each.start()
            yield
        finally:
            over.set()
            for each in clients:
                if each.ident:
                    each.join()
            for process in (self.service, self.worker):
                if process:
                    process.terminate()
                    process.wait(LIMIT)

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def training(self, number: int) -> dict[str, int]:
        """How a job is trained."""
        return {"steps": self.steps, "batch_size": 8, "seq_length": 32, "seed": number, "validation_interval": max(1, self.steps // 25)}

    def keep_busy(self, store: Store) -> None:
        """Order jobs until enough of them wait or are trained."""
        runs = store.runs.list()
        for number in range(len(runs), len(runs) + AT_ONCE - sum(run.state in ("queued", "running") for run in runs)):
            jobs.submit(store, JobSpec(corpus="text", name=f"job-{number}", model=MODEL, training=self.training(number)))

    def trainers(self, store: Store) -> dict[str, int]:
        """The process of each job that is trained."""
        found = {run.name: int(json.loads(run.owner)["pid"]) for run in store.runs.list() if run.state == "running" and run.owner}
        return {name: pid for name, pid in found.items() if "service.training.train_process" in cmdline(pid)}

    # ── killing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def kill_once(self, store: Store) -> str:
        """Kill one of the victims at a random moment; in words, what that did."""
        eventually(lambda: self.trainers(store), "a job is trained")
        time.sleep(self.random.uniform(0, 2.5))
        if self.victim == "trainer":
            found = eventually(lambda: self.trainers(store), "a job is trained")
            name = self.random.choice(sorted(found))
            os.kill(found[name], signal.SIGKILL)
            eventually(lambda: self.trainers(store).get(name) != found[name], "the end of a trainer is noticed")
            return f"the trainer of {name}, which {self.how(store, name)}"
        if self.victim == "worker":
            return self.kill_worker(store)
        assert self.service is not None
        below = offspring(self.service.pid)
        self.service.kill()
        self.service.wait()
        eventually(lambda: not any("python" in cmdline(pid) for pid in below), "no process of a killed service is left behind")
        self.start_service()
        return f"the service with {len(below)} processes below it"

    def kill_worker(self, store: Store) -> str:
        """Kill the service's own worker, or the second one."""
        assert self.service is not None
        assert self.worker is not None
        own = [pid for pid in offspring(self.service.pid) if "service.training.worker" in cmdline(pid)]
        pid = self.random.choice([*own, self.worker.pid])
        below = [each for each in offspring(pid) if "service.training.train_process" in cmdline(each)]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(cmdline(each) for each in below), "a trainer ends with its worker")
        if pid == self.worker.pid:
            self.worker.wait()
            self.worker = self.process("worker")
        return f"{'the second worker' if pid not in own else 'the worker of the service'} with {len(below)} jobs"

    def how(self, store: Store, name: str) -> str:
        """What has become of a job whose process was killed."""
        run = store.runs.get(name)
        return f"has {run.state}" if run.state in ("succeeded", "failed") else f"goes on from step {run.step:,}"

    # ── the promises ──────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, store: Store) -> None:
        """All that must hold at any moment."""
        sound(store)
        for run in store.runs.list():
            require(run.state in ("queued", "running", "succeeded", "failed"), f"{run.name} is {run.state}: {run.message}")
            if run.state == "failed":  # three kills at the same step: it says so, and is tried again
                require("3 times at step" in (run.message or ""), f"{run.name} has failed: {run.message}")
                self.reports.append(f"{run.name}: {run.message}")
                jobs.resume(store, run.name)
            with store.immediate():  # no other process writes meanwhile
                self.check_job(store, store.runs.get(run.name))

    def check_job(self, store: Store, run: Run) -> None:
        """What is kept of a job."""
        losses = {each.step: each.validation_loss for each in store.metrics.list(run)}
        told: set[int] = set()
        for event in store.events.list(run, limit=100_000):
            if event.data and event.data["valid_loss"] is not None:
                step, loss = event.data["step"], event.data["valid_loss"]
                require(step not in told, f"{run.name}: step {step} was told twice")
                told.add(step)
                require(self.told.setdefault((run.name, step), loss) == loss, f"{run.name}: the loss of step {step} has changed")
                require(losses.get(step) == loss, f"{run.name}: the validation of step {step} was told and is not in the file")
        lost = {step for name, step in self.told if name == run.name} - told
        require(not lost, f"{run.name}: events of the steps {sorted(lost)} are gone")
        if run.checkpoints:
            last, model, state = store.checkpoints.load_state(run)
            Checkpoint.from_bytes(model)
            require(unpack_state(state).step == last.step >= self.kept.get(run.name, 0), f"{run.name}: its last checkpoint went back")
            self.kept[run.name] = last.step
        require(self.kept.get(run.name, 0) >= max(told, default=0), f"{run.name}: a step was told that no checkpoint has reached")

    def compare(self, store: Store) -> int:
        """Train all jobs once more, without interruption, and compare; how many there were."""
        runs = store.runs.list()
        with Store(self.folder / "whole.db") as whole:
            whole.corpora.add("text", [self.text], "text")
            for run in runs:
                number = int(run.name.removeprefix("job-"))
                given = {**MODEL, **self.training(number), "name": run.name, "db": whole.path}
                options = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
                command = [sys.executable, str(ROOT / "cli.py"), "train", "text", "--json", *options]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                require(done.returncode == 0, f"a run without interruption ended with {done.returncode}: {done.stderr}")
                killed, expected = outcome(store, run), outcome(whole, whole.runs.get(run.name))
                for part in expected:
                    require(killed[part] == expected[part], f"{run.name}: {part}: not the same as without interruption")
        return len(runs)

    def carry_out(self, tell: bool = True) -> None:
        """Kill, check, let all end, compare. Raises `Lost`."""
        began = time.monotonic()
        with Store(self.db) as store:
            store.corpora.add("text", [self.text], "text")
            with self.running():
                for number in range(1, self.kills + 1):
                    self.keep_busy(store)
                    what = self.kill_once(store)
                    self.check(store)
                    if tell:
                        print(f"kill {number:3}: {what}; the file is sound, nothing is lost", flush=True)
                eventually(lambda: self.has_ended(store), "all jobs succeed")
            count = self.compare(store)
        if tell:
            print(
                f"{self.kills} SIGKILLs of the {self.victim}, {time.monotonic() - began:.0f} s: {count} jobs, {len(self.told)} validations,"
                f" {self.texts} texts for clients, {len(self.reports)} failures reported; no damaged file, nothing lost,"
                " all jobs ended bit-identical to the same ones without interruption"
            )

    def has_ended(self, store: Store) -> bool:
        """Whether all jobs have succeeded; what must hold is checked meanwhile."""
        self.check(store)
        return all(run.state == "succeeded" for run in store.runs.list())
