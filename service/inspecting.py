"""Looking inside a stored model: from the store to plain data (`service.findings`) that can be printed, drawn or sent."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from corpora import open_source
from model.config import SamplingConfig, TrainingConfig
from model.errors import InvalidSetting, MissingSetting
from model.functions import Array, Ids
from model.inspection import looking, search
from model.inspection.alignment import Aligned
from model.inspection.gates import NAMES, Saturation
from model.inspection.looking import Unit
from model.inspection.neighbours import Neighbours, neighbours
from model.inspection.sample import sample
from model.language_model import LanguageModel
from model.vocabulary import Vocabulary
from service import machine
from service.exchange import Loaded
from service.findings import Alternative, CellReport, Excerpt, FoundCell, FoundGauge, Gate, Inspection, Neighbour
from service.reading import read
from service.store import Run, Store
from service.writing import write

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
        raise looking.too_long(text, len(text) + further)
    return text


def written(store: Store, loaded: Loaded, length: int, seed: int | None) -> tuple[str, int]:
    """A text that a model writes itself, and the seed that makes the same one again."""
    texts = write(store, _name(loaded), SamplingConfig(length=length, seed=seed))
    return "".join(texts.pieces()).removesuffix("\n"), texts.config.seed or 0


def inspect(store: Store, loaded: Loaded, text: str, unit: Unit | None = None) -> Inspection:
    """Read a text with a model, and show one unit: by default the liveliest.

    Raises `InvalidSetting` for a text that is too long or a unit that is not there.
    """
    model, vocabulary = loaded.checkpoint.model, loaded.checkpoint.vocabulary
    with machine.blas_threads(1):
        aligned = looking.read_text(vocabulary, text)
        held = looking.activations(model, vocabulary, aligned, [unit]) if unit else None  # refused before anything else is computed
        activity = looking.activity(model, vocabulary, aligned, alternatives=looking.ALTERNATIVES)
        expected = activity.expected
        assert expected is not None
        if held is None:
            unit = activity.liveliest
            held = looking.activations(model, vocabulary, aligned, [unit])
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


def find_cells(store: Store, loaded: Loaded, corpus: str | None = None) -> CellReport:
    """The units of a model that follow a readable feature of a stored corpus: by default the one that it was trained on.

    Of that one, what was kept for validation is read, where it is long enough. A network of the same shape before training, with the
    same seed, tells what such a search finds anyway. Raises `MissingSetting` where an imported model needs to be told a corpus, and
    `CorpusNotFound`.
    """
    model, vocabulary, run = loaded.checkpoint.model, loaded.checkpoint.vocabulary, loaded.run
    name = corpus_of(run, corpus)
    ids, start, held_out = _region(store, loaded, name)
    with machine.blas_threads(1):
        found_on, tested_on = sample(vocabulary, ids, start, len(ids), search.most_stretches(model)).halves()
        findings = search.search(model, found_on, tested_on)
        seed = TrainingConfig.from_dict(run.training_config).seed
        fresh = search.search(LanguageModel.new(model.config, vocabulary.size, seed), found_on, tested_on)
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


def _region(store: Store, loaded: Loaded, corpus: str) -> tuple[Ids, int, bool]:
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


def _found_cell(cell: search.Cell, fresh: float) -> FoundCell:
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
        excerpt=Excerpt(excerpt.text, rounded(excerpt.activations, 3), excerpt.holds.tolist()),
    )


def frequent(store: Store, loaded: Loaded) -> Ids:
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


def _name(loaded: Loaded) -> str:
    return f"{loaded.run.name}@{loaded.stored.step}"


def network_name(model: LanguageModel) -> str:
    """``lstm 1x384``: the cell, the layers, and the units of each."""
    return f"{model.config.cell} {model.config.num_layers}x{model.config.hidden_size}"


def rounded(numbers: Array, digits: int) -> Any:
    """Numbers, in lists as deep as the array, with so many digits behind the point."""
    return np.round(np.asarray(numbers, np.float64), digits).tolist()
