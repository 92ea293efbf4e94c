"""The queue: runs that workers take, give to their children, and get back when a process ends before its time.

A run belongs to one process at a time, and that is written in its row: taking, handing over and giving back happen under the
write lock, so that of any number of workers one gets it. Where its process is gone, by `service.system.processes`, it is free again.
"""

from __future__ import annotations

from dataclasses import replace

from service.store.database import Connections, now
from service.store.run_history import Events
from service.store.runs import ENDED, Run, Runs, select
from service.system import processes as owners

ATTEMPTS = 3  # to get beyond the same step, before a run has failed


class JobQueue:
    """The rows of the table `runs` with ``queued = 1``, and what is wanted of any run."""

    def __init__(self, connections: Connections, runs: Runs, events: Events) -> None:
        self._file, self._runs, self._events = connections, runs, events

    # ── for workers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def claim_next(self, owner: str | None = None) -> Run | None:
        """Take the oldest run that waits, or whose process is gone, for this process (or ``owner``); None where there is none.

        A run whose process is gone counts as one more attempt; what was wanted of it happens instead. Raises `StoreError`.
        """
        if not self._waiting():  # without the write lock, since workers ask all the time
            return None
        with self._file.immediate():
            for run in self._waiting():
                if run.owner is not None and self._left(run, run.message or "").state != "queued":
                    continue
                return self._runs.claim(run.name, owner, queued=True)
        return None

    def _waiting(self) -> list[Run]:
        found = select(self._file, "WHERE queued = 1 AND state IN ('queued', 'running') ORDER BY runs.id")
        return [run for run in found if run.state != "running"]

    def adopt(self, name: str, owner: str) -> Run:
        """Take over, as this process, a run that ``owner`` has claimed: a worker's child does so first.

        Raises `RunNotFound`, and `RunBusy` or `RunCannotGoOn` where it belongs to ``owner`` no more.
        """
        with self._file.immediate() as db:
            run = replace(self._runs.get(name), owner=owner)
            self._runs.check_owner(run)
            db.execute("UPDATE runs SET owner = ?, heartbeat_at = ? WHERE id = ?", (owners.identity(), now(), run.id))
            return self._runs.get(name)

    def left(self, claimed: Run, message: str, *, blame: bool = True) -> Run | None:
        """The child to which ``claimed`` was given has ended: where it did not give the run back, it waits again, or has failed.

        ``message`` says how it ended; without ``blame`` it is no failed attempt. None where the run is not the child's any
        more. Raises `StoreError`.
        """
        with self._file.immediate():
            run = next(iter(select(self._file, "WHERE runs.id = ?", claimed.id)), None)
            if run is None or run.owner is None or (run.state == "running" and run.owner != claimed.owner):
                return None
            return self._left(run, message, blame)

    def give_back(self, run: Run, message: str) -> Run:
        """A process could not go on with its own run, though another attempt might. Raises as `Runs.check_owner`."""
        with self._file.immediate():
            self._runs.check_owner(run)
            return self._left(self._runs.get(run.name), message)

    def _left(self, run: Run, message: str, blame: bool = True) -> Run:
        """End a run whose process is gone as it was wanted, or let it wait for the next attempt, or for none."""
        tried = run.attempt if run.attempt_step == run.step else 1
        attempt, state, level = run.attempt, run.wanted, "warn"
        if state is None:
            attempt, state = tried + blame, "queued"
            if attempt > ATTEMPTS:
                attempt, state, level = ATTEMPTS, "failed", "error"
                message = f"it failed {ATTEMPTS} times at step {run.step:,}, the last time so: {message}"
        self._file.execute(
            """UPDATE runs SET state = ?, wanted = NULL, message = ?, owner = NULL, heartbeat_at = NULL, ended_at = ?, attempt = ?,
            attempt_step = ? WHERE id = ?""",
            state,
            message,
            now() if state in ENDED else None,
            attempt,
            run.step,
            run.id,
        )
        self._events.add(run, message if state == "failed" else f"{message}; what was stored up to step {run.step:,} is kept", level=level)
        return self._runs.get(run.name)

    # ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, run: Run, state: str, message: str) -> Run:
        """Make a run ``paused`` or ``cancelled``: at once where nobody trains it, else its trainer does when it looks.

        The caller has read ``run`` in the same transaction.
        """
        if run.state == "running":
            self._file.execute("UPDATE runs SET wanted = ? WHERE id = ?", state, run.id)
        else:
            self._put(run, state, message)
        return self._runs.get(run.name)

    def put(self, run: Run, message: str) -> Run:
        """Queue a run that nobody trains, with all its attempts, or take back what is wanted of one that is trained.

        The caller has read ``run`` in the same transaction.
        """
        if run.state == "running":
            self._file.execute("UPDATE runs SET wanted = NULL WHERE id = ?", run.id)
        else:
            self._put(run, "queued", message)
            self._file.execute("UPDATE runs SET queued = 1, attempt = 1, attempt_step = NULL WHERE id = ?", run.id)
        return self._runs.get(run.name)

    def _put(self, run: Run, state: str, message: str) -> None:
        self._file.execute(
            "UPDATE runs SET state = ?, wanted = NULL, message = ?, owner = NULL, heartbeat_at = NULL, ended_at = ? WHERE id = ?",
            state,
            message,
            now() if state in ENDED else None,
            run.id,
        )

    def wanted(self, run: Run) -> str | None:
        """What somebody asked of a run since it was claimed: ``paused``, ``cancelled`` or None. One row is read, by its key."""
        row = self._file.row("SELECT wanted FROM runs WHERE id = ?", run.id)
        found: str | None = row["wanted"] if row else None
        return found
