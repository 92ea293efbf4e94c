"""The command line and HTTP do the same: what one prints, the other answers; what one changes, the other sees."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

import cli
from model.checkpoint import Checkpoint
from service.store import Store
from service.system.processes import THREAD_VARIABLES
from service.training import jobs
from service.training.jobs import JobSpec
from service.web.app import create_app
from service.web.service_config import ServiceConfig

Charloom = Callable[..., Result]
TINY = ["--hidden-size", "4", "--batch-size", "4", "--seq-length", "16", "--steps", "4"]
TALE = "warp weft shuttle (thread) loom heddle reed\n" * 30
OTHER = "warp Ω weft Ω Ж reed\n" * 20


def run(db: Path, *arguments: str | Path, input: bytes | None = None) -> Result:
    """A command ends with a status and never with a traceback."""
    result = CliRunner().invoke(cli.main, [*map(str, arguments)], input=input, prog_name="charloom", env={"CHARLOOM_DB": str(db)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with two models; each test has a copy."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "tale.txt").write_text(TALE)
    for name, cell in (("first", "lstm"), ("두번째", "gru")):
        result = run(folder / "charloom.db", "train", folder / "tale.txt", *TINY, "--cell", cell, "--name", name)
        assert result.exit_code == 0, result.output
    return folder / "charloom.db"


@pytest.fixture
def db(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    return Path(shutil.copy(trained, tmp_path))


@pytest.fixture
def charloom(db: Path) -> Charloom:
    return lambda *arguments, input=None: run(db, *arguments, input=input)


@pytest.fixture
def client(db: Path) -> Iterator[FlaskClient]:
    app = create_app(ServiceConfig(db=db, min_disk=0, max_files=2))
    yield app.test_client()
    app.extensions["charloom"].close()


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_has_the_same_score(charloom: Charloom, client: FlaskClient) -> None:
    text = "warp (weft) Ω\nreed"
    Path("text").write_text(text.replace("\n", "\r\n"), newline="")
    asked = {"model": ["first", "두번째"], "text": text, "logprobs": None}
    answer = client.post("/v1/score", json=asked).get_json()
    for given in (("--text", text), ("--file", "text"), ("--file", "-")):
        printed = charloom("score", "first", "두번째", *given, "--json", input=Path("text").read_bytes())
        assert json.loads(printed.stdout) == answer
    assert answer["data"][0]["unknown"] == 1
    lines = charloom("score", "first", "두번째", "--text", text).stdout.splitlines()
    for line, each in zip(lines[1:], answer["data"], strict=False):
        assert line.split() == [
            each["model"], str(each["symbols"]), "1", f"{each['loss']:.3f}", f"{each['bits_per_char']:.3f}", f"{each['probability']:.1%}"
        ]  # fmt: skip
    assert lines[-1] == f"of these, {answer['likeliest']} most likely wrote it"
    assert "most likely" not in charloom("score", "--text", text).stdout


def test_a_text_is_compared_the_same(charloom: Charloom, client: FlaskClient) -> None:
    asked = {"model": "first", "text": "a thread) loom heddle reed\nwarp weft or not", "min_length": 12, "prompt": "the "}
    printed = charloom("novelty", "first", "--text", asked["text"], "--min-length", "12", "--prompt", "the ", "--json")
    assert json.loads(printed.stdout) == client.post("/v1/novelty", json=asked).get_json()
    assert "thread) loom heddle reed" in charloom("novelty", "--text", str(asked["text"]), "--min-length", "12").stdout


@pytest.mark.parametrize("command", ["score", "novelty"])
@pytest.mark.parametrize("given", [[], ["--text", "a", "--file", "b"], ["--text", ""]], ids=["none", "both", "empty"])
def test_one_text_is_needed(charloom: Charloom, command: str, given: list[str]) -> None:
    result = charloom(command, *given)
    assert result.exit_code in (1, 2)
    assert "--text" in result.stderr


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_is_gone_on_from_with_another_text(charloom: Charloom, db: Path) -> None:
    Path("other.txt").write_text(OTHER)
    result = charloom("train", "other.txt", "--from", "두번째", "--steps", "3", "--batch-size", "4", "--name", "child")
    assert result.exit_code == 0, result.output
    strangers = [c for c in OTHER if c not in TALE]
    assert (
        f"{len(strangers)} of the {len(OTHER)} symbols of corpus other ({len(set(strangers))} different ones) are not in" in result.stdout
    )
    with Store(db) as store:
        child, parent = store.runs.get("child"), store.runs.get("두번째")
        assert (child.parent, child.corpus) == ("두번째@4", "other")
        loaded = [Checkpoint.from_bytes(store.checkpoints.load(each)[1]) for each in (child, parent)]
        assert loaded[0].vocabulary.symbols == loaded[1].vocabulary.symbols
        assert child.model_config == parent.model_config
        spec = JobSpec(corpus="other", parent="두번째", training={"steps": 3, "batch_size": 4}, name="job")
        assert jobs.submit(store, spec).training_config == child.training_config
    refused = charloom("train", "other.txt", "--from", "두번째", "--hidden-size", "9")
    assert (refused.exit_code, "that of the model 두번째@4, which is gone on from" in refused.stderr) == (1, True)
    assert "there is no run 'nothing'" in charloom("train", "other.txt", "--from", "nothing").stderr


def test_jobs_of_a_service_are_listed_and_changed(charloom: Charloom, client: FlaskClient, db: Path) -> None:
    for name in ("one", "two"):
        order = {"model": "lstm", "training_file": "tale", "name": name, "steps": 9}
        assert client.post("/v1/fine_tuning/jobs", json=order).status_code == 200

    def states() -> dict[str, str]:
        return {line.split()[0]: line.split()[1] for line in charloom("jobs", "list").stdout.splitlines()[1:]}

    assert states() == {"two": "queued", "one": "queued"}
    assert charloom("jobs", "pause", "one").stdout.startswith("job one is paused")
    assert client.get("/v1/fine_tuning/jobs/one").get_json()["meta"]["state"] == "paused"
    assert charloom("jobs", "resume", "one").stdout.startswith("job one is queued")
    client.post("/v1/fine_tuning/jobs/two/cancel")
    assert states() == {"one": "queued"}
    printed = [json.loads(line) for line in charloom("jobs", "list", "--all", "--json").stdout.splitlines()]
    assert printed == client.get("/v1/fine_tuning/jobs").get_json()["data"]
    refused = charloom("jobs", "pause", "first")
    assert (refused.exit_code, "it has succeeded" in refused.stderr) == (1, True)
    events = [json.loads(line) for line in charloom("jobs", "events", "two", "--follow", "--json").stdout.splitlines()]
    assert events == client.get("/v1/fine_tuning/jobs/two/events").get_json()["data"][::-1]
    assert events[-1]["message"] in charloom("jobs", "events", "two").stdout.splitlines()[-1]
    assert charloom("jobs", "cancel", "one").stdout.startswith("job one is cancelled")
    assert "no job waits or runs" in charloom("jobs", "list").stdout


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_gets_another_name(charloom: Charloom, client: FlaskClient) -> None:
    written = client.post("/generate", json={"model": "first", "seed": 1, "length": 20}).get_json()
    assert charloom("runs", "rename", "first", "이름").exit_code == 0
    again = client.post("/generate", json={"model": "이름", "seed": 1, "length": 20}).get_json()
    assert (again["text"], again["model"], again["checkpoint"]) == (written["text"], "이름", "이름@4")
    assert client.post("/generate", json={"model": "first"}).status_code == 404
    answer = client.patch("/v1/models/이름", json={"name": "third"})
    assert (answer.status_code, answer.get_json()["id"]) == (200, "third")
    assert charloom("runs", "list").stdout.splitlines()[2].startswith("third ")
    assert client.patch("/v1/models/third", json={"name": "두번째"}).status_code == 409
    for name, body in (("latest", {"name": "a"}), ("third@4", {"name": "a"}), ("third", {"name": "a b"}), ("third", {})):
        assert client.patch(f"/v1/models/{name}", json=body).status_code == 400
    assert client.patch("/v1/models/fourth", json={"name": "a"}).status_code == 404
    assert charloom("check").exit_code == 0


def test_a_corpus_gets_another_name(charloom: Charloom, client: FlaskClient) -> None:
    text = {"model": "first", "text": "warp weft shuttle", "min_length": 3}
    assert client.post("/v1/novelty", json=text).get_json()["corpus"] == "tale"
    assert charloom("corpus", "rename", "tale", "이야기").exit_code == 0
    assert client.post("/v1/novelty", json=text).get_json()["corpus"] == "이야기"  # the model is in memory with its run
    answer = client.patch("/v1/files/이야기", json={"name": "story"})
    assert (answer.status_code, answer.get_json()["id"]) == (200, "story")
    assert client.get("/v1/models/first").get_json()["meta"]["corpus"] == "story"
    for command in (("corpus", "rename", "story", "python"), ("corpus", "rename", "tale", "a")):
        assert charloom(*command).exit_code == 1
    assert client.patch("/v1/files/story", json={"name": "python"}).status_code == 400
    assert charloom("check").exit_code == 0


# ── models as files ───────────────────────────────────────────────────────────────────────────────────────────────────


def put(client: FlaskClient, name: str, data: bytes, **options: Any) -> Any:
    return client.put(f"/v1/models/{name}/content", data=data, content_type="application/octet-stream", **options)


def test_a_model_leaves_and_enters_as_the_same_file(charloom: Charloom, client: FlaskClient) -> None:
    assert charloom("export", "first", "model.safetensors").exit_code == 0
    data = Path("model.safetensors").read_bytes()
    answer = client.get("/v1/models/first@best/content")
    assert (answer.data, answer.headers["Content-Disposition"]) == (data, 'attachment; filename="first-4.safetensors"')
    imported = put(client, "모형", data)
    assert (imported.status_code, imported.get_json()["id"]) == (200, "모형")
    assert client.get("/v1/models/모형/content").data == data
    texts = {client.post("/generate", json={"model": name, "seed": 1, "length": 30}).get_json()["text"] for name in ("first", "모형")}
    assert len(texts) == 1
    assert charloom("import", "model.safetensors", "--name", "again").exit_code == 0
    for name, body, status, message in (
        ("모형", data, 409, "exists already"),
        ("a@4", data, 400, "cannot be used"),
        ("latest", data, 400, "reserved"),
        ("full", data, 409, "2 imported models are stored already"),
    ):
        refused = put(client, name, body)
        assert (refused.status_code, message in refused.get_json()["error"]["message"]) == (status, True), refused.get_json()


@pytest.mark.parametrize("data", [b"", b"not a model", b"\xff" * 100], ids=["empty", "text", "noise"])
def test_a_file_that_is_no_model_is_the_fault_of_the_request(client: FlaskClient, data: bytes) -> None:
    error = put(client, "new", data).get_json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "body", "unusable_model")
    assert "charloom export" in error["message"]
    assert client.get("/v1/models/new").status_code == 404


def test_a_model_is_sent_in_pieces_of_which_one_is_in_memory(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = client.get("/v1/models/first/content").data
    monkeypatch.setattr("service.store.blobs.PIECE", 1000)
    answer = client.get("/v1/models/first/content", buffered=False)
    pieces = [*answer.iter_encoded()]
    assert (b"".join(pieces), answer.content_length) == (whole, len(whole))
    assert max(map(len, pieces)) == 1000 < len(whole)


def test_imports_are_bounded_as_uploads_are(client: FlaskClient, db: Path) -> None:
    app = create_app(ServiceConfig(db=db, min_disk=0, max_upload=1000, upload_memory=10_000))
    bounded, budget = app.test_client(), app.extensions["charloom"].upload_memory
    assert put(bounded, "new", bytes(1001)).status_code == 413
    assert put(bounded, "new", b"", input_stream=io.BytesIO(bytes(1001)), headers={"Transfer-Encoding": "chunked"}).status_code in (
        400,
        413,
    )
    data = client.get("/v1/models/first/content").data
    budget._seconds = 0
    with budget.share() as take:
        take(9_000)
        assert bounded.get("/v1/models/first/content").status_code == 429
        assert put(bounded, "new", data[:900]).status_code == 429
    assert bounded.get("/v1/models/first/content").data == data
    assert put(bounded, "new", data[:900]).get_json()["error"]["code"] == "unusable_model"
    app.extensions["charloom"].close()


def test_a_checkpoint_is_kept_for_good(charloom: Charloom, db: Path) -> None:
    for command, pinned in (("pin", True), ("unpin", False)):
        assert charloom(command, "first@4").exit_code == 0
        with Store(db) as store:
            assert store.checkpoints.get(store.runs.get("first")).pinned == pinned
    assert "for example first@4" in charloom("pin", "first@best").stderr
