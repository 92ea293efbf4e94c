"""/v1/fine_tuning/jobs: what is ordered, what is told about it, and what may be asked of it. Nothing is trained here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from model.config import ModelConfig, TrainingConfig
from model.settings import settings_of
from service.store import Corpus, Metric, Run, Store
from service.store.api_keys import hashed
from service.web.api import fine_tuning
from service.web.app import create_app
from service.web.service_config import ServiceConfig

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(autouse=True)
def _corpus(corpus: Corpus) -> None:
    """There is a file, tale."""


@pytest.fixture
def order(client: FlaskClient) -> Callable[..., TestResponse]:
    """Order a job."""
    return lambda **body: client.post(JOBS, json={"model": "gru", "training_file": "tale", **body})


def error(answer: TestResponse) -> tuple[int, str | None, str]:
    found = answer.get_json()["error"]
    return answer.status_code, found["param"], found["message"]


# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job(order: Callable[..., TestResponse], store: Store) -> None:
    answer = order()
    assert answer.status_code == 200
    job = answer.get_json()
    assert job.pop("created_at") > 1_700_000_000
    meta = job.pop("meta")
    assert (meta["state"], meta["step"], meta["wanted"], meta["parent"]) == ("queued", 0, None, None)
    assert meta["model_config"]["cell"] == "gru"
    hyperparameters = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert job == {
        "id": "tale-gru",
        "object": "fine_tuning.job",
        "finished_at": None,
        "estimated_finish": None,
        "model": "gru",
        "fine_tuned_model": None,
        "organization_id": "charloom",
        "result_files": [],
        "status": "queued",
        "training_file": "tale",
        "validation_file": None,
        "trained_tokens": None,
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "seed": 0,
        "error": None,
        "integrations": [],
        "metadata": None,
        "user_provided_suffix": None,
    }
    assert store.runs.get("tale-gru").queued


def given_of(store: Store, name: str) -> dict[str, Any]:
    """The settings that a queued run was given."""
    found: dict[str, Any] = store.runs.get(name).request["given"]
    return found


def test_everything_that_can_be_ordered(order: Callable[..., TestResponse], store: Store) -> None:
    store.corpora.add("other", ["the loom " * 50], "other")
    metadata = {"who": "me", "half": "\ud800"}
    hyperparameters = {"n_epochs": 2.5, "batch_size": 8, "learning_rate_multiplier": 0.5}
    job = order(
        suffix="first try",
        validation_file="other",
        seed=7,
        hidden_size=32,
        dropout=0.25,
        clip_norm=2,
        hyperparameters=hyperparameters,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2.5, "batch_size": "auto"}}},
        metadata=metadata,
        integrations=[],
    ).get_json()
    assert job["id"] == "tale-gru-first-try"
    assert job["hyperparameters"] == {**hyperparameters, "n_epochs": 3}, "OpenAI's clients know whole numbers only"
    assert job["meta"]["training_config"]["epochs"] == 2.5
    assert (job["seed"], job["validation_file"], job["user_provided_suffix"]) == (7, "other", "first try")
    assert job["metadata"] == {"who": "me", "half": "?"}
    assert given_of(store, job["id"]) == {
        "cell": "gru",
        "hidden_size": 32,
        "dropout": 0.25,
        "seed": 7,
        "clip_norm": 2,
        "epochs": 2.5,
        "batch_size": 8,
    }
    assert store.runs.get(job["id"]).request["learning_rate_multiplier"] == 0.5


def test_every_setting_of_ours_may_be_ordered_and_null_chooses(order: Callable[..., TestResponse]) -> None:
    names = [field.name for config in (ModelConfig, TrainingConfig) for field, _ in settings_of(config)]
    assert order(**dict.fromkeys(names), name="nulls").status_code == 200
    for config in (ModelConfig, TrainingConfig):
        for field, _ in settings_of(config):
            value = 1 if field.default is None else field.default
            if field.name != "cell":
                assert order(**{field.name: value}).status_code == 200, field.name


def test_a_budget_or_steps(order: Callable[..., TestResponse], store: Store) -> None:
    assert order(budget=60, name="a").get_json()["meta"]["training_config"]["budget"] == 60
    assert order(steps=3, name="b").get_json()["meta"]["training_config"]["steps"] == 3


def test_a_model_to_continue_from(order: Callable[..., TestResponse], add_model: Callable[..., Run]) -> None:
    add_model("first", steps=(100, 200), text="the loom \n")
    job = order(model="first@100", steps=5, suffix="more").get_json()
    assert (job["id"], job["model"], job["meta"]["parent"]) == ("tale-gru-more", "first@100", "first@100")
    assert job["meta"]["model_config"]["hidden_size"] == 8
    assert order(model="latest").get_json()["model"] == "first@200"
    assert error(order(model="first", hidden_size=9))[:2] == (400, "hidden_size")
    assert error(order(model="first", cell="lstm"))[:2] == (400, "cell")


@pytest.mark.parametrize(
    ("body", "status", "param", "sentence"),
    [
        ({"model": "gpt-4o"}, 404, "model", "there is no run 'gpt-4o'"),
        ({"model": "latest"}, 404, "model", "no model is trained yet"),
        ({"model": "first@x"}, 404, "model", "there is no run 'first'"),
        ({"model": "\ud800"}, 404, "model", "there is no run '?'"),
        ({"training_file": "none"}, 404, "training_file", "there is no corpus 'none'"),
        ({"training_file": "\ud800"}, 404, "training_file", "there is no corpus '?'"),
        ({"validation_file": "none"}, 404, "validation_file", "there is no corpus 'none'"),
        ({"model": None}, 400, "model", "model is null; it must be a string"),
        ({"cell": "lstm"}, 400, "cell", "cell is 'lstm'; it must be left out, or gru"),
        ({"activation": "relu"}, 400, "activation", "it must be tanh for the cell gru"),
        ({"steps": 0}, 400, "steps", "steps is 0; it must be a whole number from 1 to"),
        ({"steps": 5, "epochs": 1}, 400, "steps", "it must be left out if epochs is given"),
        ({"steps": 5, "hyperparameters": {"n_epochs": 1}}, 400, "hyperparameters.n_epochs", "left out if steps is given"),
        ({"budget": 5, "hyperparameters": {"n_epochs": 1}}, 400, "hyperparameters.n_epochs", "left out if budget is given"),
        ({"epochs": 5, "hyperparameters": {"n_epochs": 1}}, 400, "hyperparameters.n_epochs", "left out if epochs is given"),
        ({"batch_size": 5, "hyperparameters": {"batch_size": 6}}, 400, "hyperparameters.batch_size", "if batch_size is given"),
        (
            {"learning_rate": 1e-3, "hyperparameters": {"learning_rate_multiplier": 2}},
            400,
            "hyperparameters.learning_rate_multiplier",
            "it must be left out if learning_rate is given",
        ),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs", "it must be auto or a number above 0"),
        ({"hyperparameters": {"n_epochs": "many"}}, 400, "hyperparameters.n_epochs", "it must be auto or a number above 0"),
        ({"hyperparameters": {"batch_size": 1.5}}, 400, "hyperparameters.batch_size", "it must be auto or a whole number"),
        ({"hyperparameters": {"beta": 1}}, 400, "hyperparameters.beta", "is not a known setting"),
        ({"hyperparameters": 5}, 400, "hyperparameters", "it must be an object"),
        (
            {"hyperparameters": {"n_epochs": 1}, "method": {"supervised": {"hyperparameters": {"n_epochs": 2}}}},
            400,
            "method.supervised.hyperparameters.n_epochs",
            "it must be 1, as in hyperparameters",
        ),
        ({"method": {"type": "dpo"}}, 400, "method.type", "it must be supervised"),
        ({"suffix": "x" * 65}, 400, "suffix", "it must be a string of at most 64 characters"),
        ({"name": "a name"}, 400, "name", "cannot be used"),
        ({"name": "lstm"}, 400, "name", "is reserved"),
        ({"name": "x", "suffix": "y"}, 400, "suffix", "left out if name is given"),
        ({"metadata": {"a": 1}}, 400, "metadata", "it must be an object of at most 16 strings"),
        ({"integrations": [{}] * 6}, 400, "integrations", "it must be a list of at most 5"),
        ({"min_count": 1000}, 400, "min_count", "it must be at most"),
        ({"hidden_size": 16_384, "num_layers": 64}, 400, "hidden_size", "parameters"),
        ({"n_epochs": 5}, 400, "n_epochs", "n_epochs is not a known setting"),
    ],
)
def test_what_is_refused_is_refused_at_once(
    order: Callable[..., TestResponse], store: Store, body: dict[str, Any], status: int, param: str, sentence: str
) -> None:
    found = error(order(**body))
    assert found[:2] == (status, param)
    assert sentence in found[2]
    assert store.runs.list() == ()


def test_what_must_be_given(client: FlaskClient, store: Store) -> None:
    assert error(client.post(JOBS, json={"model": "gru"})) == (
        400,
        "training_file",
        "training_file is missing; it must be given: the file to train on",
    )
    assert error(client.post(JOBS))[:2] == (400, "model")
    assert error(client.post(JOBS, data="{}"))[0] == 415
    store.corpora.add("short", ["too short"], "short")
    assert error(client.post(JOBS, json={"model": "gru", "training_file": "short"}))[:2] == (400, "training_file")


def test_names(order: Callable[..., TestResponse]) -> None:
    assert [order().get_json()["id"] for _ in range(2)] == ["tale-gru", "tale-gru-2"]
    assert order(name="mine").get_json()["id"] == "mine"
    answer = order(name="mine")
    assert error(answer)[:2] == (409, "name")
    assert answer.headers["X-Should-Retry"] == "false"


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_jobs_are_listed_newest_first_and_imported_models_are_none(
    client: FlaskClient, order: Callable[..., TestResponse], add_model: Callable[..., Run]
) -> None:
    assert client.get(JOBS).get_json()["data"] == []
    for name in "abc":
        order(name=name)
    add_model("imported")
    found = client.get(JOBS).get_json()
    assert ([job["id"] for job in found["data"]], found["has_more"]) == (["c", "b", "a"], False)
    found = client.get(f"{JOBS}?limit=1&after=c").get_json()
    assert ([job["id"] for job in found["data"]], found["has_more"]) == (["b"], True)
    assert client.get(f"{JOBS}/b").get_json() == found["data"][0]
    assert error(client.get(f"{JOBS}/none"))[:2] == (404, "fine_tuning_job_id")


@pytest.mark.parametrize(
    ("state", "model", "fault"),
    [
        ("succeeded", "done", None),
        ("paused", "done", None),
        ("cancelled", "done", None),
        ("failed", "done", {"code": "training_failed", "message": "why", "param": None}),
    ],
)
def test_a_job_that_has_ended(client: FlaskClient, store: Store, add_model: Callable[..., Run], state: str, model: str, fault: Any) -> None:
    store.runs.create("done", corpus="tale", model_config=ModelConfig().to_dict(), training_config=TrainingConfig(steps=400).to_dict())
    run = store.runs.claim("done")
    store.checkpoints.save(run, Metric(step=100, epoch=0.5, loss=2.0, validation_loss=2.1, bits_per_char=3.0, seconds=50), b"m", b"s")
    running = client.get(f"{JOBS}/done").get_json()
    assert (running["status"], running["fine_tuned_model"], running["meta"]["share"]) == ("running", None, 0.25)
    assert running["estimated_finish"] > running["created_at"] + 100
    store.runs.release(run, state, "why")
    job = client.get(f"{JOBS}/done").get_json()
    assert (job["meta"]["state"], job["fine_tuned_model"], job["error"], job["estimated_finish"]) == (state, model, fault, None)
    assert job["status"] == ("queued" if state == "paused" else state), "a word that OpenAI's clients know"
    assert (job["finished_at"] is None) == (state == "paused")
    assert job["hyperparameters"] == {"n_epochs": "auto", "batch_size": 32, "learning_rate_multiplier": "auto"}
    assert (job["meta"]["step"], job["meta"]["validation_loss"], job["meta"]["message"]) == (100, 2.1, "why")


def test_checkpoints(client: FlaskClient, add_model: Callable[..., Run]) -> None:
    add_model("first", steps=(100, 200, 300))
    found = client.get(f"{JOBS}/first/checkpoints").get_json()
    assert [each["id"] for each in found["data"]] == ["first@300", "first@200", "first@100"]
    each = found["data"][1]
    assert each.pop("created_at") > 1_700_000_000
    assert each == {
        "id": "first@200",
        "object": "fine_tuning.job.checkpoint",
        "fine_tuned_model_checkpoint": "first@200",
        "fine_tuning_job_id": "first",
        "step_number": 200,
        "metrics": {"step": 200, "train_loss": 2.0, "valid_loss": 2.0 - 200 / 1e6, "bits_per_char": 2.9},
    }
    found = client.get(f"{JOBS}/first/checkpoints?after=first@300&limit=1").get_json()
    assert ([each["id"] for each in found["data"]], found["has_more"]) == (["first@200"], True)


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_resume_and_cancel(client: FlaskClient, order: Callable[..., TestResponse]) -> None:
    order(name="a")
    for change, status in (
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "queued"),
        ("cancel", "cancelled"),
        ("cancel", "cancelled"),
    ):
        for _ in "again":
            assert client.post(f"{JOBS}/a/{change}").get_json()["meta"]["state"] == status
    answer = client.post(f"{JOBS}/a/pause")
    assert error(answer)[:2] == (409, "fine_tuning_job_id")
    assert answer.headers["X-Should-Retry"] == "false"
    for change in ("pause", "resume", "cancel"):
        assert error(client.post(f"{JOBS}/none/{change}"))[:2] == (404, "fine_tuning_job_id")


def test_a_running_job_is_given_time_to_change(
    client: FlaskClient, store: Store, order: Callable[..., TestResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    order(name="a")
    run = store.runs.claim("a")
    monkeypatch.setattr("service.training.jobs.CHANGE", 0.0)
    job = client.post(f"{JOBS}/a/pause").get_json()
    assert (job["status"], job["meta"]["wanted"]) == ("running", "paused")
    monkeypatch.setattr("service.training.jobs.CHANGE", 30.0)
    monkeypatch.setattr("service.training.jobs.time.sleep", lambda seconds: store.runs.release(run, "cancelled"))
    assert client.post(f"{JOBS}/a/cancel").get_json()["status"] == "cancelled"


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(order: Callable[..., TestResponse], store: Store) -> Run:
    """A job with five events: the first says that it is queued."""
    order(name="a")
    run = store.runs.get("a")
    for number in range(1, 4):
        store.events.add(run, f"message {number}")
    store.events.add(run, "measured", level="warn", data={"step": 3, "loss": 1.5})
    return run


def test_a_list_of_events_has_the_newest_first(client: FlaskClient, job: Run) -> None:
    found = client.get(f"{JOBS}/a/events").get_json()
    assert [each["message"] for each in found["data"]][:4] == ["measured", "message 3", "message 2", "message 1"]
    assert (len(found["data"]), found["has_more"]) == (5, False)
    newest = found["data"][0]
    assert newest.pop("created_at") > 1_700_000_000
    assert newest.pop("id").startswith("ftevent-")
    assert newest == {
        "object": "fine_tuning.job.event",
        "level": "warn",
        "message": "measured",
        "type": "metrics",
        "data": {"step": 3, "loss": 1.5},
    }
    first = client.get(f"{JOBS}/a/events?limit=2").get_json()
    assert first["has_more"]
    second = client.get(f"{JOBS}/a/events?limit=3&after={first['last_id']}").get_json()
    assert [each["id"] for each in first["data"] + second["data"]] == [first["first_id"], *(each["id"] for each in found["data"][1:])]
    assert not second["has_more"]
    for query in ("after=x", "after=-1", "after=" + "9" * 30, "limit=-1", "stream=maybe"):
        assert error(client.get(f"{JOBS}/a/events?{query}"))[0] == 400
    assert error(client.get(f"{JOBS}/none/events"))[:2] == (404, "fine_tuning_job_id")


def streamed(answer: TestResponse) -> list[tuple[str | None, Any]]:
    """(id, data) of each event of a stream, in the strictest reading of the format."""
    assert answer.mimetype == "text/event-stream"
    found = []
    for block in answer.get_data(as_text=True).removesuffix("\n\n").split("\n\n"):
        *head, data = block.split("\n")
        assert data.startswith("data: ")
        found.append((head[0].removeprefix("id: ") if head else None, data[6:] if data == "data: [DONE]" else json.loads(data[6:])))
    return found


@pytest.mark.parametrize(("query", "headers"), [("?stream=true", {}), ("", {"Accept": "text/event-stream"})])
def test_a_stream_has_all_events_in_order_and_ends_with_the_job(
    client: FlaskClient, store: Store, job: Run, query: str, headers: dict[str, str]
) -> None:
    store.runs.release(store.runs.claim("a"), "failed")
    *events, last = streamed(client.get(f"{JOBS}/a/events{query}", headers=headers))
    assert last == (None, "[DONE]")
    assert [each["message"] for _, each in events][1:] == ["message 1", "message 2", "message 3", "measured"]
    assert [id for id, _ in events] == [each["id"] for _, each in events]
    listed = client.get(f"{JOBS}/a/events").get_json()["data"]
    assert [each for _, each in events] == listed[::-1]


def test_a_stream_that_was_broken_off_goes_on(client: FlaskClient, store: Store, job: Run) -> None:
    store.runs.release(store.runs.claim("a"), "cancelled")
    ids = [id for id, _ in streamed(client.get(f"{JOBS}/a/events?stream=true"))][:-1]
    for headers, query in (({"Last-Event-ID": ids[2]}, ""), ({}, f"&after={ids[2]}"), ({"Last-Event-ID": ids[2]}, f"&after={ids[0]}")):
        found = streamed(client.get(f"{JOBS}/a/events?stream=true{query}", headers=headers))
        assert [id for id, _ in found] == [*ids[3:], None]
    answer = client.get(f"{JOBS}/a/events?stream=true", headers={"Last-Event-ID": ids[-1] or ""})
    assert (answer.status_code, answer.data) == (204, b"")
    assert error(client.get(f"{JOBS}/a/events?stream=true", headers={"Last-Event-ID": "x"}))[0] == 400


def following_of(app: Flask, *, gone: Iterator[bool], stopping: bool = False) -> list[bytes]:
    return list(fine_tuning.follow(app.extensions["charloom"], "a", 0, lambda: next(gone), lambda: stopping))


def test_events_come_as_they_happen(app: Flask, store: Store, job: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = store.runs.claim("a")
    moments = iter([lambda: store.events.add(job, "later"), lambda: store.runs.release(claimed, "succeeded")])
    monkeypatch.setattr(fine_tuning.time, "sleep", lambda seconds: next(moments)())
    monkeypatch.setattr(fine_tuning, "SILENCE", -1.0)  # every look that finds nothing says so
    told = following_of(app, gone=iter([False] * 99))
    assert [b"later" in each for each in told].index(True) == 6  # five events, a comment
    assert told[5].startswith(b":")
    assert told[-1] == b"data: [DONE]\n\n"


def test_a_client_is_answered_at_once_where_nothing_is_new(app: Flask, store: Store, job: Run) -> None:
    newest = max(each.id for each in store.events.list(job))
    stream = fine_tuning.follow(app.extensions["charloom"], "a", newest, lambda: False, lambda: False)
    assert next(stream).startswith(b":")


def test_a_client_that_is_gone_is_not_waited_for(app: Flask, job: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning.time, "sleep", lambda seconds: None)
    assert len(following_of(app, gone=iter([False, False, True]))) == 5


def test_a_stream_ends_with_an_error_where_the_service_stops_or_the_job_is_deleted(app: Flask, store: Store, job: Run) -> None:
    assert json.loads(following_of(app, gone=iter([False]), stopping=True)[-1][6:])["error"]["code"] == "service_stopping"
    store.runs.remove("a")
    assert json.loads(following_of(app, gone=iter([False]))[-1][6:])["error"]["code"] == "run_not_found"


def test_a_stream_ends_once_its_key_is_revoked(path: Path, corpus: Corpus, store: Store, job: Run) -> None:
    app = create_app(ServiceConfig(db=path))
    try:
        store.keys.add(hashed("0123456789abcdef"), "laptop", scope="write")
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        stream = app.test_client().get(f"{JOBS}/a/events?stream=true", headers=headers, buffered=False).iter_encoded()
        assert next(stream).startswith(b"id: ")
        store.keys.revoke("laptop")
        assert json.loads(list(stream)[-1][6:])["error"]["code"] == "invalid_api_key"
    finally:
        app.extensions["charloom"].close()


def test_too_many_followers(app: Flask, client: FlaskClient, job: Run) -> None:
    limit = app.extensions["charloom"].config.max_followers
    streams = [client.get(f"{JOBS}/a/events?stream=true", buffered=False) for _ in range(3 * limit // 4)]
    answer = client.get(f"{JOBS}/a/events?stream=true")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert "16 (--max-followers) and 12 of one caller" in error(answer)[2]
    other = {"REMOTE_ADDR": "127.0.0.2"}
    streams.insert(0, client.get(f"{JOBS}/a/events?stream=true", buffered=False, environ_base=other))
    assert streams[0].status_code == 200, "the last places are for other callers"
    assert client.get(f"{JOBS}/a/events").status_code == 200
    streams.pop().close()
    streams.append(client.get(f"{JOBS}/a/events?stream=true", buffered=False))
    assert streams[-1].status_code == 200
    for stream in streams:
        stream.close()
        stream.close()
    with client.get(f"{JOBS}/a/events?stream=true", buffered=False) as answer:
        assert answer.status_code == 200


def test_a_queue_has_a_limit(path: Path, corpus: Corpus) -> None:
    app = create_app(ServiceConfig(db=path, max_jobs=2))
    try:
        client = app.test_client()
        body = {"model": "gru", "training_file": "tale"}
        assert [client.post(JOBS, json=body).status_code for _ in range(3)] == [200, 200, 429]
        answer = client.post(JOBS, json=body)
        assert "2 jobs wait or are carried out already, and the limit is 2" in error(answer)[2]
        assert client.post(f"{JOBS}/tale-gru/cancel").status_code == 200
        assert client.post(JOBS, json=body).status_code == 200
    finally:
        app.extensions["charloom"].close()


def test_a_caller_has_a_limit_of_jobs_and_changes_only_its_own(path: Path, corpus: Corpus, store: Store) -> None:
    app = create_app(ServiceConfig(db=path, caller_jobs=2))
    keys = {name: f"the-key-of-{name}-0123456789" for name in ("first", "second", "admin")}
    for name, key in keys.items():
        store.keys.add(hashed(key), name, scope="admin" if name == "admin" else "train")
    try:
        client = app.test_client()

        def post(who: str, path: str = "", body: dict[str, Any] | None = None) -> TestResponse:
            return client.post(f"{JOBS}{path}", json=body, headers={"Authorization": f"Bearer {keys[who]}"})

        body = {"model": "gru", "training_file": "tale"}
        mine = [post("first", body={**body, "name": f"mine-{number}"}) for number in range(3)]
        assert [answer.status_code for answer in mine] == [200, 200, 429]
        assert "2 jobs of yours wait or are carried out already, and the limit for one caller is 2 (--caller-jobs)" in error(mine[2])[2]
        assert int(mine[2].headers["Retry-After"]) > 0
        assert post("second", body=body).status_code == 200
        assert store.runs.get("mine-0").caller == "key:first"
        for change in ("cancel", "pause", "resume"):
            answer = post("second", f"/mine-0/{change}")
            assert answer.status_code == 403
            assert error(answer)[2].startswith(
                "the job mine-0 was ordered by another caller; only that one, or a key with the scope admin,"
            )
        assert store.runs.get("mine-0").state == "queued"
        assert post("first", "/mine-0/pause").get_json()["meta"]["state"] == "paused"
        assert post("admin", "/mine-1/cancel").get_json()["status"] == "cancelled"
        assert [post("first", body=body).status_code for _ in range(3)] == [200, 200, 429]
        assert post("first", "/mine-0/resume").status_code == 429
    finally:
        app.extensions["charloom"].close()


def test_a_job_has_a_day_by_default(client: FlaskClient, order: Callable[..., TestResponse], store: Store, corpus: Corpus) -> None:
    assert store.runs.get(order().get_json()["id"]).request["max_seconds"] == 86_400
    answer = order(budget=86_401)
    assert (answer.status_code, error(answer)[1]) == (400, "budget")
    assert "at most 86,400" in error(answer)[2]


def test_jobs_by_their_metadata(client: FlaskClient, order: Callable[..., TestResponse], corpus: Corpus) -> None:
    order(metadata={"who": "me", "what": "tale"})
    order(metadata={"who": "you"})
    order()

    def found(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"{JOBS}?{query}").get_json()["data"]]

    assert found("metadata[who]=me") == found("metadata%5Bwho%5D=me&metadata%5Bwhat%5D=tale") == ["tale-gru"]
    assert found("metadata[who]=nobody") == []
    assert len(found("")) == 3
    assert found("metadata=null") == ["tale-gru-3"]


def test_what_other_services_have_is_taken_and_told(client: FlaskClient, order: Callable[..., TestResponse]) -> None:
    wandb = {"type": "wandb", "wandb": {"project": "looms"}}
    method = {"type": "supervised", "dpo": {"hyperparameters": {"beta": "auto"}}, "reinforcement": {"grader": {}}}
    job = order(integrations=[wandb], method=method).get_json()
    assert (job["integrations"], list(job["method"])) == ([], ["type", "supervised"])
    told = client.get(f"{JOBS}/{job['id']}/events").get_json()["data"][0]
    assert (told["level"], "integrations are left out" in told["message"]) == ("warn", True)


def test_errors_name_files_as_clients_do(client: FlaskClient, order: Callable[..., TestResponse], store: Store) -> None:
    store.corpora.add("other", ["the loom " * 50], "other")
    assert "left out if validation_file is given" in error(order(validation_file="other", validation_fraction=0.2))[2]
