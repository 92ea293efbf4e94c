"""Looking inside models for clients: a few texts at a time, and what was read stays in memory for a while.

So whoever walks through the units of a network pays for reading the text once, and then only for what each unit held.

Looking inside a stored model: from the store to plain data (`service.inspection.results`) that can be printed, drawn or sent.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from corpora import open_source
from model.config import SamplingConfig, TrainingConfig
from model.errors import InvalidSetting, MissingSetting
from model.functions import Array, Ids
from model.inspection import unit_activations, unit_search
from model.inspection.alignment import Aligned
from model.inspection.gates import NAMES, Saturation
from model.inspection.neighbours import Neighbours, neighbours
from model.inspection.text_sample import sample
from model.inspection.unit_activations import Activity, Surprise, Unit
from model.language_model import LanguageModel
from model.vocabulary import Vocabulary
from service.generation.model_cache import LoadedCheckpoint, LoadedModel
from service.generation.sample import write
from service.inspection.results import Alternative, CellExcerpt, CellReport, FoundCell, FoundGauge, Gate, Inspection, Neighbour
from service.store import Run, Store
from service.system import hardware
from service.system.concurrency import Turns
from service.training.dataset import read

# ── inspecting ───────────────────────────────────────────────────────────────────────────────────────────────────────

MAPPED = 100  # characters on the map: the most frequent ones
ENOUGH = 16_384  # symbols kept for validation; where there are fewer, cells are looked for in the whole text
SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥"}
LEARNED = 0.1  # F1 by which a cell must be better than a fresh network's to be called learned


def unit_named(text: str) -> Unit:
    """The unit that ``LAYER:UNIT`` names. Raises `InvalidSetting`."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text, re.ASCII)
    if found is None:
        raise InvalidSetting("unit", text, "LAYER:UNIT, both counted from 0, for example 0:17")
    return Unit(int(found[1]), int(found[2]))


def text_in(file: str) -> str:
    """The text of a file, or of standard input where it is ``-``. Raises as `open_source`, and `InvalidSetting` where it is too long."""
    pieces = open_source(file if file == "-" else os.path.abspath(file)).pieces()
    text = next(pieces)
    further = sum(map(len, pieces))
    if further:
        raise unit_activations.too_long(text, len(text) + further)
    return text


def written(store: Store, loaded: LoadedCheckpoint, length: int, seed: int | None) -> tuple[str, int]:
    """A text that a model writes itself, and the seed that makes the same one again."""
    texts = write(store, _name(loaded), SamplingConfig(length=length, seed=seed))
    return "".join(texts.pieces()).removesuffix("\n"), texts.config.seed or 0


def inspect(store: Store, loaded: LoadedCheckpoint, text: str, unit: Unit | None = None) -> Inspection:
    """Read a text with a model, and show one unit: by default the liveliest.

    Raises `InvalidSetting` for a text that is too long or a unit that is not there.
    """
    model, vocabulary = loaded.checkpoint.model, loaded.checkpoint.vocabulary
    with hardware.blas_threads(1):
        aligned = unit_activations.read_text(vocabulary, text)
        held = (
            unit_activations.activations(model, vocabulary, aligned, [unit]) if unit else None
        )  # refused before anything else is computed
        activity = unit_activations.activity(model, vocabulary, aligned, alternatives=unit_activations.ALTERNATIVES)
        expected = activity.expected
        assert expected is not None
        if held is None:
            unit = activity.liveliest
            held = unit_activations.activations(model, vocabulary, aligned, [unit])
        near = neighbours(model, frequent(store, loaded))
    return Inspection(
        model=_name(loaded),
        network=network_name(model),
        text=aligned.text,
        bits_per_char=round(expected.bits_per_char, 4),
        unknown=strangers(vocabulary, aligned),
        bits=rounded(expected.bits, 3),
        alternatives=[
            [Alternative(symbol_name(vocabulary, id_), p) for id_, p in zip(ids, rounded(probabilities, 4), strict=True)]
            for ids, probabilities in zip(expected.likeliest.tolist(), expected.probabilities, strict=True)
        ],
        unit=str(unit),
        activations=rounded(held[:, 0], 3),
        gates=described_gates(activity.gates),
        neighbours=described(near, lambda id_: symbol_name(vocabulary, id_)),
        map_shares=[round(share, 4) for share in near.shares],
    )


