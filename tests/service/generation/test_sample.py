"""Text for the command line: as far as it is made, one after the other, the same for the same seed."""

from __future__ import annotations

import pytest

from model.backend import network_for
from model.checkpoint import Checkpoint
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.sampling import MAX_BURST, MAX_PROMPT, generate
from model.vocabulary import Vocabulary
from service.generation import sample
from service.store import Metric, Store
from service.system.errors import NoModelYet

VOCABULARY = Vocabulary("char", "nfc", [ord(c) for c in "\n abcdefgh"])


@pytest.fixture
def model(store: Store) -> LanguageModel:
    """The only model in the store."""
    model = LanguageModel.new(ModelConfig(hidden_size=4), VOCABULARY.size, 0)
    store.runs.create("first", corpus=None, model_config={}, training_config={})
    run = store.runs.claim("first")
    store.checkpoints.save(run, Metric(step=7, validation_loss=2.0), Checkpoint(model, VOCABULARY).to_bytes(), None)
    store.runs.release(run, "succeeded")
    return model


@pytest.mark.usefixtures("model")
def test_it_is_told_that_numpy_computes_for_want_of_the_library(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "shortcoming", lambda: "numpy computes: it was not built")
    assert sample.write(store, None, SamplingConfig(length=1)).notes == ["numpy computes: it was not built"]


def test_a_text_follows_its_prompt(store: Store, model: LanguageModel) -> None:
    config = SamplingConfig(prompt="abc", length=30, seed=5)
    texts = sample.write(store, None, config)
    assert texts.model == "first@7"
    assert texts.config == config
    assert "".join(texts.pieces()) == "abc" + "".join(piece.text for piece in generate(network_for(model), VOCABULARY, config)) + "\n"


def test_several_texts_come_one_after_the_other(store: Store, model: LanguageModel) -> None:
    heads: list[str] = []
    several = "".join(sample.write(store, "first", SamplingConfig(prompt="a", length=20, n=3, seed=8)).pieces(heads.append))
    alone = ["".join(sample.write(store, "first", SamplingConfig(prompt="a", length=20, seed=seed)).pieces()) for seed in (8, 9, 10)]
    assert several == "".join(alone)
    assert heads == [f"--- text {index + 1} of 3, seed 8 + {index} ---" for index in range(3)]


def test_a_text_appears_while_it_is_made(store: Store, model: LanguageModel) -> None:
    texts = sample.write(store, None, SamplingConfig(prompt="ab", length=10 * MAX_BURST, seed=1))
    pieces = texts.pieces()
    assert next(pieces) == "ab"
    assert next(pieces)
    assert texts.sampler.active == 1
    assert len(list(pieces)) > 4, "a few symbols at a time"
    assert texts.sampler.active == 0


def test_stop_strings_end_it(store: Store, model: LanguageModel) -> None:
    config = SamplingConfig(length=200, seed=5)
    whole = "".join(sample.write(store, None, config).pieces())
    ended = "".join(sample.write(store, None, SamplingConfig(length=200, seed=5, stop=("e",))).pieces())
    assert ended == whole.partition("e")[0] + "\n"


def test_nothing_is_written_where_nothing_is_asked_for(store: Store, model: LanguageModel) -> None:
    assert "".join(sample.write(store, None, SamplingConfig(prompt="ab", length=0)).pieces()) == "ab\n"


def test_a_seed_is_made_up_once() -> None:
    seeds = {sample.with_seed(SamplingConfig()).seed for _ in range(20)}
    assert len(seeds) > 15
    assert all(seed is not None and 0 <= seed < 2**32 for seed in seeds)
    assert sample.with_seed(SamplingConfig(seed=3)).seed == 3


@pytest.mark.parametrize(
    ("prompt", "notes"),
    [
        ("abc", []),
        ("á", ["1 character of the prompt is not in the model's alphabet; read instead: 'a' for 'á'"]),
        ("xx", ["2 characters of the prompt are not in the model's alphabet; read instead: the unknown symbol for 'x'"]),
        ("\ud800", ["1 character of the prompt is not in the model's alphabet; read instead: the unknown symbol for '\\ud800'"]),
        ("ab" * MAX_PROMPT, [f"the prompt is long; its last {MAX_PROMPT:,} symbols were read"]),
    ],
    ids=ascii,
)
def test_what_happened_to_the_prompt_is_told(store: Store, model: LanguageModel, prompt: str, notes: list[str]) -> None:
    found = sample.write(store, None, SamplingConfig(prompt=prompt, length=1)).notes
    assert found == notes


def test_without_a_model_there_is_no_text(store: Store) -> None:
    with pytest.raises(NoModelYet):
        sample.write(store, None, SamplingConfig())
