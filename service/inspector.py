"""Looking inside models for clients: a few texts at a time, and what was read stays in memory for a while.

So whoever walks through the units of a network pays for reading the text once, and then only for what each unit held.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from model.functions import Array
from model.inspection import looking
from model.inspection.alignment import Aligned
from model.inspection.looking import Activity, Surprise, Unit
from model.inspection.neighbours import Neighbours, neighbours
from service.exchange import Loaded
from service.inspecting import frequent
from service.models import Model
from service.store import Store
from service.turns import Turns

AT_ONCE = 2  # texts that are read at the same time: more would only take the processors from whoever writes
WAITING = 6  # requests that wait for that
KEPT = 2**27  # bytes of what units held while texts were read, that stay in memory
BYTES = 2  # of each number


class Wanted(NamedTuple):
    """What somebody wants to see."""

    surprise: bool
    gates: bool
    neighbours: bool
    units: Sequence[Unit] | None  # None: the liveliest one
    alternatives: int

    @property
    def activity(self) -> bool:
        """Whether all units and gates have to be looked at."""
        return self.gates or self.units is None


class Seen(NamedTuple):
    """What was seen; None where it was not wanted."""

    aligned: Aligned
    expected: Surprise | None
    activity: Activity | None
    units: list[tuple[Unit, Array]]  # (N,) what each held
    near: Neighbours | None


class Inspector:
    """May be used from any thread."""

    def __init__(self, store: Store, seconds: float, writing: Callable[[], bool] = lambda: False, kept: int = KEPT) -> None:
        """`seconds` is what one request may take, waiting included; `kept` the bytes that what was read may take in memory.

        While texts are being written, which `writing` tells, reading pauses again and again, so that they hardly wait.
        """
        self._store, self._turns, self._most = store, Turns(AT_ONCE, WAITING, seconds, writing), kept
        self._kept: OrderedDict[tuple[str, bytes], Activity] = OrderedDict()  # the one used last stands last
        self._lock = threading.Lock()

    def look(self, model: Model, text: str, wanted: Wanted, left: Callable[[], bool]) -> Seen:
        """Look at what a model does with a text; ends where whoever asked has `left`.

        Its units must be there (`looking.check`). Raises `InvalidSetting` for a text that is too long, `TooManyRequests`,
        `WaitedTooLong`, `TookTooLong` and `ClientDisconnected`.
        """
        network, vocabulary = model.checkpoint.model, model.checkpoint.vocabulary
        aligned = looking.read_text(vocabulary, text)
        tick = self._turns.clock(left)
        with self._turns.turn():
            activity = self._activity(model, aligned, wanted, tick)
            expected = activity.expected if activity else None
            if expected is None and wanted.surprise:
                expected = looking.surprise(network, vocabulary, aligned, wanted.alternatives, tick)
            units = wanted.units if wanted.units is not None or activity is None else [activity.liveliest]
            held = self._held(model, aligned, activity, units or (), tick)
            loaded = Loaded(model.run, model.stored, model.checkpoint)
            near = neighbours(network, frequent(self._store, loaded)) if wanted.neighbours else None
        return Seen(aligned, expected, activity, held, near)

    def _held(
        self, model: Model, aligned: Aligned, activity: Activity | None, units: Sequence[Unit], tick: Callable[[], None]
    ) -> list[tuple[Unit, Array]]:
        if not units:
            return []
        if activity is not None and activity.held is not None:
            return [(unit, np.nan_to_num(activity.held[unit.layer, unit.number])) for unit in units]
        found = looking.activations(model.checkpoint.model, model.checkpoint.vocabulary, aligned, units, tick)
        return list(zip(units, found.T, strict=True))

    def _activity(self, model: Model, aligned: Aligned, wanted: Wanted, tick: Callable[[], None]) -> Activity | None:
        """From memory, or from reading the text, which then also tells what was expected; None where it would be of no use."""
        keep = self._bytes(model, aligned) <= self._most
        if not (wanted.activity or (wanted.units and keep)):
            return None
        key = model.stored.model_sha256, hashlib.sha256(aligned.text.encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        alternatives = wanted.alternatives if wanted.surprise else None
        network, vocabulary = model.checkpoint.model, model.checkpoint.vocabulary
        found = looking.activity(network, vocabulary, aligned, alternatives=alternatives, keep=keep, tick=tick)
        with self._lock:
            self._kept[key] = found._replace(expected=None)
            while sum(_size(each) for each in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return found

    def _bytes(self, model: Model, aligned: Aligned) -> int:
        config = model.checkpoint.model.config
        return BYTES * config.num_layers * config.hidden_size * len(aligned.text)


def _size(activity: Activity) -> int:
    gates = sum(each.left.nbytes + each.right.nbytes for each in activity.gates)
    return gates + (activity.held.nbytes if activity.held is not None else 0)
