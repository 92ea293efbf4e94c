"""Checkpoints: all or nothing, checked when loaded, thinned out, and intact after a kill at any moment.

The history stays small, keeps its ends, and is spread over the logarithm of the step.
"""

from __future__ import annotations

import itertools
import math
import mmap
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from model.errors import DamagedCheckpoint
from service.store import Metric, Run, Sample, Store, blobs, checkpoints
from service.store.checkpoints import HISTORY, Checkpoints, thinned
from service.system.errors import CheckpointNotFound, DatabaseUnusable, RunCannotGoOn

# ── retention ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.sets(st.integers(0, 10**9), max_size=60), st.integers(2, 30))
def test_bounded_with_both_ends(steps: set[int], limit: int) -> None:
    kept = thinned(steps, limit)
    assert kept <= steps
    assert len(kept) == min(limit, len(steps))
    if steps:
        assert {min(steps), max(steps)} <= kept


@pytest.mark.parametrize("interval", [1, 50, 1000])
def test_spread_over_the_logarithm(interval: int) -> None:
    kept: set[int] = set()
    for step in range(interval, 3000 * interval, interval):
        kept = thinned(kept | {step})
    assert len(kept) == HISTORY
    logs = sorted(math.log(step + 1) for step in kept)
    widest = max(later - earlier for earlier, later in itertools.pairwise(logs))
    even = (logs[-1] - logs[0]) / (HISTORY - 1)
    # The first two steps are log(2) apart whatever is kept.
    assert widest <= max(2.5 * even, math.log(2))


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────

Make = Callable[..., Run]


def save(store: Store, run: Run, step: int, validation_loss: float | None = None) -> None:
    metric = Metric(step=step, epoch=step / 10, loss=2.0, validation_loss=validation_loss, bits_per_char=validation_loss, seconds=step)
    store.checkpoints.save(run, metric, b"model %d" % step, b"state %d" % step)


def steps(store: Store, run: Run) -> list[int]:
    return [checkpoint.step for checkpoint in store.checkpoints.list(run)]


# ── storing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_copy_of_a_checkpoint_stays_in_memory(store: Store, make_run: Make) -> None:
    memory = Path("/proc/self/statm")
    if not memory.exists():
        pytest.skip("only Linux tells the memory of a process in /proc")

    def used() -> int:
        return int(memory.read_text().split()[1]) * mmap.PAGESIZE

    run, size = make_run(), 100_000_000
    save(store, run, 1)
    before = used()
    store.checkpoints.save(run, Metric(step=2), bytes(size), None)
    assert used() - before < size / 2


def test_a_validation_tells_everything_at_once(store: Store, make_run: Make) -> None:
    run = make_run()
    metric = Metric(step=100, epoch=1.5, loss=2.0, validation_loss=2.1, bits_per_char=3.0, learning_rate=0.1, seconds=7.5)
    saved = store.checkpoints.save(run, metric, b"model", b"the state", [Sample(step=100, text="Once upon", seed=1)])
    assert (saved.run, saved.step, saved.epoch, saved.loss, saved.validation_loss, saved.bits_per_char) == (
        "first",
        100,
        1.5,
        2.0,
        2.1,
        3.0,
    )
    assert (saved.model_bytes, saved.state_bytes, saved.last, saved.best, saved.pinned) == (5, 9, True, True, False)
    assert store.checkpoints.load_state(run) == (saved, b"model", b"the state")
    assert [(row.step, row.learning_rate) for row in store.metrics.list(run)] == [(100, 0.1)]
    assert [sample.text for sample in store.samples.list(run)] == ["Once upon"]
    told = store.runs.get("first")
    assert (told.step, told.epoch, told.seconds, told.best_validation_loss, told.best_bits_per_char) == (100, 1.5, 7.5, 2.1, 3.0)
    assert told.checkpoints == 1


