"""How training goes: mean loss, speed, and the time that is left."""

from __future__ import annotations

import math
from collections.abc import Callable

from model.training import Progress


class Meter:
    """Mean loss and speed since the last validation, and how long the rest will take."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: float | None = None  # the share spent when this process began
        self._began = clock()
        self.restart()

    def restart(self) -> None:
        """Begin a new mean."""
        self._steps, self._loss, self._symbols, self._since = 0, 0.0, 0, self._clock()

    def add(self, progress: Progress) -> None:
        """One step was made."""
        if self._first is None:
            self._first = progress.share
        self._steps += 1
        self._loss += progress.loss
        self._symbols += progress.symbols

    @property
    def loss(self) -> float:
        """Mean training loss, nats per symbol."""
        return self._loss / max(1, self._steps)

    @property
    def speed(self) -> float:
        """Symbols per second."""
        return self._symbols / max(1e-9, self._clock() - self._since)

    def seconds_left(self, share: float, budget: float | None) -> float:
        """Until the end of this part of the run: what a budget leaves, else estimated from the share done since the beginning."""
        rest = max(0.0, 1 - share)
        if budget is not None:
            return rest * budget
        done = share - (self._first or 0.0)
        return rest * (self._clock() - self._began) / done if done > 0 else math.inf
