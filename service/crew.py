"""Threads that share the work of one: what they do must spend its time outside of Python's lock, as products of matrices do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Crew:
    """So many threads, of which one is whoever asks. May be used from any thread, by one at a time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._others = ThreadPoolExecutor(max(1, size - 1), thread_name_prefix="crew")  # started when they are needed

    def __call__(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of all tasks, which are done side by side; the first of their exceptions, once all are done."""
        others = [self._others.submit(task) for task in tasks[1:]]
        try:
            results = [task() for task in tasks[:1]]
        finally:
            for other in others:
                other.exception()  # waits
        return results + [other.result() for other in others]

    def close(self) -> None:
        """End the threads."""
        self._others.shutdown()
