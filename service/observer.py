"""What the engine tells of its work: one call a turn, cheap enough for networks that take 20 microseconds for a step."""

from __future__ import annotations

from bisect import bisect_left

FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)  # seconds: upper ends of a histogram's buckets
STEP = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


class Observer:
    """Is told, and does nothing with it. All calls come from the engine's thread."""

    def began(self, seconds: float) -> None:
        """A request has its first characters, so many seconds after it was put to the engine."""

    def stepped(self, seconds: float, characters: int) -> None:
        """A turn of one model, a few steps for all its texts, took so long, and so many characters came of it."""


class Histogram:
    """How often a duration fell into each bucket. One thread writes; others may read, and then see the last moment or so."""

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.counts = [0] * (len(ends) + 1)  # the last is for what is longer than all ends
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.ends, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper end, how many were no longer), as Prometheus wants it."""
        found, total = [], 0
        for end, count in zip((*map(repr, self.ends), "+Inf"), list(self.counts), strict=True):
            total += count
            found.append((end, float(total)))
        return found


class Measurements(Observer):
    """Keeps count."""

    def __init__(self) -> None:
        self.characters = 0
        self.first = Histogram(FIRST)
        self.step = Histogram(STEP)

    def began(self, seconds: float) -> None:
        self.first.add(seconds)

    def stepped(self, seconds: float, characters: int) -> None:
        self.step.add(seconds)
        self.characters += characters
