"""Creates the WSGI application: `create_app` is the one place where its parts meet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response

from service.store.api_keys import Keyring
from service.web import auth, errors, health, observability, openapi, pages, rate_limits
from service.web.api import analysis, completions, files, fine_tuning, generate, inspect, models
from service.web.service_config import ServiceConfig
from service.web.state import Service

# Nothing but the service's own files runs or is fetched, and no other page may frame it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def version() -> str:
    """Return the release that runs; ``0`` if it is not installed."""
    try:
        return metadata.version("charloom")
    except metadata.PackageNotFoundError:
        return "0"


class Tidied:
    """Routes a path as the one without doubled slashes around /v1 and without slashes at its end: some clients join addresses so.

    Other doubled slashes stay, since between them an id may be missing. werkzeug would redirect them, with a page in HTML.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = re.sub(r"^/+(?:v1/+)?", joined, environ.get("PATH_INFO", "")).rstrip("/") or "/"
        return self._application(environ, start_response)


def joined(found: re.Match[str]) -> str:
    """Return the beginning of a path with single slashes."""
    return "/v1/" if "v1" in found[0] else "/"


def create_app(config: ServiceConfig | str | Path) -> Flask:
    """Return the WSGI application for a database file, or for a configuration.

    ``app.extensions["charloom"]`` is its `Service`, which the caller closes. Raises `StoreError`.
    """
    registry = observability.new_registry()
    config = config if isinstance(config, ServiceConfig) else ServiceConfig(db=Path(config))
    service = Service(config, observability.EngineMetrics(registry))
    app = Flask("service.web")
    app.wsgi_app = auth.TrustedProxies(app.wsgi_app, service.config.networks, service.config.root_path)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = service.config.max_body
    app.extensions["charloom"] = service
    app.url_map.merge_slashes = False
    app.wsgi_app = Tidied(app.wsgi_app)  # type: ignore[method-assign]
    errors.install(app, service)
    observability.install_request_log(app)
    app.extensions["charloom.count_refusal"] = observability.install_metrics(app, service, registry)
    keyring = Keyring(service.store.keys, service.config.keys)
    reader = health.StateReader(service, keyring, version())
    reader.read("/health")  # so that even the first probe finds a state, and the keys
    app.extensions["charloom.read_state"] = reader.read
    auth.install(app, keyring, service.config)
    rate_limits.install(app, service.limits)
    for blueprint in (
        generate.routes(service),
        completions.routes(service, version()),
        analysis.score_routes(service),
        analysis.novelty_routes(service),
        analysis.tokenize_routes(service),
        inspect.routes(service),
        models.routes(service),
        models.content_routes(service),
        files.routes(service),
        fine_tuning.routes(service),
        health.routes(reader),
        openapi.routes(version()),
        pages.docs_routes(version()),
        pages.page_routes(service, version()),
    ):
        app.register_blueprint(blueprint)

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.update(HEADERS)
        if response.mimetype in ("application/json", "text/event-stream", "text/html"):
            response.headers["Cache-Control"] = "no-store"
        return response

    return app
