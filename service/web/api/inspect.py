"""Routes that look inside a model: ``POST /v1/inspect`` for one text, ``POST /v1/inspect/cells`` for units that follow a feature."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting, MissingSetting
from model.inspection import unit_activations
from model.inspection.unit_activations import LONGEST
from service.inspection.inspector import InspectionOptions, unit_named
from service.inspection.results import CellReport, Inspection
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import large_answer
from service.web.auth import caller
from service.web.errors import about
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import ROUTE_FIELDS, Body, route_fields

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)
INSPECT = Body("InspectRequest", {"model": ROUTE_FIELDS["model"], **route_fields("inspect")})
CELLS = Body("CellsRequest", {"model": ROUTE_FIELDS["model"], **route_fields("cells")})
MOST = 5 * LONGEST  # alternatives, or activations, of one answer: some 7 MB of JSON
EVERYTHING = ROUTE_FIELDS["inspect.include"].default
ALTERNATIVES = ROUTE_FIELDS["inspect.alternatives"].default


def routes(service: Service) -> Blueprint:
    """The routes and their views."""
    blueprint = Blueprint("inspect", __name__)

    @blueprint.post("/v1/inspect")
    @operation("inside", body=INSPECT, answer=Inspection, raises=RAISES, example={"text": "Once upon a time", "units": ["0:0"]})
    def inspect() -> Response:
        """Look inside a model while it reads a text.

        The answer tells how surprising each character was and what was expected, the activations of hidden units, how often gates were
        saturated, and which characters the model treats alike. The text is read as after a line end, and may have 100,000 characters.
        It stays in memory for a while, so that further `units` of it cost little, with an empty list for `include`.
        """
        values = INSPECT.parse(json_body(request))
        text, options = values.get("text", ""), options_of(values)
        if not text and options != InspectionOptions(False, False, True, [], options.alternatives):
            raise MissingSetting("text", "what is to be read; without one ask for neighbours alone, and give an empty list of units")
        check_size(text, options)
        model = service.find(values.get("model", "latest"))
        with about("units"):
            for unit in options.units or ():
                unit_activations.check(model.checkpoint.model, unit)
        found = service.inspector.inspect(model, text, options, client_left(request), caller())
        service.limits.symbols.spend(caller(), len(text))
        return large_answer(found)

    @blueprint.post("/v1/inspect/cells")
    @operation("inside", body=CELLS, answer=CellReport, raises=RAISES)
    def cells() -> Response:
        """Look for the units of a model that follow a readable feature.

        Features are quotation marks, brackets, indentation and others, in text of a stored corpus that was not used to find the units.
        Beside each unit stands what the network reached before training. The first request takes some seconds; then the answer is kept in
        memory for this checkpoint and corpus.
        """
        values = CELLS.parse(json_body(request))
        model = service.find(values.get("model", "latest"))
        return large_answer(service.cells.get(model, values.get("corpus"), client_left(request), caller()))

    return blueprint


def options_of(values: dict[str, Any]) -> InspectionOptions:
    """Returns the options that a body asks for."""
    included, units = values.get("include", EVERYTHING), values.get("units")
    return InspectionOptions(
        surprise="surprise" in included,
        gates="gates" in included,
        neighbours="neighbours" in included,
        units=None if units is None else [unit_named(unit) for unit in units],
        alternatives=values.get("alternatives", ALTERNATIVES),
    )


def check_size(text: str, options: InspectionOptions) -> None:
    """Raises `InvalidSetting` if the answer would be too large."""
    most = MOST // max(1, min(len(text), LONGEST))  # a longer text is refused as such
    if options.surprise and options.alternatives > most:
        raise InvalidSetting("alternatives", options.alternatives, f"at most {most:,} for so long a text", "the limit of this service")
    if options.units and len(options.units) > most:
        raise InvalidSetting(
            "units", f"a list of {len(options.units):,}", f"at most {most:,} for so long a text", "ask for others after them"
        )
