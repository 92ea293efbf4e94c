"""Clients that people use, against a real service with a worker: none of them knows anything of Charloom."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

Server = Any  # of ../conftest.py
# Whatever is not this machine is behind a proxy that does not exist.
NOWHERE = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[dict[str, str]]:
    """The environment of clients: no other machine can be reached, and no settings of whoever runs the tests count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_", "LANGCHAIN_", "LANGSMITH_"))}
    kept = {name: value for name, value in kept.items() if name.upper() not in (*NOWHERE, "ALL_PROXY")} | NOWHERE
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - kept.keys():
            patch.delenv(name)
        for name, value in kept.items():
            patch.setenv(name, value)
        yield kept


@pytest.fixture(scope="module")
def server_settings() -> dict[str, Any]:
    """The service's own answers are tested elsewhere: here jobs are trained, too."""
    return {"workers": 1}


@pytest.fixture(scope="module")
def base_url(server: Server) -> str:
    """What a client is given instead of OpenAI's address."""
    return f"{server.url}/v1"


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    """The official client, without its own attempts to try again."""
    with OpenAI(base_url=base_url, api_key="none", max_retries=0) as opened:
        yield opened
