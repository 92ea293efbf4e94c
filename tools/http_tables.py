"""The tables of docs/http.md: the routes of the application, and what its errors mean."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from service.web.app import create_app
from service.web.errors import REASONS
from service.web.openapi import TAGS, Route, routes_of


@functools.cache
def routes() -> tuple[Route, ...]:
    """Those of an application over an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Path(folder) / "charloom.db")
        found = tuple(routes_of(app))
        app.extensions["charloom"].close()
    return found


def routes_table() -> str:
    """A row for each route, in the order of their groups."""
    rows = [f"| `{route.method} {route.path}` | {route.summary} |" for tag in TAGS for route in routes() if route.operation.tag == tag]
    return "\n".join(["| route | |", "|---|---|", *rows])


def errors_table() -> str:
    """A row for each status."""
    return "\n".join(["| status | when |", "|---|---|", *(f"| {status} | {reason} |" for status, reason in REASONS.items())])
