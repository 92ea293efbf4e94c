"""Fixtures: results of an inspection, and a stored model whose unit 2 counts brackets."""

from __future__ import annotations

import random
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.generation.model_cache import LoadedCheckpoint, load
from service.inspection.results import CellExcerpt, CellReport, FoundCell, FoundGauge, Gate, Inspection, Neighbour, UnitActivations
from service.store import Metric, Store


@pytest.fixture
def inspection() -> Inspection:
    """A text of eleven characters with markup in it, read by two layers."""
    text = "a <b> &\t각\u0301\n"
    return Inspection(
        model="first@100",
        cell="lstm",
        num_layers=2,
        hidden_size=3,
        text=text,
        characters=len(text),
        bits_per_char=1.5,
        unknown=0,
        bits=[float(place) for place in range(len(text))],
        alternatives=[[("<", 0.5), (" ", 0.25)] for _ in text],
        liveliest="1:2",
        units=[UnitActivations("1:2", [place / 5 - 1 for place in range(len(text))])],
        gates=[
            Gate(layer, gate, name, [0.0, 0.5, 0.25], [1.0, 0.5, 0.25])
            for layer in (0, 1)
            for gate, name in (("i", "input"), ("f", "forget"), ("o", "output"))
        ],
        neighbours=[Neighbour(symbol, ["<", "&"], [0.5, 0.75], x, -x) for x, symbol in enumerate("a<&7 B")],
        map_shares=[0.25, 0.125],
    )


@pytest.fixture
def make_cell() -> Callable[..., FoundCell]:
    """``make_cell(feature="quotes", unit="0:1", f1=0.9, found=True, learned=True)``"""

    def made(feature: str = "quotes", unit: str = "0:1", f1: float = 0.9, found: bool = True, learned: bool = True) -> FoundCell:
        excerpt = CellExcerpt("say 'a<b' & go\n", [-0.5] * 5 + [1.0] * 4 + [-1.0] * 6, [False] * 5 + [True] * 4 + [False] * 6)
        return FoundCell(feature, f"inside {feature}", unit, 0.25, True, f1, 0.85, 0.95, 0.2, 0.33, 0.4, found, learned, excerpt)

    return made


@pytest.fixture
def report(make_cell: Callable[..., FoundCell]) -> CellReport:
    """Two cells that were found, one of which a fresh network has, too, and one that was not."""
    cells = [make_cell("blanks", "0:3", 0.95, learned=False), make_cell(), make_cell("digits", "0:2", 0.6, found=False)]
    gauges = [FoundGauge("indentation", "the depth of the indentation", "0:5", 0.5, 0.1)]
    return CellReport("first@100", "lstm 2x3", "tale", 5000, True, cells, gauges)


def bracketed(count: int) -> str:
    rng = random.Random(3)
    return "".join(rng.choices(["loom ", "(red gold) ", "((a) knot) ", "724\n", "thread, "], k=count))


@pytest.fixture
def trained(store: Store) -> LoadedCheckpoint:
    """A stored network whose unit 2 counts open brackets, and a corpus of which a tenth was kept for validation."""
    text = bracketed(9000)
    store.corpora.add("knots", [text], "knots.txt")
    config = ModelConfig(cell="rnn", activation="relu", hidden_size=4)
    vocabulary = Vocabulary.build(SymbolCounts("char", "nfc").add([text]))
    model = LanguageModel.new(config, vocabulary.size)
    model.parameters.flat[:] = 0
    for c, weight in (("(", 1.0), (")", -1.0)):
        model.parameters["layers.0.Wx"][int(vocabulary.encode(c)[0]), 2] = weight
    model.parameters["layers.0.Wh"][2, 2] = 1
    store.runs.create("weaver", corpus="knots", model_config=config.to_dict(), training_config={"steps": 10, "seed": 5})
    run = store.runs.claim("weaver")
    store.checkpoints.save(run, Metric(step=7, validation_loss=1.0), Checkpoint(model, vocabulary, {"step": 7}).to_bytes(), None)
    store.runs.release(run, "succeeded")
    return load(store, "weaver")


@pytest.fixture
def parse() -> Callable[[str], ElementTree.Element]:
    """A sheet as XML, which must be sound and must load nothing from elsewhere."""

    def parsed(svg: str) -> ElementTree.Element:
        assert "href" not in svg
        assert "url(" not in svg
        assert "@import" not in svg
        assert "<script" not in svg
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        return root

    return parsed
