"""Queues runs: workers claim them, hand them to their children, and get them back if a child ends too early.

A run belongs to one process at a time, and its row says which. Claiming, handing over and giving back happen under the write lock,
so that of any number of workers one gets it. If its process is gone (`service.system.processes`), it is free again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

from service.store.database import Connections, now
from service.store.run_history import Events
from service.store.runs import Run, Runs, select
from service.system import processes as owners
from service.system.errors import TooManyJobs

ATTEMPTS = 3  # to get beyond the same step, before a run has failed


class JobLimits(NamedTuple):
    """How many runs may wait or be trained by workers: of one caller, and in all. A caller that has none may go beyond the second."""

    each: int
    total: int


class JobQueue:
    """The rows of the table `runs` with ``queued = 1``, and requests to pause or cancel any run."""

    def __init__(self, connections: Connections, runs: Runs, events: Events) -> None:
        self._file, self._runs, self._events = connections, runs, events

    # ── for workers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def claim_next(self, owner: str | None = None) -> Run | None:
        """Claims the next run that waits, or whose process is gone, for this process (or ``owner``); returns None if there is none.

        Callers take turns: the next run is of the caller that has the fewest in training, of several of the one whose last was begun
        first, and of its runs the oldest. A run whose process is gone counts as one more attempt; a requested pause or cancellation
        happens instead. Raises `StoreError`; `NoRoomLeft` if a run waits and could store nothing.
        """
        if not self._waiting():  # without the write lock, since workers ask all the time
            return None
        self._file.room.check()
        with self._file.immediate():
            for run in self._waiting():
                if run.owner is not None and self._left(run, run.message or "").state != "queued":
                    continue
                return self._runs.claim(run.name, owner, queued=True)
        return None

    def _waiting(self) -> list[Run]:
        found = self._unfinished()
        waiting = [run for run in found if run.state != "running"]
        if len({run.caller for run in waiting}) < 2:
            return waiting
        training = Counter(run.caller for run in found if run.state == "running")
        rows = self._file.rows("SELECT caller, max(started_at) AS started_at FROM runs WHERE queued = 1 GROUP BY caller")
        begun = {row["caller"]: row["started_at"] or "" for row in rows}
        return sorted(waiting, key=lambda run: (training[run.caller], begun[run.caller], run.id))

    def _unfinished(self) -> list[Run]:
        """Returns the runs that wait or are trained by workers, the oldest first."""
        return select(self._file, "WHERE queued = 1 AND state IN ('queued', 'running') ORDER BY runs.id")

    def neglected(self, workers: int) -> list[Run]:
        """Lists the runs that wait although fewer than `workers` are trained: a worker that lives takes them at its next look."""
        found = select(self._file, "WHERE queued = 1 AND state IN ('queued', 'running') ORDER BY runs.id")
        waiting = [run for run in found if run.state != "running"]
        return waiting if len(found) - len(waiting) < workers else []

    def adopt(self, name: str, owner: str) -> Run:
        """Takes over, as this process, a run that ``owner`` has claimed: the first act of a worker's child.

        Raises `RunNotFound`, and `RunBusy` or `RunCannotGoOn` if it does not belong to ``owner`` any more.
        """
        with self._file.immediate() as db:
            run = replace(self._runs.get(name), owner=owner)
            self._runs.check_owner(run)
            db.execute("UPDATE runs SET owner = ?, heartbeat_at = ? WHERE id = ?", (owners.identity(), now(), run.id))
            return self._runs.get(name)

    def left(self, claimed: Run, message: str, *, blame: bool = True) -> Run | None:
        """Queues or fails the run of a child that has ended without giving it back; ``claimed`` is the run as the child got it.

        ``message`` says how the child ended; without ``blame`` it is no failed attempt. Returns None if the run is not the child's
        any more. Raises `StoreError`.
        """
        with self._file.immediate(frees=True):
            run = next(iter(select(self._file, "WHERE runs.id = ?", claimed.id)), None)
            if run is None or run.owner is None or (run.state == "running" and run.owner != claimed.owner):
                return None
            return self._left(run, message, blame)

    def give_back(self, run: Run, message: str) -> Run:
        """Queues or fails the run of this process, which cannot go on though another attempt might. Raises as `Runs.check_owner`."""
        with self._file.immediate(frees=True):
            self._runs.check_owner(run)
            return self._left(self._runs.get(run.id), message)

    def _left(self, run: Run, message: str, blame: bool = True) -> Run:
        """Sets the state of a run that its process has left: the requested one, or queued for the next attempt, or failed."""
        tried = run.attempt if run.attempt_step == run.step else 1
        attempt, state, level = run.attempt, run.wanted, "warn"
        if state is None:
            attempt, state = tried + blame, "queued"
            if attempt > ATTEMPTS:
                attempt, state, level = ATTEMPTS, "failed", "error"
                message = f"it failed {ATTEMPTS} times at step {run.step:,}, the last time so: {message}"
        self._file.execute("UPDATE runs SET attempt = ?, attempt_step = ? WHERE id = ?", attempt, run.step, run.id)
        self._events.add(run, message if state == "failed" else f"{message}; what was stored up to step {run.step:,} is kept", level=level)
        return self._runs.put_state(run, state, message)

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, caller: str | None, limits: JobLimits) -> None:
        """Raises `TooManyJobs` if a caller may queue no more runs. The caller of this method stores one in the same transaction."""
        unfinished = self._unfinished()
        mine = sum(run.caller == caller for run in unfinished)
        if mine >= limits.each:
            raise TooManyJobs(mine, limits.each, "of yours", "caller-jobs")
        if len(unfinished) >= limits.total * (1 if mine else 2):
            raise TooManyJobs(len(unfinished), limits.total, "", "max-jobs")

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, run: Run, state: str, message: str) -> Run:
        """Makes a run ``paused`` or ``cancelled``, at once or, if it is running, when its trainer next polls `wanted`.

        The caller has read ``run`` in the same transaction.
        """
        if run.state != "running":
            return self._runs.put_state(run, state, message)
        self._file.execute("UPDATE runs SET wanted = ? WHERE id = ?", state, run.id)
        return self._runs.get(run.id)

    def put(self, run: Run, message: str, caller: str | None = None) -> Run:
        """Queues a run with all its attempts or, if it is running, withdraws the request to pause or cancel it.

        A run that was not ordered over HTTP is then `caller`'s, if one is given. The caller has read ``run`` in the same transaction.
        """
        if run.state == "running":
            self._file.execute("UPDATE runs SET wanted = NULL WHERE id = ?", run.id)
        else:
            self._runs.put_state(run, "queued", message)
            self._file.execute(
                "UPDATE runs SET queued = 1, attempt = 1, attempt_step = NULL, caller = coalesce(caller, ?) WHERE id = ?", caller, run.id
            )
        return self._runs.get(run.id)

    def wanted(self, run: Run) -> str | None:
        """Returns the state requested of a run since it was claimed: ``paused``, ``cancelled`` or None. Reads one row, by its key."""
        row = self._file.row("SELECT wanted FROM runs WHERE id = ?", run.id)
        found: str | None = row["wanted"] if row else None
        return found
