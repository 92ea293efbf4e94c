"""``GET /``: a page to write with the models from a browser. Its files are in templates/ and static/."""

from __future__ import annotations

from flask import Blueprint, render_template

from service.serving import Service


def routes(service: Service, version: str) -> Blueprint:
    """The route and its view."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.get("/")
    def index() -> str:
        return render_template("index.html", version=version, max_length=service.config.max_length)

    return blueprint
