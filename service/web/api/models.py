"""Serves ``/v1/models``: the models that can write. A model's id is ``RUN`` or ``RUN@STEP``."""

from __future__ import annotations

from contextlib import ExitStack

from flask import Blueprint, Response, request

from model.checkpoint import Checkpoint
from model.errors import CheckpointError, InvalidSetting
from service.generation.model_cache import LARGEST_FILE, import_model
from service.store import Run, StoredCheckpoint, Which
from service.store.blobs import PIECE
from service.system.errors import (
    CheckpointInUse,
    Conflict,
    NameTaken,
    NoModelYet,
    NoRoomLeft,
    NotFound,
    RunBusy,
    TooManyFiles,
    TooManyRequests,
    UnusableModel,
)
from service.web.api.protocol import Deleted, Model, ModelFacts, Page
from service.web.api.request_body import binary_body, json_body
from service.web.api.responses import answer, attachment, seconds, sound
from service.web.auth import caller
from service.web.errors import about
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import Body, route_fields

RENAME = Body("Rename", route_fields("rename"))
SAFETENSORS = "application/octet-stream"
COPIES = 4  # of a file that is imported, at the same time: as it arrived, its arrays, and as it is stored, twice


def routes(service: Service) -> Blueprint:
    """Return the blueprint of the routes."""
    blueprint = Blueprint("models", __name__)

    @blueprint.get("/v1/models")
    @operation("models", answer=Page[Model])
    def models() -> Response:
        """List the models.

        Every run that has a checkpoint, whatever its state, the newest first.
        """
        latest = _latest(service)
        with_model = (run for run in service.store.runs.list() if run.checkpoints)
        data = list(sound(with_model, lambda run: described(service, run, latest)))
        return answer(Page(data=data, first_id=data[0].id if data else None, last_id=data[-1].id if data else None))

    @blueprint.get("/v1/models/<model>")
    @operation("models", answer=Model, raises=(NotFound, InvalidSetting))
    def model(model: str) -> Response:
        """Describe a model.

        `RUN` is a run, and its best checkpoint writes; `RUN@STEP`, `RUN@best` and `RUN@last` are its checkpoints; `latest` is the run
        that succeeded last, else the one with the newest checkpoint.
        """
        with about("model"):
            run, which = service.store.runs.resolve(model)
            stored = service.store.checkpoints.get(run, which)
        return answer(described(service, run, _latest(service), stored if "@" in model else None))

    @blueprint.patch("/v1/models/<model>")
    @operation("models", body=RENAME, answer=Model, raises=(NotFound, InvalidSetting, Conflict), example={"name": "tale-2"})
    def rename(model: str) -> Response:
        """Rename a model.

        `RUN` is a run, which gets another name with all that belongs to it, unless it is being trained. Its checkpoints follow.
        """
        name = RENAME.parse(json_body(request))["name"]
        with about("model"):
            run = service.store.runs.get(_whole_run(model))
        return answer(described(service, service.store.runs.rename(run.name, name), _latest(service)))

    @blueprint.delete("/v1/models/<model>")
    @operation("models", answer=Deleted, raises=(NotFound, InvalidSetting, RunBusy, CheckpointInUse))
    def delete(model: str) -> Response:
        """Remove a model.

        `RUN` deletes a run with everything that belongs to it, also one without a checkpoint, unless it is being trained. `RUN@STEP`
        deletes one checkpoint, but never the last one of its run, from which training continues.
        """
        with about("model"):
            name, at, _ = model.partition("@")
            if at and name != "latest":
                run, which = service.store.runs.resolve(model)
                service.store.checkpoints.remove(run, _step(run, which, "a run or RUN@STEP"))
            else:
                service.store.runs.remove(_whole_run(name))
        service.models.forget_deleted()
        return answer(Deleted(id=model, object="model"))

    @blueprint.post("/v1/models/<model>/pin")
    @operation("models", answer=Model, raises=(NotFound, InvalidSetting))
    def pin(model: str) -> Response:
        """Keep a checkpoint.

        Training deletes most of its older checkpoints; a pinned one stays, so that its texts can be reproduced.
        """
        return answer(_pinned(service, model, True))

    @blueprint.delete("/v1/models/<model>/pin")
    @operation("models", answer=Model, raises=(NotFound, InvalidSetting))
    def unpin(model: str) -> Response:
        """Unpin a checkpoint.

        It is not deleted at once, but when training next deletes older checkpoints.
        """
        return answer(_pinned(service, model, False))

    return blueprint


