"""The ids that the tests of OpenAI's client name exist before each of them, in the state that it expects."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import client_suites, openai_ids
from tools.openai_ids import JOB, REMOVED, adapted, ask, pytest_runtest_setup


def test_ids_that_cannot_exist_are_replaced_in_the_tests_that_have_them() -> None:
    source = """class Test:
    def test_method_list(self):
        list(after="after")

    async def test_method_list_events(self):
        list(after="string")

    def test_delete(self):
        delete("ft:gpt-4o-mini:acemeco:suffix:abc123")
"""
    events = source.replace('after="string"', 'after="ftevent-1"').replace("ft:gpt-4o-mini:acemeco:suffix:abc123", REMOVED)
    assert adapted("test_jobs.py", source) == events
    assert adapted("test_checkpoints.py", source).count(f'after="{JOB}@100"') == 1


def test_what_a_test_names_is_there_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> str:
        return str(ask("GET", f"/fine_tuning/jobs/{JOB}")["meta"]["state"])

    with client_suites.serving(tmp_path) as url:
        monkeypatch.setattr(openai_ids, "URL", f"{url}/v1")
        for name, expected in (("test_method_cancel", "queued"), ("test_method_resume", "paused"), ("test_method_pause", "queued")):
            pytest_runtest_setup(SimpleNamespace(name=name, nodeid=f"test_jobs.py::{name}"))
            assert state() == expected
        assert ask("DELETE", "/files/file_id")["deleted"]
        pytest_runtest_setup(SimpleNamespace(name="test_method_delete", nodeid="test_models.py::test_method_delete"))
        assert ask("GET", "/files/file_id")["id"] == "file_id"
        assert ask("DELETE", f"/models/{REMOVED}")["deleted"]
        assert ask("POST", f"/fine_tuning/jobs/{JOB}/cancel")["meta"]["state"] == "cancelled"


def test_a_suite_that_cannot_be_fetched_is_skipped_and_said_so(tmp_path: Path) -> None:
    with pytest.raises(client_suites.Missing, match="there is nothing like it"):
        client_suites.command("sh", "-c", "echo there is nothing like it; exit 1", folder=tmp_path)
