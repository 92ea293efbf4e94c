"""Baselines are counted once and in time, and validations are judged with those before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.baselines import ngram_losses
from model.config import ModelConfig, TrainingConfig
from service import assessor
from service.assessor import Assessor
from service.reading import Text, read
from service.store import Corpus, Metric, Store


@pytest.fixture
def text(store: Store, corpus: Corpus) -> Text:
    return read(store, corpus.name, ModelConfig(), TrainingConfig())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of symbols in each call of `ngram_losses`."""
    calls: list[int] = []

    def watched(ids: Any, training_stop: int, *rest: Any) -> dict[int, float]:
        calls.append(training_stop)
        return ngram_losses(ids, training_stop, *rest)

    monkeypatch.setattr(assessor, "ngram_losses", watched)
    return calls


def metric(step: int, loss: float) -> Metric:
    return Metric(step=step, epoch=step / 100, seconds=step / 10, loss=loss, validation_loss=loss)


def baselines(text: Text, first: int) -> dict[int, float]:
    """Counted from the symbol `first` on, the plain way: from a text that begins there."""
    ids, parts = text.ids[first:].copy(), text.split
    return ngram_losses(ids, parts.training - first, parts.start - first, parts.stop - first, text.vocabulary.size)


def test_baselines_are_counted_once_over_the_whole_training_part(text: Text, counted: list[int]) -> None:
    work = Assessor(text, None, [])
    assert work.place(1.0).better_than is None
    assert counted == []
    assert work.seconds_to_prepare == 1350 / assessor.PACE
    for _ in range(3):
        work.prepare()
    assert counted == [1350]
    assert work.seconds_to_prepare == 0
    bigram = baselines(text, 0)[2]
    assert work.place(bigram + 1e-6).worse_than == "bigram"
    assert work.place(bigram - 1e-6).better_than == "bigram"


@pytest.mark.parametrize(("budget", "symbols"), [(14.9, 0), (15.0, 300), (60.0, 1200), (180.0, 1350), (None, 1350)])
def test_a_budget_allows_for_as_many_symbols_as_two_hundredths_of_it_count(
    text: Text, counted: list[int], monkeypatch: pytest.MonkeyPatch, budget: float | None, symbols: int
) -> None:
    monkeypatch.setattr(assessor, "PACE", 1000)
    work = Assessor(text, budget, [])
    assert work.seconds_to_prepare == pytest.approx(symbols / 1000)
    work.prepare()
    assert counted == ([symbols] if symbols else [])
    if symbols:
        fivegram = baselines(text, 1350 - symbols)[5]
        assert work.place(fivegram + 1e-6).worse_than == "5-gram"
        assert work.place(fivegram - 1e-6).better_than == "5-gram"
    else:
        assert work.place(1.0).words == "1.000 nats = 1.44 bits per character"


def test_a_text_without_end_is_counted_at_its_end(text: Text, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessor, "COUNTED", 700)
    work = Assessor(text, None, [])
    work.prepare()
    assert counted == [700]


def test_without_memory_for_it_there_are_no_baselines(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assessor, "ngram_losses", lambda *_: (_ for _ in ()).throw(MemoryError))
    work = Assessor(text, None, [])
    work.prepare()
    assert work.assess(metric(10, 2.0), 0).words == "2.000 nats = 2.89 bits per character"


def test_a_validation_is_judged_with_those_before_it(text: Text) -> None:
    losses = [2.0, 1.8, 1.7, 1.65]
    work = Assessor(text, None, [])
    told = [work.assess(metric(100 * number, loss), 60).outlook for number, loss in enumerate(losses, 1)]
    assert told[:2] == [None, None]
    assert None not in told[2:]
    between = Metric(step=150, epoch=1.5, loss=1.9)
    resumed = Assessor(text, None, [metric(100, 2.0), between, metric(200, 1.8), metric(300, 1.7)])
    assert resumed.assess(metric(400, 1.65), 60).outlook == told[3]
    assert resumed.place(1.65).outlook is None


def test_another_corpus_is_judged_by_what_was_counted_in_the_first(store: Store, corpus: Corpus) -> None:
    store.corpora.add("other", ["the loom weaves " * 20], "x")
    text = read(store, corpus.name, ModelConfig(), TrainingConfig(), validation_corpus="other")
    judge = Assessor(text, None, [])
    judge.prepare()
    together = np.concatenate([text.ids, text.validation])
    expected = ngram_losses(together, 1500, 1501, 1820, text.vocabulary.size)
    assert judge._baselines == pytest.approx(expected)
    assert expected[3] < expected[0]


def test_counting_may_be_broken_off_and_begins_anew(text: Text) -> None:
    judge = Assessor(text, None, [])
    with pytest.raises(ZeroDivisionError):
        judge.prepare(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert judge.seconds_to_prepare > 0
    judge.prepare()
    assert judge.place(1.0).worse_than is not None
