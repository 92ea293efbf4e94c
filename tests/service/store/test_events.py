"""Events: in order, of one run, between two ids, and never with an id that was used before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model.errors import DatabaseUnusable
from service.store import Run, Store


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
