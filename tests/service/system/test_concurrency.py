"""Threads that share work, turns of requests and their time, and the cache."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from werkzeug.exceptions import ClientDisconnected

from service.system.concurrency import LruCache, MemoryBudget, Turns
from service.system.errors import MemoryTaken, TookTooLong, TooManyRequests, WaitedTooLong

# ── pool ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_few_at_once_few_that_wait_and_no_more() -> None:
    turns = Turns(at_once=2, waiting=1, seconds=0.05)
    with turns.turn(), turns.turn():
        with pytest.raises(WaitedTooLong, match=r"waited 0\.05 seconds"), turns.turn():
            pass
        assert turns._places.acquire(blocking=False), "who waited in vain has gone"
        with pytest.raises(TooManyRequests, match="1 requests are waiting already"), turns.turn():
            pass
        turns._places.release()
    for _ in range(9):  # every place was given back
        with pytest.raises(KeyError), turns.turn():
            raise KeyError
    with turns.turn(), turns.turn():
        pass


def test_the_clock_begins_where_it_is_made() -> None:
    tick = Turns(1, 1, seconds=30).clock(lambda: False)
    tick()
    late = Turns(1, 1, seconds=0.01).clock(lambda: False)
    time.sleep(0.02)
    with pytest.raises(TookTooLong, match=r"not done within 0\.01 seconds"):
        late()
    with pytest.raises(ClientDisconnected):
        Turns(1, 1, seconds=30).clock(lambda: True)()


# ── caches ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_least_recently_used_value_is_dropped_first() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    cache.put("a", 4)
    cache.put("d", 5)
    assert [cache.get(key) for key in "acd"] == [4, None, 5]


def test_values_may_have_sizes_and_too_large_ones_are_not_kept() -> None:
    cache: LruCache[str, bytes] = LruCache(5, len)
    cache.put("a", b"12")
    cache.put("b", b"123")
    cache.put("c", b"1234")
    assert [cache.get(key) for key in "abc"] == [None, None, b"1234"]
    cache.put("d", b"123456")
    assert [cache.get(key) for key in "cd"] == [None, None]


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_is_taken_together_up_to_a_limit_and_given_back() -> None:
    budget = MemoryBudget(100, seconds=0.02, waiting=1)
    with budget.share() as take:
        take(60)
        take(1000)  # alone, one may take any number
        with budget.share() as other, pytest.raises(MemoryTaken, match="needs 0 MB more memory"):
            other(1)
    with budget.share() as take, budget.share() as other:
        take(60)
        other(40)
        for each in (take, other):
            with pytest.raises(MemoryTaken):
                each(1)
    assert budget._taken == 0


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not happen")


def test_memory_that_is_given_back_goes_to_who_waits() -> None:
    budget, order = MemoryBudget(100, seconds=30, waiting=1), []

    def wait() -> None:
        with budget.share() as other:
            other(50)
            order.append("waited")

    with budget.share() as take:
        take(80)
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: budget._waiting == 1)
        with budget.share() as third, pytest.raises(MemoryTaken):
            third(50)  # at once, since one waits already
        order.append("first")
    thread.join(10)
    assert order == ["first", "waited"]


def test_the_cache_counts_what_it_holds() -> None:
    cache: LruCache[str, bytes] = LruCache(10, len)
    for key, size in (("a", 4), ("b", 4), ("a", 6), ("c", 1)):
        cache.put(key, bytes(size))
    assert (cache.get("b"), cache._total) == (None, 7)
    cache.put("d", bytes(11))
    assert (cache.get("d"), cache._total) == (None, 0)
