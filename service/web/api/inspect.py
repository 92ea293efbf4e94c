"""``POST /v1/inspect``: what a model does with a text, character by character. ``POST /v1/inspect/cells``: which units tell something."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from model.errors import CheckpointError, InvalidSetting, MissingSetting
from model.inspection import unit_activations
from model.inspection.unit_activations import LONGEST, Surprise
from service.generation.model_cache import LoadedModel
from service.inspection.inspector import Seen, Wanted, described, described_gates, rounded, strangers, unit_named
from service.system.errors import NotFound, ServiceError, TooManyRequests
from service.web.api.protocol import Cells, Inspected, UnitActivations
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import large_answer
from service.web.errors import about
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import ROUTE_FIELDS, Body, route_fields

RAISES = (InvalidSetting, NotFound, TooManyRequests, ServiceError, CheckpointError)
INSPECT = Body("InspectRequest", {"model": ROUTE_FIELDS["model"], **route_fields("inspect")})
CELLS = Body("CellsRequest", {"model": ROUTE_FIELDS["model"], **route_fields("cells")})
MOST = 5 * LONGEST  # alternatives, or activations, that one answer tells: some 7 MB of JSON
EVERYTHING = ROUTE_FIELDS["inspect.include"].default
ALTERNATIVES = ROUTE_FIELDS["inspect.alternatives"].default


def routes(service: Service) -> Blueprint:
    """The routes and their views."""
    blueprint = Blueprint("inspect", __name__)

    @blueprint.post("/v1/inspect")
    @operation("inside", body=INSPECT, answer=Inspected, raises=RAISES, example={"text": "Once upon a time", "units": ["0:0"]})
    def inspect() -> Response:
        """Look at what a model does with a text.

        Told are how surprising each character was and what was expected, what hidden units held, how often gates were saturated, and
        which characters the model takes for alike. It is read as after a line end, and may have 100,000 characters. A text that was
        read stays in memory for a while, so that further `units` of it cost little, with an empty list for `include`.
        """
        values = INSPECT.parse(json_body(request))
        text, wanted = values.get("text", ""), wanted_of(values)
        if not text and wanted != Wanted(False, False, True, [], wanted.alternatives):
            raise MissingSetting("text", "what is to be read; without one ask for neighbours alone, and give an empty list of units")
        check_size(text, wanted)
        model = service.find(values.get("model", "latest"))
        with about("units"):
            for unit in wanted.units or ():
                unit_activations.check(model.checkpoint.model, unit)
        seen = service.inspector.look(model, text, wanted, client_left(request))
        return large_answer(told(model, wanted, seen))

    @blueprint.post("/v1/inspect/cells")
    @operation("inside", body=CELLS, answer=Cells, raises=RAISES)
    def cells() -> Response:
        """Find the units of a model that follow a readable feature.

        Such as quotation marks, brackets or indentation, in text of a stored corpus that was not used to find them, beside what a
        network before training comes to. It takes some seconds for the first who asks; then it is known for this checkpoint and corpus.
        """
        values = CELLS.parse(json_body(request))
        report = service.cells.get(service.find(values.get("model", "latest")), values.get("corpus"), client_left(request))
        return large_answer(Cells(**vars(report)))

    return blueprint


def wanted_of(values: dict[str, Any]) -> Wanted:
    """What a body asks for."""
    included, units = values.get("include", EVERYTHING), values.get("units")
    return Wanted(
        surprise="surprise" in included,
        gates="gates" in included,
        neighbours="neighbours" in included,
        units=None if units is None else [unit_named(unit) for unit in units],
        alternatives=values.get("alternatives", ALTERNATIVES),
    )


def check_size(text: str, wanted: Wanted) -> None:
    """Raise `InvalidSetting` where the answer would be too large."""
    most = MOST // max(1, min(len(text), LONGEST))  # a longer text is refused as such
    if wanted.surprise and wanted.alternatives > most:
        raise InvalidSetting("alternatives", wanted.alternatives, f"at most {most:,} for so long a text", "the limit of this service")
    if wanted.units and len(wanted.units) > most:
        raise InvalidSetting(
            "units", f"a list of {len(wanted.units):,}", f"at most {most:,} for so long a text", "ask for others after them"
        )


def told(model: LoadedModel, wanted: Wanted, seen: Seen) -> Inspected:
    """What was seen, as it is answered."""
    config, vocabulary = model.checkpoint.model.config, model.checkpoint.vocabulary
    expected, near = seen.expected, seen.near
    return Inspected(
        model=model.name,
        cell=config.cell,
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        text=seen.aligned.text,
        characters=len(seen.aligned.text),
        unknown=strangers(vocabulary, seen.aligned),
        bits_per_char=round(expected.bits_per_char, 4) if expected else None,
        bits=rounded(expected.bits, 3) if expected else None,
        alternatives=_alternatives(expected, vocabulary.names) if expected else None,
        liveliest=str(seen.activity.liveliest) if seen.activity else None,
        units=[UnitActivations(unit=str(unit), activations=rounded(held, 3)) for unit, held in seen.units],
        gates=described_gates(seen.activity.gates) if seen.activity and wanted.gates else None,
        neighbours=described(near, vocabulary.names.__getitem__) if near else None,
        map_shares=[round(share, 4) for share in near.shares] if near else None,
    )


def _alternatives(expected: Surprise, names: list[str]) -> list[list[tuple[str, float]]]:
    shares = rounded(expected.probabilities, 4)
    return [
        [(names[symbol], share) for symbol, share in zip(*each, strict=True)]
        for each in zip(expected.likeliest.tolist(), shares, strict=True)
    ]
