"""Describes the API in OpenAPI 3.1, from the routes themselves: ``GET /openapi.json``.

Methods and paths come from the application's table of routes, bodies and parameters from the configurations and `ROUTE_FIELDS`,
answers from the types of `service.web.api.protocol`, statuses from `service.web.errors`. Each view declares the rest with
`operation`::

    @blueprint.post("/v1/score")
    @operation("texts", body=SCORE, answer=Scored, raises=(NotFound, CheckpointError))
    def score() -> Response: ...

The first line of a view's docstring is its summary, the rest its description.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from flask import Blueprint, Flask, Response, current_app, request

from service.system.errors import NotFound
from service.web.api.protocol import Error
from service.web.api.responses import answer
from service.web.auth import OPEN, scope_of
from service.web.errors import REASONS, RETRY_AFTER, status_of_kind
from service.web.rate_limits import HEADERS as RATE_LIMITS
from service.web.rate_limits import is_limited
from service.web.validation import ROUTE_FIELDS, Body, Query, annotation

# ── operations ───────────────────────────────────────────────────────────────────────────────────────────────────────

View = TypeVar("View", bound=Callable[..., Any])
ATTRIBUTE = "charloom_operation"  # of the view's function

TAGS = {
    "texts": "Text from a model, and what a model thinks of a text",
    "inside": "The activations and weights of a model",
    "models": "Models that write: runs and their checkpoints",
    "files": "Texts to train on: corpora",
    "jobs": "Training",
    "service": "The service itself",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A view in the words of OpenAPI. `answer` and `events` are types of `service.web.api.protocol`."""

    tag: str  # a key of TAGS
    body: Body | None = None
    multipart: Body | None = None  # the fields of a form, beside a file
    query: Query | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, with their meanings
    answer: Any = None  # the type of a JSON answer
    events: tuple[Any, ...] = ()  # the types of the events, if the route can stream
    media: str | None = None  # the media type of any other answer, such as text/plain
    media_in: str | None = None  # that of a body that is neither JSON nor a form
    others: Mapping[int, str] = field(default_factory=dict)  # other statuses that are no errors, with their meanings
    makes: str | None = None  # the parameter that the answer's id is for: "job" of /v1/fine_tuning/jobs/{job}
    example: Mapping[str, Any] = field(default_factory=dict)  # of a body
    raises: tuple[type[Exception], ...] = ()  # besides the errors of every route


def operation(tag: str, **facts: Any) -> Callable[[View], View]:
    """Declare a view; `facts` are the other fields of `Operation`."""

    def declare(view: View) -> View:
        setattr(view, ATTRIBUTE, Operation(tag=tag, **facts))
        return view

    return declare


# ── openapi ──────────────────────────────────────────────────────────────────────────────────────────────────────────

EVERY_ROUTE = (400, 401, 403, 408, 414, 431, 500, 503)
WITH_BODY = (413, 415, 429)
WITH_RANGES = (416,)  # of bytes, which Flask answers for files
HEADERS = {
    401: {"WWW-Authenticate": "what kind of key is needed"},
    409: {"X-Should-Retry": "always false"},
    **{status: {"Retry-After": "seconds to wait"} for status in RETRY_AFTER},
}
KEY = "needed unless only this machine can reach the service; the roles that routes name are the scopes of keys"
EXAMPLES = {"model": "latest", "file": "tale", "job": "tale-lstm", "filename": "page.css"}  # of names in an address
STATIC = Operation(tag="service", media="*/*", raises=(NotFound,))
# Fields whose largest value is a setting of the service.
LIMITS = {
    "length": "max_length",
    "max_tokens": "max_length",
    "max_completion_tokens": "max_length",
    "n": "max_texts",
    "best_of": "max_texts",
    "records": "max_records",
}
FILE = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "application/octet-stream",
    "description": "a text, or an archive of texts",
    "examples": ["Once upon a time there was a loom, and all who heard it at night knew that the winter would be long.\n" * 2],
}


class Route(NamedTuple):
    """One method of a path, with its declaration."""

    method: str  # in capitals
    path: str  # /v1/models/{model}
    endpoint: str
    operation: Operation
    summary: str
    description: str

    @property
    def operation_id(self) -> str:
        """Its name without dots, which some generators of clients refuse."""
        return self.endpoint.replace(".", "_")

    @property
    def scope(self) -> str:
        """The scope that a key needs for it."""
        return scope_of(self.endpoint, self.method)

    @property
    def parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def statuses(self) -> list[int]:
        """The statuses of the errors that it can answer with."""
        found = {*EVERY_ROUTE, *(WITH_RANGES if self.operation is STATIC else ()), *map(status_of_kind, self.operation.raises)}
        return sorted(found | set(WITH_BODY if self.operation.body or self.operation.multipart or self.operation.media_in else ()))


