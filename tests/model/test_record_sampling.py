"""Whole records: those that a loop over single texts would keep, in any company, and none that is not whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

from model import record_sampling
from model.backend import NumpyNetwork, network_for
from model.config import ModelConfig, SamplingConfig
from model.errors import InvalidSetting
from model.language_model import LanguageModel
from model.output_text import OutputText, Piece
from model.record_sampling import FRUITLESS
from model.sampling import Sampler, generate
from model.vocabulary import Vocabulary

KINDS = [("char", "\n"), ("char", "\n\n"), ("byte", "--")]
LETTERS = [*map(ord, "\nabc,")]


def model_of(level: str, separator: str, longing: float = 0.5) -> tuple[LanguageModel, Vocabulary]:
    """A model that depends strongly on all that it has read; `longing` is for the end of the record."""
    letters = [code for code in LETTERS if chr(code) != separator]
    words = Vocabulary(level, "nfc", letters, separator)
    model = LanguageModel.new(ModelConfig(cell="gru", hidden_size=9, level=level), words.size, seed=3, boundary=words.boundary)
    model.parameters.flat[:] *= 2
    model.parameters["by"][-1] += longing
    return model, words


MODELS = {kind: model_of(*kind) for kind in KINDS}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=["lines", "blocks", "bytes"])


class Source:
    def __init__(self, *records: str) -> None:
        self.records = records

    def has_record(self, record: str) -> bool:
        return record in self.records

    def is_valid(self, record: str) -> bool:
        return record.count(",") == 1


def naive(model: LanguageModel, words: Vocabulary, config: SamplingConfig, source: Source) -> Iterator[tuple[int, str | None]]:
    """Yields (symbols, the record or None) of each try: a text of its own that goes on over boundaries, and is cut at the first."""
    for turn in count(config.seed or 0):
        alone = SamplingConfig(prompt=config.prompt, seed=turn, length=config.most_symbols + 1, temperature=config.temperature, logprobs=0)
        symbols: list[str] = []
        for piece in generate(network_for(model), words, alone):
            symbols += [each.text for each in piece.logprobs]
        if words.separator in symbols:
            end = symbols.index(words.separator)
            record = config.prompt + "".join(symbols[:end])
            whole = record.strip() and (words.separator == "\n" or words.separator not in record) and end >= config.min_length
            fits = whole and not (config.new and source.has_record(record)) and not (config.valid and not source.is_valid(record))
            yield end, record if fits else None
        else:
            yield config.most_symbols + 1, None


def expected(model: LanguageModel, words: Vocabulary, config: SamplingConfig, source: Source) -> tuple[list[str], int, int]:
    """The records, the number of tries, and how many symbols these have."""
    found: list[str] = []
    symbols = 0
    for tries, (size, record) in enumerate(naive(model, words, config, source), 1):
        symbols += size + (size <= config.most_symbols)
        if record is not None and not (config.unique and record in found):
            found.append(record)
        if len(found) == config.records or tries == 1000:
            break
    assert len(found) == config.records, found
    return found, tries, symbols


def whole(pieces: list[Piece]) -> list[str]:
    """The records of pieces: each is one piece, in order, and ends by itself."""
    assert [piece.choice for piece in pieces] == list(range(len(pieces)))
    assert {piece.finish_reason for piece in pieces} <= {"stop"}
    return [piece.text for piece in pieces]


ASKED: list[dict[str, Any]] = [
    {"records": 7},
    {"records": 7, "unique": True},
    {"records": 5, "new": True, "unique": True, "valid": True},
    {"records": 4, "prompt": "ab", "new": True},
    {"records": 6, "length": 2, "temperature": 1.3},
    {"records": 6, "min_length": 3, "temperature": ((0, 1.5), (2, 0.7))},
    {"records": 3, "temperature": 0.5},
]


@each_kind
@pytest.mark.parametrize("asked", ASKED, ids="-".join)
def test_records_are_those_of_a_loop_over_single_texts(
    kind: tuple[str, str], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, words = MODELS[kind]
    config = SamplingConfig(**({"length": 12, "temperature": 1.0, "seed": 11} | asked))
    source = Source("a", "b", "c", "ab", "aba", "a,b")
    records, tries, symbols = expected(model, words, config, source)
    for rows, ahead, network in ((32, 256, network_for(model)), (1, 1, network_for(model, 2)), (5, 9, NumpyNetwork(model))):
        monkeypatch.setattr(record_sampling, "ROWS", rows)
        monkeypatch.setattr(record_sampling, "AHEAD", ahead)
        sampler = Sampler(network, words)
        sampler.add(SamplingConfig(length=40, seed=3, n=2))  # company
        accepted = sampler.add(config, records=source)
        pieces = []
        while sampler.active:
            pieces += [piece for piece in sampler.step() if piece.request == accepted.request]
        assert whole(pieces) == records
        assert accepted.tries is not None
        told = accepted.tries
        assert (told.count, told.symbols, told.kept, told.gave_up) == (tries, symbols, config.records, False)
        assert sum(told.left_out.values()) == tries - len(records)


@pytest.mark.parametrize("longing", [0.5, -50.0], ids=["tries that end", "and that do not"])
def test_what_is_drawn_counts_before_it_is_judged(longing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = model_of("char", "\n", longing)
    drawn, append = [0], OutputText.append

    def counted(self: OutputText, symbols: list[int], *more: Any, **named: Any) -> Any:
        ended = words.boundary in symbols
        drawn[0] += symbols.index(words.boundary) + 1 if ended else len(symbols)  # type: ignore[arg-type]
        return append(self, symbols, *more, **named)

    monkeypatch.setattr(OutputText, "append", counted)
    sampler = Sampler(network_for(model), words)
    tries = sampler.add(SamplingConfig(records=500, length=1000, temperature=1.0, new=True, seed=1), records=Source()).tries
    assert tries
    for _ in range(30):
        sampler.step()
        assert tries.drawn == drawn[0] >= tries.symbols
    assert (tries.symbols > 0) == (longing > 0)


def test_without_records_a_model_goes_on_over_boundaries() -> None:
    model, words = MODELS["char", "\n\n"]
    text = "".join(piece.text for piece in generate(network_for(model), words, SamplingConfig(length=200, temperature=1.0, seed=1)))
    assert text.count("\n\n") > 5
    assert len(text) > 200  # a boundary is one symbol, and two characters here
    first = text.split("\n\n")[0]
    assert whole(list(generate(network_for(model), words, SamplingConfig(records=1, temperature=1.0, seed=1))))[0].startswith(first)


def test_a_record_after_another_is_as_if_it_stood_alone() -> None:
    model, words = MODELS["char", "\n"]
    alone, behind = (
        list(generate(network_for(model), words, SamplingConfig(prompt=prompt, records=4, temperature=1.0, seed=5)))
        for prompt in ("ab", "ccc\nab")
    )
    assert whole(alone) == whole(behind)
    assert all(record.startswith("ab") for record in whole(alone))
    texts = [
        list(generate(network_for(model), words, SamplingConfig(prompt=prompt, length=30, seed=5))) for prompt in ("ab", "ccc\nab", "\nab")
    ]
    assert len({"".join(piece.text for piece in pieces) for pieces in texts}) == 1


def test_log_probabilities_of_a_record_are_of_its_symbols_with_the_prompt() -> None:
    model, words = MODELS["char", "\n\n"]
    config = SamplingConfig(prompt="ab", records=5, temperature=1.0, seed=5, logprobs=2)
    for piece in generate(network_for(model), words, config):
        assert "".join(each.text for each in piece.logprobs) == piece.text
        assert [each.position for each in piece.logprobs] == list(range(len(piece.text)))
        ids = words.encode_prompt(piece.text, 100).ids
        logits, _, _ = model.forward(ids[:-1, None], model.zero_state(1))
        logs = logits[:, 0].astype(np.float64)
        logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
        assert np.allclose([each.logprob for each in piece.logprobs], logs[np.arange(len(ids) - 1), ids[1:]], atol=1e-4)


@pytest.mark.parametrize("echo", [False, True])
def test_log_probabilities_join_to_the_text_over_boundaries(echo: bool) -> None:
    model, words = MODELS["char", "\n\n"]
    config = SamplingConfig(prompt="ab\n\nc", length=60, temperature=1.0, seed=2, logprobs=0, echo=echo)
    pieces = list(generate(network_for(model), words, config))
    text, scores = "".join(piece.text for piece in pieces), [each for piece in pieces for each in piece.logprobs]
    assert "".join(each.text for each in scores) == text
    assert text.startswith("ab\n\nc") is echo
    start = 0 if echo else len("ab\n\nc")
    places = [start]
    for each in scores[:-1]:
        places.append(places[-1] + len(each.text))
    assert [each.position + (0 if echo else start) for each in scores] == places


def test_a_stop_string_may_stand_in_the_separator() -> None:
    model, words = MODELS["char", "\n\n"]
    config = SamplingConfig(length=200, temperature=1.0, seed=1)
    plain = "".join(piece.text for piece in generate(network_for(model), words, config))
    for stop in ("\n\n", "\n", "a\n\n"):
        asked = SamplingConfig(length=200, temperature=1.0, seed=1, stop=(stop,))
        pieces = list(generate(network_for(model), words, asked))
        assert "".join(piece.text for piece in pieces) == plain.split(stop)[0]
        assert pieces[-1].finish_reason == "stop"


def test_if_there_are_no_more_the_rest_is_missing() -> None:
    model, words = model_of("char", "\n", longing=50)  # it ends at once: each record is empty, or the prompt
    sampler = Sampler(network_for(model), words)
    accepted = sampler.add(SamplingConfig(records=3, prompt="a", unique=True, seed=0))
    pieces = []
    while sampler.active:
        pieces += sampler.step()
    assert [(piece.choice, piece.text, piece.finish_reason) for piece in pieces] == [
        (0, "a", "stop"),
        (1, "", "missing"),
        (2, "", "missing"),
    ]
    assert accepted.tries is not None
    assert (accepted.tries.count, accepted.tries.gave_up) == (1 + FRUITLESS, True)
    assert accepted.tries.left_out == {"repeated": FRUITLESS}


def test_a_request_for_records_can_rest_change_and_end() -> None:
    model, words = MODELS["char", "\n"]
    config = SamplingConfig(records=40, temperature=1.0, seed=7)
    calm = whole(list(generate(network_for(model), words, config)))
    sampler = Sampler(network_for(model), words)
    request = sampler.add(config).request
    sampler.pause(request)
    assert sampler.step() == []
    assert not sampler.busy
    assert sampler.active
    sampler.resume(request)
    pieces = sampler.step()
    sampler.pause(request)
    sampler.resume(request)
    assert sampler.busy
    assert sampler.set_temperature(request, 0.0) == 0
    assert sampler.schedule(request) == ((0, 0.0),)
    rest = sampler.end(request)
    assert not sampler.active
    assert [piece.text for piece in pieces] == calm[: len(pieces)]
    assert [piece.choice for piece in pieces + rest] == list(range(40))
    assert {piece.finish_reason for piece in rest} == {"missing"}


def test_what_cannot_be_done_is_refused() -> None:
    model, words = MODELS["char", "\n"]
    prose = Vocabulary("char", "nfc", LETTERS)
    with pytest.raises(InvalidSetting, match="records is 2; it must be left out for a model of prose"):
        Sampler(network_for(LanguageModel.new(ModelConfig(hidden_size=2), prose.size)), prose).add(SamplingConfig(records=2, seed=0))
    for name in ("new", "valid"):
        with pytest.raises(InvalidSetting, match=f"{name} is True; it must be left out here"):
            Sampler(network_for(model), words).add(SamplingConfig(records=2, seed=0, **{name: True}))  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="n is 2; it must be left out or 1 if records is given"):
        SamplingConfig(records=2, n=2)
    with pytest.raises(InvalidSetting, match=r"stop is \['a'\]; it must be left out if records is given"):
        SamplingConfig(records=2, stop=("a",))
