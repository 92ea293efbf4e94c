"""Baselines are counted once and in time, and validations are judged with those before them.

What a validation tells, on made-up curves whose future is known.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.baselines import ngram_losses
from model.config import ModelConfig, TrainingConfig
from service.store import Corpus, Metric, Store
from service.training import learning_curve
from service.training.dataset import Dataset, read
from service.training.learning_curve import LEAST, Assessor, Outlook, Standing, standing

# ── standing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BASELINES = {0: 4.17, 1: 3.35, 2: 2.49, 3: 2.05, 4: 1.77, 5: 1.67}
CHARACTERS = 1.0  # symbols per character


def curve(
    loss: Callable[[float], float], count: int, training: Callable[[float], float] | None = None, first: float = 0.25, speed: float = 0.1
) -> list[Metric]:
    """Validations at epochs first, 2 first, ...; `speed` is epochs a second, an epoch has 400 steps."""
    training = training or loss
    epochs = [first * number for number in range(1, count + 1)]
    return [Metric(step=round(400 * e), epoch=e, loss=training(e), validation_loss=loss(e), seconds=e / speed) for e in epochs]


def power_law(epoch: float) -> float:
    return 1.2 + 0.6 * epoch**-0.4


def outlook_of(metrics: list[Metric], seconds_left: float) -> Outlook:
    found = standing(metrics, seconds_left, BASELINES, CHARACTERS).outlook
    assert found is not None
    return found


def place(loss: float, baselines: dict[int, float] = BASELINES, symbols_per_char: float = CHARACTERS) -> Standing:
    return standing([Metric(step=100, epoch=0.5, loss=loss, validation_loss=loss)], 0, baselines, symbols_per_char)


def test_a_loss_far_above_guessing_is_called_what_it_is() -> None:
    found = place(420.0)
    assert found.words == ("420.000 nats = 605.93 bits per character: diverged (guessing evenly has 6.02); lower learning_rate")
    assert found.diverged
    metrics = [Metric(step=step, epoch=step / 400, loss=400.0, validation_loss=400.0 + step, seconds=step) for step in range(1, 9)]
    assert standing(metrics, 100, BASELINES, CHARACTERS).outlook is None
    assert not place(4.5).diverged  # as a network that has learned nothing yet
    assert not place(420.0, {}).diverged  # nothing to compare with


# ── where it stands ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_bits_per_character_by_hand() -> None:
    """Jamo: 2.5 symbols a character at 0.8 nats are 2 nats a character, and 2 / 0.6931 bits."""
    found = place(0.8, symbols_per_char=2.5)
    assert found.bits_per_char == pytest.approx(2.885390, abs=1e-6)
    assert found.words.startswith("0.800 nats = 2.89 bits per character, better than a 5-gram model (6.02)")


def test_a_loss_stands_between_two_baselines() -> None:
    found = place(1.8)
    assert (found.better_than, found.worse_than) == ("trigram", "4-gram")
    assert found.words == "1.800 nats = 2.60 bits per character, between a trigram (2.96) and a 4-gram model (2.55)"


def test_a_loss_may_be_better_or_worse_than_all() -> None:
    best, worst = place(1.6), place(4.3)
    assert (best.better_than, best.worse_than) == ("5-gram", None)
    assert best.words == "1.600 nats = 2.31 bits per character, better than a 5-gram model (2.41)"
    assert (worst.better_than, worst.worse_than) == (None, "uniform")
    assert worst.words == "4.300 nats = 6.20 bits per character, not yet better than a uniform model (6.02)"


def test_on_a_tiny_corpus_a_higher_order_may_be_the_worse_one() -> None:
    baselines = {0: 3.0, 1: 2.5, 2: 2.2, 3: 2.3, 4: 2.35, 5: 2.4}
    assert place(2.32, baselines).words.endswith("between a 4-gram (3.39) and a trigram model (3.32)")
    assert place(2.1, baselines).words.endswith("better than a bigram model (3.17)")


def test_without_baselines_the_loss_is_told_alone() -> None:
    found = place(1.72, {})
    assert found.words == "1.720 nats = 2.48 bits per character"
    assert (found.better_than, found.worse_than) == (None, None)


# ── how it goes on ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", range(1, LEAST))
def test_nothing_is_said_where_too_little_is_known(count: int) -> None:
    found = standing(curve(power_law, count), 60, BASELINES, CHARACTERS)
    assert found.outlook is None
    assert found.sentences == [found.words]


@pytest.mark.parametrize("left", [5.0, 20.0, 80.0])
def test_the_gain_of_a_power_law_is_told_about_right(left: float) -> None:
    metrics = curve(power_law, 40)  # 10 epochs in 100 seconds
    found = outlook_of(metrics, left)
    assert found.verdict == "learning"
    assert found.gain_seconds == left
    assert found.gain == pytest.approx(power_law(10) - power_law(10 + 0.1 * left), rel=0.6)
    digits = 2 if found.gain >= 0.01 else 3
    assert found.words == f"still learning: about {found.gain:.{digits}f} nats more in the {left:.0f} seconds left"


def test_a_line_in_log_time_is_gone_on_with_exactly() -> None:
    """Loss 2 - 0.2 ln(epoch), one epoch in 10 s: 90 s after the tenth epoch it is 0.2 ln(19 / 10) lower."""
    metrics = curve(lambda epoch: 2 - 0.2 * math.log(epoch), 40)
    assert outlook_of(metrics, 90).gain == pytest.approx(0.2 * math.log(1.9))


def test_it_never_looks_further_than_twice_the_text() -> None:
    metrics = curve(power_law, 40)
    found = outlook_of(metrics, 10_000)
    assert found == outlook_of(metrics, math.inf)
    assert found.gain_seconds == pytest.approx(100)
    assert found.words == "still learning: about 0.07 nats more in the next 2 minutes"


def test_at_the_end_it_tells_what_twice_the_time_would_gain() -> None:
    metrics = curve(power_law, 40)
    found = outlook_of(metrics, 0)
    assert found.gain == pytest.approx(power_law(10) - power_law(20), rel=0.5)
    assert found.words == "still learning: twice the time would gain about 0.07 nats more"


def test_a_pause_does_not_matter() -> None:
    """The same run, but the machine slept for an hour in the middle."""
    metrics = curve(power_law, 40)
    slept = [each if each.epoch < 5 else Metric(**{**asdict(each), "seconds": each.seconds + 3600}) for each in metrics]
    assert outlook_of(slept, 50).gain == pytest.approx(outlook_of(metrics, 50).gain)


def test_a_curve_that_flattens_is_slowing() -> None:
    found = outlook_of(curve(lambda epoch: 1.5 + 0.12 / epoch, 40), 50)
    assert found.verdict == "slowing"
    assert found.words.startswith("slowing: about 0.0")


@pytest.mark.parametrize(("left", "hope"), [(0.0, "twice the time would gain little"), (60.0, "the rest of the run may gain a little")])
def test_a_plateau_is_done(left: float, hope: str) -> None:
    found = outlook_of(curve(lambda epoch: 1.5 + max(0.0, 0.5 - epoch / 4), 40), left)
    assert found.verdict == "done"
    assert found.since_step == 800
    assert found.words == f"done: hardly any gain since step 800; {hope}"
    assert found.gain is None


def test_three_flat_validations_are_not_yet_done() -> None:
    assert outlook_of(curve(lambda epoch: 3.0, 3), 60).verdict == "slowing"


def u_curve(epoch: float) -> float:
    return 1.6 + 0.05 * (epoch - 4) ** 2


def test_validation_that_rises_while_training_falls_is_overfitting() -> None:
    """Best at epoch 4, that is step 1,600; at epoch 6 it is 0.05 · 4 higher, and training has fallen from 2/4 to 2/6."""
    found = outlook_of(curve(u_curve, 24, training=lambda epoch: 2 / epoch), 60)
    assert found.verdict == "overfitting"
    assert found.since_step == 1600
    assert found.rise == pytest.approx(0.2)
    assert found.words == "overfitting: validation is up 0.200 since step 1,600 while training fell 0.167; the best is kept"
    assert found.gain is None


def test_overfitting_is_not_called_before_it_is_sure() -> None:
    training = curve(u_curve, 24, training=lambda epoch: 2 / epoch)
    verdicts = [outlook_of(training[:count], 60).verdict for count in range(LEAST, 25)]
    assert "overfitting" not in verdicts[: 18 - LEAST]  # two validations after the best
    assert set(verdicts[20 - LEAST :]) == {"overfitting"}


def test_validation_that_rises_with_training_is_not_overfitting() -> None:
    assert outlook_of(curve(u_curve, 24), 60).verdict != "overfitting"


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_neither_overfitting_nor_done(seed: int) -> None:
    rng = random.Random(seed)
    noisy = curve(lambda epoch: power_law(epoch) + rng.gauss(0, 0.01), 40, training=lambda epoch: 1.5 / epoch)
    found = outlook_of(noisy, 100)
    assert found.verdict in ("learning", "slowing")
    assert found.gain == pytest.approx(power_law(10) - power_law(20), abs=0.04)


def test_a_noisy_plateau_is_done_and_not_overfitting() -> None:
    """The training loss goes on falling, and validations jump around a level, one of them being the best. One in a hundred may err."""
    verdicts = []
    for seed in range(20):
        rng = random.Random(seed)
        noisy = curve(lambda epoch: 1.5 + max(0.0, 0.5 - epoch / 4) + rng.gauss(0, 0.01), 40, lambda epoch: 1.5 - epoch / 100)  # noqa: B023
        verdicts += [outlook_of(noisy[:count], 100).verdict for count in range(24, 41)]
    assert verdicts.count("overfitting") <= len(verdicts) / 100
    assert verdicts.count("done") > len(verdicts) / 2


def test_rows_without_a_validation_and_steps_trained_once_more_count_once() -> None:
    metrics = curve(power_law, 20)
    between = Metric(step=metrics[7].step + 10, epoch=metrics[7].epoch + 0.01, loss=1.0, seconds=21)
    again = [*metrics[:8], between, *metrics[5:]]
    assert outlook_of(again, 60) == outlook_of(metrics, 60)


losses = st.floats(0, 20, allow_subnormal=False)


@given(
    st.lists(st.tuples(losses, losses | st.none(), st.floats(1e-4, 10), st.floats(0, 1e5)), min_size=1, max_size=90),
    st.floats(0, 1e7) | st.just(math.inf),
    st.dictionaries(st.integers(0, 5), losses),
    st.floats(0.5, 4),
)
@example([(7.2, None, 1.6, 0.0), (6.5, None, 1.0, 5e-324), (6.2, None, 1.1, 24_720.0)], math.inf, {}, 1.0)  # an infinite speed
def test_whatever_comes_is_told_in_finite_numbers_and_short_lines(
    rows: list[tuple[float, float | None, float, float]], left: float, baselines: dict[int, float], symbols_per_char: float
) -> None:
    metrics, epoch, seconds = [], 0.0, 0.0
    for number, (validation, training, more, time) in enumerate(rows):
        epoch, seconds = epoch + more, seconds + time
        metrics.append(Metric(step=number * 1000, epoch=epoch, seconds=seconds, loss=training, validation_loss=validation))
    found = standing(metrics, left, baselines, symbols_per_char)
    json.loads(json.dumps(asdict(found), allow_nan=False))
    assert all(0 < len(sentence) <= 100 and sentence.isprintable() for sentence in found.sentences)
    if found.outlook and found.outlook.gain is not None and found.outlook.gain_seconds is not None:
        first, lowest = metrics[0].validation_loss, min(row[0] for row in rows)
        assert 0 <= found.outlook.gain <= min(found.loss, (first or 0) - lowest)
        assert found.outlook.gain_seconds > 0
    if found.outlook and found.outlook.verdict == "overfitting":
        assert found.outlook.rise is not None
        assert found.outlook.rise > 0


# ── assessor ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def text(store: Store, corpus: Corpus) -> Dataset:
    return read(store, corpus.name, ModelConfig(), TrainingConfig())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of symbols in each call of `ngram_losses`."""
    calls: list[int] = []

    def watched(ids: Any, training_stop: int, *rest: Any) -> dict[int, float]:
        calls.append(training_stop)
        return ngram_losses(ids, training_stop, *rest)

    monkeypatch.setattr(learning_curve, "ngram_losses", watched)
    return calls


