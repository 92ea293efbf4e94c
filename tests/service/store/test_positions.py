"""Where a corpus or run stands in the order of its making, also after it was deleted."""

from __future__ import annotations

from collections.abc import Callable

from service.store import Run, Store


def test_positions_follow_the_order_of_making_and_stay_after_a_deletion(store: Store) -> None:
    for name in "abc":
        store.corpora.add(name, [name * 100], name)
        store.runs.create(name, corpus=name, model_config={}, training_config={})
    for table, remove in (("runs", store.runs.remove), ("corpora", store.corpora.remove)):
        before = [store.position(table, name) for name in "abc"]
        assert before == sorted(before, key=lambda each: each or 0)
        remove("b")
        a, b, c = (store.position(table, name) for name in "abc")
        assert a is not None
        assert b is not None
        assert c is not None
        assert a < b < c
        assert store.position(table, "none") is None


def test_what_takes_the_place_of_the_last_one_stands_behind_it(store: Store, add_model: Callable[..., Run]) -> None:
    """SQLite gives the id of the last row, once it is deleted, to the next one."""
    store.corpora.add("last", ["a" * 100], "x")
    store.corpora.remove("last")
    new = store.corpora.add("new", ["a" * 100], "x")
    old = store.position("corpora", "last")
    assert old is not None
    assert old < new.id
    again = store.corpora.add("last", ["a" * 100], "x")
    assert store.position("corpora", "last") == again.id


def test_names_are_forgotten_after_a_day(store: Store) -> None:
    for name in "ab":
        store.corpora.add(name, [name * 100], name)
    store.corpora.remove("a")
    with store.immediate() as db:
        db.execute("UPDATE removed SET removed_at = '2026-01-01T00:00:00.000Z'")
    assert store.position("corpora", "a") is not None, "until the next deletion"
    store.corpora.remove("b")
    assert store.position("corpora", "a") is None
    assert store.db.execute("SELECT name FROM removed").fetchall() == [("b",)]
