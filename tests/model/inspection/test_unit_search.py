"""Cells that are found: networks whose unit is the feature by construction, and thresholds against trying all of them."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest

from model.config import ModelConfig
from model.inspection import text_sample as sample_module
from model.inspection import unit_search as module
from model.inspection.features import FEATURES, GRADED
from model.inspection.text_sample import TextSample, sample
from model.inspection.thresholds import Threshold, ThresholdScore
from model.inspection.unit_activations import Unit
from model.inspection.unit_search import Findings, UnitMatch, search
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of
from model.vocabulary import SymbolCounts, Vocabulary

Array = Any


def text_of(count: int = 900) -> str:
    rng = random.Random(3)
    parts = [
        "the loom ",
        "weaves, ",
        "(red gold) ",
        "(a (thread), not (gold)) ",
        "4274724 ",
        "724\n",
        "A thread\n",
        "    knot ",
        "NOT THREAD ON ",
    ]
    return "".join(rng.choices(parts, k=count))


TEXT = text_of()
VOCABULARY = Vocabulary.build(SymbolCounts("char", "nfc").add([TEXT]))


@functools.cache
def halves(text: str = TEXT) -> tuple[TextSample, TextSample]:
    return sample(VOCABULARY, VOCABULARY.encode(text), 0, len(text), 16, 200).halves()


def built(activation: str = "relu", hidden_size: int = 4, num_layers: int = 1) -> LanguageModel:
    """A plain recurrent network whose weights are all 0."""
    config = ModelConfig(cell="rnn", activation=activation, hidden_size=hidden_size, num_layers=num_layers)
    shapes = shapes_of(config, VOCABULARY.size)
    return LanguageModel(config, VOCABULARY.size, Parameters(shapes, np.zeros(sum(map(np.prod, shapes.values())), np.float32)))


def put(model: LanguageModel, unit: int, weights: dict[str, float], recurrent: float = 0.0) -> None:
    """Let a unit of the first layer add up what the characters give it."""
    for characters, weight in weights.items():
        for c in characters:
            model.parameters["layers.0.Wx"][int(VOCABULARY.encode(c)[0]), unit] = weight
    model.parameters["layers.0.Wh"][unit, unit] = recurrent


def named(findings: Findings, feature: str) -> UnitMatch:
    return next(cell for cell in findings.cells if cell.feature == feature)


def test_a_unit_that_is_the_feature_is_found_with_f1_of_1() -> None:
    model = built(hidden_size=5)
    put(model, 1, {"(": 1.0, ")": -1.0}, recurrent=1.0)  # relu keeps it from falling below 0, as the feature is defined
    put(model, 3, {"247": 0.5})
    put(model, 4, {"ANOTHREAD": 0.25})
    for cell, unit in ((named(search(model, *halves()), "round_brackets"), 1), (named(search(model, *halves()), "digit"), 3)):
        assert cell.unit == Unit(0, unit)
        assert cell.score == (1.0, 1.0, 1.0)
        assert cell.f1_found == 1.0
        assert cell.threshold.above
        assert not cell.negated
        assert cell.found
    assert named(search(model, *halves()), "capital").unit == Unit(0, 4)


def test_a_unit_that_is_low_where_the_feature_holds_is_found_as_well() -> None:
    model = built("identity")
    put(model, 2, {"247": -3.0})
    cell = named(search(model, *halves()), "digit")
    assert cell.unit == Unit(0, 2)
    assert cell.score.f1 == 1.0
    assert not cell.threshold.above
    assert -3 < cell.threshold.value <= 0


def test_a_unit_of_an_upper_layer_is_found() -> None:
    model = built(hidden_size=3, num_layers=2)
    put(model, 0, {"247": 1.0})
    model.parameters["layers.1.Wx"][0, 2] = 1.0
    model.parameters["layers.1.b"][2] = -0.5
    put(model, 0, {"ae": 0.3})  # in the first layer it means two things, behind the second's threshold one
    cell = named(search(model, *halves()), "digit")
    assert cell.score.f1 == 1.0
    assert cell.unit in (Unit(0, 0), Unit(1, 2))


def test_a_feature_that_mostly_holds_is_turned_round() -> None:
    model = built()
    put(model, 0, {c: 1.0 for c in VOCABULARY.decode(np.arange(VOCABULARY.size)) if not (c.isalnum() or c == "_")})
    found_on, tested_on = halves()
    index = [feature.name for feature in FEATURES].index("word")
    assert found_on.labels[found_on.counts][:, index].mean() > 0.5
    cell = named(search(model, found_on, tested_on), "word")
    assert cell.negated
    assert cell.meaning == "outside words"
    assert cell.score.f1 == 1.0
    assert cell.share < 0.5


def test_a_number_that_a_unit_counts_is_explained_wholly() -> None:
    model = built(hidden_size=3)
    put(model, 1, dict.fromkeys(VOCABULARY.decode(np.arange(VOCABULARY.size)), 1.0), recurrent=1.0)  # characters read at all
    put(model, 2, {"(": 2.0, ")": -2.0}, recurrent=1.0)
    findings = search(model, *halves())
    depth = next(gauge for gauge in findings.gauges if gauge.feature == "bracket_depth")
    assert depth.unit == Unit(0, 2)
    assert depth.explained == pytest.approx(1)
    assert [gauge.explained for gauge in findings.gauges] == sorted((gauge.explained for gauge in findings.gauges), reverse=True)


def test_what_is_said_was_measured_on_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("tanh")
    model.parameters.flat[:] = np.random.default_rng(0).standard_normal(len(model.parameters.flat))
    found_on, tested_on = halves()
    for cell in search(model, found_on, tested_on).cells:
        index = [feature.name for feature in FEATURES].index(cell.feature)
        activations = held_one_by_one(model, tested_on, cell.unit)
        holds = (tested_on.labels[..., index] ^ cell.negated)[tested_on.counts].tolist()
        says = [a >= cell.threshold.value if cell.threshold.above else a < cell.threshold.value for a in activations]
        right = sum(s and h for s, h in zip(says, holds, strict=True))
        assert cell.score.precision == pytest.approx(right / max(1, sum(says)))
        assert cell.score.recall == pytest.approx(right / sum(holds))
        assert cell.score.f1 == pytest.approx(2 * right / (sum(says) + sum(holds)))
        assert cell.share == pytest.approx(sum(holds) / len(holds))
        assert cell.always == pytest.approx(2 * sum(holds) / (len(holds) + sum(holds)))


def held_one_by_one(model: LanguageModel, tested_on: TextSample, unit: Unit) -> list[float]:
    state, held = model.zero_state(tested_on.ids.shape[1]), []
    for ids in tested_on.ids:
        _, state, _ = model.read(ids[None], state)
        held.append(state[unit.layer, 0, :, unit.number].copy())
    return list(np.array(held)[tested_on.counts].tolist())


def test_the_order_is_by_the_measure() -> None:
    model = built("tanh")
    model.parameters.flat[:] = np.random.default_rng(0).standard_normal(len(model.parameters.flat))
    scores = [cell.score.f1 for cell in search(model, *halves()).cells]
    assert len(scores) > 5
    assert scores == sorted(scores, reverse=True)


def test_features_that_do_not_occur_and_copies_of_others_are_left_out() -> None:
    names = {cell.feature for cell in search(built(), *halves()).cells}
    assert names.isdisjoint({"square_brackets", "double_quotes", "comment", "hash_comment"})
    assert "round_brackets" in names
    assert "brackets" not in names, "there are no others"


def test_the_excerpt_is_a_stretch_of_the_other_half_with_what_holds_there() -> None:
    model = built()
    put(model, 1, {"(": 1.0, ")": -1.0}, recurrent=1.0)
    found_on, tested_on = halves()
    excerpt = named(search(model, found_on, tested_on), "round_brackets").excerpt
    assert any(text.endswith(excerpt.text) for text in tested_on.texts)
    assert len(excerpt.text) == len(excerpt.activations) == len(excerpt.holds) > 100
    assert (excerpt.activations >= 0.5).tolist() == excerpt.holds.tolist()
    for place, c in enumerate(excerpt.text):
        if c == "(":
            assert excerpt.holds[place]
    assert 0.2 <= excerpt.holds.mean() <= 0.8


def test_nothing_is_found_in_next_to_nothing() -> None:
    short = sample(VOCABULARY, VOCABULARY.encode("the"), 0, 3, 4, 10)
    assert search(built(), *short.halves()) == Findings([], search(built(), *short.halves()).gauges)
    assert not search(built(), *short.halves()).cells


def test_a_wide_network_is_searched_on_fewer_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 4 * sample_module.LENGTH * 10)
    assert module.most_stretches(built(hidden_size=4)) == 20
    assert module.most_stretches(built(hidden_size=1000)) == 2
    assert module.most_stretches(built(hidden_size=1)) == min(80, sample_module.STRETCHES)


def test_units_that_stand_still_explain_nothing() -> None:
    assert all(line.explained == 0 for line in module._lines(np.zeros((2, 10), np.float32), np.arange(10.0)[:, None]))


def test_a_network_that_diverges_is_searched_as_well() -> None:
    model = built("identity")
    put(model, 0, {"(": 1e30}, recurrent=1e30)
    findings = search(model, *halves())
    assert findings.cells
    assert all(np.isfinite(gauge.explained) for gauge in findings.gauges)


def test_lines_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(2)
    held = rng.standard_normal((5, 400)).astype(np.float32)
    numbers = (3 * held[3] - 2 + rng.standard_normal(400))[:, None].astype(np.float32)
    (line,) = module._lines(held, numbers)
    slope, offset = np.polyfit(held[3], numbers[:, 0], 1)
    assert line.unit == 3
    assert (line.slope, line.offset) == pytest.approx((slope, offset), rel=1e-3)
    assert line.explained == pytest.approx(np.corrcoef(held[3], numbers[:, 0])[0, 1] ** 2, rel=1e-3)


@pytest.mark.parametrize(("f1", "share", "found"), [(0.8, 0.1, True), (0.79, 0.1, False), (0.83, 0.5, False), (0.84, 0.5, True)])
def test_a_cell_is_found_where_it_is_good_and_far_from_saying_yes_always(f1: float, share: float, found: bool) -> None:
    excerpt = module.Excerpt("", np.zeros(0), np.zeros(0, bool))
    cell = UnitMatch("digit", "at a digit", False, Unit(0, 0), Threshold(0.0, True), ThresholdScore(f1, f1, f1), f1, share, excerpt)
    assert cell.found is found


def test_there_are_as_many_numbers_as_features_that_are_numbers() -> None:
    assert halves()[0].numbers.shape[2] == len(GRADED)
