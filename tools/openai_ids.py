"""Makes the objects that the tests of OpenAI's Python client name, before each of them: a plugin of pytest for `tools.client_suites`.

Those tests speak to a mock that knows every id. A real service must have the file, the model and the job, in a state that allows what the
test asks for. This module runs beside that client's own packages, so it needs the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("TEST_API_BASE_URL", "")
TEXT = "the loom weaves a thread of red and gold, night after night\n" * 20

JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
FILES = ("file_id", "file-abc123", "string", "after")
MODELS = ("gpt-3.5-turbo-instruct", "gpt-4o-mini")  # and jobs
REMOVED = "ft-gpt-4o-mini-acemeco"  # the model that tests delete, whose name may have no colons here
# What a test file says -> what it must say here, in the tests whose name matches.
CHANGES = (
    ("", "ft:gpt-4o-mini:acemeco:suffix:abc123", REMOVED),
    *(("list_events", f'after="{name}"', 'after="ftevent-1"') for name in ("after", "string")),
    *(("checkpoint", f'after="{name}"', f'after="{JOB}@100"') for name in ("after", "string")),
)


def adapted(name: str, source: str) -> str:
    """Return a test file with ids that can exist here."""
    parts = re.split(r"(?=^    (?:async )?def )", source, flags=re.MULTILINE)
    for which, theirs, ours in CHANGES:
        parts = [part.replace(theirs, ours) if which in name + part.partition("(")[0] else part for part in parts]
    return "".join(parts)


def ask(method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """Return the answer of the service, or None for a refusal."""
    asked = urllib.request.Request(URL + path, body, {"Content-Type": kind}, method=method)
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)
    return None


def upload(name: str) -> None:
    """Store a text, unless it is there."""
    parts = {'name="purpose"': "fine-tune", 'name="name"': name, 'name="file"; filename="tale.txt"': TEXT}
    body = "".join(f"--cut\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n" for head, value in parts.items())
    ask("POST", "/files", (body + "--cut--\r\n").encode(), "multipart/form-data; boundary=cut")


def pytest_runtest_setup(item: Any) -> None:
    """Put the service into the state that a test expects."""
    for name in FILES:
        if ask("GET", f"/files/{name}") is None:
            upload(name)
    if "delete" in item.name and "test_models" in item.nodeid:
        ask("POST", "/fine_tuning/jobs", json.dumps({"model": "gru", "training_file": "file-abc123", "name": REMOVED}).encode())
    if "resume" in item.name:
        ask("POST", f"/fine_tuning/jobs/{JOB}/pause")
    elif "pause" in item.name or "cancel" in item.name:
        ask("POST", f"/fine_tuning/jobs/{JOB}/resume")
