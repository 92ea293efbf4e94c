"""The queue: each run goes to one process, whoever asks, and comes back when that process is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.store import Metric, Run, Store
from service.store.database import now
from service.system import processes
from service.system.errors import RunBusy, RunCannotGoOn, RunNotFound

CLAIM = """
import sys
from service.store import Store

with Store(sys.argv[1]) as store:
    # now
    while (run := store.queue.claim_next()) is not None:
        store.events.add(run, "taken by " + sys.argv[2])
        store.runs.release(run, "succeeded")
"""


def elsewhere(pid: int = 1) -> str:
    """A process in another place, of which only the heartbeat tells."""
    return json.dumps({**json.loads(processes.identity()), "host": "elsewhere", "namespace": "pid:[1]", "pid": pid})


def gone() -> str:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return json.dumps({**json.loads(processes.identity()), "pid": process.pid, "started": 1})


def put(store: Store, *names: str) -> list[Run]:
    return [store.runs.create(name, corpus=None, model_config={}, training_config={}, queued=True) for name in names]


def silence(store: Store, seconds: float) -> None:
    """Let the last heartbeat of all runs be so old."""
    store.db.execute("UPDATE runs SET heartbeat_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?)", (f"-{seconds} seconds",))


# ── taking ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_oldest_run_comes_first(store: Store) -> None:
    put(store, "b", "a")
    store.runs.create("mine", corpus=None, model_config={}, training_config={})  # made by somebody who trains it
    taken = [store.queue.claim_next() for _ in range(3)]
    assert [run and (run.name, run.state, run.queued) for run in taken] == [("b", "running", True), ("a", "running", True), None]
    assert taken[0] is not None
    assert taken[0].owner == processes.identity()


def test_callers_take_turns(store: Store) -> None:
    def order(caller: str | None, *names: str) -> None:
        for name in names:
            store.runs.create(name, corpus=None, model_config={}, training_config={}, queued=True, caller=caller)

    order("greedy", *(f"greedy-{number}" for number in range(4)))
    first = store.queue.claim_next()
    order("modest", "modest-0", "modest-1")
    order(None, "nameless")
    order("late", "late-0")
    taken = [first, *(store.queue.claim_next() for _ in range(3))]
    assert [run and run.name for run in taken] == ["greedy-0", "modest-0", "nameless", "late-0"], "none has two while another has none"
    for run in taken:
        assert run is not None
        store.runs.release(run, "succeeded")
        silent_moment()
    found = []
    while (run := store.queue.claim_next()) is not None:  # one at a time: the one whose last was begun first
        found.append(run.name)
        store.runs.release(run, "succeeded")
        silent_moment()
    assert found == ["greedy-1", "modest-1", "greedy-2", "greedy-3"]


def silent_moment() -> None:
    """Wait until the clock of the store has moved."""
    before = now()
    while now() == before:
        pass


def test_a_run_whose_process_is_gone_takes_its_callers_turn(store: Store) -> None:
    for name in ("a", "b"):
        store.runs.create(name, corpus=None, model_config={}, training_config={}, queued=True, caller=name)
    store.queue.claim_next(gone())
    silent_moment()
    assert [run and run.name for run in (store.queue.claim_next(), store.queue.claim_next())] == ["b", "a"]


def test_of_several_processes_each_run_goes_to_one(store: Store, together: Callable[..., None], path: Path) -> None:
    put(store, *(f"run-{number}" for number in range(40)))
    together(CLAIM, path, 4)
    runs = store.runs.list()
    assert {run.state for run in runs} == {"succeeded"}
    assert [len(store.events.list(run)) for run in runs] == [1] * 40
    assert store.queue.claim_next() is None


def test_what_waits_asks_for_no_lock(store: Store) -> None:
    put(store, "busy")
    store.queue.claim_next()
    before = store.db.execute("PRAGMA data_version").fetchone()
    store.db.execute("PRAGMA query_only = ON")
    try:
        assert store.queue.claim_next() is None
    finally:
        store.db.execute("PRAGMA query_only = OFF")
    assert store.db.execute("PRAGMA data_version").fetchone() == before


def test_who_claims_a_run_by_name_takes_it_from_the_queue(store: Store) -> None:
    put(store, "run")
    run = store.runs.claim("run", gone())
    assert not run.queued
    assert store.runs.get("run").state == "paused"
    assert store.queue.claim_next() is None


# ── handing over ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_child_takes_its_run_over(store: Store) -> None:
    put(store, "run")
    claimed = store.queue.claim_next(elsewhere())
    assert claimed is not None
    run = store.queue.adopt("run", elsewhere())
    assert run.owner == processes.identity()
    store.runs.heartbeat(run)
    with pytest.raises(RunBusy):
        store.runs.heartbeat(claimed)


def test_a_child_that_comes_too_late_gets_nothing(store: Store) -> None:
    put(store, "run")
    with pytest.raises(RunCannotGoOn):
        store.queue.adopt("run", elsewhere())
    store.queue.claim_next(elsewhere(2))
    with pytest.raises(RunBusy):
        store.queue.adopt("run", elsewhere())
    with pytest.raises(RunNotFound):
        store.queue.adopt("nobody", elsewhere())


# ── when a process is gone ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_whose_process_is_gone_waits_and_goes_on(store: Store) -> None:
    put(store, "run")
    store.queue.claim_next(gone())
    run = store.runs.get("run")
    assert run.state == "queued"
    assert "is gone; a worker goes on with it" in (run.message or "")
    again = store.queue.claim_next()
    assert again is not None
    assert (again.name, again.attempt, again.attempt_step) == ("run", 2, 0)
    [event] = store.events.list(again)
    assert event.level == "warn"
    assert event.message.endswith("what was stored up to step 0 is kept")


def test_elsewhere_the_lease_decides_and_no_clock(store: Store, later: Callable[[float], None]) -> None:
    put(store, "run")
    store.queue.claim_next(elsewhere())
    silence(store, 150)  # their clock is behind, or ours ahead
    assert store.queue.claim_next() is None
    later(processes.LEASE - 5)
    assert store.queue.claim_next() is None
    silence(store, 150 - processes.LEASE)  # a heartbeat
    assert store.queue.claim_next() is None
    later(processes.LEASE - 5)
    assert store.queue.claim_next() is None
    later(10)
    run = store.queue.claim_next()
    assert run is not None
    assert run.owner == processes.identity()


def test_three_failures_at_the_same_step_are_enough(store: Store) -> None:
    put(store, "run")
    for _ in range(2):
        store.queue.claim_next(gone())
    assert store.runs.get("run").attempt == 2
    run = store.queue.claim_next(gone())
    assert run is not None
    assert run.attempt == 3
    assert store.queue.claim_next() is None
    run = store.runs.get("run")
    assert (run.state, run.owner, run.ended_at is not None) == ("failed", None, True)
    assert (run.message or "").startswith("it failed 3 times at step 0, the last time so: its process ")
    assert store.events.list(run)[-1].level == "error"


def test_progress_makes_the_count_begin_anew(store: Store) -> None:
    put(store, "run")
    store.queue.claim_next(gone())
    store.queue.claim_next(gone())
    claimed = store.queue.claim_next(elsewhere())
    assert claimed is not None
    run = store.queue.adopt("run", elsewhere())
    store.checkpoints.save(run, Metric(step=10), b"model", b"state")
    assert store.queue.left(claimed, "its process fell over") is None  # it lives
    store.queue.give_back(run, "out of luck")
    run = store.runs.get("run")
    assert (run.state, run.attempt, run.attempt_step, run.message) == ("queued", 2, 10, "out of luck")


def test_an_end_that_was_no_fault_does_not_count(store: Store) -> None:
    put(store, "run")
    for _ in range(5):
        claimed = store.queue.claim_next(gone())
        assert claimed is not None
        found = store.queue.left(claimed, "its worker was stopped", blame=False)
        assert found is not None
        assert (found.state, found.attempt) == ("queued", 1)


def test_what_a_child_gave_back_itself_stays_so(store: Store) -> None:
    put(store, "run")
    claimed = store.queue.claim_next(elsewhere())
    assert claimed is not None
    store.runs.release(claimed, "succeeded")
    assert store.queue.left(claimed, "it ended") is None
    assert store.runs.get("run").state == "succeeded"
    store.runs.remove("run")
    assert store.queue.left(claimed, "it ended") is None


def test_a_child_that_ends_before_it_took_its_run_over(store: Store) -> None:
    put(store, "run")
    claimed = store.queue.claim_next()
    assert claimed is not None
    found = store.queue.left(claimed, "its process was killed by signal 9")
    assert found is not None
    assert (found.state, found.attempt) == ("queued", 2)


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_what_was_wanted_of_a_lost_run_happens(store: Store, state: str) -> None:
    put(store, "run", "next")
    claimed = store.queue.claim_next(gone())
    assert claimed is not None
    store.db.execute("UPDATE runs SET wanted = ? WHERE name = 'run'", (state,))
    assert store.runs.get("run").state == state
    found = store.queue.claim_next()
    assert found is not None
    assert found.name == "next"
    run = store.runs.get("run")
    assert (run.state, run.wanted, run.owner) == (state, None, None)


# ── what is wanted ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_a_running_run_something_is_wanted_others_change_at_once(store: Store) -> None:
    put(store, "running", "waiting")
    running = store.queue.claim_next()
    assert running is not None
    assert store.queue.wanted(running) is None
    asked = store.queue.ask(store.runs.get("running"), "paused", "please")
    assert (asked.state, asked.wanted) == ("running", "paused")
    assert store.queue.wanted(running) == "paused"
    assert store.queue.put(asked, "").wanted is None
    assert store.queue.wanted(running) is None
    waiting = store.queue.ask(store.runs.get("waiting"), "cancelled", "please")
    assert (waiting.state, waiting.wanted, waiting.message, waiting.ended_at is not None) == ("cancelled", None, "please", True)
    assert store.queue.claim_next() is None
    again = store.queue.put(waiting, "waits")
    assert (again.state, again.message, again.ended_at, again.attempt) == ("queued", "waits", None, 1)
    assert store.queue.claim_next() is not None


def test_a_new_claim_knows_nothing_of_old_wishes(store: Store) -> None:
    put(store, "run")
    run = store.queue.claim_next()
    assert run is not None
    store.queue.ask(store.runs.get("run"), "paused", "")
    store.runs.release(run, "queued")
    again = store.queue.claim_next()
    assert again is not None
    assert again.wanted is None
