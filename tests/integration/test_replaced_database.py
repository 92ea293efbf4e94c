"""A database file that is exchanged under a service that receives uploads: no upload that was answered with 200 is lost."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from service.store import Run, Store

Server = Any  # of conftest.py


def uploaded(server: Server, name: str) -> tuple[int, Any]:
    """(status, JSON) of an upload of a short text."""
    fields = [("purpose", "", "fine-tune"), ("name", "", name), ("file", '; filename="tale.txt"', f"a short tale of {name}. " * 300)]
    parts = [f'--b\r\nContent-Disposition: form-data; name="{key}"{more}\r\n\r\n{value}\r\n' for key, more, value in fields]
    body = "".join([*parts, "--b--\r\n"]).encode()
    request = urllib.request.Request(f"{server.url}/v1/files", body, {"Content-Type": "multipart/form-data; boundary=b"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def mv(backup: Path, path: Path) -> None:
    backup.replace(path)


def cp(backup: Path, path: Path) -> None:
    shutil.copyfile(backup, path)


def rm(backup: Path, path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("exchange", [mv, cp, rm])
def test_no_upload_is_lost(
    launch: Callable[..., Server],
    add_model: Callable[..., Run],
    store: Store,
    path: Path,
    tmp_path: Path,
    exchange: Callable[[Path, Path], None],
) -> None:
    add_model()
    store.close()
    server = launch(min_disk=0, workers=1)
    uploaded(server, "before")
    with Store(path) as second:
        second.backup(tmp_path / "backup.db")
    kept = path.with_name("kept.db")
    kept.hardlink_to(path)  # so that a test can look into what is unlinked
    answers: list[tuple[str, bool, int, Any]] = []
    exchanged = threading.Event()

    def upload_all() -> None:
        number = 0
        while not answers or answers[-1][2] == 200 or number < 20:
            late = exchanged.is_set()
            answers.append((f"tale-{number}", late, *uploaded(server, f"tale-{number}")))
            number += 1

    thread = threading.Thread(target=upload_all)
    thread.start()
    while len(answers) < 10:
        exchanged.wait(0.01)
    exchange(tmp_path / "backup.db", path)
    exchanged.set()
    thread.join()
    stored = {name for name, _, status, _ in answers if status == 200}
    refused = [body["error"] for _, _, status, body in answers if status != 200]
    assert not [name for name, late, status, _ in answers if late and status == 200]
    assert {error["code"] for error in refused} == {"database_replaced"}
    assert "end this process and start it anew" in refused[0]["message"]
    status, body = server.ask("GET", "/health")
    assert (status, body["status"]) == (200, "unreadable")  # it is alive
    status, body = server.ask("GET", "/ready")
    assert (status, "the database file was moved, deleted or replaced (" in body["error"]["message"]) == (503, True)
    assert server.stop()[0] == 0
    if exchange is not cp:  # what was answered before is in the file as it was
        with Database(kept) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert {row[0] for row in db.execute("SELECT name FROM corpora")} == stored | {"before"}
    if exchange is not rm:  # and what lies there now is the backup
        again = launch(min_disk=0)
        assert uploaded(again, "after")[0] == 200
        assert {file["id"] for file in again.answer("GET", "/v1/files")["data"]} == {"before", "after"}
        assert again.stop() == (0, "")
        with Database(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    else:
        assert not path.exists()
