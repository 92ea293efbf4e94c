"""What is drawn and what is told of it, symbol by symbol, against a naive reading of all rules at once."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.backend import Network, NumpyNetwork, network_for
from model.config import ModelConfig, SamplingConfig
from model.language_model import LanguageModel
from model.output_text import SymbolLogprob
from model.sampling import generate
from model.vocabulary import SymbolCounts, Vocabulary

LETTERS = "abcdefgh \n"
WORDS = Vocabulary.build(SymbolCounts("char", "none").add([LETTERS]))
MODEL = LanguageModel.new(ModelConfig(cell="gru", hidden_size=9, normalization="none"), WORDS.size, seed=5)
MODEL.parameters.flat[:] *= 4

configs = st.builds(
    SamplingConfig,
    prompt=st.text(LETTERS, min_size=1, max_size=6),
    length=st.integers(0, 25),
    temperature=st.one_of(st.floats(0.2, 3), st.just(((0, 1.0), (3, 0.0), (9, 2.0), (11, 0.5)))),
    top_k=st.sampled_from([0, 0, 4]),
    top_p=st.sampled_from([1, 0.8]),
    min_p=st.sampled_from([0, 0.1]),
    repetition_penalty=st.sampled_from([1, 1.7, 0.5]),
    presence_penalty=st.sampled_from([0, 1.5, -1]),
    frequency_penalty=st.sampled_from([0, -0.5, 0.3]),
    logit_bias=st.dictionaries(st.integers(0, 9), st.floats(-5, 5), max_size=3),
    logprobs=st.integers(0, 12),
    echo=st.booleans(),
    seed=st.integers(0, 2**32),
)


def logits_after(ids: list[int]) -> list[float]:
    """The whole text read anew, in double precision."""
    double = LanguageModel(MODEL.config, WORDS.size, MODEL.parameters.astype(np.float64))
    logits, _, _ = double.forward(np.array(ids)[:, None], double.zero_state(1))
    return [float(each) for each in logits[-1, 0]]


def log_softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    total = math.log(sum(math.exp(each - highest) for each in logits)) + highest
    return [each - total for each in logits]


def weights(logits: list[float], config: SamplingConfig, temperature: float, prompt: list[int], text: list[int]) -> list[float]:
    """Of each symbol, in the order penalties, bias, temperature, top_k, top_p, min_p."""
    scores = []
    for symbol, logit in enumerate(logits):
        if symbol in prompt + text:
            logit = logit / config.repetition_penalty if logit > 0 else logit * config.repetition_penalty
        times = Counter(text)[symbol]
        scores.append(logit - config.frequency_penalty * times - config.presence_penalty * (times > 0) + config.logit_bias.get(symbol, 0))
    if temperature == 0:
        return [float(score == max(scores)) for score in scores]
    p = [math.exp((score - max(scores)) / temperature) for score in scores]
    order = sorted(range(len(p)), key=lambda symbol: -p[symbol])
    if config.top_k:
        order = order[: config.top_k]
    reached, total, kept = 0.0, sum(p[symbol] for symbol in order), []
    for symbol in order:
        if config.top_p == 1 or reached < config.top_p * total:
            kept.append(symbol)
        reached += p[symbol]
    kept = [symbol for symbol in kept if p[symbol] >= config.min_p * p[order[0]]]
    return [share if symbol in kept else 0.0 for symbol, share in enumerate(p)]


def temperature_at(config: SamplingConfig, position: int) -> float:
    return [value for start, value in config.temperature_schedule if start <= position][-1]


@pytest.mark.parametrize("network", [NumpyNetwork(MODEL), network_for(MODEL)], ids=["numpy", "fastest"])
@settings(max_examples=40)
@given(configs)
def test_each_symbol_is_the_one_that_its_random_number_falls_on(network: Network, config: SamplingConfig) -> None:
    pieces = list(generate(network, WORDS, config))
    shown = "".join(piece.text for piece in pieces)
    scores = [score for piece in pieces for score in piece.logprobs]
    assert shown.startswith(config.prompt) == (config.echo or shown.startswith(config.prompt))
    drawn = shown[len(config.prompt) :] if config.echo else shown
    assert len(drawn) == config.length
    numbers = np.random.Generator(np.random.PCG64(config.seed or 0)).random(max(1, config.length))
    prompt, text = WORDS.encode(config.prompt).tolist(), WORDS.encode(drawn).tolist()
    for position, symbol in enumerate(text):
        logits = logits_after(prompt + text[:position])
        shares = weights(logits, config, temperature_at(config, position), prompt, text[:position])
        place = numbers[position] * sum(shares) if temperature_at(config, position) else 0.5
        below = sum(shares[:symbol])
        assert below - 1e-4 * sum(shares) <= place <= below + shares[symbol] + 1e-4 * sum(shares)
    check_scores(scores, config, prompt if config.echo else [], prompt, text)


def check_scores(scores: list[SymbolLogprob], config: SamplingConfig, echoed: list[int], prompt: list[int], text: list[int]) -> None:
    """They are those of the plain model, whatever the temperature, the filters and the penalties."""
    whole = prompt + text
    first = len(prompt) - len(echoed)
    assert "".join(score.text for score in scores) == WORDS.decode(np.array(whole[first:], int))
    assert [score.position for score in scores] == list(range(len(scores)))
    for place, score in enumerate(scores, first):
        if place == 0:
            assert (score.logprob, score.alternatives) == (None, [])
            continue
        logs = log_softmax(logits_after(whole[:place]))
        assert score.logprob == pytest.approx(logs[whole[place]], abs=1e-4)
        best = sorted(logs, reverse=True)[: config.logprobs]
        assert [log for _, log in score.alternatives] == pytest.approx(best, abs=1e-4)
        for name, log in score.alternatives:
            assert log == pytest.approx(logs[LETTERS_IN_ORDER.index(name)], abs=1e-4)


LETTERS_IN_ORDER = "".join(sorted(LETTERS))
