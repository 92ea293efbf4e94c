"""Penalties and bias against a naive reading of their rules, and in what is drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import SamplingConfig
from model.penalties import Penalties

V = 6
configs = st.builds(
    SamplingConfig,
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.1, 10)),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(st.integers(-2, V + 2), st.floats(-100, 100), max_size=4),
)
symbols = st.lists(st.integers(0, V - 1), max_size=8)


def naive(logits: list[float], config: SamplingConfig, prompt: list[int], text: list[int]) -> list[float]:
    """One symbol at a time, as the documentation of OpenAI's API and the paper on CTRL have it."""
    found = []
    for symbol, logit in enumerate(logits):
        if symbol in prompt or symbol in text:
            logit = logit / config.repetition_penalty if logit > 0 else logit * config.repetition_penalty
        times = Counter(text)[symbol]
        logit -= config.frequency_penalty * times + (config.presence_penalty if times else 0)
        found.append(logit + config.logit_bias.get(symbol, 0))
    return found


@given(configs, st.lists(st.floats(-20, 20, width=32), min_size=V, max_size=V), st.lists(st.integers(0, V)), symbols)
def test_rules(config: SamplingConfig, logits: list[float], prompt: list[int], text: list[int]) -> None:
    penalties = Penalties(config, np.array(prompt, np.uint8), V)
    scores = np.array(logits, np.float32)
    for symbol in text:
        penalties.count(symbol)
    penalties.apply(scores)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.array(naive(logits, config, prompt, text)), rel=1e-4, abs=1e-3)


def test_nothing_is_done_where_nothing_is_wanted() -> None:
    assert not Penalties.needed(SamplingConfig(temperature=2, top_k=3))
    for config in (
        SamplingConfig(repetition_penalty=1.1),
        SamplingConfig(presence_penalty=0.1),
        SamplingConfig(frequency_penalty=-0.1),
        SamplingConfig(logit_bias={0: 1.0}),
    ):
        assert Penalties.needed(config)
