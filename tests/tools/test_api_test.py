"""Some hundred requests of schemathesis find nothing, and a service that does wrong is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.store import Store
from tools import api_test


def test_some_hundred_requests_find_nothing() -> None:
    found = api_test.run(300, 1, "--phases", "examples,fuzzing")
    assert (found.status, found.faults) == (0, ""), found.report
    assert found.requests > 200


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    with Store(tmp_path / "charloom.db") as store:
        api_test.fill(store)
        with api_test.serving(tmp_path / "charloom.db") as (url, _):
            with store.immediate() as db:
                db.execute("ALTER TABLE text_chunks RENAME TO gone")
            found = api_test.attack(url, tmp_path, 1, 1, "--phases", "examples", "--include-path", "/v1/files/{file}/content")
    assert found.status == 1
    assert "Server error" in found.report


def test_the_command_tells_what_it_does() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "tools.api_test", "--help"], cwd=api_test.ROOT, capture_output=True, text=True, check=True
    )
    assert "--requests" in answer.stdout