def content_routes(service: Service) -> Blueprint:
    """Return the blueprint of the routes for models as files."""
    blueprint = Blueprint("model_content", __name__)

    @blueprint.get("/v1/models/<model>/content")
    @operation("models", media=SAFETENSORS, raises=(NotFound, InvalidSetting, TooManyRequests, CheckpointError))
    def download(model: str) -> Response:
        """Export a model: download it as a safetensors file, whose tensors have PyTorch's names and layout."""
        with about("model"):
            run, which = service.store.runs.resolve(model)
            stored = service.store.checkpoints.get(run, which)
        with ExitStack() as held:
            held.enter_context(service.upload_memory.share(caller()))(min(stored.model_bytes, PIECE))  # a slow client holds it for long
            _, pieces = service.store.checkpoints.pieces(run, stored.step)
            response = Response(pieces, mimetype=SAFETENSORS)
            response.headers["Content-Length"] = str(stored.model_bytes)
            response.call_on_close(held.pop_all().close)
        response.headers["Content-Disposition"] = attachment(f"{run.name}-{stored.step}.safetensors")
        return response

    @blueprint.put("/v1/models/<model>/content")
    @operation("models", media_in=SAFETENSORS, answer=Model, raises=(InvalidSetting, NameTaken, TooManyFiles, TooManyRequests, NoRoomLeft))
    def upload(model: str) -> Response:
        """Import a model: store a safetensors file, as exporting one gives it, under a new name.

        Every name, shape and number in it is checked first. No training can be resumed from it, but a job can continue from it.
        """
        with about("model"):
            service.store.runs.check_free(model)
        imported = sum(run.corpus is None for run in service.store.runs.list())
        if imported >= service.config.max_files:
            raise TooManyFiles(imported, service.config.max_files, "imported models")
        with service.upload_memory.share(caller()) as take:
            service.check_room(request.content_length or 0)
            data = binary_body(request, min(service.config.max_upload, LARGEST_FILE), lambda size: take(COPIES * size))
            with service.upload_places:
                try:
                    checkpoint = Checkpoint.from_bytes(data, "the file that was sent")
                except CheckpointError as error:
                    raise UnusableModel(str(error)) from None
                run = import_model(service.store, checkpoint, "a request", model)
        return answer(described(service, run, _latest(service)))

    return blueprint


def _whole_run(model: str) -> str:
    """Return the name of a run. Raises `InvalidSetting` for a checkpoint, and for `latest`, which may mean another one by now."""
    name, at, _ = model.partition("@")
    if at:
        raise InvalidSetting("model", model, "the name of a run", "a checkpoint has no other name than its step")
    if name == "latest":
        raise InvalidSetting("model", model, "the name of a run", "the latest run may have changed a moment ago")
    return model


def _pinned(service: Service, model: str, kept: bool) -> Model:
    with about("model"):
        run, which = service.store.runs.resolve(model)
        stored = service.store.checkpoints.pin(run, _step(run, which, "RUN@STEP"), kept)
    return described(service, run, _latest(service), stored)


def _step(run: Run, which: Which, must: str) -> int:
    if not isinstance(which, int):
        raise InvalidSetting("model", f"{run.name}@{which}", must, "the best or last checkpoint may have changed")
    return which


def _latest(service: Service) -> str | None:
    try:
        return service.store.runs.latest().name
    except NoModelYet:
        return None


def described(service: Service, run: Run, latest: str | None, only: StoredCheckpoint | None = None) -> Model:
    """Return a run that has a checkpoint, or `only` one checkpoint of it, in the form of OpenAI's models."""
    checkpoints = service.store.checkpoints.list(run)
    size = service.models.size(run)
    facts = ModelFacts(
        latest=run.name == latest,
        state=run.state,
        corpus=run.corpus,
        cell=run.model_config["cell"],
        hidden_size=run.model_config["hidden_size"],
        num_layers=run.model_config["num_layers"],
        level=run.model_config["level"],
        parameters=size and size.parameters,
        alphabet_size=size and size.alphabet_size,
        separator=size and size.separator,
        step=only.step if only else run.step,
        epoch=only.epoch if only else run.epoch,
        seconds=run.seconds,
        loss=only.loss if only else next((each.loss for each in reversed(checkpoints) if each.loss is not None), None),
        validation_loss=only.validation_loss if only else run.best_validation_loss,
        bits_per_char=only.bits_per_char if only else run.best_bits_per_char,
        best_step=next((each.step for each in checkpoints if each.best), None),
        steps=[each.step for each in checkpoints],
    )
    return Model(id=f"{run.name}@{only.step}" if only else run.name, created=seconds((only or run).created_at), meta=facts)
