"""What a view tells about itself, from which `/openapi.json` and `/docs` are made: declared beside it, with `operation`.

::

    @blueprint.post("/v1/score")
    @operation("texts", body=SCORE, answer=Scored, raises=(NotFound, CheckpointError))
    def score() -> Response:
        \"\"\"Say how likely a text is.

        Whatever else there is to say about it.
        \"\"\"

Method and path stand in the application's own table of routes, the statuses of errors in `service.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.api.schema import Body, Query

View = TypeVar("View", bound=Callable[..., Any])
ATTRIBUTE = "charloom_operation"  # of the view's function

TAGS = {
    "texts": "Text from a model, and what a model thinks of a text",
    "inside": "What goes on inside a model",
    "models": "What can write: runs and their checkpoints",
    "files": "What is learned from: corpora",
    "jobs": "Training",
    "service": "The service itself",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A view in the words of OpenAPI. `answer` and `events` are types of `service.api.shapes`."""

    tag: str  # a key of TAGS
    body: Body | None = None
    multipart: Body | None = None  # the fields of a form, beside a file
    query: Query | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # of the request, and what they mean
    answer: Any = None  # what comes as JSON
    events: tuple[Any, ...] = ()  # what comes as the events of a stream, where the route has one
    media: str | None = None  # the media type of an answer that is neither, such as text/plain
    others: Mapping[int, str] = field(default_factory=dict)  # further statuses that are no errors, and what they mean
    makes: str | None = None  # what the id of the answer is in an address: "job" for /v1/fine_tuning/jobs/{job}
    example: Mapping[str, Any] = field(default_factory=dict)  # a body
    raises: tuple[type[Exception], ...] = ()  # besides what every route can answer


def operation(tag: str, **facts: Any) -> Callable[[View], View]:
    """Declare a view: `facts` are the fields of `Operation`; the first line of its docstring is the summary."""

    def declare(view: View) -> View:
        setattr(view, ATTRIBUTE, Operation(tag=tag, **facts))
        return view

    return declare