def find_cells(store: Store, loaded: LoadedCheckpoint, corpus: str | None = None) -> CellReport:
    """The units of a model that follow a readable feature of a stored corpus: by default the one that it was trained on.

    Of that one, what was kept for validation is read, where it is long enough. A network of the same shape before training, with the
    same seed, tells what such a search finds anyway. Raises `MissingSetting` where an imported model needs to be told a corpus, and
    `CorpusNotFound`.
    """
    model, vocabulary, run = loaded.checkpoint.model, loaded.checkpoint.vocabulary, loaded.run
    name = corpus_of(run, corpus)
    ids, start, held_out = _region(store, loaded, name)
    with hardware.blas_threads(1):
        found_on, tested_on = sample(vocabulary, ids, start, len(ids), unit_search.most_stretches(model)).halves()
        findings = unit_search.search(model, found_on, tested_on)
        seed = TrainingConfig.from_dict(run.training_config).seed
        fresh = unit_search.search(LanguageModel.new(model.config, vocabulary.size, seed), found_on, tested_on)
    cells, gauges = {cell.feature: cell.score.f1 for cell in fresh.cells}, {gauge.feature: gauge.explained for gauge in fresh.gauges}
    return CellReport(
        model=_name(loaded),
        network=network_name(model),
        corpus=name,
        characters=int(tested_on.counts.sum()),
        held_out=held_out,
        cells=[_found_cell(cell, cells[cell.feature]) for cell in findings.cells],
        gauges=[
            FoundGauge(each.feature, each.meaning, str(each.unit), round(each.explained, 4), round(gauges.get(each.feature, 0.0), 4))
            for each in findings.gauges
        ],
    )


def corpus_of(run: Run, corpus: str | None) -> str:
    """Where cells are looked for. Raises `MissingSetting` where an imported model needs to be told."""
    name = corpus if corpus is not None else run.corpus
    if name is None:
        raise MissingSetting("corpus", f"a stored one to look for cells in, since {run.name} was imported without its own")
    return name


def _region(store: Store, loaded: LoadedCheckpoint, corpus: str) -> tuple[Ids, int, bool]:
    """Ids to look for cells in, where to begin, and whether the model never learned from them."""
    run, vocabulary = loaded.run, loaded.checkpoint.vocabulary
    own = corpus == run.corpus
    training = TrainingConfig.from_dict(run.training_config if own else {})
    text = read(store, corpus, loaded.checkpoint.model.config, training, vocabulary, run.validation_corpus if own else None)
    if not own:
        return text.ids, 0, True
    if len(text.validation) - text.split.start >= ENOUGH:
        return text.validation, text.split.start, True
    return text.ids, 0, False


def _found_cell(cell: unit_search.UnitMatch, fresh: float) -> FoundCell:
    excerpt = cell.excerpt
    return FoundCell(
        feature=cell.feature,
        meaning=cell.meaning,
        unit=str(cell.unit),
        threshold=round(cell.threshold.value, 4),
        above=cell.threshold.above,
        f1=round(cell.score.f1, 4),
        precision=round(cell.score.precision, 4),
        recall=round(cell.score.recall, 4),
        share=round(cell.share, 4),
        always=round(cell.always, 4),
        fresh=round(fresh, 4),
        found=cell.found,
        learned=cell.score.f1 >= fresh + LEARNED,
        excerpt=CellExcerpt(excerpt.text, rounded(excerpt.activations, 3), excerpt.holds.tolist()),
    )


def frequent(store: Store, loaded: LoadedCheckpoint) -> Ids:
    """The symbols for the map: the most frequent ones of the model's corpus, where that is known, else the first ones."""
    vocabulary = loaded.checkpoint.vocabulary
    counts: Counter[int] = Counter()
    if loaded.run.corpus is not None:
        for character, times in store.corpora.alphabet(loaded.run.corpus).items():
            for id_ in vocabulary.encode(character).tolist():
                counts[id_] += times
        del counts[vocabulary.unknown]
    ids = [id_ for id_, _ in counts.most_common(MAPPED)] or range(min(MAPPED, vocabulary.size))
    return np.array(ids, np.intp)


def strangers(vocabulary: Vocabulary, aligned: Aligned) -> int:
    """How many characters of a text are outside the alphabet."""
    return int(np.count_nonzero(aligned.ids[aligned.ends] == vocabulary.unknown))


