"""``GET /``: the page, to see models learn, write and work. Its files are in templates/ and static/."""

from __future__ import annotations

import gzip
from functools import lru_cache

from flask import Blueprint, Response, render_template, request

from service.api.operations import operation
from service.serving import Service

# Modules that the first view needs, named in the page so that the browser asks for all of them at once.
PRELOADED = (
    "texts.js",
    "dom.js",
    "words.js",
    "theme.js",
    "api.js",
    "facts.js",
    "router.js",
    "components.js",
    "card.js",
    "text-view.js",
    "views/write.js",
    "views/form.js",
    "views/chooser.js",
    "views/sheet.js",
    "views/copied.js",
    "views/telling.js",
    "views/completion.js",
    "views/written.js",
    "views/link.js",
)
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
