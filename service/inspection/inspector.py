"""Reads a text with a stored model and returns what happened inside: surprise, activations of units, gates, and neighbours of characters.

`inspect` computes it. `Inspector` does the same for HTTP: within limits, and with the activations of recent texts in memory, so that a
client that walks through the units of a network pays for the reading only once.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from model.config import SamplingConfig
from model.errors import InvalidSetting
from model.functions import Array, Ids
from model.inspection import unit_activations
from model.inspection.alignment import Aligned
from model.inspection.gates import NAMES
from model.inspection.neighbours import Neighbours, neighbours
from model.inspection.state_reader import Tick, untroubled
from model.inspection.unit_activations import ALTERNATIVES, Activity, Unit
from service.generation.model_cache import LoadedCheckpoint, LoadedModel
from service.generation.sample import write
from service.inspection.results import Gate, Inspection, Neighbour, UnitActivations
from service.store import Store
from service.system.concurrency import LruCache, Turns

MAPPED = 100  # characters on the map: the most frequent ones
BYTES = 2  # of an activation in memory: float16

ActivityCache = LruCache[tuple[str, bytes], Activity]  # by the SHA-256 of the model and of the text; its limit is in bytes


class InspectionOptions(NamedTuple):
    """The parts of an inspection that are computed; the others are None in it."""

    surprise: bool = True
    gates: bool = True
    neighbours: bool = True
    units: Sequence[Unit] | None = None  # None: the liveliest one
    alternatives: int = ALTERNATIVES


EVERYTHING = InspectionOptions()


def inspect(
    store: Store,
    loaded: LoadedCheckpoint,
    text: str,
    options: InspectionOptions = EVERYTHING,
    cache: ActivityCache | None = None,
    tick: Tick = untroubled,
) -> Inspection:
    """Reads a text with a model and returns the parts that `options` name.

    Calls with the same `cache` read a text once, as long as the activations of all units fit into it. `tick` is called after each slice of
    the text; what it raises ends the reading. Raises `InvalidSetting` if the text is too long or the model does not have a unit.
    """
    model, vocabulary = loaded.checkpoint.model, loaded.checkpoint.vocabulary
    aligned = unit_activations.read_text(vocabulary, text)
    for unit in options.units or ():
        unit_activations.check(model, unit)
    activity = _activity(loaded, aligned, options, cache or activity_cache(0), tick)
    expected = activity.expected if activity else None
    if expected is None and options.surprise:
        expected = unit_activations.surprise(model, vocabulary, aligned, options.alternatives, tick)
    units = [activity.liveliest] if activity and options.units is None else list(options.units or ())
    near = neighbours(model, _mapped(store, loaded)) if options.neighbours else None
    names = vocabulary.names
    return Inspection(
        model=name_of(loaded),
        cell=model.config.cell,
        num_layers=model.config.num_layers,
        hidden_size=model.config.hidden_size,
        text=aligned.text,
        characters=len(aligned.text),
        unknown=int(np.count_nonzero(aligned.ids[aligned.ends] == vocabulary.unknown)),
        bits_per_char=round(expected.bits_per_char, 4) if expected else None,
        bits=rounded(expected.bits, 3) if expected else None,
        alternatives=_alternatives(expected, aligned, names) if expected else None,
        liveliest=str(activity.liveliest) if activity else None,
        units=_activations(loaded, aligned, activity, units, tick),
        gates=_gates(activity) if activity and options.gates else None,
        neighbours=_neighbours(near, names) if near else None,
        map_shares=[round(share, 4) for share in near.shares] if near else None,
    )


def activity_cache(limit: int) -> ActivityCache:
    """Returns a cache for `inspect` of at most `limit` bytes."""
    return LruCache(limit, _size)


def _size(activity: Activity) -> int:
    gates = sum(gate.left.nbytes + gate.right.nbytes for gate in activity.gates)
    return gates + (activity.held.nbytes if activity.held is not None else 0)


def _activity(loaded: LoadedCheckpoint, aligned: Aligned, options: InspectionOptions, cache: ActivityCache, tick: Tick) -> Activity | None:
    """Returns the activity from the cache, or from reading the text, which then also gives the surprise; None if no option needs it."""
    model, vocabulary = loaded.checkpoint.model, loaded.checkpoint.vocabulary
    keep = BYTES * model.config.num_layers * model.config.hidden_size * len(aligned.text) <= cache.limit
    if not (options.gates or options.units is None or (options.units and keep)):
        return None
    key = loaded.stored.model_sha256, hashlib.sha256(aligned.text.encode("utf-8", "surrogatepass")).digest()
    activity = cache.get(key)
    if activity is None:
        alternatives = options.alternatives if options.surprise else None
        activity = unit_activations.activity(model, vocabulary, aligned, alternatives=alternatives, keep=keep, tick=tick)
        cache.put(key, activity._replace(expected=None))
    return activity


def _activations(
    loaded: LoadedCheckpoint, aligned: Aligned, activity: Activity | None, units: Sequence[Unit], tick: Tick
) -> list[UnitActivations]:
    if not units:
        return []
    if activity is not None and activity.held is not None:
        found = [np.nan_to_num(activity.held[unit.layer, unit.number]) for unit in units]
    else:
        found = list(unit_activations.activations(loaded.checkpoint.model, loaded.checkpoint.vocabulary, aligned, units, tick).T)
    return [UnitActivations(str(unit), rounded(held, 3)) for unit, held in zip(units, found, strict=True)]


def _alternatives(expected: unit_activations.Surprise, aligned: Aligned, names: list[str]) -> list[list[tuple[str, float]]]:
    likeliest = zip(expected.likeliest.tolist(), rounded(expected.probabilities, 4), aligned.leads.tolist(), strict=True)
    return [[(names[id_], share) for id_, share in zip(ids, shares, strict=True)] if leads else [] for ids, shares, leads in likeliest]


def _gates(activity: Activity) -> list[Gate]:
    return [Gate(each.layer, each.gate, NAMES[each.gate], rounded(each.left, 3), rounded(each.right, 3)) for each in activity.gates]


def _neighbours(near: Neighbours, names: list[str]) -> list[Neighbour]:
    return [
        Neighbour(names[id_], [names[other] for other in others], rounded(distances, 3), *place)
        for id_, others, distances, place in zip(
            near.ids.tolist(), near.nearest.tolist(), near.distances, rounded(near.places, 3), strict=True
        )
    ]


def _mapped(store: Store, loaded: LoadedCheckpoint) -> Ids:
    """Returns the symbols for the map: the most frequent ones of the model's corpus, or the first ones of an imported model."""
    vocabulary = loaded.checkpoint.vocabulary
    counts: Counter[int] = Counter()
    if loaded.run.corpus_id is not None:
        for character, times in store.corpora.alphabet(store.corpora.get(loaded.run.corpus_id)).items():
            for id_ in vocabulary.encode(character).tolist():
                counts[id_] += times
        del counts[vocabulary.unknown]
    ids = [id_ for id_, _ in counts.most_common(MAPPED)] or range(min(MAPPED, vocabulary.size))
    return np.array(ids, np.intp)


