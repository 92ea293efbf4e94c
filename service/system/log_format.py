"""Formats log records as lines or JSON objects, which never hold a prompt, a key or a query string.

A record about a request has the request's id as `request_id`, or in `facts`, which become fields of the JSON object.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any


class Lines(logging.Formatter):
    """``2026-07-04 12:00:00 INFO POST /generate 200 0.412 s [4f1c...]``"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s%(request)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        found = request_id_of(record)
        record.request = f" [{found}]" if found else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], record.message)
        return super().formatMessage(record)


class Json(logging.Formatter):
    """One object a line: `time`, `level`, `message`, `request_id`, and the `facts` of a response."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values: dict[str, Any] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if found := request_id_of(record):
            values["request_id"] = found
        values |= getattr(record, "facts", {})
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False)


def request_id_of(record: logging.LogRecord) -> str | None:
    """Returns the id of the request that a record is about, or None."""
    facts = getattr(record, "facts", None)
    return str(facts["request_id"]) if facts is not None else getattr(record, "request_id", None)


def log_to_stderr(form: str, level: str) -> logging.Handler:
    """Writes the log of Charloom, and the errors of its libraries, on standard error, as the settings `log_format` and `log_level` say."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form))
    logging.getLogger().addHandler(handler)
    logging.getLogger("charloom").setLevel(level.upper())
    return handler


def formatter(form: str) -> logging.Formatter:
    """Returns the formatter that the setting `log_format` names."""
    return Json() if form == "json" else Lines()