def described_gates(gates: Sequence[Saturation]) -> list[Gate]:
    """How often gates were saturated."""
    return [Gate(each.layer, each.gate, NAMES[each.gate], rounded(each.left, 3), rounded(each.right, 3)) for each in gates]


def described(near: Neighbours, name: Callable[[int], str]) -> list[Neighbour]:
    """Neighbours and their places, with symbols as `name` shows them."""
    return [
        Neighbour(name(id_), [name(other) for other in others], rounded(distances, 3), *place)
        for id_, others, distances, place in zip(
            near.ids.tolist(), near.nearest.tolist(), near.distances, np.round(near.places, 3).tolist(), strict=True
        )
    ]


def symbol_name(vocabulary: Vocabulary, id_: int) -> str:
    """A symbol as one sign where it would not be seen: ␣ for a space, ↵ for a line end, ⇥ for a tab; U+FFFD for the unknown one."""
    if id_ == vocabulary.unknown:
        return "\ufffd"
    symbol = vocabulary.symbol(id_)
    return SIGNS.get(symbol, symbol if symbol.isprintable() else f"U+{ord(symbol):04X}")


def _name(loaded: LoadedCheckpoint) -> str:
    return f"{loaded.run.name}@{loaded.stored.step}"


def network_name(model: LanguageModel) -> str:
    """``lstm 1x384``: the cell, the layers, and the units of each."""
    return f"{model.config.cell} {model.config.num_layers}x{model.config.hidden_size}"


def rounded(numbers: Array, digits: int) -> Any:
    """Numbers, in lists as deep as the array, with so many digits behind the point."""
    return np.round(np.asarray(numbers, np.float64), digits).tolist()


# ── inspector ────────────────────────────────────────────────────────────────────────────────────────────────────────

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

    def look(self, model: LoadedModel, text: str, wanted: Wanted, left: Callable[[], bool]) -> Seen:
        """Look at what a model does with a text; ends where whoever asked has `left`.

        Its units must be there (`unit_activations.check`). Raises `InvalidSetting` for a text that is too long, `TooManyRequests`,
        `WaitedTooLong`, `TookTooLong` and `ClientDisconnected`.
        """
        network, vocabulary = model.checkpoint.model, model.checkpoint.vocabulary
        aligned = unit_activations.read_text(vocabulary, text)
        tick = self._turns.clock(left)
        with self._turns.turn():
            activity = self._activity(model, aligned, wanted, tick)
            expected = activity.expected if activity else None
            if expected is None and wanted.surprise:
                expected = unit_activations.surprise(network, vocabulary, aligned, wanted.alternatives, tick)
            units = wanted.units if wanted.units is not None or activity is None else [activity.liveliest]
            held = self._held(model, aligned, activity, units or (), tick)
            loaded = LoadedCheckpoint(model.run, model.stored, model.checkpoint)
            near = neighbours(network, frequent(self._store, loaded)) if wanted.neighbours else None
        return Seen(aligned, expected, activity, held, near)

    def _held(
        self, model: LoadedModel, aligned: Aligned, activity: Activity | None, units: Sequence[Unit], tick: Callable[[], None]
    ) -> list[tuple[Unit, Array]]:
        if not units:
            return []
        if activity is not None and activity.held is not None:
            return [(unit, np.nan_to_num(activity.held[unit.layer, unit.number])) for unit in units]
        found = unit_activations.activations(model.checkpoint.model, model.checkpoint.vocabulary, aligned, units, tick)
        return list(zip(units, found.T, strict=True))

    def _activity(self, model: LoadedModel, aligned: Aligned, wanted: Wanted, tick: Callable[[], None]) -> Activity | None:
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
        found = unit_activations.activity(network, vocabulary, aligned, alternatives=alternatives, keep=keep, tick=tick)
        with self._lock:
            self._kept[key] = found._replace(expected=None)
            while sum(_size(each) for each in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return found

    def _bytes(self, model: LoadedModel, aligned: Aligned) -> int:
        config = model.checkpoint.model.config
        return BYTES * config.num_layers * config.hidden_size * len(aligned.text)


def _size(activity: Activity) -> int:
    gates = sum(each.left.nbytes + each.right.nbytes for each in activity.gates)
    return gates + (activity.held.nbytes if activity.held is not None else 0)