def name_of(loaded: LoadedCheckpoint) -> str:
    """Returns ``RUN@STEP``."""
    return f"{loaded.run.name}@{loaded.stored.step}"


def rounded(numbers: Array, digits: int) -> Any:
    """Returns numbers with `digits` digits after the point, in lists as deep as the array."""
    return np.round(np.asarray(numbers, np.float64), digits).tolist()


# ── shared among requests ────────────────────────────────────────────────────────────────────────────────────────────

AT_ONCE = 2  # texts that are read at the same time: more would only take processors from those that are generated
WAITING = 8  # requests that wait for a turn
MEMORY = 2**26  # bytes for activations of texts that were read: 100,000 characters of 320 units


class Inspector:
    """Inspects texts for clients. May be used from any thread."""

    def __init__(self, store: Store, seconds: float, writing: Callable[[], bool] = lambda: False, memory: int = MEMORY) -> None:
        """`seconds` limits one request, waiting included; `memory` limits the bytes of activations that are kept.

        While `writing` is true, texts are generated: then reading pauses after each slice, so that they hardly wait.
        """
        self._store, self._turns, self._cache = store, Turns(AT_ONCE, WAITING, seconds, writing), activity_cache(memory)

    def inspect(self, model: LoadedModel, text: str, options: InspectionOptions, left: Callable[[], bool], caller: str = "") -> Inspection:
        """Returns what `inspect` does; callers take turns. Ends early if the client has `left`.

        Raises `InvalidSetting` as `inspect`, `TooManyRequests`, `WaitedTooLong`, `TookTooLong` and `ClientDisconnected`.
        """
        loaded = LoadedCheckpoint(model.run, model.stored, model.checkpoint)
        tick = self._turns.clock(left)
        with self._turns.turn(caller):
            return inspect(self._store, loaded, text, options, self._cache, tick)


# ── input ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit_named(text: str) -> Unit:
    """Returns the unit that ``LAYER:UNIT`` names. Raises `InvalidSetting`."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)
    if found is None:
        raise InvalidSetting("unit", text, "LAYER:UNIT, both counted from 0, for example 0:17")
    return Unit(int(found[1]), int(found[2]))


def written(store: Store, loaded: LoadedCheckpoint, length: int, seed: int | None) -> tuple[str, int]:
    """Returns a text of `length` symbols that the model generates, and the seed that generates it again."""
    texts = write(store, name_of(loaded), SamplingConfig(length=length, seed=seed))
    return "".join(texts.pieces()).removesuffix("\n"), texts.config.seed or 0