def routes_of(app: Flask) -> Iterator[Route]:
    """Yield every route of an application, sorted by path. Raises `LookupError` for a view without `operation`."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        is_static = rule.endpoint == "static"  # Flask's own
        view = app.view_functions[rule.endpoint]
        declared = STATIC if is_static else getattr(view, ATTRIBUTE, None)
        if declared is None:
            raise LookupError(f"the view of {rule.rule} is not declared with operation(...)")
        said = "Fetch a file of the pages." if is_static else inspect.getdoc(view) or ""
        summary, _, description = said.partition("\n\n")
        path = re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield Route(method, path, rule.endpoint, declared, summary.rstrip("."), " ".join(description.split()))


def document(app: Flask, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    config = app.extensions["charloom"].config
    schemas = Schemas({name: getattr(config, limit) for name, limit in LIMITS.items()})
    paths: dict[str, Any] = {}
    used: set[int] = set()
    found = list(routes_of(app))
    for route in found:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, _links(route, found))
        used |= set(route.statuses)
    responses = {f"Error{status}": _error(status, schemas) for status in sorted(used)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Charloom",
            "version": version,
            "summary": "Trains small character-level recurrent networks on your own text and serves them",
            "description": "It works with OpenAI's clients; routes and fields that OpenAI does not have follow its conventions.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": responses,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": KEY}},
        },
    }


class Schemas:
    """Makes JSON schemas of types and gathers the objects they refer to in `components`. `limits` lower the maximum of fields by name."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.components: dict[str, Any] = {}
        self._limits = limits

    def of(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a type, often a reference."""
        made = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        # A list of files is called Page_File_ by msgspec.
        (found,), more = json.loads(re.sub(r'\bPage_(\w+)_(?=")', r"\1List", json.dumps(made)))
        for schema in more.values():
            for name, known in schema.get("properties", {}).items():
                for each in (known, *known.get("anyOf", ())):
                    if name in self._limits and each.get("maximum", 0) > self._limits[name]:
                        each["maximum"] = self._limits[name]
                if known.get("default", ...) is None:  # the service chooses a value if it is left out, and null is not always allowed
                    del known["default"]
        self.components |= more
        return cast(dict[str, Any], found)


def _links(route: Route, others: list[Route]) -> dict[str, Any]:
    """Return the links from an answer to the operations that take its id."""
    made = route.operation.makes
    links: dict[str, Any] = {
        each.operation_id: {"operationId": each.operation_id, "parameters": {made: "$response.body#/id"}}
        for each in others
        if made in each.parameters
    }
    for each in others:
        taken = next((name for name, value in each.operation.example.items() if made and value == EXAMPLES.get(made)), None)
        if taken:
            body = {**each.operation.example, taken: "$response.body#/id"}
            links[each.operation_id] = {"operationId": each.operation_id, "requestBody": body}
    return links


def _operation(route: Route, schemas: Schemas, links: dict[str, Any]) -> dict[str, Any]:
    declared = route.operation
    found: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [declared.tag],
        "summary": route.summary,
        **({"description": route.description} if route.description else {}),
        "parameters": _parameters(route, schemas),
        "security": [] if route.endpoint in OPEN else [{}, {"key": [route.scope]}],
        "responses": {
            "200": {
                "description": "The answer",
                **_headers(RATE_LIMITS if is_limited(route.endpoint, route.method) else {}),
                "content": _content(declared, schemas),
                **({"links": links} if links else {}),
            },
            **{str(status): {"description": meaning} for status, meaning in declared.others.items()},
            **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in route.statuses},
        },
    }
    if declared.body:
        required = bool(msgspec.json.schema(declared.body.type)["$defs"][declared.body.type.__name__]["required"])
        content = {"schema": schemas.of(declared.body.type), **({"example": dict(declared.example)} if declared.example else {})}
        found["requestBody"] = {"required": required, "content": {"application/json": content}}
    if declared.multipart:
        reference = schemas.of(declared.multipart.type)
        form = schemas.components[declared.multipart.type.__name__]
        form["properties"]["file"], form["required"] = FILE, ["file"]
        found["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": reference}}}
    if declared.media_in:
        found["requestBody"] = {"required": True, "content": {declared.media_in: {"schema": {"type": "string", "format": "binary"}}}}
    return found


def _parameters(route: Route, schemas: Schemas) -> list[dict[str, Any]]:
    found = [_parameter(name, "path", schemas.of(annotation(ROUTE_FIELDS[f"path.{name}"]))) for name in route.parameters]
    if route.operation.query:
        query = schemas.components.pop(schemas.of(route.operation.query.type)["$ref"].rpartition("/")[2])
        found += [_parameter(name, "query", schema) for name, schema in query["properties"].items()]
    if route.operation.headers:
        found += [
            _parameter(name, "header", {"type": "string", "description": meaning}) for name, meaning in route.operation.headers.items()
        ]
    return found


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    description = schema.pop("description", "")
    example = {"example": EXAMPLES[name]} if place == "path" and name in EXAMPLES else {}
    return {"name": name, "in": place, "required": place == "path", "description": description, "schema": schema, **example}


def _content(declared: Operation, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if declared.answer:
        found["application/json"] = {"schema": schemas.of(declared.answer)}
    if declared.events:
        each = {"type": "string", "contentMediaType": "application/json", "contentSchema": {"anyOf": [*map(schemas.of, declared.events)]}}
        # The type of each event, in the form of OpenAPI 3.2.
        data = {"anyOf": [each, {"const": "[DONE]"}]}
        event = {"type": "object", "properties": {"data": data, "id": {"type": "string"}}, "required": ["data"]}
        found["text/event-stream"] = {"schema": event}
    if declared.media:
        found[declared.media] = {"schema": {"type": "string"}}
    return found


def _error(status: int, schemas: Schemas) -> dict[str, Any]:
    return {
        "description": REASONS[status],
        **_headers(HEADERS.get(status, {})),
        "content": {"application/json": {"schema": schemas.of(Error)}},
    }


def _headers(meanings: Mapping[str, str]) -> dict[str, Any]:
    headers = {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in meanings.items()}
    return {"headers": headers} if headers else {}


def routes(version: str) -> Blueprint:
    """Return the blueprint of `/openapi.json`."""
    blueprint = Blueprint("openapi", __name__)
    made: dict[str, Any] = {}  # at the first request, when all routes are registered

    @blueprint.get("/openapi.json")
    @operation("service", media="application/json")
    def openapi() -> Response:
        """Describe this API in OpenAPI 3.1."""
        if not made:
            made.update(document(current_app, version))
        return answer(made | {"servers": [{"url": request.root_path or "/"}]})

    return blueprint
