"""``GET /``: the page, to see models learn, write and work. Its files are in templates/ and static/."""

from __future__ import annotations

import gzip
import posixpath
import re
from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Response, render_template, request

from service.api.operations import operation
from service.serving import Service

STATIC = Path(__file__).parent / "web" / "static"
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


def routes(service: Service, version: str) -> Blueprint:
    """The route and its view, and the compression of the page's files."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/")
    @operation("service", media="text/html")
    def index() -> str:
        """Open the page in a browser."""
        return render_template("index.html", version=version, max_length=service.config.max_length, preloaded=PRELOADED)

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
                response.set_etag(etag, weak=True)  # the same file, in other bytes
        return response

    return blueprint


@lru_cache(maxsize=64)
def compressed(data: bytes) -> bytes:
    """The same in gzip, whenever it is made."""
    return gzip.compress(data, mtime=0)
