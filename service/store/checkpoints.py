"""Stores the checkpoints of runs, decides which are kept, and checks them on every load.

A checkpoint is stored with all that belongs to its step in one durable transaction.

Kept are the last one (the only one with its training state), the best, all that are pinned, and a bounded history that is evenly
spread over the logarithm of the step: a network learns most at the start, so the steps 100, 200, 400, ... tell more about a run
than 9800, 9900, 10000.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import DamagedCheckpoint
from service.store import blobs
from service.store.database import Connections, now
from service.store.row_checksums import COLUMN
from service.store.run_history import Events, Metric, Metrics, NewEvent, Sample, Samples, finite
from service.store.runs import Run, Runs, Which
from service.system.errors import CheckpointInUse, CheckpointNotFound, RunCannotGoOn, proposed

HISTORY = 24  # checkpoints; at 4 MB each (lstm, 512 units) about 100 MB a run


def thinned(steps: Iterable[int], limit: int = HISTORY) -> set[int]:
    """Returns at most ``limit`` (2 or more) of ``steps``, always with the first and the last.

    While there are too many, the one goes whose neighbours are closest to each other in log(step + 1). Since it can be
    applied after every new step, nothing needs to be known about how long the run will be.
    """
    kept = sorted(set(steps))
    while len(kept) > limit:
        middle = range(1, len(kept) - 1)
        kept.pop(min(middle, key=lambda i: math.log((kept[i + 1] + 1) / (kept[i - 1] + 1))))
    return set(kept)


SELECT = """
    SELECT checkpoints.*, model.size AS model_bytes, coalesce(state.size, 0) AS state_bytes,
        step = (SELECT max(step) FROM checkpoints WHERE run = :run) AS last,
        step IS (
            SELECT step FROM checkpoints WHERE run = :run AND validation_loss IS NOT NULL ORDER BY validation_loss, step LIMIT 1
        ) AS best
    FROM checkpoints
        JOIN blobs AS model ON model.sha256 = model_sha256
        LEFT JOIN blobs AS state ON state.sha256 = state_sha256
    WHERE run = :run
"""


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint without its bytes. `best` has the lowest validation loss; `state_bytes` is 0 if only the model was kept."""

    run: str
    step: int
    epoch: float
    loss: float | None
    validation_loss: float | None
    bits_per_char: float | None
    model_sha256: str
    state_sha256: str | None
    model_bytes: int
    state_bytes: int
    pinned: bool
    last: bool
    best: bool
    created_at: str


