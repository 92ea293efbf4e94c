"""Who waits for rows, first come, first served. Used under the engine's lock, but for the count of rows, which is its thread's alone."""

from __future__ import annotations

from collections import deque

from service.requests import Part, Request

Place = tuple[Request, Part]  # which part of which request


class Queue:
    """Requests that have a part without rows. One that needs more rows than there are gets all of them."""

    def __init__(self, max_rows: int) -> None:
        self.rows = 0  # that are taken
        self._max_rows = max_rows
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> None:
        """At the end."""
        self._waiting.append(request)

    def remove(self, request: Request) -> None:
        """Wherever it stands, if it does."""
        if request in self._waiting:
            self._waiting.remove(request)

    def clear(self) -> None:
        """Nobody waits, and no row is taken."""
        self._waiting.clear()
        self.rows = 0

    def stuck(self, another: Request) -> int:
        """How many would have to wait if there were another one: many may come at once for rows that are free."""
        rows, queue = self.rows, [*self._waiting, another]
        for index, request in enumerate(queue):
            for part in request.parts[request.begun :]:
                if rows and rows + part.rows > self._max_rows:
                    return len(queue) - index
                rows += part.rows
        return 0

    def admitted(self) -> list[Place]:
        """Those whose turn it is, with rows that are theirs from now on."""
        places = []
        while self._waiting:
            request = self._waiting[0]
            part = request.parts[request.begun]
            if self.rows and self.rows + part.rows > self._max_rows:
                break
            request.begun += 1
            if request.begun == len(request.parts):
                self._waiting.popleft()
            self.rows += part.rows
            places.append((request, part))
        return places
