"""What callers share: turns of requests and their time, places, amounts a minute; and the cache."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected

from service.system.concurrency import Allowance, LruCache, MemoryBudget, Places, Turns, _Ticket
from service.system.errors import MemoryTaken, TookTooLong, TooManyRequests, WaitedTooLong

# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_few_at_once_few_that_wait_and_no_more() -> None:
    turns = Turns(at_once=2, waiting=1, seconds=0.05)
    with turns.turn(), turns.turn():
        with pytest.raises(WaitedTooLong, match=r"waited 0\.05 seconds"), turns.turn():
            pass
        with waiting(turns, ""), pytest.raises(TooManyRequests, match="1 requests of yours are waiting already"), turns.turn():
            pass
    for _ in range(9):  # every place was given back
        with pytest.raises(KeyError), turns.turn():
            raise KeyError
    with turns.turn(), turns.turn():
        pass


@contextmanager
def waiting(turns: Turns, caller: str, done: Callable[[], None] = lambda: None) -> Iterator[None]:
    """A request of `caller` that waits in another thread inside, and calls `done` in its turn."""

    def wait() -> None:
        with suppress(WaitedTooLong), turns.turn(caller):
            done()

    before = len(turns._queue)
    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: len(turns._queue) > before)
    yield
    thread.join()


def until(done: Callable[[], bool]) -> None:
    """Wait for a state, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_caller_that_takes_all_turns_and_places_delays_no_other() -> None:
    turns = Turns(at_once=2, waiting=4, seconds=30)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(turns.turn("greedy"))
        with ExitStack() as queue:
            queue.callback(held.close)  # else its requests would wait for 30 seconds
            for _ in range(3):  # three quarters of the queue
                queue.enter_context(waiting(turns, "greedy"))
            with pytest.raises(TooManyRequests, match="3 requests of yours are waiting already"), turns.turn("greedy"):
                pass
            # At once, though both turns are taken; but a second request waits as all others do.
            with turns.turn("modest"), turns.turn("third"), waiting(turns, "modest"):
                assert [each.caller for each in turns._queue] == ["greedy"] * 3 + ["modest"]
                held.close()


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=12), st.integers(1, 3))
def test_no_caller_has_another_turn_while_one_waits_for_its_first(callers: list[str], at_once: int) -> None:
    turns = Turns(at_once, waiting=100, seconds=30)
    turns._queue = [_Ticket(caller) for caller in callers]
    waited: set[str] = set()  # callers that waited in vain in the last round
    while waiting := list(turns._queue):
        with turns._changed:
            turns._call()
        called = Counter(ticket.caller for ticket in waiting if ticket.called)
        assert min(at_once, len(waiting)) <= called.total() <= 2 * at_once
        in_vain = {ticket.caller for ticket in waiting} - called.keys()
        assert not in_vain or set(called.values()) == {1}
        assert waited <= called.keys() or called.keys() <= waited, "those that waited go first"
        waited = in_vain
        turns._reading.clear()  # all of these turns end


def test_the_clock_begins_where_it_is_made() -> None:
    tick = Turns(1, 1, seconds=30).clock(lambda: False)
    tick()
    late = Turns(1, 1, seconds=0.01).clock(lambda: False)
    time.sleep(0.02)
    with pytest.raises(TookTooLong, match=r"not done within 0\.01 seconds"):
        late()
    with pytest.raises(ClientDisconnected):
        Turns(1, 1, seconds=30).clock(lambda: True)()


# ── places and allowances ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_place_is_left_to_other_callers() -> None:
    places = Places(16, each=8)
    greedy = [places.take("greedy") for _ in range(20)]
    assert [place is not None for place in greedy] == [True] * 8 + [False] * 12
    second = [places.take("second") for _ in range(20)]
    assert sum(place is not None for place in second) == 5, "the last places are for callers that hold none"
    assert [places.take(f"caller {number}") is not None for number in range(4)] == [True] * 3 + [False]
    assert greedy[0] is not None
    greedy[0]()
    greedy[0]()  # once more does nothing
    assert places.take("another") is not None
    assert places.take("greedy") is None


@pytest.mark.parametrize(("limit", "alone"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (16, 12)])
def test_one_caller_gets_three_quarters_of_the_places(limit: int, alone: int) -> None:
    places = Places(limit)
    assert sum(places.take("greedy") is not None for _ in range(limit + 9)) == alone
    assert sum(places.take(str(number)) is not None for number in range(limit + 9)) == limit - alone


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60), st.integers(0, 9), st.integers(1, 9))
def test_places_by_brute_force(moves: list[tuple[str, bool]], limit: int, each: int) -> None:
    places = Places(limit, each)
    held: dict[str, list[Callable[[], None]]] = {caller: [] for caller in "abcd"}
    for caller, takes in moves:
        if takes and (give_back := places.take(caller)):
            held[caller].append(give_back)
        elif not takes and held[caller]:
            held[caller].pop()()
        assert sum(map(len, held.values())) <= limit
        assert all(len(mine) <= max(1, min(each, 0.75 * limit)) for mine in held.values())


def test_an_allowance_refills_evenly_and_what_was_spent_too_much_is_made_up_for() -> None:
    now = [100.0]
    allowance = Allowance(60, per_second=2, clock=lambda: now[0])
    assert allowance.left("a") == 60
    allowance.spend("a", 10)
    assert (allowance.left("a"), allowance.left("b")) == (50, 60)
    assert allowance.seconds_until("a", 60) == 5
    now[0] += 1
    assert allowance.left("a") == 52
    allowance.spend("a", 100)
    assert allowance.left("a") == -48
    assert allowance.seconds_until("a", 1) == 24.5
    now[0] += 1000
    assert allowance.left("a") == 60


def test_a_debt_may_have_a_limit() -> None:
    allowance = Allowance(10, per_second=1, debt=5, clock=lambda: 0.0)
    for _ in range(100):
        allowance.spend("a", 1)
    assert allowance.left("a") == -5


def test_the_memory_of_callers_is_bounded() -> None:
    allowance = Allowance(60, per_second=1, clock=lambda: 0.0)
    for number in range(allowance.KNOWN + 100):
        allowance.spend(str(number), 1)
        allowance.spend("of late", 0)
    assert len(allowance._callers) == allowance.KNOWN
    assert allowance.left("0") == 60
    assert allowance.left(str(allowance.KNOWN)) == 59


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
    with budget.share("a") as take, budget.share("b") as other:
        take(60)
        other(40)
        for each in (take, other):
            with pytest.raises(MemoryTaken):
                each(1)
    assert budget._taken == 0


def test_one_caller_takes_half_of_the_memory_at_most() -> None:
    budget = MemoryBudget(100, seconds=0, waiting=1)
    with budget.share("a") as one, budget.share("a") as two, budget.share("b") as other:
        one(30)
        two(20)
        for each in (one, two):
            with pytest.raises(MemoryTaken):
                each(1)
        other(50)
    with budget.share("a") as one, budget.share("b") as other:
        other(1)
        one(99)  # its only request
    assert (budget._taken, budget._by_caller) == (0, {})


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