class Checkpoints:
    """The tables `checkpoints` and `blobs`."""

    def __init__(self, connections: Connections, runs: Runs, metrics: Metrics, samples: Samples, events: Events) -> None:
        self._file = connections
        self._runs = runs
        self._metrics = metrics
        self._samples = samples
        self._events = events

    # ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def save(
        self,
        run: Run,
        metric: Metric,
        model: bytes,
        state: bytes | None,
        samples: Sequence[Sample] = (),
        event: NewEvent | None = None,
    ) -> StoredCheckpoint:
        """Stores the step of ``metric``: metric, checkpoint, samples, event and the run's progress, all or nothing, on the disk.

        A metric without a validation loss is a save between two validations. A step that is stored again replaces the older one
        (and keeps its validation loss if the model is the same). Checkpoints beyond the history are deleted.
        Raises `NoRoomLeft` if they do not fit on the disk beside what must be left; `RunNotFound`, `RunBusy` or `RunCannotGoOn` if
        ``run`` is not the caller's any more; `StoreError`.
        """
        size = len(model) + len(state or b"")
        self._file.check_room(size)
        with self._file.immediate() as db:
            self._runs.check_owner(run)
            before = blobs.used_by(self._file, run.id)
            values: dict[str, Any] = {
                "run": run.id,
                "step": metric.step,
                "epoch": metric.epoch,
                "loss": finite(metric.loss),
                "validation_loss": finite(metric.validation_loss),
                "bits_per_char": finite(metric.bits_per_char),
                "model": blobs.put(self._file, model),
                "state": blobs.put(self._file, state) if state is not None else None,
                "now": metric.created_at or now(),
            }
            db.execute(
                """INSERT INTO checkpoints (run, step, epoch, loss, validation_loss, bits_per_char, model_sha256, state_sha256, created_at)
                VALUES (:run, :step, :epoch, :loss, :validation_loss, :bits_per_char, :model, :state, :now)
                ON CONFLICT (run, step) DO UPDATE SET epoch = excluded.epoch, loss = coalesce(excluded.loss, loss),
                validation_loss = coalesce(excluded.validation_loss, iif(model_sha256 = excluded.model_sha256, validation_loss, NULL)),
                bits_per_char = coalesce(excluded.bits_per_char, iif(model_sha256 = excluded.model_sha256, bits_per_char, NULL)),
                model_sha256 = excluded.model_sha256, state_sha256 = excluded.state_sha256, created_at = excluded.created_at""",
                values,
            )
            self._metrics.append(run, [metric])
            if samples:
                self._samples.replace(run, metric.step, samples)
            self._retain(run)
            self._tell_run(run, metric)
            blobs.drop_unused(self._file, before - blobs.used_by(self._file, run.id))
            if event:
                self._events.add(run, event.message, data=event.data)
            saved = self.get(run, metric.step)
        self._file.reclaim(keep=2 * size)
        return saved

    def begin_with(self, run: Run, model: StoredCheckpoint) -> None:
        """Makes another run's model the checkpoint of step 0 of a new run, without copying it.

        Inside the caller's transaction. Raises `CheckpointNotFound` if the model is gone.
        """
        if self._file.row("SELECT 1 FROM blobs WHERE sha256 = ?", model.model_sha256) is None:
            raise CheckpointNotFound(model.run, model.step)
        sql = "INSERT INTO checkpoints (run, step, epoch, model_sha256, created_at) VALUES (?, 0, 0, ?, ?)"
        self._file.execute(sql, run.id, model.model_sha256, now())

    def _retain(self, run: Run) -> None:
        rows = self.list(run)
        history = thinned(row.step for row in rows if not row.pinned)
        for row in rows:
            if not (row.last or row.best or row.pinned or row.step in history):
                self._file.execute("DELETE FROM checkpoints WHERE run = ? AND step = ?", run.id, row.step)
            elif not row.last and row.state_sha256:
                self._file.execute("UPDATE checkpoints SET state_sha256 = NULL WHERE run = ? AND step = ?", run.id, row.step)

    def _tell_run(self, run: Run, metric: Metric) -> None:
        best = next((row for row in self.list(run) if row.best), None)
        self._file.execute(
            """UPDATE runs SET step = ?, epoch = ?, seconds = ?, best_validation_loss = ?, best_bits_per_char = ?,
            heartbeat_at = iif(owner IS NULL, NULL, ?) WHERE id = ?""",
            metric.step,
            metric.epoch,
            metric.seconds,
            best and best.validation_loss,
            best and best.bits_per_char,
            now(),
            run.id,
        )

    def pin(self, run: Run, step: int, pinned: bool = True) -> StoredCheckpoint:
        """Pins a checkpoint, so that it is kept for good, or unpins it. Raises `CheckpointNotFound`."""
        with self._file.immediate() as db:
            if not db.execute("UPDATE checkpoints SET pinned = ? WHERE run = ? AND step = ?", (int(pinned), run.id, step)).rowcount:
                raise self._missing(run, step)
            return self.get(run, step)

    def remove(self, run: Run, step: int) -> None:
        """Deletes a checkpoint, also a pinned one. Raises `CheckpointNotFound`, and `CheckpointInUse` for the last one of the run."""
        with self._file.immediate(frees=True) as db:
            if self.get(run, step).last:
                raise CheckpointInUse(run.name, step)
            before = blobs.used_by(self._file, run.id)
            db.execute("DELETE FROM checkpoints WHERE run = ? AND step = ?", (run.id, step))
            best = self.get(run, "best")
            db.execute(
                "UPDATE runs SET best_validation_loss = ?, best_bits_per_char = ? WHERE id = ?",
                (best.validation_loss, best.bits_per_char, run.id),
            )
            blobs.drop_unused(self._file, before - blobs.used_by(self._file, run.id))
        self._file.given_back()

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def list(self, run: Run) -> tuple[StoredCheckpoint, ...]:
        """Returns the checkpoints of a run in any state, in the order of steps; reads no bytes."""
        rows = self._file.rows(f"{SELECT} ORDER BY step", run=run.id)
        return tuple(_checkpoint(run, row) for row in rows)

    def exists(self, run: int, step: int, model_sha256: str) -> bool:
        """Returns whether the run with an id has a checkpoint of a step and content."""
        query = "SELECT 1 FROM checkpoints WHERE run = ? AND step = ? AND model_sha256 = ?"
        return self._file.row(query, run, step, model_sha256) is not None

    def get(self, run: Run, which: Which = "best") -> StoredCheckpoint:
        """Returns one checkpoint by step or merit; ``best`` is the last one if none was validated. Raises `CheckpointNotFound`."""
        found = self.list(run)
        if which == "best":
            chosen = next((row for row in found if row.best), found[-1] if found else None)
        elif which == "last":
            chosen = found[-1] if found else None
        else:
            chosen = next((row for row in found if row.step == which), None)
        if chosen is None:
            raise self._missing(run, which if isinstance(which, int) else None)
        return chosen

    def load(self, run: Run, which: Which = "best") -> tuple[StoredCheckpoint, bytes]:
        """Returns a checkpoint and the bytes of its model. Raises `CheckpointNotFound`, `DamagedCheckpoint`."""
        for _ in range(10):  # the trainer may delete it between the two queries
            checkpoint = self.get(run, which)
            data = self._bytes(checkpoint, checkpoint.model_sha256)
            if data is not None:
                return checkpoint, data
        raise self._missing(run, which if isinstance(which, int) else None)

    def load_state(self, run: Run) -> tuple[StoredCheckpoint, bytes, bytes]:
        """Returns what training resumes from: the last checkpoint, its model and its training state.

        The caller has claimed the run. Raises `CheckpointNotFound`, `DamagedCheckpoint`, and `RunCannotGoOn` for an imported model.
        """
        checkpoint, model = self.load(run, "last")
        state = self._bytes(checkpoint, checkpoint.state_sha256) if checkpoint.state_sha256 else None
        if state is None:
            raise RunCannotGoOn(run.name, f"its last checkpoint, of step {checkpoint.step:,}, has no training state; train a new run")
        return checkpoint, model, state

    def pieces(self, run: Run, which: Which = "best") -> tuple[StoredCheckpoint, Iterator[bytes]]:
        """Returns a checkpoint and its model's bytes in pieces, which take little memory, after all of them have been checked.

        Raises as `load`; the iterator too, if the checkpoint is deleted meanwhile.
        """
        checkpoint = self.get(run, which)
        digest, size = hashlib.sha256(), 0
        for piece in blobs.pieces(self._file, checkpoint.model_sha256):
            digest.update(piece)
            size += len(piece)
        if size != checkpoint.model_bytes and self._file.row("SELECT 1 FROM blobs WHERE sha256 = ?", checkpoint.model_sha256) is None:
            raise self._missing(run, checkpoint.step)
        self._check(checkpoint, checkpoint.model_sha256, digest.hexdigest())
        return checkpoint, self._whole(run, checkpoint)

    def _whole(self, run: Run, checkpoint: StoredCheckpoint) -> Iterator[bytes]:
        left = checkpoint.model_bytes
        for piece in blobs.pieces(self._file, checkpoint.model_sha256):
            left -= len(piece)
            yield piece
        if left:
            raise self._missing(run, checkpoint.step)

    def _bytes(self, checkpoint: StoredCheckpoint, sha256: str) -> bytes | None:
        row = self._file.row("SELECT data FROM blobs WHERE sha256 = ?", sha256)
        if row is None:
            return None
        data: bytes = row["data"]
        self._check(checkpoint, sha256, hashlib.sha256(data).hexdigest())
        return data

    def _check(self, checkpoint: StoredCheckpoint, sha256: str, found: str) -> None:
        if found != sha256:
            thing = f"checkpoint {checkpoint.run}@{checkpoint.step}"
            self._file.damage.note(thing, "its bytes changed after they were stored", key=sha256)
            raise DamagedCheckpoint(
                f"the checkpoint of step {checkpoint.step:,} of run {checkpoint.run} in {self._file.path}",
                "its bytes changed after they were stored; use another checkpoint of the run, import a file that was exported from it,"
                f" or mend it from a backup: {proposed('check --repair --from BACKUP', self._file.path)}",
            )
        self._file.damage.is_sound(sha256)

    def _missing(self, run: Run, step: int | None) -> CheckpointNotFound:
        return CheckpointNotFound(run.name, step, [row.step for row in self.list(run)])


def _checkpoint(run: Run, row: dict[str, Any]) -> StoredCheckpoint:
    row.pop(COLUMN)
    flags = {name: bool(row[name]) for name in ("pinned", "last", "best")}
    return StoredCheckpoint(**{**row, **flags, "run": run.name})
