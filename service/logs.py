"""The log: a line or a JSON object for each request and each event. Never a prompt, a key or a query string.

Every request has an id, which its answer carries too (`X-Request-ID`); a caller may bring its own, so that it finds its request in
the logs of all that it passed.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, g, has_request_context, request
from gunicorn.glogging import Logger

HEADER = "X-Request-ID"
SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # what may stand in a log and in a header as it came
# Asked for again and again by a page, a container or a monitor: worth a line only where they fail.
QUIET = frozenset({"health.health", "pages.index", "static", "metrics.metrics"})

log = logging.getLogger("charloom")


class Lines(logging.Formatter):
    """``2026-07-04 12:00:00 INFO POST /generate 200 0.412 s [4f1c...]``"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s%(request)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        found = request_id(record)
        record.request = f" [{found}]" if found else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], record.message)
        return super().formatMessage(record)


class Json(logging.Formatter):
    """One object a line: `time`, `level`, `message`, `request_id`, and what is known of an answer."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if found := request_id(record):
            values["request_id"] = found
        values |= getattr(record, "facts", {})
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def request_id(record: logging.LogRecord) -> str | None:
    """The id of the request that a record is about, where it is about one."""
    facts = getattr(record, "facts", None)
    if facts is not None:
        return str(facts["request_id"])
    return g.get("request_id") if has_request_context() else None


def install(app: Flask) -> None:
    """Give each request its id and the time when it began (`flask.g.request_id`, `g.began`), and log its answer when all is sent."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get(HEADER, "")
        g.request_id = given if SANE.fullmatch(given) else secrets.token_hex(12)

    @app.after_request
    def answered(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        facts = {
            "request_id": g.request_id,
            "method": request.method,
            "path": quote(request.path[:200]),  # so that nobody can forge a line
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "caller": g.get("caller"),
        }
        level = logging.DEBUG if request.endpoint in QUIET and response.status_code < 400 else logging.INFO
        began = g.began
        response.call_on_close(lambda: write(level, facts, time.perf_counter() - began))
        return response


def write(level: int, facts: dict[str, Any], seconds: float) -> None:
    """One record about an answer."""
    log.log(
        level,
        "%s %s %s %.3f s",
        facts["method"],
        facts["path"],
        facts["status"],
        seconds,
        extra={"facts": {**facts, "seconds": round(seconds, 6)}},
    )


class Log(Logger):  # type: ignore[misc]
    """gunicorn's log, shared by the service, without those who were too slow."""

    form, level = "lines", "info"

    def setup(self, cfg: Any) -> None:
        """Called when gunicorn starts."""
        super().setup(cfg)
        self.error_log.addFilter(is_news)
        for handler in self.error_log.handlers:
            handler.setFormatter(Json() if self.form == "json" else Lines())
        log.handlers, log.propagate = self.error_log.handlers, False
        log.setLevel(self.level.upper())


def logger(form: str, level: str) -> type[Log]:
    """A class for gunicorn's `logger_class`, which gives its instances nothing but its own configuration."""
    return type("Log", (Log,), {"form": form, "level": level})


def is_news(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: a client that ran out of time is not."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))
