"""How far a run is.

Runs: states, who may train them, and what `latest` means.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model.errors import InvalidSetting
from service.store import STATES, Metric, Run, Store
from service.store.runs import share_done, training
from service.system import processes
from service.system.errors import CorpusNotFound, InvalidName, NameTaken, NoModelYet, RunBusy, RunCannotGoOn, RunNotFound

# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

CLAIM = """
    import sys
    from service.store import Store
    store = Store(sys.argv[1])
    store.runs.claim("first")
    print("claimed", flush=True)
    sys.stdin.read()
    import time; time.sleep(60)
    """


def elsewhere(pid: int = 4711) -> str:
    return json.dumps({**json.loads(processes.identity()), "host": "elsewhere", "pid": pid})


def create(store: Store, name: str, **values: object) -> Run:
    return store.runs.create(name, corpus=None, model_config={}, training_config={}, **values)  # type: ignore[arg-type]


def test_a_new_run(store: Store) -> None:
    store.corpora.add("tale", ["text"], "here")
    run = store.runs.create(
        "first", corpus="tale", model_config={"cell": "gru"}, training_config={"steps": 10}, environment={"threads": 2, "kernels": "é"}
    )
    assert (run.name, run.corpus, run.state, run.step, run.seconds, run.checkpoints) == ("first", "tale", "queued", 0, 0.0, 0)
    assert (run.model_config, run.training_config, run.environment) == ({"cell": "gru"}, {"steps": 10}, {"threads": 2, "kernels": "é"})
    assert (run.message, run.started_at, run.ended_at, run.owner, run.best_validation_loss) == (None,) * 5
    assert store.runs.get("first") == run == store.runs.list()[0]


def test_names(store: Store) -> None:
    create(store, "first")
    with pytest.raises(NameTaken, match="a run named 'first' exists already"):
        create(store, "first")
    with pytest.raises(InvalidName):
        create(store, "latest")
    with pytest.raises(CorpusNotFound):
        store.runs.create("second", corpus="tale", model_config={}, training_config={})
    assert create(store, "first", exact=False).name == "first-2"
    assert create(store, "lstm", exact=False).name == "lstm-2"
    assert store.runs.free_name("first") == "first-3"
    assert [run.name for run in store.runs.list()] == ["lstm-2", "first-2", "first"]


def test_not_there(store: Store) -> None:
    for ask in (store.runs.get, store.runs.remove, store.runs.claim, store.runs.resolve):
        with pytest.raises(RunNotFound, match="there is no run 'first'; none is stored yet"):
            ask("first")


def test_from_claim_to_release(store: Store) -> None:
    create(store, "first")
    run = store.runs.claim("first")
    assert (run.state, run.owner) == ("running", processes.identity())
    assert run.started_at == run.heartbeat_at is not None
    store.runs.heartbeat(run)
    paused = store.runs.release(run, "paused", "by Ctrl-C")
    assert (paused.state, paused.message, paused.owner, paused.ended_at) == ("paused", "by Ctrl-C", None, None)
    again = store.runs.claim("first")
    assert (again.state, again.message, again.started_at) == ("running", None, run.started_at)
    done = store.runs.release(again, "succeeded")
    assert done.state == "succeeded"
    assert done.ended_at is not None
    assert store.runs.claim("first").ended_at is None


def test_the_states_are_those_of_the_schema(store: Store) -> None:
    for state in STATES:
        assert create(store, f"run-{state}", state=state).state == ("paused" if state == "running" else state)


def test_a_claimed_run_is_nobody_elses(store: Store) -> None:
    create(store, "first")
    store.runs.claim("first")
    for ask in (store.runs.claim, store.runs.remove):
        with pytest.raises(RunBusy, match=r"run first is being trained by process \d+ on .*; wait for it"):
            ask("first")


def test_a_run_whose_process_was_killed_reads_as_paused_and_can_be_claimed(
    store: Store, path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    create(store, "first")
    process = start(CLAIM, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    assert store.runs.get("first").state == "running"
    with pytest.raises(RunBusy, match=f"process {process.pid} on"):
        store.runs.claim("first")
    process.kill()
    process.wait()
    for run in (store.runs.get("first"), store.runs.list()[0]):
        assert run.state == "paused"
        assert run.message is not None
        assert f"process {process.pid} on" in run.message
        assert "--resume first" in run.message
    assert store.runs.claim("first").state == "running"


def test_a_run_whose_clock_cannot_be_trusted_is_watched(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LEASE", 0.3)
    monkeypatch.setattr(processes, "POLL", 0.05)
    create(store, "first")
    run = store.runs.claim("first", elsewhere())
    assert not store.runs.is_uncertain(run)
    assert store.runs.watch("first") == run, "nothing is waited for"
    polls: list[float] = []

    def beat(seconds: float) -> None:
        polls.append(seconds)
        store.runs.heartbeat(run)

    for moment in ("2021-01-01T00:00:00.000Z", "2091-01-01T00:00:00.000Z"):
        polls.clear()
        store.db.execute("UPDATE runs SET heartbeat_at = ?", (moment,))
        assert store.runs.is_uncertain(store.runs.get("first"))
        with monkeypatch.context() as patch:
            patch.setattr("time.sleep", beat)
            assert store.runs.watch("first").state == "running"
        assert len(polls) == 1
        store.db.execute("UPDATE runs SET heartbeat_at = ?", (moment.replace("1", "2"),))
        assert store.runs.watch("first").state == "paused"


def test_a_process_that_cannot_be_seen_has_a_lease(store: Store, later: Callable[[float], None]) -> None:
    create(store, "first")
    theirs = store.runs.claim("first", elsewhere())
    assert theirs.state == "running"
    with pytest.raises(RunBusy, match="process 4711 on elsewhere"):
        store.runs.remove("first")
    store.db.execute("UPDATE runs SET heartbeat_at = '2020-01-01T00:00:00.000Z'")  # its clock, or ours, was set
    later(processes.LEASE + 1)
    assert store.runs.get("first").state == "running"
    later(processes.LEASE + 1)
    assert store.runs.get("first").state == "paused"
    mine = store.runs.claim("first")
    for late in (
        lambda: store.runs.heartbeat(theirs),
        lambda: store.runs.release(theirs, "succeeded"),
        lambda: store.runs.configure(theirs, training_config={}),
        lambda: store.checkpoints.save(theirs, Metric(step=1), b"model", b"state"),
    ):
        with pytest.raises(RunBusy):
            late()
    assert store.runs.get("first") == mine
    store.runs.release(mine, "paused")
    with pytest.raises(RunCannotGoOn, match="does not hold it any more"):
        store.runs.heartbeat(mine)
    store.runs.remove("first")
    with pytest.raises(RunNotFound):
        store.runs.heartbeat(mine)


def test_a_resumed_run_may_get_more_steps(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    changed = store.runs.configure(run, training_config={"steps": 20}, environment={"threads": 1})
    assert (changed.model_config, changed.training_config, changed.environment) == ({"cell": "gru"}, {"steps": 20}, {"threads": 1})


def test_claiming_forgets_what_will_be_measured_again(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.checkpoints.save(run, Metric(step=10), b"model", b"state")
    store.metrics.append(run, [Metric(step=5), Metric(step=11), Metric(step=12)])
    store.runs.claim(store.runs.release(run, "paused").name)
    assert [metric.step for metric in store.metrics.list(run)] == [5, 10]


def test_removing_takes_everything_along(store: Store, make_run: Callable[..., Run]) -> None:
    run, other = make_run(), make_run("other")
    store.checkpoints.save(run, Metric(step=1), b"same model", b"state")
    store.checkpoints.save(other, Metric(step=1), b"same model", b"other state")
    store.runs.release(run, "failed", "it diverged")
    store.runs.remove("first")
    assert [row["size"] for row in store.db.query("SELECT size FROM blobs ORDER BY size")] == [10, 11]
    assert store.checkpoints.load(other)[1] == b"same model"
    assert store.db.execute("SELECT count(*) FROM metrics").fetchone()[0] == 1
    store.runs.release(other, "paused")
    store.runs.remove("other")
    assert [store.db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("runs", "blobs", "checkpoints", "metrics")] == [0] * 4


# ── latest ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_latest(store: Store, make_run: Callable[..., Run]) -> None:
    with pytest.raises(NoModelYet):
        store.runs.latest()
    create(store, "empty", state="succeeded")
    with pytest.raises(NoModelYet):
        store.runs.resolve(None)
    first, second = make_run("first"), make_run("second")
    store.checkpoints.save(second, Metric(step=1, created_at="2026-01-01T00:00:00.000Z"), b"m", b"s")
    store.checkpoints.save(first, Metric(step=1, created_at="2026-01-02T00:00:00.000Z"), b"m", b"s")
    assert store.runs.latest().name == "first"
    store.runs.release(second, "succeeded")
    assert store.runs.latest().name == "second"
    store.runs.release(first, "succeeded")
    store.db.execute("UPDATE runs SET ended_at = '2020-01-01T00:00:00.000Z' WHERE name = 'second'")
    assert store.runs.latest().name == "first"
    store.db.execute("UPDATE runs SET ended_at = '2019-01-01T00:00:00.000Z' WHERE name = 'first'")
    assert store.runs.latest().name == "second"


def test_resolve(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.checkpoints.save(run, Metric(step=100), b"model", b"state")
    for text, which in [
        (None, "best"), ("", "best"), ("latest", "best"), ("first", "best"), ("first@100", 100), ("latest@7", 7),
        ("first@best", "best"), ("first@last", "last"),
    ]:  # fmt: skip
        found, chosen = store.runs.resolve(text)
        assert (found.name, chosen) == ("first", which)
    for text in ("first@", "first@-1", "first@1.5", "first@x", "first@²", "first@" + "9" * 30):
        with pytest.raises(InvalidSetting, match="a step, best or last") as caught:
            store.runs.resolve(text)
        assert caught.value.param == "checkpoint"


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("config", "progress", "share"),
    [
        ({"steps": 400}, {"step": 100}, 0.25),
        ({"epochs": 2.0}, {"epoch": 0.5}, 0.25),
        ({"budget": 60.0}, {"seconds": 15.0}, 0.25),
        ({"budget": 60.0}, {"seconds": 61.0}, 1.0),
        ({"steps": 400}, {"step": 900}, 1.0),
        ({"steps": None, "epochs": None, "budget": None}, {"step": 100}, None),
        ({}, {}, None),
    ],
)
def test_share(add_model: Callable[..., Run], config: dict[str, Any], progress: dict[str, Any], share: float | None) -> None:
    run = replace(add_model(steps=()), training_config=config, **progress)
    assert share_done(run) == share


def test_time_passes_between_two_signs_of_life(add_model: Callable[..., Run]) -> None:
    heartbeat = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    run = replace(add_model(steps=(), state="running"), training_config={"budget": 60.0}, heartbeat_at=heartbeat)
    share = share_done(run)
    assert share is not None
    assert 0.5 <= share < 0.75


def test_what_is_trained_now(store: Store, add_model: Callable[..., Run]) -> None:
    add_model("old")
    assert training(store.runs) is None
    add_model("young", state="running")
    found = training(store.runs)
    assert found is not None
    assert (found.run, found.share, found.step) == ("young", 0.25, 100)
