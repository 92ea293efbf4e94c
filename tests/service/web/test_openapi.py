"""/openapi.json says what there is, all of it and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import CharloomError
from model.settings import settings_of
from service.store import Corpus, Run
from service.web.errors import REASONS, STATUSES
from service.web.openapi import routes_of
from service.web.validation import ROUTE_FIELDS


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def references(value: Any) -> Iterator[str]:
    """Whatever is referred to anywhere."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_every_route_of_the_application_is_in_it_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        (method, re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, path) for method, path, _ in operations(document)} == routes


def test_a_view_that_tells_nothing_about_itself_is_found(app: Flask) -> None:
    app.add_url_rule("/secret", view_func=lambda: "")
    with pytest.raises(LookupError, match="the view of /secret is not declared"):
        list(routes_of(app))


def test_whatever_is_referred_to_is_there_and_used(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert all(resolved(document, reference) for reference in found)
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} <= found
    assert {f"#/components/responses/{name}" for name in document["components"]["responses"]} <= found


def test_ids_summaries_and_descriptions(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for _, path, operation in operations(document):
        assert operation["summary"], path
        assert not operation["summary"].endswith(".")
        assert all(parameter["description"] for parameter in operation["parameters"]), path
    assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


def test_bodies_have_all_that_the_configurations_have(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    job = schemas["JobOrder"]
    for configuration in (ModelConfig, TrainingConfig):
        for field, setting in settings_of(configuration):
            assert job["properties"][field.name]["description"] == setting.meaning
    assert (job["required"], job["additionalProperties"]) == (["model", "training_file"], False)
    assert job["properties"]["beta1"]["anyOf"] == [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"type": "null"}]
    generate = schemas["Generate"]["properties"]
    assert {field.name for field, _ in settings_of(SamplingConfig)} - set(generate) == {"prompt_ids", "logprobs", "echo"}
    form = schemas["Upload"]
    assert (form["required"], form["properties"]["file"]["format"]) == (["file"], "binary")
    bodies = {path: operation["requestBody"] for _, path, operation in operations(document) if "requestBody" in operation}
    assert bodies["/generate"]["required"] is False
    assert bodies["/v1/fine_tuning/jobs"]["required"] is True
    assert list(bodies["/v1/files"]["content"]) == ["multipart/form-data"]


def test_the_limits_of_the_service_are_those_of_the_schema(document: dict[str, Any]) -> None:
    generate = document["components"]["schemas"]["Generate"]["properties"]
    length, records = (next(each for each in generate[name]["anyOf"] if each["type"] == "integer") for name in ("length", "records"))
    assert (length["maximum"], generate["n"]["maximum"], records["maximum"]) == (1000, 4, 1000)  # of conftest.py
    assert generate["top_k"]["maximum"] == 2_000_000


def test_parameters(document: dict[str, Any]) -> None:
    events = document["paths"]["/v1/fine_tuning/jobs/{job}/events"]["get"]
    assert [(each["name"], each["in"], each["required"]) for each in events["parameters"]] == [
        ("job", "path", True),
        ("after", "query", False),
        ("stream", "query", False),
        ("limit", "query", False),
        ("Last-Event-ID", "header", False),
    ]
    assert events["parameters"][3]["schema"] == {"type": "integer", "minimum": 0, "maximum": 10_000, "default": 20}
    assert set(events["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "204" in events["responses"]


def test_statuses_come_from_the_table_of_errors(document: dict[str, Any]) -> None:
    assert {status for _, status in STATUSES} <= set(REASONS)
    assert STATUSES[-1][0] is CharloomError
    refused = {"400", "408", "414", "431", "503"}  # by the server, for any route
    for _, path, operation in operations(document):
        assert refused <= set(operation["responses"]), path
    delete = document["paths"]["/v1/files/{file}"]["delete"]["responses"]
    assert {"404", "409", "200"} <= set(delete)
    assert "413" not in delete
    conflict = resolved(document, delete["409"]["$ref"])
    assert conflict["headers"].keys() == {"X-Should-Retry"}
    assert conflict["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    upload = document["paths"]["/v1/files"]["post"]["responses"]
    assert {"413", "415", "507"} <= set(upload)
    for _, path, operation in operations(document):
        assert ("requestBody" in operation) == ("415" in operation["responses"]), path


def test_bytes_that_a_file_of_the_pages_has_not(client: FlaskClient, document: dict[str, Any]) -> None:
    answer = client.get("/static/page.css", headers={"Range": "bytes=99999999-"})
    assert answer.status_code == 416
    assert 416 in REASONS
    assert "416" in document["paths"]["/static/{filename}"]["get"]["responses"]


def test_what_needs_no_key_says_so(document: dict[str, Any]) -> None:
    without = [path for _, path, operation in operations(document) if operation.get("security") == []]
    assert without == ["/", "/health", "/ready", "/static/{filename}"]
    needed = {path: [{}, {"key": ["train"]}] for path in ("/v1/files", "/v1/fine_tuning/jobs")}
    assert {path: document["paths"][path]["post"]["security"] for path in needed} == needed
    assert document["paths"]["/generate"]["post"]["security"] == [{}, {"key": ["write"]}]
    assert document["paths"]["/v1/files/{file}"]["delete"]["security"] == [{}, {"key": ["admin"]}]


def test_the_names_in_routes_are_in_the_table(app: Flask) -> None:
    assert {f"path.{name}" for route in routes_of(app) for name in route.parameters} == {
        name for name in ROUTE_FIELDS if name.startswith("path.")
    }


# ── /docs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def page(client: FlaskClient) -> str:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    return answer.get_data(as_text=True)


def test_the_page_has_all_of_it(app: Flask, document: dict[str, Any], page: str) -> None:
    for route in routes_of(app):
        assert f"<b>{route.method}</b> {route.path}</code>" in page
    for name, schema in document["components"]["schemas"].items():
        for field in schema["properties"]:
            assert re.search(rf"<code>([\w.]+\.)?{field}(\.\w+)*</code>", page), (name, field)
    for configuration in (ModelConfig, TrainingConfig):
        for field, _ in settings_of(configuration):
            assert f"<code>{field.name}</code>" in page
    assert "hyperparameters.n_epochs" in page
    for status in REASONS:
        assert f'<tr id="{status}">' in page


def test_its_links_lead_somewhere(client: FlaskClient, page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    for target in set(re.findall(r'(?:href|src)="([^"]+)"', page)):
        if target.startswith("#"):
            assert target[1:] in ids
        else:
            with client.get(target) as answer:
                assert answer.status_code == 200


def test_nothing_foreign_is_in_it(page: str) -> None:
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page)
    assert set(re.findall(r"https?://[^/\"]+", page)) == {"http://localhost"}  # where it was asked for


# ── the answers are as declared ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("corpus")
def test_answers_have_exactly_the_declared_fields(
    client: FlaskClient, document: dict[str, Any], corpus: Corpus, add_model: Callable[..., Run]
) -> None:
    add_model("one")
    job = client.post("/v1/fine_tuning/jobs", json={"model": "gru", "training_file": "tale", "name": "job"})
    assert job.status_code == 200
    for path, query in {
        "/health": "",
        "/ready": "",
        "/v1/models": "",
        "/v1/models/{model}": "one",
        "/v1/files": "",
        "/v1/files/{file}": "tale",
        "/v1/fine_tuning/jobs": "",
        "/v1/fine_tuning/jobs/{job}": "job",
        "/v1/fine_tuning/jobs/{job}/events": "job",
        "/v1/fine_tuning/jobs/{job}/checkpoints": "one",
    }.items():
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        check(document, schema, client.get(re.sub(r"{\w+}", query, path)).get_json())


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Whether a value has the fields of its schema, all that are required and no other, all the way down."""
    if "$ref" in schema:
        schema = resolved(document, schema["$ref"])
    if "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for name, each in value.items():
            check(document, schema["properties"][name], each)
    elif schema.get("type") == "array":
        for each in value:
            check(document, schema["items"], each)