def metric(step: int, loss: float) -> Metric:
    return Metric(step=step, epoch=step / 100, seconds=step / 10, loss=loss, validation_loss=loss)


def baselines(text: Dataset, first: int) -> dict[int, float]:
    """Counted from the symbol `first` on, the plain way: from a text that begins there."""
    ids, parts = text.ids[first:].copy(), text.split
    return ngram_losses(ids, parts.training - first, parts.start - first, parts.stop - first, text.vocabulary.size)


def test_baselines_are_counted_once_over_the_whole_training_part(text: Dataset, counted: list[int]) -> None:
    work = Assessor(text, None, [])
    assert work.place(1.0).better_than is None
    assert counted == []
    assert work.seconds_to_prepare == 1350 / learning_curve.PACE
    for _ in range(3):
        work.prepare()
    assert counted == [1350]
    assert work.seconds_to_prepare == 0
    bigram = baselines(text, 0)[2]
    assert work.place(bigram + 1e-6).worse_than == "bigram"
    assert work.place(bigram - 1e-6).better_than == "bigram"


@pytest.mark.parametrize(("budget", "symbols"), [(14.9, 0), (15.0, 300), (60.0, 1200), (180.0, 1350), (None, 1350)])
def test_a_budget_allows_for_as_many_symbols_as_two_hundredths_of_it_count(
    text: Dataset, counted: list[int], monkeypatch: pytest.MonkeyPatch, budget: float | None, symbols: int
) -> None:
    monkeypatch.setattr(learning_curve, "PACE", 1000)
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


def test_a_text_without_end_is_counted_at_its_end(text: Dataset, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curve, "COUNTED", 700)
    work = Assessor(text, None, [])
    work.prepare()
    assert counted == [700]


def test_without_memory_for_it_there_are_no_baselines(text: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curve, "ngram_losses", lambda *_: (_ for _ in ()).throw(MemoryError))
    work = Assessor(text, None, [])
    work.prepare()
    assert work.assess(metric(10, 2.0), 0).words == "2.000 nats = 2.89 bits per character"


def test_a_validation_is_judged_with_those_before_it(text: Dataset) -> None:
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


def test_counting_may_be_broken_off_and_begins_anew(text: Dataset) -> None:
    judge = Assessor(text, None, [])
    with pytest.raises(ZeroDivisionError):
        judge.prepare(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert judge.seconds_to_prepare > 0
    judge.prepare()
    assert judge.place(1.0).worse_than is not None
