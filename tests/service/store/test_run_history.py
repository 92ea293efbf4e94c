"""Events: in order, of one run, between two ids, and never with an id that was used before.

Metrics and samples come back as they were stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from service.store import Metric, Run, Sample, Store
from service.system.errors import DatabaseUnusable

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_rows_at_once(store: Store, make_run: Callable[..., Run]) -> None:
    run, other = make_run(), make_run("other")
    metrics = [Metric(step=step, epoch=step / 7, loss=1 / step, learning_rate=0.1, grad_norm=2.0, seconds=step / 3) for step in (3, 1, 2)]
    store.metrics.append(run, iter(metrics))
    store.metrics.append(other, metrics[:1])
    found = store.metrics.list(run)
    assert [metric.step for metric in found] == [1, 2, 3]
    assert (found[0].loss, found[0].epoch, found[0].validation_loss) == (1.0, 1 / 7, None)
    assert found[0].created_at
    assert [metric.step for metric in store.metrics.list(run, after=1)] == [2, 3]
    assert len(store.metrics.list(other)) == 1


def test_a_step_that_is_told_again_keeps_what_was_measured(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.metrics.append(run, [Metric(step=1, loss=2.0, validation_loss=2.5)])
    store.metrics.append(run, [Metric(step=1, loss=1.5, seconds=9.0)])
    (found,) = store.metrics.list(run)
    assert (found.loss, found.validation_loss, found.seconds) == (1.5, 2.5, 9.0)


def test_what_is_not_finite_is_not_measured(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.metrics.append(run, [Metric(step=1, loss=math.nan, grad_norm=math.inf)])
    (found,) = store.metrics.list(run)
    assert (found.loss, found.grad_norm) == (None, None)


def test_samples(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.samples.replace(run, 20, [Sample(step=20, text="later 한\n")])
    store.samples.replace(run, 10, [Sample(step=10, text="a", prompt="p", temperature=0.5, seed=2**63 - 1), Sample(step=10, text="b")])
    assert [(sample.step, sample.text) for sample in store.samples.list(run)] == [(10, "a"), (10, "b"), (20, "later 한\n")]
    first = store.samples.list(run)[0]
    assert (first.prompt, first.temperature, first.seed) == ("p", 0.5, 2**63 - 1)
    store.samples.replace(run, 10, [Sample(step=10, text="c")])
    assert [sample.text for sample in store.samples.list(run)] == ["c", "later 한\n"]


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_come_back_as_they_were_told(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.events.add(run, "it begins")
    store.events.add(run, "é went wrong", level="warn")
    store.events.add(run, "step 1", data={"step": 1, "valid_loss": 2.5})
    found = store.events.list(run)
    assert [(each.run, each.message, each.level, each.type, each.data) for each in found] == [
        ("first", "it begins", "info", "message", None),
        ("first", "é went wrong", "warn", "message", None),
        ("first", "step 1", "info", "metrics", {"step": 1, "valid_loss": 2.5}),
    ]
    assert all(each.created_at.endswith("Z") for each in found)


def test_a_part_of_them_in_either_order(store: Store, make_run: Callable[..., Run]) -> None:
    run, other = make_run(), make_run("other")
    for number in range(5):
        store.events.add(run, str(number))
        store.events.add(other, "not this one")
    ids = [each.id for each in store.events.list(run)]
    assert ids == sorted(ids)

    def told(**part: int | bool) -> str:
        return "".join(each.message for each in store.events.list(run, **part))  # type: ignore[arg-type]

    assert told(after=ids[1]) == "234"
    assert told(before=ids[3]) == "012"
    assert told(limit=2) == "01"
    assert told(newest_first=True, limit=2) == "43"
    assert told(newest_first=True, before=ids[3], limit=2) == "21"
    assert told(after=ids[4]) == ""


def test_ids_are_never_used_twice(store: Store, make_run: Callable[..., Run]) -> None:
    run = make_run()
    store.events.add(run, "the last one")
    [last] = store.events.list(run)
    store.runs.remove(store.runs.release(run, "cancelled").name)
    run = make_run("second")
    store.events.add(run, "another")
    assert store.events.list(run)[0].id > last.id


def test_a_level_that_is_none_is_refused(store: Store, make_run: Callable[..., Run]) -> None:
    with pytest.raises(DatabaseUnusable):
        store.events.add(make_run(), "x", level="loud")
