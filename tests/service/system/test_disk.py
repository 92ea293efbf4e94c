"""Files that appear when they are whole, or not at all; nothing that takes room begins if too little is left, and what frees it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.system import disk
from service.system.disk import Room, check_writable, write_whole
from service.system.errors import FileTaken, FileUnwritable, NoRoomLeft
from service.web.app import create_app
from service.web.service_config import ServiceConfig

# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_written_and_nothing_else_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.svg", b"one")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.svg", b"one")]


def test_what_exists_is_overwritten_only_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    write_whole(file, b"one")
    with pytest.raises(FileTaken, match=r"a\.svg"):
        write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    write_whole(file, b"two", overwrite=True)
    assert file.read_bytes() == b"two"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_file(tmp_path: Path, overwrite: bool) -> None:
    for refuse in (lambda: write_whole(tmp_path, b"", overwrite=overwrite), lambda: check_writable(tmp_path, overwrite=overwrite)):
        with pytest.raises(FileUnwritable, match="it is a folder"):
            refuse()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileUnwritable, match="No such file or directory"):
        write_whole(tmp_path / "none" / "a.svg", b"one")
    assert list(tmp_path.iterdir()) == []


# ── room ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def left(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Pretend that so many bytes are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, free))  # type: ignore[attr-defined]


def test_what_is_left_must_stay_above_the_least(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(monkeypatch, 5_000_000)
    assert Room(path, 5_000_000).shortage() is None
    room = Room(path, 4_000_000)
    room.check(1_000_000)
    message = r"^the disk of charloom.db has 5 MB left, 1 MB are to be written, and what is stored leaves at least 4 MB; make room"
    with pytest.raises(NoRoomLeft, match=message):
        room.check(1_000_001)


def test_a_worker_and_a_service_leave_the_same_by_default() -> None:
    assert ServiceConfig.min_disk == disk.LEAST


def test_the_disk_is_that_of_the_database() -> None:
    Room(Path("charloom.db"), 1).check()
    with pytest.raises(NoRoomLeft):
        Room(Path("charloom.db"), 10**18).check()


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


# ── reserve ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def reserve(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(disk, "RESERVE", 10_000)
    monkeypatch.setattr(disk, "SMALLEST", 1000)
    return path.with_name("charloom.db.reserve")


def test_the_reserve_is_given_up_on_a_full_disk_and_made_again(reserve: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(path, 50_000)
    left(monkeypatch, 8 * 1000 - 1)
    room.keep_reserve()
    assert not reserve.exists()
    assert room.notes() == [room.no_reserve()]
    assert "there is no reserve on the disk of charloom.db: 0.0 MB are free" in room.notes()[0]
    for free, size in ((8 * 1000, 1000), (8 * 5000 - 1000, 5000), (8 * 4000, 5000), (10**9, 10_000), (8 * 1000, 10_000)):
        left(monkeypatch, free)
        room.keep_reserve()
        assert reserve.stat().st_size == size
        assert reserve.stat().st_mode & 0o777 == 0o600
        assert room.notes() == []
    reserve.chmod(0o644)  # as earlier releases made it
    room.keep_reserve()
    assert reserve.stat().st_mode & 0o777 == 0o600
    left(monkeypatch, 10_000)
    assert not room.give_up_reserve()
    left(monkeypatch, 9_999)
    assert room.give_up_reserve()
    assert list(path.parent.iterdir()) == []
    assert not room.give_up_reserve()
    left(monkeypatch, 8 * 1000 - 1)
    room.keep_reserve()
    assert not reserve.exists()
    left(monkeypatch, 10**9)
    room.keep_reserve()
    assert reserve.stat().st_size == 10_000


def test_a_reserve_takes_real_room_and_none_is_made_in_part(reserve: Path, path: Path) -> None:
    Path(f"{reserve}.part").write_bytes(b"of a killed process")
    Room(path).keep_reserve()
    assert [each.name for each in path.parent.iterdir()] == [reserve.name]
    assert reserve.stat().st_blocks * 512 >= 10_000
    assert len(set(reserve.read_bytes())) == 256  # no file system compresses it


def test_a_least_below_the_reserve_is_raised_and_told(reserve: Path, path: Path) -> None:
    room = Room(path, 4000)
    room.keep_reserve()
    assert room.least == 10_000
    assert room.notes() == ["min_disk is 4,000 bytes; 10,000 bytes are left at least, the size of the reserve"]
    assert Room(path, 0).notes() == []  # as little as can be


def test_a_folder_that_cannot_be_written_has_no_reserve(path: Path) -> None:
    Room(path.parent / "none" / "charloom.db").keep_reserve()
    assert list(path.parent.iterdir()) == []
