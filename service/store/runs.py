"""Stores runs: their settings, states and progress, and which process trains them now."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.errors import InvalidSetting
from service.store import blobs, names
from service.store.corpora import Corpora
from service.store.database import Connections, age, now
from service.store.row_checksums import COLUMN
from service.system import processes as owners
from service.system.errors import DatabaseDamaged, NameTaken, NoModelYet, RunBusy, RunCannotGoOn, RunNotFound, proposed

ENDED = ("succeeded", "failed", "cancelled")
STATES = ("queued", "running", "paused", *ENDED)
Which = int | Literal["best", "last"]  # a checkpoint of a run, by step or by merit

SELECT = """
    SELECT runs.*, corpora.name AS corpus_name, validation.name AS validation_corpus_name,
        (SELECT count(*) FROM checkpoints WHERE checkpoints.run = runs.id) AS checkpoints
    FROM runs LEFT JOIN corpora ON corpora.id = runs.corpus LEFT JOIN corpora AS validation ON validation.id = runs.validation_corpus
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run at the moment when it was read.

    `step`, `epoch`, `seconds` (time spent training) are those of the last checkpoint; losses are nats per symbol. `environment` is
    where it is trained: arithmetic, threads, ranks, versions. `owner` is the process that trains it. `corpus` is None for an imported
    model; its name may have changed since, `corpus_id` has not. `queued` runs are trained by workers, which also resume those whose
    process is gone, three times at the same step; this is the `attempt`-th try to get beyond `attempt_step`. `wanted` is ``paused`` or
    ``cancelled`` if that was requested of a running one. `parent` (RUN@STEP) is the checkpoint that its weights began as. `request` is
    what was asked for when the run was ordered; the settings that follow from it stand in `model_config` and `training_config`.
    `extended_from` is the step, epoch and second at which the present length began, if it was extended; `epoch_symbols` counts the
    symbols of an epoch. `caller` ordered it over HTTP.
    """

    id: int
    name: str
    corpus: str | None
    corpus_id: int | None
    state: str
    message: str | None
    model_config: dict[str, Any]
    training_config: dict[str, Any]
    environment: dict[str, Any]
    step: int
    epoch: float
    best_validation_loss: float | None
    best_bits_per_char: float | None
    seconds: float
    checkpoints: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    owner: str | None
    heartbeat_at: str | None
    wanted: str | None = None
    queued: bool = False
    attempt: int = 1
    attempt_step: int | None = None
    parent: str | None = None
    validation_corpus: str | None = None
    validation_corpus_id: int | None = None
    request: dict[str, Any] = field(default_factory=dict)
    extended_from: dict[str, float] | None = None
    epoch_symbols: int | None = None
    caller: str | None = None


class Runs:
    """The table `runs`."""

    def __init__(self, connections: Connections, corpora: Corpora) -> None:
        self._file = connections
        self._corpora = corpora

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, name: str | int) -> Run:
        """Returns the run that has a name now, or an id, which stays when it is renamed. Raises `RunNotFound`.

        One whose process is gone is paused or queued, and its message says so.
        """
        if isinstance(name, int):
            found = self._file.rows(f"{SELECT} WHERE runs.id = ?", name)
        else:
            found = self._file.rows(f"{SELECT} WHERE runs.name = ?", names.stored(name))
        if not found:
            raise RunNotFound(
                str(name), [run["name"] for run in self._file.rows("SELECT name FROM runs ORDER BY id DESC")], self._file.path
            )
        run = _readable(self._file, found)
        if not run:
            raise DatabaseDamaged(str(self._file.path), f"the row of run {name}")
        return run[0]

    def list(self) -> tuple[Run, ...]:
        """Returns all runs that can be read, the newest first."""
        return tuple(sorted(_readable(self._file, self._file.all_rows("runs", SELECT)), key=lambda run: run.id, reverse=True))

    def is_uncertain(self, run: Run) -> bool:
        """Returns whether a running run's heartbeat seems too old. Its process may be gone, or a clock may be wrong."""
        return run.state == "running" and abs(age(run.heartbeat_at)) > owners.LEASE

    def watch(self, name: str) -> Run:
        """Returns a run when it is known whether its process lives: after `owners.LEASE` seconds at most. Raises `RunNotFound`."""
        run = first = self.get(name)
        end = time.monotonic() + owners.LEASE + owners.POLL
        while self.is_uncertain(run) and run.heartbeat_at == first.heartbeat_at and time.monotonic() < end:
            time.sleep(owners.POLL)
            run = self.get(name)
        return run

    def any_owned(self) -> bool:
        """Returns whether a process, alive or not, has any run."""
        return self._file.row("SELECT 1 FROM runs WHERE owner IS NOT NULL LIMIT 1") is not None

    def latest(self) -> Run:
        """Returns the run that succeeded last, else the one with the newest checkpoint. Raises `NoModelYet`."""
        order = """WHERE EXISTS (SELECT 1 FROM checkpoints WHERE checkpoints.run = runs.id)
            ORDER BY state = 'succeeded' DESC, CASE state WHEN 'succeeded' THEN ended_at END DESC,
                (SELECT max(created_at) FROM checkpoints WHERE checkpoints.run = runs.id) DESC, runs.id DESC"""
        found = select(self._file, f"{order} LIMIT 1") or select(self._file, order)  # the first one may be damaged
        if not found:
            raise NoModelYet(self._file.path)
        return found[0]

    def resolve(self, text: str | None) -> tuple[Run, Which]:
        """Parses ``RUN``, ``RUN@STEP``, ``RUN@best``, ``RUN@last``, ``latest`` or None (``latest``).

        Without a step it is the best checkpoint. Whether the step exists is checked when it is loaded.
        Raises `RunNotFound`, `NoModelYet`, and `InvalidSetting` for a malformed step.
        """
        name, at, which = (text or "latest").partition("@")
        run = self.latest() if name == "latest" else self.get(name)
        if not at or which == "best":
            return run, "best"
        if which == "last":
            return run, "last"
        if which.isascii() and which.isdigit() and len(which) < 19:
            return run, int(which)
        raise InvalidSetting("checkpoint", which, "a step, best or last", f"for example {run.name}@{run.step}")

    # ── creating and removing ─────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self,
        name: str,
        *,
        corpus: str | int | None,
        model_config: Mapping[str, Any],
        training_config: Mapping[str, Any],
        environment: Mapping[str, Any] | None = None,
        request: Mapping[str, Any] | None = None,
        state: str = "queued",
        exact: bool = True,
        queued: bool = False,
        parent: str | None = None,
        validation_corpus: str | int | None = None,
        caller: str | None = None,
    ) -> Run:
        """Stores a new run in ``state``. With ``exact=False``, `free_name` makes a free name of the given one.

        Only a `queued` one is for workers; its creator trains any other. Raises `InvalidName`, `NameTaken` and `CorpusNotFound`.
        """
        if exact:
            name = names.checked("run", name)
        created = now()
        with self._file.immediate() as db:
            if not exact:
                name = self.free_name(name)
            elif self._has(name):
                raise NameTaken("run", name)
            values = {
                "name": name,
                "corpus": self._corpora.get(corpus).id if corpus is not None else None,
                "state": state,
                "model_config": _json(model_config),
                "training_config": _json(training_config),
                "environment": _json(environment or {}),
                "request": _json(request or {}),
                "created_at": created,
                "ended_at": created if state in ENDED else None,
                "queued": int(queued),
                "parent": parent,
                "validation_corpus": self._corpora.get(validation_corpus).id if validation_corpus is not None else None,
                "caller": caller,
            }
            db.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({', '.join(':' + key for key in values)})", values)
            return self.get(name)

    def check_free(self, name: str) -> None:
        """Raises `InvalidName` or `NameTaken` as `create` would; call it before long work that ends in `create`."""
        names.checked("run", name)
        if self._has(name):
            raise NameTaken("run", name)

    def _has(self, name: str) -> bool:
        return self._file.row("SELECT 1 FROM runs WHERE name = ?", names.stored(name)) is not None

    def free_name(self, base: str) -> str:
        """Returns the first of base, base-2, base-3, ... that is allowed and not taken; base may be any string."""
        return names.free("run", base, self._has)

    def configure(
        self,
        run: Run,
        *,
        model_config: Mapping[str, Any] | None = None,
        training_config: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        extended_from: Mapping[str, float] | None = None,
        epoch_symbols: int | None = None,
    ) -> Run:
        """Replaces the given settings: a resumed run may get more steps. Raises as `check_owner`."""
        given = {
            "model_config": model_config,
            "training_config": training_config,
            "environment": environment,
            "extended_from": extended_from,
            "epoch_symbols": epoch_symbols,
        }
        with self._file.immediate() as db:
            self.check_owner(run)
            for column, value in given.items():
                if value is not None:
                    db.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value if isinstance(value, int) else _json(value), run.id))
            return self.get(run.id)

    def rename(self, name: str, new: str) -> Run:
        """Gives a run another name, also where it is a parent.

        Raises `RunNotFound`, `InvalidName`, `NameTaken`, and `RunBusy` while it is trained.
        """
        new = names.checked("run", new)
        with self._file.immediate() as db:
            run = self._idle(name)
            if new != run.name:
                if self._has(new):
                    raise NameTaken("run", new)
                db.execute("UPDATE runs SET name = ? WHERE id = ?", (new, run.id))
                db.execute(
                    "UPDATE runs SET parent = ?1 || substr(parent, ?2 + 1) WHERE substr(parent, 1, ?2) = ?3",
                    (f"{new}@", len(run.name) + 1, f"{run.name}@"),
                )
            return self.get(new)

    def remove(self, name: str) -> None:
        """Deletes a run with its checkpoints, metrics and samples. Raises `RunNotFound`, and `RunBusy` while it is trained."""
        with self._file.immediate(frees=True) as db:
            run = self._idle(name)
            kept = blobs.used_by(self._file, run.id)
            db.execute("DELETE FROM runs WHERE id = ?", (run.id,))
            blobs.drop_unused(self._file, kept)
        self._file.given_back()

    # ── ownership ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, name: str, owner: str | None = None, *, queued: bool = False) -> Run:
        """Claims a run, in any state, for this process (or ``owner``) and makes it `running`, so that no worker takes it.

        The returned run is the right to change it: pass it to `heartbeat`, `release` and `Checkpoints.save`. Metrics after its last
        checkpoint are deleted, since those steps are trained again.
        Raises `RunNotFound`, and `RunBusy` if a live process has it.
        """
        moment = now()
        with self._file.immediate() as db:
            run = self._idle(name)
            db.execute(
                """UPDATE runs SET state = 'running', wanted = NULL, queued = ?, message = NULL, owner = ?, heartbeat_at = ?,
                ended_at = NULL, started_at = coalesce(started_at, ?) WHERE id = ?""",
                (int(queued), owner or owners.identity(), moment, moment, run.id),
            )
            db.execute(
                "DELETE FROM metrics WHERE run = ? AND step > coalesce((SELECT max(step) FROM checkpoints WHERE run = ?), -1)",
                (run.id, run.id),
            )
            return self.get(name)

    def heartbeat(self, run: Run) -> None:
        """Write the heartbeat, by which other machines and containers know that the run's process lives. Raises as `check_owner`."""
        with self._file.immediate(durable=False) as db:
            self.check_owner(run)
            db.execute("UPDATE runs SET heartbeat_at = ? WHERE id = ?", (now(), run.id))

    def release(self, run: Run, state: str, message: str | None = None) -> Run:
        """Gives a claimed run back in ``state``, any but `running`. Raises as `check_owner`."""
        with self._file.immediate(frees=True):
            self.check_owner(run)
            return self.put_state(run, state, message)

    def put_state(self, run: Run, state: str, message: str | None) -> Run:
        """Sets the state of a run that has no owner from then on; inside the caller's transaction."""
        self._file.execute(
            "UPDATE runs SET state = ?, wanted = NULL, message = ?, owner = NULL, heartbeat_at = NULL, ended_at = ? WHERE id = ?",
            state,
            message,
            now() if state in ENDED else None,
            run.id,
        )
        return self.get(run.id)

    def check_owner(self, run: Run) -> None:
        """Raises unless ``run`` still has the owner that it had when it was read; inside the caller's transaction.

        `RunNotFound` if it was removed, `RunBusy` if another process took it, `RunCannotGoOn` if it was released.
        """
        row = self._file.row("SELECT owner FROM runs WHERE id = ?", run.id)
        if row is None:
            raise RunNotFound(run.name, database=self._file.path)
        if row["owner"] == run.owner:
            return
        if row["owner"] is None:
            resume = proposed(f"train --resume {run.name}", self._file.path)
            raise RunCannotGoOn(run.name, f"this process does not hold it any more; start again with: {resume}")
        raise RunBusy(run.name, owners.describe(row["owner"]))

    def _idle(self, name: str) -> Run:
        run = self.get(name)
        if run.state == "running":
            raise RunBusy(name, owners.describe(run.owner))
        return run