def test_what_fails_at_the_end_leaves_nothing_of_it(store: Store, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    save(store, run, 1, 3.0)
    before = store.runs.get("first")

    def power_cut(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(blobs, "drop_unused", power_cut)
    with pytest.raises(OSError, match="power cut"):
        store.checkpoints.save(run, Metric(step=2, validation_loss=2.0), b"model 2", b"state 2", [Sample(step=2, text="x")])
    assert store.runs.get("first") == before
    assert steps(store, run) == [1]
    assert len(store.metrics.list(run)) == 1
    assert store.samples.list(run) == ()
    assert store.checkpoints.load_state(run)[1:] == (b"model 1", b"state 1")
    assert store.db.execute("SELECT count(*) FROM blobs").fetchone()[0] == 2


def test_it_is_on_the_disk_when_it_returns(store: Store, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    seen: list[int] = []
    retain = Checkpoints._retain

    def watch(self: Checkpoints, watched: Run) -> None:
        seen.append(store.db.execute("PRAGMA synchronous").fetchone()[0])
        retain(self, watched)

    monkeypatch.setattr(Checkpoints, "_retain", watch)
    save(store, run, 1)
    assert seen == [2]


def test_best_and_last(store: Store, make_run: Make) -> None:
    run = make_run()
    for step, loss in [(10, 3.0), (20, 2.0), (30, 2.5), (40, None), (50, float("nan")), (60, 2.0)]:
        save(store, run, step, loss)
    assert store.checkpoints.get(run).step == store.checkpoints.get(run, "best").step == 20
    assert store.checkpoints.load(run, "last")[1] == b"model 60"
    assert store.checkpoints.load(run, 30)[1] == b"model 30"
    assert [row.step for row in store.checkpoints.list(run) if row.best] == [20]
    assert [row.step for row in store.checkpoints.list(run) if row.last] == [60]
    assert store.runs.get("first").best_validation_loss == 2.0


def test_without_a_validation_the_last_is_best(store: Store, make_run: Make) -> None:
    run = make_run()
    save(store, run, 10)
    save(store, run, 20)
    assert store.checkpoints.get(run, "best").step == 20
    assert store.runs.get("first").best_validation_loss is None


def test_a_step_stored_again(store: Store, make_run: Make) -> None:
    run = make_run()
    save(store, run, 10, 3.0)
    store.checkpoints.save(run, Metric(step=10), b"model 10", b"other state")
    assert store.checkpoints.get(run, 10).validation_loss == 3.0
    assert store.checkpoints.load_state(run)[2] == b"other state"
    store.checkpoints.save(run, Metric(step=10), b"another model", b"state")
    assert store.checkpoints.get(run, 10).validation_loss is None
    assert store.db.execute("SELECT count(*) FROM blobs").fetchone()[0] == 2


def test_no_such_checkpoint(store: Store, make_run: Make) -> None:
    run = make_run()
    for which in ("best", "last"):
        with pytest.raises(CheckpointNotFound, match="has no checkpoint yet"):
            store.checkpoints.load(run, which)  # type: ignore[arg-type]
    save(store, run, 10)
    save(store, run, 20)
    for ask in (store.checkpoints.get, store.checkpoints.load, store.checkpoints.pin):
        with pytest.raises(CheckpointNotFound, match="no checkpoint of step 15; it has: 10, 20"):
            ask(run, 15)


def test_an_imported_model_has_no_training_state(store: Store) -> None:
    run = store.runs.create("imported", corpus=None, model_config={}, training_config={}, state="succeeded")
    store.checkpoints.save(run, Metric(step=7), b"model", None)
    assert store.checkpoints.load(run)[1] == b"model"
    with pytest.raises(RunCannotGoOn, match="no training state"):
        store.checkpoints.load_state(run)
    assert store.runs.latest().name == "imported"


def test_more_than_sqlite_can_hold(store: Store, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr(blobs, "LARGEST", 10)
    with pytest.raises(DatabaseUnusable, match="11 bytes, 10 is the limit"):
        store.checkpoints.save(run, Metric(step=1), b"model", bytes(11))
    assert steps(store, run) == []


# ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_retention(store: Store, make_run: Make) -> None:
    run = make_run()
    for step in range(1, 101):
        save(store, run, step, 1.0 if step == 77 else 2.0 + step % 5)
        if step == 40:
            store.checkpoints.pin(run, 40)
    kept = store.checkpoints.list(run)
    assert {1, 40, 77, 100} <= {row.step for row in kept}
    assert checkpoints.HISTORY <= len(kept) <= checkpoints.HISTORY + 3
    assert [row.step for row in kept if row.state_sha256] == [100]
    assert [row.step for row in kept if row.pinned] == [40]
    assert all(store.checkpoints.load(run, row.step)[1] == b"model %d" % row.step for row in kept)
    assert store.db.execute("SELECT count(*) FROM blobs").fetchone()[0] == len(kept) + 1
    assert len(store.metrics.list(run)) == 100
    store.checkpoints.pin(run, 40, pinned=False)
    assert not store.checkpoints.get(run, 40).pinned


def test_the_file_does_not_grow_with_the_number_of_saves(store: Store, make_run: Make, path: Path) -> None:
    run = make_run()

    def size_after(first: int, count: int) -> int:
        for step in range(first, first + count):
            noise = step.to_bytes(8, "big") * 25_000
            store.checkpoints.save(run, Metric(step=step), noise[:-1], noise)
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.stat().st_size

    full = size_after(1, 40)
    assert size_after(41, 40) < 1.1 * full


def test_damage_is_found(store: Store, make_run: Make) -> None:
    run = make_run()
    save(store, run, 10, 3.0)
    store.db.execute("UPDATE blobs SET data = CAST(replace(data, 'model', 'modem') AS BLOB)")
    with pytest.raises(DamagedCheckpoint, match=r"step 10 of run first in .*changed after they were stored"):
        store.checkpoints.load(run)
    with pytest.raises(DamagedCheckpoint):
        store.checkpoints.load_state(run)
    assert steps(store, run) == [10]


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SAVE_FOREVER = """
    import os, sys
    from service.store import Metric, Sample, Store
    store = Store(sys.argv[1])
    run = store.runs.claim("first")
    step = run.step
    while True:
        step += 1
        data = step.to_bytes(8, "big") * 20_000
        store.checkpoints.save(run, Metric(step=step, loss=1.0, validation_loss=9 / step), b"model" + data, b"state" + data,
                               [Sample(step=step, text=str(step))])
        print(step, flush=True)
    """


def test_killed_at_any_moment_nothing_that_was_stored_is_lost(path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    with Store(path) as store:
        store.runs.create("first", corpus=None, model_config={}, training_config={})
    reached = 0
    for kill in range(10):
        process = start(SAVE_FOREVER, path)
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(0.0137 * kill)  # another moment of the transaction each time
        process.kill()
        printed = process.stdout.read().split()
        process.wait()
        reached = max([reached, *map(int, printed)])
        with Database(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with Store(path) as store:
            run = store.runs.get("first")
            assert run.state == "paused"
            checkpoint, model, state = store.checkpoints.load_state(run)
            data = checkpoint.step.to_bytes(8, "big") * 20_000
            assert (model, state) == (b"model" + data, b"state" + data)
            assert checkpoint.step == run.step >= reached
            assert store.metrics.list(run)[-1].step == store.samples.list(run)[-1].step == run.step
            assert store.runs.list()[0].checkpoints <= checkpoints.HISTORY + 2
