"""Nothing that takes room begins where too little of it is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.errors import NoRoomLeft
from service.app import create_app
from service.config import ServiceConfig
from service.room import check_room


def left(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Pretend that so many bytes are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, free))  # type: ignore[attr-defined]


def test_what_is_left_must_stay_above_the_least(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(monkeypatch, 5_000_000)
    check_room(path, 5_000_000)
    check_room(path, 4_000_000, 1_000_000)
    with pytest.raises(NoRoomLeft, match=r"^the disk of charloom.db has 5 MB left, and uploads and jobs leave at least 4 MB; make room"):
        check_room(path, 4_000_000, 1_000_001)


def test_the_disk_is_that_of_the_database() -> None:
    check_room(Path("charloom.db"), 1)
    with pytest.raises(NoRoomLeft):
        check_room(Path("charloom.db"), 10**18)


@pytest.mark.usefixtures("corpus")
def test_uploads_and_jobs_are_refused_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(ServiceConfig(db=path, min_disk=10**6))
    client = app.test_client()
    left(monkeypatch, 10**6 - 1)
    for answer in (
        client.post("/v1/files", data={"purpose": "fine-tune", "file": (__file__, "tale.txt")}, content_type="multipart/form-data"),
        client.post("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": "tale"}),
    ):
        assert answer.status_code == 507
        assert answer.get_json()["error"]["code"] == "no_room_left"
        assert answer.headers["X-Should-Retry"] == "false"
    assert client.get("/health").status_code == 200
    assert client.get("/v1/files").status_code == 200
    app.extensions["charloom"].close()
