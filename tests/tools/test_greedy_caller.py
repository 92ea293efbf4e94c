"""A short version of the greedy caller's attack, and the proof that a refusal would be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import greedy_caller
from tools.greedy_caller import carry_out, faults


def test_a_caller_that_takes_all_it_can_refuses_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy_caller, "MEDIAN", 10.0)  # other tests keep the processors busy
    _, greedy, modest = carry_out(tmp_path, seconds=3.0, texts=16, requests=33)
    assert faults(modest) == []
    assert modest.statuses.keys() == {"text", "upload", "score", "follow", "list", "order"}
    for kind in ("text", "slow upload", "follow"):
        assert greedy.statuses[kind][429], f"it took all that it gets of {kind}"
    modest.count("score", 429)
    modest.first_characters.extend([11.0] * 1000)
    assert faults(modest) == [
        "1 of its requests (score) were answered with 429",
        "its first characters came after 11000 ms at the median",
    ]
