"""Answers: JSON, and events of a stream."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


def encoded(value: Any) -> bytes:
    """A value as JSON in UTF-8. Half a surrogate pair, which UTF-8 cannot say, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(encoded(value) + b"\n", status, mimetype="application/json")


def event(value: Any) -> bytes:
    """One server-sent event. JSON has no line ends of its own, so it is always one line."""
    return b"data: " + encoded(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
