"""A full disk, a locked, read-only or damaged database, a damaged checkpoint: a clear error in its place, and the rest keeps working."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from model.checkpoint import Checkpoint
from service.store import Metric, Run, Store, api_keys
from service.training import jobs
from service.training.jobs import JobSpec
from service.web.app import create_app
from service.web.service_config import ServiceConfig

ROOT = Path(__file__).resolve().parents[2]
Server = Any  # of conftest.py

NOISE = os.urandom(10_000_000).hex().encode()  # 20 MB of text, 10 MB when compressed


def form(text: bytes) -> tuple[bytes, dict[str, str]]:
    """An upload as the body of a form, and its headers."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="noise.txt"\r\n\r\n' + text + b"\r\n--b--\r\n",
    ]
    return b"".join(parts), {"Content-Type": "multipart/form-data; boundary=b"}


def uploaded(server: Server, text: bytes, key: str = "") -> tuple[int, Any]:
    """(status, JSON) of an upload to a real service, which is not told how long it is"""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body, headers = form(text)
    headers["Authorization"] = f"Bearer {key}"
    connection.request("POST", "/v1/files", iter([body[:100_000], body[100_000:]]), headers, encode_chunked=True)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def eventually(condition: Callable[[], Any]) -> None:
    """Wait for what another process does; the limit only keeps a broken one from hanging the tests."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def still_works(server: Server) -> bool:
    """Whether it writes and tells what there is."""
    return [server.ask(*what)[0] for what in (("POST", "/generate", {"length": 5}), ("GET", "/v1/models"), ("GET", "/health"))] == [200] * 3


def family(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list processes")
def test_files_that_cannot_grow(launch: Callable[..., Server], add_model: Callable[..., Run], path: Path) -> None:
    add_model()
    server = launch(min_disk=0, workers=0)
    assert still_works(server)
    most = path.stat().st_size + 500_000
    before = {process: resource.prlimit(process, resource.RLIMIT_FSIZE, (most, -1)) for process in family(server.process.pid)}
    status, body = uploaded(server, NOISE)
    assert status == 503
    assert body["error"]["code"] == "database_unusable"
    assert "charloom.db cannot be used as the database: reading or writing it failed" in body["error"]["message"]
    assert still_works(server)
    for process, limits in before.items():
        resource.prlimit(process, resource.RLIMIT_FSIZE, limits)
    assert uploaded(server, NOISE)[0] == 200
    assert still_works(server)
    assert server.stop()[0] == 0
    with Store(path) as store:
        [corpus] = store.corpora.list()
        assert b"".join(piece.encode() for piece in store.corpora.pieces(corpus.name)) == NOISE
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.fixture
def disk_size() -> str:
    return "12m"


@pytest.fixture
def small_disk(tmp_path: Path, disk_size: str) -> Iterator[Path]:
    """A folder on a disk of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_size}", "tmpfs", str(folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("least", [0, 5_000_000])
def test_a_disk_that_is_full(small_disk: Path, launch: Callable[..., Server], put_model: Callable[..., Run], least: int) -> None:
    path = small_disk / "charloom.db"
    with Store(path) as store:
        put_model(store)
    server = launch(db=path, min_disk=least, workers=0)
    for _ in range(2):
        status, body = uploaded(server, NOISE)
        assert status == 507
        assert body["error"]["code"] in (("no_room_left",) if least else ("no_room_left", "disk_full"))
        assert "make room" in body["error"]["message"]
        assert still_works(server)
    assert server.ask("GET", "/v1/files")[1]["data"] == []
    assert uploaded(server, b"a short tale, told in a few words. " * 20)[0] == 200
    assert still_works(server)
    assert server.stop()[0] == 0


def fill(disk: Path, left: int = 0) -> Path:
    """Another program's file that takes all room but so many bytes."""
    file = disk / "filler"
    with contextlib.suppress(OSError), file.open("wb", 0) as filler:
        while (free := shutil.disk_usage(disk).free - left) > 0:
            filler.write(bytes(min(free, 2**20)))
    return file


