"""Threads that share work, turns of requests and their time, and the cache."""

from __future__ import annotations

import threading
import time

import pytest
from werkzeug.exceptions import ClientDisconnected

from service.system.concurrency import LruCache, ThreadPool, Turns
from service.system.errors import TookTooLong, TooManyRequests, WaitedTooLong

# ── pool ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_results_come_in_order_and_one_task_is_done_by_whoever_asks() -> None:
    pool = ThreadPool(3)
    for count in (0, 1, 2, 3, 7):
        assert pool([lambda index=index: (index, threading.get_ident()) for index in range(count)])[:1] == (  # type: ignore[misc]
            [(0, threading.get_ident())] if count else []
        )
        assert pool([lambda index=index: index for index in range(count)]) == list(range(count))  # type: ignore[misc]
    pool.close()


def test_tasks_are_done_side_by_side() -> None:
    pool, meeting = ThreadPool(3), threading.Barrier(3, timeout=30)
    assert sorted(pool([meeting.wait] * 3)) == [0, 1, 2]
    pool.close()


@pytest.mark.parametrize("bad", [0, 1])
def test_an_exception_comes_when_all_are_done(bad: int) -> None:
    pool, done = ThreadPool(2), threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    def work() -> None:
        done.set()

    with pytest.raises(ZeroDivisionError):
        pool([fail, work] if not bad else [work, fail])
    assert done.is_set()
    pool.close()


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
