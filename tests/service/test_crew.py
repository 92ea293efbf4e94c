"""Work that several threads share."""

from __future__ import annotations

import threading

import pytest

from service.crew import Crew


def test_results_come_in_order_and_one_task_is_done_by_whoever_asks() -> None:
    crew = Crew(3)
    for count in (0, 1, 2, 3, 7):
        assert crew([lambda index=index: (index, threading.get_ident()) for index in range(count)])[:1] == (  # type: ignore[misc]
            [(0, threading.get_ident())] if count else []
        )
        assert crew([lambda index=index: index for index in range(count)]) == list(range(count))  # type: ignore[misc]
    crew.close()


def test_tasks_are_done_side_by_side() -> None:
    crew, meeting = Crew(3), threading.Barrier(3, timeout=30)
    assert sorted(crew([meeting.wait] * 3)) == [0, 1, 2]
    crew.close()


@pytest.mark.parametrize("bad", [0, 1])
def test_an_exception_comes_when_all_are_done(bad: int) -> None:
    crew, done = Crew(2), threading.Event()

    def fail() -> None:
        raise ZeroDivisionError

    def work() -> None:
        done.set()

    with pytest.raises(ZeroDivisionError):
        crew([fail, work] if not bad else [work, fail])
    assert done.is_set()
    crew.close()
