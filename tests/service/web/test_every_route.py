"""A walk over all routes: each path in all its spellings, each method, and each number at its edges."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.store import Run, Store
from service.web.api.fine_tuning_adapter import JOB
from service.web.openapi import Route, routes_of
from service.web.validation import Body, Field

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW")
PAGES = ("/", "/docs")
SPELLINGS = ("{}", "{}//", "//{}/")
# What a route needs beside the field that is tried.
NEEDED: dict[str, dict[str, Any]] = {
    "/generate": {"length": 5},
    "/v1/completions": {"max_tokens": 5},
    "/v1/fine_tuning/jobs": {"model": "gru", "training_file": "tale"},
}
TEXTS = {"text": "abc", "prompt": "abc", "tokens": [1]}


@pytest.fixture(autouse=True)
def model(add_model: Callable[..., Run], store: Store, tale: str) -> Run:
    store.corpora.add("tale", [tale], "tale.txt")
    return add_model(corpus="tale")


def all_routes(app: Flask) -> list[Route]:
    with app.app_context():
        return list(routes_of(app))


def is_error(answer: TestResponse) -> bool:
    """Whether it is an error in OpenAI's shape; it must be if its status says so."""
    if answer.status_code < 400:
        return False
    assert answer.mimetype == "application/json", answer.text[:200]
    assert set(answer.get_json()) == {"error"}
    error = answer.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return True


def test_every_path_in_every_spelling_with_every_method(app: Flask, client: FlaskClient) -> None:
    paths = {route.path for route in all_routes(app)} | {"/nothing", "/v1", "/v1/chat/completions", "/v1/embeddings"}
    for path in sorted(paths):
        address = re.sub("{.*?}", "한국 é:%@?#", path).encode().decode("latin-1")  # as a server passes on what a client has escaped
        for method in METHODS:
            seen = set()
            for spelling in SPELLINGS:
                answer = client.open("/", method=method, environ_overrides={"PATH_INFO": spelling.format(address)}, json={"x": 1})
                seen.add(answer.status_code)
                assert answer.status_code not in (301, 302, 307, 308), (method, path, answer.headers)
                assert answer.status_code < 500, (method, path, answer.text)
                if method != "HEAD" and not is_error(answer) and path not in PAGES:
                    assert answer.mimetype != "text/html", (method, path)
                answer.close()
            assert len(seen) == 1, (method, path, seen)


def test_an_id_that_is_missing_reaches_no_other_route(client: FlaskClient, store: Store, add_model: Callable[..., Run]) -> None:
    """``/v1/models//pin`` unpins nothing, and does not delete a run that is called pin."""
    add_model("pin")
    for method, path in (("DELETE", "/v1/models//pin"), ("POST", "/v1/fine_tuning/jobs//cancel"), ("GET", "/v1/files//content")):
        answer = client.open(path, method=method)
        assert (answer.status_code, is_error(answer)) == (404, True)
    for path in ("/v1/models/", "/v1//models//", "/v1/files/"):
        assert client.delete(path).status_code == 405
    assert store.runs.get("pin").checkpoints == 1


@pytest.mark.parametrize(
    ("method", "address", "step"),
    [
        ("POST", "/v1/chat/completions", "these models only continue a text: send it as `prompt` to /v1/completions"),
        ("POST", "/chat/completions", "these models only continue a text: send it as `prompt` to /v1/completions"),
        ("GET", "/v1/chat/completions/x/messages", "these models only continue a text"),
        ("POST", "/v1/responses", "these models only continue a text"),
        ("POST", "/v1/embeddings", "these models have no embeddings of texts"),
        ("POST", "/v1/uploads/x/parts", "send a file of any size in one request to /v1/files"),
        ("POST", "/completions", "it is at /v1/completions; the base address of a client ends in /v1, once"),
        ("GET", "/v1/v1/models", "it is at /v1/models; the base address of a client ends in /v1, once"),
        ("POST", "/v1/tokenize", "it is at /tokenize"),
        ("GET", "/v1", "the page at / and /docs show what there is"),
        ("GET", "/nothing", "the page at / and /docs show what there is"),
    ],
)
def test_what_is_not_there_says_where_to_go_instead(client: FlaskClient, method: str, address: str, step: str) -> None:
    answer = client.open(address, method=method)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["message"].startswith(f"there is nothing at {address}; {step}")


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def numbers(body: Body, inside: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Every field that takes a number, with the names of the objects around it."""
    for name, field in body.fields.items():
        if isinstance(field.type, Body):
            yield from numbers(field.type, (*inside, name))
        elif field.type in (int, float):
            yield (*inside, name), field


def edges(field: Field) -> list[Any]:
    """The limits of a number, what is just beyond them, and what clients send by mistake."""
    setting = field.setting
    limits = [each for each in (setting.at_least, setting.above, setting.at_most, setting.below) if each is not None]
    beyond = [each + one for each in limits for one in (-1, 1)]
    return list({json.dumps(each): each for each in (*limits, *beyond, 0, -1, 2**63, 10**30, True, "5", [], None)}.values())


def test_every_number_at_its_edges(app: Flask, client: FlaskClient) -> None:
    """It is taken, or refused with its name; nothing is an error of the service."""
    tried = 0
    for route in all_routes(app):
        declared = route.operation
        for body in filter(None, (declared.body, declared.query)):
            needed = NEEDED.get(route.path, {}) | {name: value for name, value in TEXTS.items() if name in body.fields}
            address = route.path.replace("{model}", "first").replace("{job}", "first").replace("{completion}", "none")
            for names, field in numbers(body):
                # Orders of jobs that are taken cost the most, and each of their settings is checked as those of texts.
                for value in edges(field) if body is not JOB else (10**30, -1, "5"):
                    if body is declared.query:
                        asked = client.open(address, method=route.method, query_string={names[0]: str(value)})
                    else:
                        inner: Any = value
                        for name in reversed(names):
                            inner = {name: inner}
                        asked = client.open(
                            address, method=route.method, data=json.dumps({**needed, **inner}), content_type="application/json"
                        )
                    tried += 1
                    assert asked.status_code in (200, 400, 404, 429), (route.path, names, value, asked.text)
                    if is_error(asked) and asked.status_code == 400:
                        error = asked.get_json()["error"]
                        assert error["param"], (route.path, names, value, error)
                        assert names[-1] in error["message"] or error["param"] != ".".join(names), error
    assert tried > 500
