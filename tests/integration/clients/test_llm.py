"""The command line tool `llm`, which knows a service by a file of models, completes and streams."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Ask = Callable[..., str]
OPTIONS = ("--option", "max_tokens", "30", "--option", "seed", "7", "--option", "temperature", "0.9")


@pytest.fixture
def ask(base_url: str, tmp_path: Path, surroundings: dict[str, str]) -> Ask:
    """Run llm in a folder of its own, in which the service is one of its models."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: loom\n  model_name: latest\n  api_base: {base_url}\n  completion: true\n"
    )

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", "prompt", "--model", "loom", "--no-log", "--key", "none", *OPTIONS, *arguments]
        answer = subprocess.run(
            command, env={**surroundings, "LLM_USER_PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout

    return run


def test_it_completes_and_streams_the_same_text(ask: Ask) -> None:
    text = ask("abc", "--no-stream")
    assert len(text) == 31  # and the newline of the tool
    assert set(text) <= set("abc \n")
    assert ask("abc") == text
