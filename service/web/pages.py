"""Serves the pages: ``GET /``, whose files are in templates/ and static/, and ``GET /docs``, the API for people.

/docs is made from the same declarations as `/openapi.json` and fetches nothing from other servers.
"""

from __future__ import annotations

import gzip
import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Response, current_app, render_template, request
from markupsafe import Markup, escape

from model.settings import KINDS
from service.web.errors import REASONS
from service.web.openapi import EVERY_ROUTE, TAGS, Route, Schemas, operation, routes_of
from service.web.state import Service
from service.web.validation import REQUIRED, ROUTE_FIELDS, Body, Field

# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────

STATIC = Path(__file__).parent / "static"
IMPORT = re.compile(r'^(?:import|export) (?:[^;"]* from )?"(\.[^"]+)"', re.MULTILINE)
DYNAMIC_IMPORT = re.compile(r'\bimport\("(\.[^"]+)"\)')


def imports(module: str, source: str, *, later: bool = False) -> list[str]:
    """List the modules that a JavaScript module imports, as paths from static/; with `later` those of ``import()``, too."""
    paths = IMPORT.findall(source) + (DYNAMIC_IMPORT.findall(source) if later else [])
    return [posixpath.normpath(posixpath.join(posixpath.dirname(module), path)) for path in paths]


def with_imports(*modules: str) -> tuple[str, ...]:
    """List modules and all that they import, without ``import()``; those that are imported come after their importer."""
    found = dict.fromkeys(modules)
    waiting = list(modules)
    while waiting:
        module = waiting.pop(0)
        new = [each for each in imports(module, (STATIC / module).read_text(encoding="utf-8")) if each not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return tuple(found)


# The modules of the first view, named in the page so that the browser requests them all at once
PRELOADED = with_imports("page.js", "views/write/write.js")
SMALL = 1024  # bytes that are not worth compressing


def page_routes(service: Service, version: str) -> Blueprint:
    """Return the blueprint of `/`, which also compresses the page's files."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/")
    @operation("service", media="text/html")
    def index() -> str:
        """Open the page in a browser."""
        return render_template(
            "index.html", version=version, max_length=service.config.max_length, max_records=service.config.max_records, preloaded=PRELOADED
        )

    @blueprint.after_app_request
    def compress(response: Response) -> Response:
        if request.endpoint != "static" or response.status_code != 200 or request.method != "GET":
            return response
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.quality("gzip") > 0 and (response.content_length or 0) > SMALL:
            response.direct_passthrough = False
            response.set_data(compressed(response.get_data()))
            response.headers["Content-Encoding"] = "gzip"
            response.headers.pop("Accept-Ranges", None)
            etag, _ = response.get_etag()
            if etag:
                response.set_etag(etag, weak=True)  # equal to the plain file, but not byte for byte
        return response

    return blueprint


@lru_cache(maxsize=64)
def compressed(data: bytes) -> bytes:
    """Return the data in gzip, always the same bytes for the same data."""
    return gzip.compress(data, mtime=0)


# ── docs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """A row of the table of a route's fields."""

    name: str
    place: str  # path, query, header, form or body
    default: str
    allowed: str
    meaning: str


def rows(route: Route) -> list[Row]:
    """Return all fields of a route."""
    declared = route.operation
    found = [_row(name, "path", ROUTE_FIELDS[f"path.{name}"]) for name in route.parameters]
    found += [Row(name, "header", "", "a string", meaning) for name, meaning in declared.headers.items()]
    for place, body in (("query", declared.query), ("form", declared.multipart), ("body", declared.body)):
        found += _rows(body, place) if body else []
    if declared.multipart:
        found.append(Row("file", "form", "required", "a file", "a text, or an archive of texts"))
    return found


def _rows(body: Body, place: str, inside: str = "") -> Iterator[Row]:
    for name, field in body.fields.items():
        if isinstance(field.type, Body):
            yield from _rows(field.type, place, f"{inside}{name}.")
        else:
            yield _row(inside + name, place, field)


def _row(name: str, place: str, field: Field) -> Row:
    default = "" if field.default is None else "required" if field.default is REQUIRED else _json(field.default)
    setting = field.setting
    allowed = setting.must(field.words or KINDS[field.type])
    if setting.varies:
        allowed += ", or a list of [position, value] pairs"
    unit = f" {setting.unit}" if setting.unit else ""
    return Row(name, place, default, allowed + unit + (f" ({setting.hint})" if setting.hint else ""), setting.meaning)


def _json(value: Any) -> str:
    return msgspec.json.encode(list(value) if isinstance(value, tuple) else value).decode()


def objects(schemas: Schemas) -> dict[str, dict[str, Any]]:
    """Return name -> {description, fields: [(name, type in words, meaning)]} of the objects in answers."""
    return {
        name: {
            "description": schema.get("description", ""),
            "fields": [(key, words(each), each.get("description", "")) for key, each in schema["properties"].items()],
        }
        for name, schema in sorted(schemas.components.items())
    }


def words(schema: dict[str, Any]) -> Markup:
    """Return a JSON schema in a few words, with links to the objects that it names."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(map(words, schema["anyOf"]))
    if "enum" in schema:
        return Markup(" or ").join(Markup("<code>{}</code>").format(_json(each)) for each in schema["enum"])
    if "const" in schema:
        return Markup("<code>{}</code>").format(_json(schema["const"]))
    if "prefixItems" in schema:
        return Markup("[{}]").format(Markup(", ").join(map(words, schema["prefixItems"])))
    if schema.get("type") == "array":
        return Markup("list of ") + words(schema.get("items", {}))
    return escape(schema.get("type", "anything"))


def with_code(text: str) -> Markup:
    """Return HTML in which text between backticks is code."""
    return Markup(re.sub(r"`+([^`]+)`+", r"<code>\1</code>", str(escape(text))))


def docs_routes(version: str) -> Blueprint:
    """Return the blueprint of `/docs`."""
    blueprint = Blueprint("docs", __name__)

    @blueprint.get("/docs")
    @operation("service", media="text/html")
    def docs() -> str:
        """Read about this API."""
        schemas, found = Schemas({}), list(routes_of(current_app))
        answers = {route.endpoint: [words(schemas.of(kind)) for kind in _kinds(route)] for route in found}
        return render_template(
            "docs.html",
            version=version,
            base=request.url_root.rstrip("/"),
            groups={tag: (meaning, [route for route in found if route.operation.tag == tag]) for tag, meaning in TAGS.items()},
            rows=rows,
            answers=answers,
            objects=objects(schemas),
            reasons=REASONS,
            everywhere=EVERY_ROUTE,
            with_code=with_code,
        )

    return blueprint


def _kinds(route: Route) -> list[Any]:
    declared = route.operation
    return [declared.answer, *declared.events] if declared.answer else []