def select(file: Connections, where: str, *values: Any) -> list[Run]:
    """Returns the runs that the end of an SQL query selects; those whose row is damaged are left out."""
    return _readable(file, file.rows(f"{SELECT} {where}", *values))


def _readable(file: Connections, rows: list[dict[str, Any]]) -> list[Run]:
    """Returns the runs of rows, without those that are damaged."""
    shortage = file.room.shortage() if any(row["state"] == "queued" and row["queued"] for row in rows) else None
    found: list[Run] = []
    for row in rows:
        thing = f"run {row['name']}"
        try:
            found.append(_run(row, shortage, file.path))
        except (TypeError, ValueError) as error:
            file.damage.note(thing, f"its row cannot be read: {error}")
        else:
            file.damage.is_sound(thing)
    return found


def _run(row: dict[str, Any], shortage: str | None, database: Path) -> Run:
    row.pop(COLUMN)
    for column in ("created_at", "started_at", "ended_at", "heartbeat_at"):
        age(row[column])
    row["corpus_id"], row["validation_corpus_id"] = row["corpus"], row["validation_corpus"]
    row["corpus"], row["validation_corpus"], row["queued"] = row.pop("corpus_name"), row.pop("validation_corpus_name"), bool(row["queued"])
    for column in ("model_config", "training_config", "environment", "request", "extended_from"):
        row[column] = None if row[column] is None else json.loads(row[column])
        if not isinstance(row[column], dict) and (row[column] is not None or column != "extended_from"):
            raise ValueError(f"{column} is {row[column]!r}")
    if row["state"] not in STATES:
        raise ValueError(f"state is {row['state']!r}")
    if row["state"] == "running" and not owners.is_alive(row["owner"], row["heartbeat_at"]):
        row["state"] = row["wanted"] or ("queued" if row["queued"] else "paused")
        next_step = (
            "a worker goes on with it" if row["state"] == "queued" else f"go on with: {proposed('train --resume ' + row['name'], database)}"
        )
        row["message"] = f"its {owners.describe(row['owner'])} is gone; {next_step}"
    if shortage and row["state"] == "queued" and row["queued"]:  # told when it is read, since on a full disk nothing can be stored
        row["message"] = f"waits for room: {shortage}"
    return Run(**row)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False)


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """The progress of a run that is being trained or queued."""

    run: str
    share: float | None = None  # 0 to 1; None if unknown
    step: int = 0
    epoch: float = 0.0
    validation_loss: float | None = None


def share_done(run: Run) -> float | None:
    """Returns the trained share of a run's length, 0 to 1; None if it has no length, such as an imported model."""
    config = run.training_config
    before = run.extended_from or {}  # of an extended run: the step, epoch or second from which its length counts
    done: dict[str, float] = {"steps": run.step, "epochs": run.epoch}
    # The stored seconds are up to a minute old, but time passes evenly.
    done["budget"] = run.seconds + (age(run.heartbeat_at) if run.state == "running" and run.heartbeat_at else 0)
    for length, value in done.items():
        whole = config.get(length)
        if whole:
            return min(1.0, max(0.0, (value - float(before.get(length, 0))) / float(whole)))
    return None


def training(runs: Runs) -> RunProgress | None:
    """Returns the run that is being trained, the newest of several, else the next of the queue, else None."""
    listed = runs.list()
    waiting = (run for run in reversed(listed) if run.state == "queued" and run.queued)
    run = next((run for run in listed if run.state == "running"), None) or next(waiting, None)
    if run is None:
        return None
    return RunProgress(run=run.name, share=share_done(run), step=run.step, epoch=run.epoch, validation_loss=run.best_validation_loss)
