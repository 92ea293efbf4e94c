"""What lm-evaluation-harness sends with `local-completions`; `python -m tools.client_suites lm-eval` runs the harness itself."""

from __future__ import annotations

from typing import Any

import pytest

Server = Any  # of ../conftest.py


@pytest.fixture
def prefix(server: Server) -> int:
    """The id before a text: the harness takes that of `bos_token`, or if it is 0 that of `eos_token`."""
    info = server.answer("GET", "/tokenizer_info")
    assert "eos_token" in info
    bos, eos = ids(server, info["bos_token"])[0], ids(server, info["eos_token"])[0]
    return int(bos or eos)


def ids(server: Server, text: str) -> list[int]:
    found: list[int] = server.answer("POST", "/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
    return found


def log_likelihoods(server: Server, *requests: tuple[list[int], list[int]]) -> list[float]:
    """That of each continuation after its context, as the harness asks for it and sums it up."""
    answer = server.answer(
        "POST",
        "/v1/completions",
        {
            "model": "latest",
            "prompt": [context + continuation for context, continuation in requests],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": 1,
            "seed": 1234,
            "echo": True,
        },
    )
    found = []
    for choice, (context, _) in zip(answer["choices"], requests, strict=True):
        values = choice["logprobs"]["token_logprobs"][len(context) : -1]
        tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
        assert all(value <= max(top.values()) for value, top in zip(values, tops, strict=True))
        found.append(sum(values))
    return found


def test_what_it_measures_is_what_score_says(server: Server, prefix: int) -> None:
    """Its texts begin after the id before a text, those of /v1/score after a line end."""
    texts = ["abc \n", "cab", "a\nb"]
    found = log_likelihoods(server, *[([prefix], ids(server, text)) for text in texts])
    for text, value in zip(texts, found, strict=True):
        [score] = server.answer("POST", "/v1/score", {"text": text})["data"]
        assert value == pytest.approx(score["log_likelihood"], abs=1e-4)
    [conditional] = log_likelihoods(server, (ids(server, "\nabc"), ids(server, " ab")))
    [whole], [part] = (server.answer("POST", "/v1/score", {"text": text})["data"] for text in ("abc ab", "abc"))
    assert conditional == pytest.approx(whole["log_likelihood"] - part["log_likelihood"], abs=1e-4)


def test_texts_go_there_and_back(server: Server) -> None:
    for text in ("abc \n", "b", ""):
        assert server.answer("POST", "/detokenize", {"tokens": ids(server, text)}) == {"prompt": text}
