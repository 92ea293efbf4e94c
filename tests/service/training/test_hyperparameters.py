"""What was left open is chosen once, by the process that begins, and stored with the run.

What is chosen follows from text, time and machine, keeps what the user chose, and is told.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainingConfig
from service.training import hyperparameters, throughput
from service.training.hyperparameters import (
    COMMON,
    FEWEST_WEIGHTS,
    MOST_EPOCHS,
    PRACTICE,
    WEIGHTS_PER_SYMBOL,
    ChosenHyperparameters,
    choose,
)
from service.training.throughput import Speed, multiply_adds, work

SPEED = Speed(60e9, 2)  # two cores of a server


def chosen(
    characters: int = 1_000_000, alphabet: int = 65, budget: float = 180.0, found: Speed = SPEED, **by_user: Any
) -> ChosenHyperparameters:
    return choose(characters, alphabet, budget, found, by_user)


@settings(max_examples=300)
@given(
    st.integers(100, 4_000_000_000),
    st.integers(1, 100_000),
    st.floats(0.1, 3e7),
    st.floats(1e7, 1e13),
    st.integers(1, 4),
)
def test_any_text_time_and_machine_give_sound_settings(characters: int, alphabet: int, budget: float, pace: float, threads: int) -> None:
    """Whatever is chosen is allowed, fits the text and the time, or is the smallest there is."""
    choice = chosen(characters, alphabet, budget, Speed(pace, threads))
    assert choice.training.budget == budget
    assert 0 <= choice.model.dropout <= max(hyperparameters.MOST_DROPOUT, hyperparameters.SMALL_TEXT_DROPOUT)
    assert hyperparameters.LOWEST_RATE <= choice.training.learning_rate <= hyperparameters.HIGHEST_RATE
    assert "\n" not in choice.words
    model = (
        choice.model if alphabet >= hyperparameters.LARGE_ALPHABET else replace(choice.model, embedding_size=0)
    )  # which is added afterwards
    each = multiply_adds(model, min(alphabet, COMMON))
    if choice.training.max_epochs == hyperparameters.SMALL_TEXT_EPOCHS:
        assert 0.9 * characters <= hyperparameters.SMALL_TEXT + 1
        assert pace * budget >= hyperparameters.SMALL_TEXT_EPOCHS * 0.9 * (characters - 1) * work(choice.model, alphabet)
    elif choice.model.hidden_size > min(hyperparameters.SIZES):
        assert each <= FEWEST_WEIGHTS + WEIGHTS_PER_SYMBOL * 0.9 * characters + 1
        assert pace * budget / work(model, alphabet) >= PRACTICE * each
    if choice.training.max_epochs is not None:
        assert 0 < choice.training.max_epochs <= MOST_EPOCHS
        assert choice.training.validation_interval > 0


def test_more_time_or_a_faster_machine_gives_a_larger_network() -> None:
    sizes = [chosen(10**9, budget=budget).model.hidden_size for budget in (5, 60, 180, 900)]
    assert sizes == sorted(set(sizes))
    assert chosen(10**9, found=Speed(600e9, 2)).model == chosen(10**9, budget=1800).model


def test_a_text_that_is_read_more_often_gets_more_dropout_and_a_new_one_none() -> None:
    dropouts = [chosen(size).model.dropout for size in (10**9, 2_000_000, 1_000_000, 300_000)]
    assert dropouts[0] == 0
    assert dropouts == sorted(set(dropouts))


def test_weight_decay_grows_with_the_passes_beyond_a_few_up_to_a_limit() -> None:
    few, several, many = (chosen(size, budget=900.0).training.weight_decay for size in (10**9, 1_000_000, 300_000))
    assert (few, many) == (hyperparameters.WEIGHT_DECAY, hyperparameters.MOST_WEIGHT_DECAY)
    assert few < several < many


def test_two_layers_only_where_one_would_be_very_wide() -> None:
    assert {chosen(10**9, budget=budget).model.num_layers for budget in (60, 900, 3600)} == {1}
    assert chosen(10**9, budget=200_000).model.num_layers == 2


def test_a_small_text_ends_before_the_time_does_and_says_so() -> None:
    for characters in (100, 2_000, 8_000, 20_000):
        choice = chosen(characters)
        assert choice.training.max_epochs is not None
        assert "the text is small" in choice.words
        assert "--max-epochs" in choice.words
        assert choice.model.hidden_size <= hyperparameters.SMALL_TEXT_NETWORK
    assert chosen(8_000).training.max_epochs < chosen(20_000).training.max_epochs  # type: ignore[operator]
    assert chosen(1_000_000).training.max_epochs is None


@pytest.mark.parametrize(
    "by_user",
    [
        {"cell": "gru"},
        {"hidden_size": 100},
        {"num_layers": 3},
        {"dropout": 0.0},
        {"learning_rate": 0.5, "batch_size": 7, "seq_length": 9},
        {"embedding_size": 11, "level": "byte", "seed": 4, "optimizer": "sgd", "patience": 0, "validation_fraction": 0.3},
        {"max_epochs": 2.0},
    ],
    ids=lambda by_user: next(iter(by_user)),
)
def test_what_the_user_chose_stays(by_user: dict[str, Any]) -> None:
    for characters, alphabet in ((1_000_000, 65), (5_000, 3_000)):
        choice = chosen(characters, alphabet, **by_user)
        found = choice.model.to_dict() | choice.training.to_dict()
        assert {name: found[name] for name in by_user} == by_user


def test_each_small_text_gets_the_same_recipe_that_time_and_user_leave_room_for() -> None:
    smallest, largest = chosen(200), chosen(5_500)
    assert smallest.model == largest.model
    assert smallest.training == replace(largest.training, validation_interval=smallest.training.validation_interval)
    assert smallest.training.max_epochs == hyperparameters.SMALL_TEXT_EPOCHS
    assert chosen(6_000).training.max_epochs != hyperparameters.SMALL_TEXT_EPOCHS, "5,400 symbols are trained on"
    assert chosen(6_000, validation_fraction=0.3).model == largest.model, "4,200 symbols are trained on"
    assert chosen(5_500, budget=1.0).training.max_epochs != hyperparameters.SMALL_TEXT_EPOCHS
    assert chosen(2_000, max_epochs=2.0).model.dropout == pytest.approx(0.03)
    assert chosen(2_000, max_epochs=60.0).model == largest.model
    few = chosen(2_000, cell="gru", hidden_size=64, seq_length=16)
    assert (few.model.cell, few.model.hidden_size, few.model.embedding_size, few.training.seq_length) == ("gru", 64, 64, 16)


def test_a_small_text_is_not_measured_for_if_any_machine_has_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def noted(threads: int, ranks: int, seconds: float, *_: float) -> Speed:
        measured.append(seconds)
        return SPEED

    monkeypatch.setattr(hyperparameters, "speed", noted)
    monkeypatch.setattr(hyperparameters, "work_per_second", lambda *_: 60e9)
    assert hyperparameters.choose_here(5_000, 60, 180.0, {}) == chosen(5_000)
    assert measured == []
    assert hyperparameters.choose_here(5_000, 60, 10.0, {}).model == chosen(5_000).model
    assert len(measured) == 1


def test_a_limit_of_passes_that_the_user_chose_is_not_called_the_texts() -> None:
    assert "small" not in chosen(max_epochs=2.0).words


def test_dropout_and_validations_follow_a_limit_of_passes_that_the_user_chose() -> None:
    twice = chosen(20_000, max_epochs=2.0)
    assert twice.model.dropout == 0.03
    steps = 2 * 18_000 / (twice.training.batch_size * twice.training.seq_length)
    assert twice.training.validation_interval == round(steps / hyperparameters.VALIDATIONS)
    assert "it will read the text 2 times, in less than 3:00" in twice.words


def test_what_is_chosen_follows_streams_that_the_user_chose() -> None:
    few, many = (chosen(20_000, batch_size=size, seq_length=16) for size in (2, 32))
    assert few.training.validation_interval == pytest.approx(16 * many.training.validation_interval, rel=0.1)
    assert chosen(8_000, batch_size=16).training.seq_length == hyperparameters.SHORTEST
    assert chosen(batch_size=32).training.seq_length == hyperparameters.LONGEST
    assert chosen(8_000, seq_length=256).training.batch_size == hyperparameters.SMALLEST_BATCH


def test_streams_and_their_length_follow_the_number_of_updates() -> None:
    shapes = [chosen(characters).training for characters in (1_000_000, 100_000, 20_000, 8_000, 1_000)]
    assert [(each.batch_size, each.seq_length) for each in shapes] == [(32, 64), (64, 32), (4, 64), (4, 32), (2, 32)]
    more = chosen(found=Speed(60e9, 4)).training
    assert (more.batch_size, more.seq_length) == (64, 64), "sixteen for each thread"
    assert chosen(20_000, batch_size=64).training.seq_length == hyperparameters.SHORTEST


def test_a_short_time_is_not_spent_on_validating_a_large_text() -> None:
    assert chosen(10**9, budget=10.0).training.validation_size < 100_000
    assert chosen(10**9, budget=900.0).training.validation_size == TrainingConfig().validation_size
    assert chosen(100_000, budget=10.0).training.validation_size == TrainingConfig().validation_size, "there are no more than 10,000"
    assert chosen(10**9, budget=10.0, validation_size=0).training.validation_size == 0


def test_the_choice_follows_what_the_user_chose() -> None:
    assert chosen(hidden_size=64).training.learning_rate > chosen(hidden_size=1024).training.learning_rate
    assert chosen(cell="gru").model.hidden_size > chosen().model.hidden_size, "its steps are cheaper"
    assert chosen(num_layers=3).model.hidden_size < chosen().model.hidden_size


def test_a_large_alphabet_gets_an_embedding() -> None:
    assert chosen(10**9, alphabet=65).model.embedding_size == 0
    assert chosen(10**9, alphabet=3_000).model.embedding_size == hyperparameters.EMBEDDING
    assert chosen(10**9, alphabet=3_000, embedding_size=0).model.embedding_size == 0


def test_a_text_that_is_read_often_gets_an_embedding() -> None:
    often = chosen(300_000)
    assert often.model.embedding_size == hyperparameters.OFTEN_EMBEDDING < often.model.hidden_size
    assert "an embedding of 128" in often.words
    small = chosen(8_000).model
    assert small.embedding_size == small.hidden_size < hyperparameters.OFTEN_EMBEDDING
    assert chosen(2_000_000).model.embedding_size == 0
    assert chosen(300_000, max_epochs=2.0).model.embedding_size == 0
    assert chosen(300_000, embedding_size=0).model.embedding_size == 0


def test_everything_else_is_the_default() -> None:
    choice = chosen()
    chosen_here = {"budget", "learning_rate", "beta1", "patience", "weight_decay", "batch_size", "seq_length"}
    same = set(TrainingConfig().to_dict()) - chosen_here
    assert all(getattr(choice.training, name) == getattr(TrainingConfig(), name) for name in same)


def test_the_sentence_names_what_was_chosen() -> None:
    choice = chosen()
    for part in ("3:00", "lstm 1x384", "dropout 0.19", "32 streams of 64", "learning rate 0.021", "times"):
        assert part in choice.words


@pytest.mark.parametrize(("characters", "told"), [(10**9, "about 0.005 times"), (1_000_000, "about 5.0 times")])
def test_the_sentence_tells_how_often_the_text_is_read(characters: int, told: str) -> None:
    assert told in chosen(characters).words


def test_more_streams_learn_at_a_rate_to_match() -> None:
    more = chosen(10**8, budget=900.0, found=Speed(60e9, 8))
    less = chosen(10**8, budget=900.0)
    assert (less.training.batch_size, more.training.batch_size) == (32, 64)
    assert more.training.seq_length == less.training.seq_length == hyperparameters.LONGEST
    assert more.training.learning_rate == pytest.approx(math.sqrt(2) * less.training.learning_rate, rel=0.05)
    assert chosen(10**8, budget=900.0, found=Speed(60e9, 8), batch_size=50).training.batch_size == 50


def test_a_small_network_is_measured_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has other limits, so it may learn less in its time than the sample's speed would have it."""
    measured: list[ModelConfig] = []

    def slow(threads: int, config: ModelConfig, *_: Any) -> float:
        measured.append(config)
        return 6e9

    monkeypatch.setattr(hyperparameters, "work_per_second", slow)
    monkeypatch.setattr(hyperparameters, "speed", lambda *_: SPEED)
    choice = hyperparameters.choose_here(1_000_000, 65, 60.0, {"hidden_size": 64})
    assert choice == chosen(budget=60.0, found=Speed(6e9, 2), hidden_size=64)
    assert measured == [chosen(budget=60.0, hidden_size=64).model]
    assert hyperparameters.choose_here(1_000_000, 65, 180.0, {}) == chosen()
    assert len(measured) == 1, "a large one is not"


def test_a_brief_budget_is_not_spent_on_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, float]] = []

    def noted(threads: int, ranks: int, seconds: float, *_: float) -> Speed:
        asked.append((threads, ranks, seconds))
        return SPEED

    monkeypatch.setattr(hyperparameters, "work_per_second", lambda *_: 6e9)
    monkeypatch.setattr(hyperparameters, "speed", noted)
    for budget in (3.0, 60.0):
        hyperparameters.choose_here(20_000, 65, budget, {}, threads=3, ranks=2)
    assert asked == [(3, 2, pytest.approx(0.09)), (3, 2, throughput.MEASURING)]


def test_time_that_is_spent_already_is_not_counted_on() -> None:
    assert choose(10**9, 65, 60.0, SPEED, {}, spent=30.0).model.hidden_size < chosen(10**9, budget=60.0).model.hidden_size
    assert choose(10**9, 65, 60.0, SPEED, {}, spent=900.0).training.budget == 60
