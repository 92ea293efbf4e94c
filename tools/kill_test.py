"""Kills one training run again and again, and shows that nothing is lost: ``python -m tools.kill_test``.

A run of `--steps` is trained through the real command line, once without interruption and once with `--kills` SIGKILLs at random
moments: while the program starts, reads, trains, validates or stores. After each kill

- the file passes SQLite's ``integrity_check`` and ``foreign_key_check``,
- the last checkpoint loads, with the state that training goes on from,
- no checkpoint that was reported as stored is lost, and what was reported about a step never changes,
- ``charloom train --resume`` goes on.

In the end all weights, the optimizer's memory, the hidden state and every validation loss are the same to the last bit as those
of the run that was never interrupted. A summary is printed; the status is 1 if something was lost. 25 kills, the default,
take a minute or two; `--seed` chooses other moments, `--folder` keeps the databases.

With ``--victim trainer``, ``worker`` or ``service`` it is a service with jobs, under load, of which such processes are killed ten
times (`tools.kill_jobs`): a few minutes each. With ``--victim store`` it is everything that the database keeps, ended at chosen
operations, by SIGKILL, power cuts, errors of the disk, a full disk and want of memory (`tools.crash_points`).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, unpack_state
from service.store import Run, Store
from service.system.errors import CheckpointNotFound, RunNotFound

ROOT = Path(__file__).resolve().parent.parent
NAME = "killed"
VALIDATIONS = 3  # that one life of the process sees at most, so that the run lasts for all kills


class Lost(AssertionError):
    """Something that was promised did not hold."""


def require(holds: object, promise: str) -> None:
    """Raises `Lost` unless the promise holds."""
    if not holds:
        raise Lost(promise)


def words(rng: random.Random) -> str:
    """A text to learn from: 400 lines of words that are made up."""
    known = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 6))) for _ in range(50)]
    return "\n".join(" ".join(rng.choices(known, k=8)) for _ in range(400))


def sound(store: Store) -> None:
    """Raises `Lost` if the file is damaged."""
    found = [row[0] for row in store.db.execute("PRAGMA integrity_check").fetchall()]
    require(found == ["ok"], f"the file is damaged: {found}")
    require(not store.db.execute("PRAGMA foreign_key_check").fetchall(), "rows refer to others that are not there")


def outcome(store: Store, run: Run) -> dict[str, Any]:
    """What must be the same of a finished run, whether it was interrupted or not."""
    require(run.state == "succeeded", f"{run.name} is {run.state} in {store.path}")
    _, model, packed = store.checkpoints.load_state(run)
    state = unpack_state(packed)
    return {
        "weights": Checkpoint.from_bytes(model).model.parameters.flat.tobytes(),
        "hidden state": state.hidden.tobytes(),
        "optimizer": {name: vector.tobytes() for name, vector in state.memory.items()},
        "place": {key: value for key, value in vars(state).items() if key not in ("hidden", "memory")},
        "validations": {each.step: each.validation_loss for each in store.metrics.list(run) if each.validation_loss is not None},
        "samples": {each.step: each.text for each in store.samples.list(run)},
    }


@dataclass
class Torture:
    """One run that is killed, and what is known about it."""

    folder: Path
    kills: int
    steps: int
    seed: int
    hidden_size: int
    startup: float = 1.0  # seconds until the first validation of a process, as measured on the run without interruption
    interval: float = 0.1  # seconds from one validation to the next
    reported: dict[int, float] = field(default_factory=dict)  # step -> validation loss
    kept: list[int] = field(default_factory=list)  # the last checkpoint's step after each kill

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.text = self.folder / "text.txt"
        self.text.write_text(words(self.random))
        self.validate_every = max(1, self.steps // ((VALIDATIONS + 1) * (self.kills + 1)))

    # ── the command line ──────────────────────────────────────────────────────────────────────────────────────────────

    def command(self, db: str, resume: bool) -> list[str]:
        """What a user would type."""
        what = ["--resume", NAME] if resume else [str(self.text), "--name", NAME, *self.settings()]
        return [sys.executable, str(ROOT / "cli.py"), "train", *what, "--json", "--db", str(self.folder / db)]

    def settings(self) -> list[str]:
        """A network in which everything that must be restored matters: two layers, dropout, carried states, Adam."""
        given = {
            "steps": self.steps,
            "hidden-size": self.hidden_size,
            "num-layers": 2,
            "dropout": 0.2,
            "batch-size": 8,
            "seq-length": 32,
            "validation-interval": self.validate_every,
            "seed": self.seed,
        }
        return [part for name, value in given.items() for part in (f"--{name}", str(value))]

    @contextmanager
    def process(self, command: list[str]) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[dict[str, Any] | None]]]:
        """A process and the events it reports; None comes after the last one."""
        events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder) as process:

            def read() -> None:
                for line in process.stdout or ():
                    if line.endswith("\n"):  # the last one may be cut
                        events.put(json.loads(line))
                events.put(None)

            reader = threading.Thread(target=read)
            reader.start()
            try:
                yield process, events
            finally:
                process.kill()
                process.wait()
                reader.join()

    def take(self, event: dict[str, Any] | None) -> bool:
        """Remember what was reported; whether that was a validation."""
        if event is None or event["event"] != "validation":
            return False
        step, loss = event["step"], event["validation_loss"]
        require(self.reported.setdefault(step, loss) == loss, f"step {step} had a validation loss of {self.reported[step]}, now of {loss}")
        return True

    # ── the two runs ──────────────────────────────────────────────────────────────────────────────────────────────────

    def uninterrupted(self) -> None:
        """Train without interruption, and measure how long things take."""
        moments = [time.monotonic()]
        with self.process(self.command("whole.db", resume=False)) as (process, events):
            while (event := events.get()) is not None:
                if event["event"] == "validation":
                    moments.append(time.monotonic())
            require(process.wait() == 0, f"the run without interruption ended with {process.returncode}: {_errors(process)}")
        self.startup = moments[1] - moments[0]
        self.interval = (moments[-1] - moments[1]) / max(1, len(moments) - 2)

    def kill_once(self) -> str:
        """Start or resume the run and kill it at a random moment; in words, what it was doing."""
        with self.process(self.command("killed.db", resume=self.run() is not None)) as (process, events):
            if self.random.random() < 0.25:
                what = "while it started"
                time.sleep(self.random.uniform(0, self.startup))
            else:
                count = self.random.randint(1, VALIDATIONS)
                what = f"after {count} validations" if count > 1 else "after a validation"
                while count:
                    event = events.get()
                    if event is None:
                        raise Lost(f"the process ended by itself with {process.wait()}: {_errors(process)}")
                    count -= self.take(event)
                time.sleep(self.random.uniform(0, self.interval))
            process.kill()
            while (event := events.get()) is not None:
                self.take(event)
            require(process.wait() == -9, f"the process ended with {process.returncode} before it was killed: {_errors(process)}")
        return what

    def finish(self) -> None:
        """Resume, and let it come to its end."""
        with self.process(self.command("killed.db", resume=self.run() is not None)) as (process, events):
            while (event := events.get()) is not None:
                self.take(event)
            require(process.wait() == 0, f"the resumed run ended with {process.returncode}: {_errors(process)}")

    def run(self, db: str = "killed.db") -> Run | None:
        """The run as it is in the file; None where it was killed before it had begun."""
        with Store(self.folder / db) as store:
            try:
                return store.runs.get(NAME)
            except RunNotFound:
                return None

    # ── the promises ──────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """All that must hold after a kill."""
        with Store(self.folder / "killed.db") as store:
            sound(store)
        run = self.run()
        require(run is not None or not self.reported, "the run is gone")
        if run is None:
            self.kept.append(0)
            return
        require(run.state == "paused", f"the run reads as {run.state}")
        self.kept.append(self.last_step(run))
        require(self.kept == sorted(self.kept), f"the last checkpoint went back: {self.kept}")

    def last_step(self, run: Run) -> int:
        """The step of the last checkpoint, which loads whole; everything reported is there."""
        with Store(self.folder / "killed.db") as store:
            losses = {metric.step: metric.validation_loss for metric in store.metrics.list(run)}
            missing = {step for step, loss in self.reported.items() if losses.get(step) != loss}
            require(not missing, f"validations were reported and are not in the file: {missing}")
            try:
                last, model, state = store.checkpoints.load_state(run)
            except CheckpointNotFound:
                require(not self.reported, "checkpoints were reported and none is in the file")
                return 0
            Checkpoint.from_bytes(model)
            require(unpack_state(state).step == last.step, "the training state is of another step")
            require(
                last.step >= max(self.reported, default=0), f"step {max(self.reported, default=0)} was reported, {last.step} is the last"
            )
            if self.reported:
                best, data = store.checkpoints.load(run, "best")
                Checkpoint.from_bytes(data)
                require(best.validation_loss == min(loss for loss in losses.values() if loss is not None), "the best checkpoint is lost")
        return last.step

    def outcome(self, db: str) -> dict[str, Any]:
        """What must be the same in both files in the end."""
        run = self.run(db)
        require(run is not None and run.state == "succeeded" and run.step == self.steps, f"{db} does not hold the finished run")
        assert run is not None
        with Store(self.folder / db) as store:
            return outcome(store, run)

    def carry_out(self, tell: bool = True) -> None:
        """Both runs, and the comparison. Raises `Lost`."""
        began = time.monotonic()
        self.uninterrupted()
        for number in range(1, self.kills + 1):
            what = self.kill_once()
            self.check()
            if tell:
                print(f"kill {number:3} {what:22}: the file is sound, the last checkpoint is of step {self.kept[-1]:,}", flush=True)
        self.finish()
        whole, killed = self.outcome("whole.db"), self.outcome("killed.db")
        for part in whole:
            require(whole[part] == killed[part], f"{part}: not the same as without interruption")
        if tell:
            print(
                f"{self.kills} SIGKILLs in a run of {self.steps:,} steps, {time.monotonic() - began:.0f} s: no damaged file,"
                f" no lost checkpoint ({len(self.reported)} were reported), weights and everything else bit-identical"
                " to the run without interruption"
            )


def _errors(process: subprocess.Popen[str]) -> str:
    return process.stderr.read().strip() if process.stderr else ""


def main() -> None:
    """Read the arguments, torture, exit 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tools.kill_test", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--victim", choices=("run", "trainer", "worker", "service", "store"), default="run", help="what is killed (default run)"
    )
    parser.add_argument(
        "--kills", type=int, help="how many times it is killed (default 25; of a service ten; of the store 200 of each kind)"
    )
    parser.add_argument("--steps", type=int, help="length of the run (default 3000), or of each job (1500)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, the text and the weights (default 0)")
    parser.add_argument("--hidden-size", type=int, default=32, help="units in each of two layers of the run (default 32)")
    parser.add_argument("--folder", type=Path, help="where the databases are made, and stay; by default one that is removed")
    given = parser.parse_args()
    alone = given.victim == "run"
    kills, steps = given.kills or {"run": 25, "store": 200}.get(given.victim, 10), given.steps or (3000 if alone else 1500)
    least = (VALIDATIONS + 1) * (kills + 1)
    if kills < 0 or (alone and steps < least):
        parser.error(f"{kills} kills need a run of at least {least} steps")
    with tempfile.TemporaryDirectory() as removed:
        folder = given.folder or Path(removed)
        os.makedirs(folder, exist_ok=True)
        try:
            if alone:
                Torture(folder, kills, steps, given.seed, given.hidden_size).carry_out()
            elif given.victim == "store":
                from tools.crash_points import Sweep

                Sweep(folder, kills, given.seed).carry_out()
            else:
                from tools.kill_jobs import Siege

                Siege(folder, given.victim, kills, steps, given.seed).carry_out()
        except Lost as lost:
            sys.exit(f"LOST: {lost}")


if __name__ == "__main__":
    main()
