"""LangChain's `OpenAI` class completes and streams."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports may be out of date
    from langchain_openai import OpenAI


@pytest.fixture
def model(base_url: str) -> OpenAI:
    return OpenAI(base_url=base_url, api_key="none", model="latest", max_tokens=40, temperature=0.9, seed=7, max_retries=0)


def test_it_completes_and_streams_the_same_text(model: OpenAI) -> None:
    text = model.invoke("abc")
    assert len(text) == 40
    assert set(text) <= set("abc \n")
    assert "".join(model.stream("abc")) == text


def test_it_takes_several_prompts_and_stops(model: OpenAI) -> None:
    answer = model.generate(["abc", "b"], stop=["never there"])
    assert [len(each[0].text) for each in answer.generations] == [40, 40]
    assert answer.llm_output is not None
    assert answer.llm_output["token_usage"]["completion_tokens"] == 80
