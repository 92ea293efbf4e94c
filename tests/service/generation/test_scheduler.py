"""Callers take turns: none waits for another that takes all rows."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import SamplingConfig
from model.record_sampling import Tries
from model.sampling import Accepted
from model.vocabulary import Vocabulary
from service.generation.request import Request, most_logprobs
from service.generation.scheduler import Scheduler
from service.system.errors import TooManyRequests


def asked(caller: str, n: int = 1, prompts: int = 1, **settings: Any) -> Request:
    model: Any = SimpleNamespace(max_prompt=100, checkpoint=SimpleNamespace(vocabulary=Vocabulary("char", "nfc", range(97, 123))))
    configs = [SamplingConfig(seed=1, n=n, **settings)] * prompts
    nothing = lambda *_: None  # noqa: E731
    calls = {"cancel": nothing, "set_temperature": nothing, "resume": nothing}
    return Request(model, configs, whole=True, seconds=9, source=None, records=None, caller=caller, **calls)


def scheduler(max_rows: int = 8, max_waiting: int = 8, max_logprobs: int = 10_000) -> Scheduler:
    return Scheduler(max_rows, max_waiting, max_logprobs)


def callers(parts: list[Any]) -> str:
    return "".join(request.caller for request, _ in parts)


def test_of_one_caller_the_first_comes_first() -> None:
    queue = scheduler(max_rows=4)
    requests = [asked("a", n=2) for _ in range(4)]
    for request in requests:
        queue.add(request)
    first = queue.acquire()
    assert [request for request, _ in first] == requests[:2]
    assert (queue.rows, queue.waiting) == (4, 2)
    queue.release(*first[1], 1)
    assert queue.acquire() == []
    queue.release(*first[1])
    assert [request for request, _ in queue.acquire()] == [requests[2]]


def test_a_caller_without_rows_does_not_wait_for_one_that_took_all() -> None:
    queue = scheduler(max_rows=8)
    for _ in range(6):
        queue.add(asked("a", n=2))
    taken = queue.acquire()
    assert callers(taken) == "aaaa"
    queue.add(asked("b"))
    queue.add(asked("b"))
    assert callers(queue.acquire()) == "b", "its second text waits for the others' rows"
    queue.release(*taken[0])
    assert callers(queue.acquire()) == "b", "before the next one of the caller that holds more"


def test_callers_that_hold_as_much_take_turns() -> None:
    queue = scheduler(max_rows=6, max_waiting=100)
    for caller in "aaaaaabbbccc":
        queue.add(asked(caller))
    assert callers(queue.acquire()) == "abcabc"


def test_parts_of_many_prompts_take_turns_with_other_callers() -> None:
    queue = scheduler(max_rows=6, max_waiting=100)
    queue.add(asked("a", prompts=10))
    queue.add(asked("b", prompts=10))
    assert callers(queue.acquire()) == "ababab"
    assert queue.waiting == 2


def test_a_large_part_is_not_passed_by_those_that_hold_more() -> None:
    queue = scheduler(max_rows=8, max_waiting=100)
    queue.add(asked("a", n=7))
    assert callers(queue.acquire()) == "a"
    queue.add(asked("b", n=8))
    (second,) = queue.acquire()  # its first rows may be as many again
    queue.add(asked("b", n=5))
    queue.add(asked("a", n=1))
    assert queue.acquire() == []
    queue.release(*second)
    assert callers(queue.acquire()) == "b"


def test_a_part_larger_than_all_runs_alone() -> None:
    queue = scheduler(max_rows=4, max_waiting=100)
    queue.add(asked("a", n=1))
    small = queue.acquire()
    queue.add(asked("b", n=9))
    assert queue.acquire() == []
    queue.release(*small[0])
    assert callers(queue.acquire()) == "b"


def test_log_probabilities_are_shared_as_rows_are() -> None:
    queue = scheduler(max_rows=100, max_waiting=100, max_logprobs=1000)
    queue.add(asked("a", length=100, logprobs=7))
    queue.add(asked("a", length=100, logprobs=1))
    queue.add(asked("a", length=100, logprobs=0))
    queue.add(asked("b", length=100, logprobs=9))
    taken = queue.acquire()
    assert callers(taken) == "ab", "800 of 1,000; the second caller's first 1,000 may be beyond; then no more of the first's"
    queue.release(*taken[0])
    assert callers(queue.acquire()) == "a", "which holds nothing now"
    queue.release(*taken[1])
    assert callers(queue.acquire()) == "a"


def test_what_a_prompt_may_get() -> None:
    assert most_logprobs(SamplingConfig(length=50), 100) == 0
    assert most_logprobs(SamplingConfig(length=50, n=3, logprobs=0), 100) == 150
    assert most_logprobs(SamplingConfig(length=50, n=3, logprobs=4, prompt="abc"), 100) == 750
    assert most_logprobs(SamplingConfig(length=50, logprobs=0, prompt="abc", echo=True), 100) == 62
    assert most_logprobs(SamplingConfig(length=50, logprobs=0, prompt="abc" * 100, echo=True), 100) == 150
    assert most_logprobs(SamplingConfig(length=50, logprobs=1, prompt_ids=(1, 2, 3), echo=True), 100) == 106


def test_one_caller_takes_three_quarters_of_the_queue_and_each_has_a_quarter() -> None:
    queue = scheduler(max_rows=1, max_waiting=8)
    for _ in range(1 + 6):
        queue.add(asked("a"))
        queue.acquire()
    with pytest.raises(TooManyRequests, match="6 requests of yours are waiting already, the limit"):
        queue.add(asked("a"))
    for _ in range(1 + 2):
        queue.add(asked("b"))
        queue.acquire()
    with pytest.raises(TooManyRequests, match="2 requests of yours, and 6 of others, are waiting already"):
        queue.add(asked("b"))
    for _ in range(2):
        queue.add(asked("c"))
    assert queue.waiting == 10
    with pytest.raises(TooManyRequests):
        queue.add(asked("c"))


def test_who_leaves_the_queue_lets_others_in() -> None:
    queue = scheduler(max_rows=1, max_waiting=4)
    requests = [asked("a") for _ in range(4)]
    for request in requests:
        queue.add(request)
    queue.acquire()
    with pytest.raises(TooManyRequests):
        queue.add(asked("a"))
    queue.remove(requests[2])
    queue.remove(requests[2])
    queue.add(asked("a"))
    assert queue.waiting == 3


ASKED = st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(1, 3), st.sampled_from([None, 0, 3]))


@given(st.lists(st.one_of(ASKED, st.integers(0, 10)), max_size=60))
def test_whatever_comes_and_ends_nothing_is_lost_and_no_limit_passed(events: list[Any]) -> None:
    queue, running, waiting = scheduler(max_rows=5, max_waiting=10**6, max_logprobs=900), [], Counter[str]()
    for event in events:
        if isinstance(event, int):
            if running:
                queue.release(*running.pop(event % len(running)))
        else:
            caller, n, prompts, logprobs = event
            queue.add(asked(caller, n, prompts, length=50, logprobs=logprobs))
            waiting[caller] += prompts
        for request, part in queue.acquire():
            waiting[request.caller] -= 1
            running.append((request, part))
        assert queue.rows == sum(part.rows for _, part in running) <= 10
        assert sum(part.logprobs for _, part in running) <= 1800 or len(running) == 1
        if not running:
            assert queue.waiting == 0
    while running:
        queue.release(*running.pop())
        for request, part in queue.acquire():
            waiting[request.caller] -= 1
            running.append((request, part))
    assert not +waiting
    assert (queue.rows, queue.waiting) == (0, 0)


def test_a_request_that_is_cancelled_costs_what_was_drawn_for_it() -> None:
    request, spent = asked("a"), list[int]()
    request.settle = spent.append
    request.parts[0].accepted = Accepted(1, 5, False, [], Tries(drawn=70))  # no try is judged yet
    request.cancel()
    request.cancel()
    assert spent == [75]