@pytest.mark.parametrize("disk_size", ["60m"])
def test_on_a_full_disk_what_makes_room_works_and_the_rest_says_why(
    small_disk: Path, launch: Callable[..., Server], put_model: Callable[..., Run], tale: str
) -> None:
    path = small_disk / "charloom.db"
    with Store(path) as store:
        put_model(store, "old", steps=(1, 2), hidden_size=200)
        store.corpora.add("tale", [tale], "tale.txt")
        store.corpora.add("noise", [NOISE[:2_000_000].decode()], "noise.txt")
        store.keys.add(api_keys.hashed(key := api_keys.new()), "reader")
    server = launch(db=path, min_disk=1_000_000, workers=0)

    def order(**name: str) -> int:
        return server.ask("POST", "/v1/fine_tuning/jobs", {"model": "lstm", "training_file": "tale", **name}, key)[0]

    assert [order(name="a"), order(name="b")] == [200, 200]
    assert server.answer("GET", "/health", key=key)["no_room"] is None
    assert path.with_name("charloom.db.reserve").stat().st_size == 2 * 2**20
    filler = fill(small_disk)
    health = server.answer("GET", "/health", key=key)
    assert health["disk_free"] == 0
    assert "the disk of charloom.db has 0 MB left" in health["no_room"]
    message = server.answer("GET", "/v1/fine_tuning/jobs/a", key=key)["meta"]["message"]
    assert message.startswith("waits for room: the disk of charloom.db has 0 MB left")
    assert order() == uploaded(server, b"a short tale, told in a few words. " * 20, key)[0] == 507
    assert [server.ask("POST", f"/v1/fine_tuning/jobs/{what}", key=key)[0] for what in ("a/cancel", "b/pause")] == [200, 200]
    server.process.kill()  # without a process that has it open, even opening the database takes room
    server.process.communicate()
    for command in (("key", "revoke", "reader"), ("runs", "list"), ("runs", "remove", "old"), ("corpus", "remove", "noise")):
        done = subprocess.run(
            [sys.executable, "cli.py", *command, "--db", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    filler.unlink()
    with Store(path) as store:
        assert {run.name: run.state for run in store.runs.list()} == {"a": "cancelled", "b": "paused"}
        assert [corpus.name for corpus in store.corpora.list()] == ["tale"]
        assert store.keys.list() == ()
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


HALF = """
    import os, signal, sys
    from service.store import Store

    def pieces():
        yield open(sys.argv[2]).read()[:2**20 + 1]
        yield "."
        os.kill(os.getpid(), signal.SIGKILL)

    Store(sys.argv[1]).corpora.add("half", pieces(), "noise")
"""


@pytest.mark.parametrize("disk_size", ["8m"])
def test_a_small_disk_takes_no_text_that_is_too_large_and_lets_go_what_was_half_received(
    small_disk: Path, tmp_path: Path, put_model: Callable[..., Run], tale: str
) -> None:
    path, noise = small_disk / "charloom.db", tmp_path / "noise.txt"
    noise.write_bytes(NOISE[:18_000_000])  # 9 MB in the database
    with Store(path) as store:
        put_model(store, "old")
        store.corpora.add("tale", [tale], "tale.txt")

    def charloom(*command: str) -> subprocess.CompletedProcess[str]:
        options: Any = {"cwd": ROOT, "capture_output": True, "text": True}
        return subprocess.run(
            [sys.executable, "cli.py", *command, "--db", str(path)], env={**os.environ, "CHARLOOM_MIN_DISK": "0"}, check=False, **options
        )

    refused = charloom("corpus", "add", str(noise))
    assert (refused.returncode, refused.stderr.endswith("; make room\n")) == (1, True)  # min_disk is 0 already
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(HALF), str(path), str(noise)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{path}-wal").stat().st_size > 500_000
    filler = fill(small_disk)
    for command in (("runs", "list"), ("runs", "remove", "old"), ("corpus", "remove", "tale")):
        done = charloom(*command)
        assert (done.returncode, done.stderr) == (0, "")
    filler.unlink()
    assert charloom("corpus", "add", str(noise)).returncode == 1
    with Store(path) as store:
        assert store.corpora.add("tale", [tale], "tale.txt").characters == len(tale)
        assert store.db.execute("SELECT count(*) FROM texts").fetchone()[0] == 1
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize("disk_size", ["60m"])
def test_a_job_that_finds_no_room_pauses_says_why_and_goes_on_later(small_disk: Path, tale: str) -> None:
    path = small_disk / "charloom.db"
    with Store(path, min_disk=10_000_000) as store:
        store.corpora.add("tale", [tale], "tale.txt")
        small = {"batch_size": 2, "seq_length": 8, "validation_interval": 50}
        jobs.submit(store, JobSpec(corpus="tale", name="run", model={"hidden_size": 8}, training={**small, "steps": 10**6}))
        command = [sys.executable, "-m", "service.training.worker", str(path), "--min-disk", "10000000"]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            eventually(lambda: store.runs.get("run").step > 0)
            filler = fill(small_disk, left=9_000_000)
            eventually(lambda: store.runs.get("run").state != "running")
            run = store.runs.get("run")
            assert run.state == "paused"
            assert re.search(r"^the disk of .*charloom.db has 9 MB left.*leaves at least 10 MB; make room", run.message or "")
            assert store.checkpoints.load_state(run)[0].step == run.step
            assert run.message in store.events.list(run, newest_first=True)[0].message
            jobs.resume(store, "run")
            assert (store.runs.get("run").message or "").startswith("waits for room: ")
            filler.unlink()
            eventually(lambda: store.runs.get("run").step > run.step)
            worker.terminate()
            assert worker.wait(60) == 0
        assert store.runs.get("run").state == "queued"


# ── the database ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def app(path: Path, add_model: Callable[..., Run]) -> Iterator[Flask]:
    """An application with two models."""
    add_model("good")
    add_model("bad", seed=5)
    app = create_app(ServiceConfig(db=path, min_disk=0))
    yield app
    app.extensions["charloom"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def upload(client: FlaskClient) -> Any:
    body, headers = form(b"a short tale, told in a few words. " * 20)
    return client.post("/v1/files", data=body, headers=headers)


def test_a_locked_database(app: Flask, client: FlaskClient, store: Store) -> None:
    app.extensions["charloom"].store.db.execute("PRAGMA busy_timeout = 50")
    with store.immediate():
        answer = upload(client)
        assert answer.status_code == 503
        assert answer.get_json()["error"]["code"] == "database_busy"
        assert answer.headers["Retry-After"]
        for name in ("good", "bad"):
            assert client.post("/generate", json={"model": name, "length": 5}).status_code == 200
        assert client.get("/v1/models").status_code == 200
        assert client.get("/metrics").status_code == 200
    assert upload(client).status_code == 200


READ_ONLY = """
    import ctypes, os, sys
    from pathlib import Path
    from service.web.server import admitted
    from service.web.app import create_app
    from service.web.service_config import ServiceConfig

    path = Path(sys.argv[1])
    path.chmod(0o444)
    if os.geteuid() == 0 and len(sys.argv) == 2:  # begin again without CAP_DAC_OVERRIDE, so that permissions hold for root, too
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
        os.execv(sys.executable, [*sys.orig_argv, "again"])
    config, access = admitted(ServiceConfig(db=path, min_disk=0), "0.0.0.0")
    client = create_app(config).test_client()
    key = {"Authorization": f"Bearer {access.key}"}
    print(client.get("/v1/models").status_code, end=" ")
    print(client.get("/v1/models", headers=key).status_code, end=" ")
    print(client.get("/health").status_code, client.get("/ready").status_code, end=" ")
    print(client.post("/generate", json={"length": 5}, headers=key).status_code, end=" ")
    answer = client.post("/v1/fine_tuning/jobs", json={"model": "lstm", "training_file": "tale"}, headers=key)
    print(answer.status_code, answer.get_json()["error"]["message"])
"""


@pytest.mark.usefixtures("corpus")
def test_a_read_only_database(path: Path, store: Store, add_model: Callable[..., Run]) -> None:
    add_model()
    store.close()
    command = [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout.startswith("401 200 200 503 200 503 "), answer.stderr
    assert "it is read-only; give write permission" in answer.stdout


@pytest.mark.parametrize("crashed", [False, True])
def test_a_read_only_disk(small_disk: Path, launch: Callable[..., Server], put_model: Callable[..., Run], tale: str, crashed: bool) -> None:
    """A database on a medium that cannot be written, also with the log that a crash left: models write, and nothing is written."""
    path = small_disk / "charloom.db"
    with Store(path) as store:
        put_model(store)
        store.corpora.add("tale", [tale], "here")
        if crashed:
            copies = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal", "-shm")}
    if crashed:
        for end, data in copies.items():
            Path(f"{path}{end}").write_bytes(data)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in small_disk.iterdir()}
    server = launch(db=path, workers=1, min_disk=0)
    assert still_works(server)
    assert server.answer("GET", "/v1/files")["data"][0]["id"] == "tale"
    assert server.answer("GET", "/v1/files/tale")["meta"]["characters"] == len(tale)
    for status, body in (uploaded(server, b"a short tale, told in a few words. " * 20), server.ask("DELETE", "/v1/models/first")):
        assert (status, "it is read-only" in body["error"]["message"]) == (503, True), body
    assert server.stop()[0] == 0
    assert {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in small_disk.iterdir()} == before
    command = [sys.executable, "-m", "cli", "sample", "--length", "9", "--db", str(path)]
    assert len(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout) >= 9
    command = [sys.executable, "-m", "cli", "check", "--db", str(path)]
    assert (
        "is sound: 1 corpus, 1 run and 1 checkpoint" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )


def test_a_damaged_database(app: Flask, client: FlaskClient, store: Store, path: Path) -> None:
    upload(client)
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = store.db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'corpora'").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    app.extensions["charloom"].store.close()
    app = create_app(ServiceConfig(db=path, min_disk=0))
    answer = app.test_client().get("/v1/files")
    assert answer.status_code == 503
    error = answer.get_json()["error"]
    assert error["code"] == "database_damaged"
    assert "it is damaged; charloom check --db charloom.db says what is lost," in error["message"]
    assert str(path.parent) not in error["message"]
    assert app.test_client().get("/").status_code == 200
    app.extensions["charloom"].close()


@pytest.mark.parametrize("cached", [False, True])
def test_a_damaged_checkpoint(client: FlaskClient, store: Store, cached: bool) -> None:
    if cached:
        assert client.post("/generate", json={"model": "bad", "length": 5}).status_code == 200
    [stored] = store.checkpoints.list(store.runs.get("bad"))
    data = bytearray(store.db.execute("SELECT data FROM blobs WHERE sha256 = ?", (stored.model_sha256,)).fetchone()[0])
    data[len(data) // 2] ^= 1
    store.db.execute("UPDATE blobs SET data = ? WHERE sha256 = ?", (bytes(data), stored.model_sha256))
    answer = client.post("/generate", json={"model": "bad", "length": 5})
    assert answer.status_code == (200 if cached else 500)  # what is in memory was sound when it was read
    if not cached:
        error = answer.get_json()["error"]
        assert error["code"] == "damaged_checkpoint"
        assert "its bytes changed after they were stored; use another checkpoint of the run, import a file" in error["message"]
    assert client.post("/generate", json={"model": "good", "length": 5}).status_code == 200
    listed = client.get("/v1/models").get_json()["data"]
    assert {model["id"] for model in listed} >= {"good", "bad"}
    assert client.get("/metrics").status_code == client.get("/health").status_code == 200


def test_weights_that_overflow_harm_only_who_asks_for_them(client: FlaskClient, store: Store) -> None:
    """Every number of the checkpoint is finite; what follows from them is not."""
    _, data = store.checkpoints.load(store.runs.get("good"))
    checkpoint = Checkpoint.from_bytes(data)
    checkpoint.model.parameters.flat[:] = 3e38
    run = store.runs.claim(store.runs.create("wild", corpus=None, model_config=checkpoint.model.config.to_dict(), training_config={}).name)
    store.checkpoints.save(run, Metric(step=1), checkpoint.to_bytes(), None)
    store.runs.release(run, "succeeded")
    answers = [client.post("/generate", json={"model": name, "length": 20, "seed": 1}) for name in ("good", "wild", "good")]
    assert answers[0].get_json()["text"] == answers[2].get_json()["text"]
    assert answers[1].status_code in (200, 500)
