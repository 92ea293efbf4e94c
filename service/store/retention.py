"""Which checkpoints of a run are worth their room: a bounded history, evenly spread over the logarithm of the step.

A network learns most at the start, so the steps 100, 200, 400, ... tell more about a run than 9800, 9900, 10000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

HISTORY = 24  # checkpoints; at 4 MB each (lstm, 512 units) about 100 MB a run


def thinned(steps: Iterable[int], limit: int = HISTORY) -> set[int]:
    """At most ``limit`` (2 or more) of ``steps``, always with the first and the last.

    While there are too many, that one goes whose neighbours are closest to each other in log(step + 1). Since it can be
    applied after every new step, nothing needs to be known about how long the run will be.
    """
    kept = sorted(set(steps))
    while len(kept) > limit:
        middle = range(1, len(kept) - 1)
        kept.pop(min(middle, key=lambda i: math.log((kept[i + 1] + 1) / (kept[i - 1] + 1))))
    return set(kept)
