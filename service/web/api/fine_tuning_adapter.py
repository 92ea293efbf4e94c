"""Translates between OpenAI's fine-tuning jobs and runs: orders into a `JobSpec`; runs, events and checkpoints into answers."""

from __future__ import annotations

import math
import re
import time
from typing import Any, cast

from model.config import CELLS, ModelConfig, TrainingConfig
from model.errors import CharloomError, InvalidSetting
from model.settings import Setting, settings_of
from service.store import Event, Run, StoredCheckpoint
from service.store.job_queue import JobLimits
from service.store.runs import share_done
from service.training import jobs
from service.training.jobs import JobSpec
from service.training.progress import seconds_left
from service.web.api.fine_tuning_protocol import (
    CheckpointMetrics,
    Hyperparameters,
    Job,
    JobCheckpoint,
    JobEvent,
    JobFacts,
    JobFault,
    Kind,
    Level,
    Method,
    State,
    Status,
    Supervised,
)
from service.web.api.responses import seconds
from service.web.errors import about
from service.web.state import Service
from service.web.validation import Body, Field, fields_of, route_fields

# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────

EXTRA = "fine_tuning"  # under this key of a run's request stands what only OpenAI's API asks for
HYPERPARAMETERS = Body("HyperparametersOrder", route_fields("hyperparameters"))
SUPERVISED = Body("SupervisedOrder", {"hyperparameters": Field(HYPERPARAMETERS, True, None, Setting(meaning="as beside this"))})
METHOD = Body("MethodOrder", {**route_fields("method"), "supervised": Field(SUPERVISED, True, None, Setting(meaning="its settings"))})
OURS = {"n_epochs": "epochs", "batch_size": "batch_size"}  # what our configurations call the same
EXCLUSIVE = {"n_epochs": ("epochs", "steps", "budget"), "batch_size": ("batch_size",), "learning_rate_multiplier": ("learning_rate",)}
PARAMS = {"corpus": "training_file", "validation_corpus": "validation_file"}


def _optional(field: Field) -> Field:
    """Return a setting of ours as a field that may be left out, and is then chosen."""
    return field._replace(optional=True, default=None)


JOB = Body(
    "JobOrder",
    {
        **route_fields("job"),
        "hyperparameters": Field(HYPERPARAMETERS, True, None, Setting(meaning="the most usual settings, as OpenAI's API calls them")),
        "method": Field(METHOD, True, None, Setting(meaning="the same, as newer clients send them")),
        **{name: _optional(field) for config in (TrainingConfig, ModelConfig) for name, field in fields_of(config).items()},
    },
)


def ordered(service: Service, asked: dict[str, Any], caller: str) -> Run:
    """Queue the job that `asked`, the values of `JOB`, describes, for a caller.

    Raises `InvalidSetting` for settings that contradict each other, and as `jobs.submit`; errors name the parameter as the client does.
    """
    asked = {name: clean(value) for name, value in asked.items() if value is not None}
    if "name" in asked and "suffix" in asked:
        raise InvalidSetting("suffix", asked["suffix"], "left out if name is given", "it is added to a name that is made up")
    model, parent = _network(service, asked)
    hyperparameters = _hyperparameters(asked)
    training = {name: asked[name] for name in _names(TrainingConfig) if name in asked}
    training |= {ours: hyperparameters[theirs] for theirs, ours in OURS.items() if theirs in hyperparameters}
    spec = JobSpec(
        corpus=asked["training_file"],
        validation_corpus=asked.get("validation_file"),
        model=model,
        training=training,
        learning_rate_multiplier=hyperparameters.get("learning_rate_multiplier", 1.0),
        parent=parent,
        name=asked.get("name"),
        suffix=asked.get("suffix", ""),
        max_steps=service.config.max_job_steps,
        max_seconds=service.config.max_job_time,
        caller=caller,
        limits=limits_of(service),
        extra={
            EXTRA: {
                "suffix": asked.get("suffix"),
                "metadata": asked.get("metadata"),
                "learning_rate_multiplier": hyperparameters.get("learning_rate_multiplier"),
            }
        },
    )
    service.check_room()
    try:
        run = jobs.submit(service.store, spec)
        if asked.get("integrations"):
            service.store.events.add(run, "the job's integrations are left out: this service sends its metrics to no other", level="warn")
        return run
    except CharloomError as error:
        error.param = PARAMS.get(error.param or "", error.param)
        error.args = (re.sub("^corpus is", "training_file is", str(error)).replace("validation_corpus", "validation_file"),)
        raise


def limits_of(service: Service) -> JobLimits:
    """Return how many jobs may wait or run."""
    return JobLimits(service.config.caller_jobs, service.config.max_jobs)


def _network(service: Service, asked: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the settings of the network, and the model to continue from, if any."""
    model = {name: asked[name] for name in _names(ModelConfig) if name in asked}
    if asked["model"] not in CELLS:
        with about("model"):
            service.store.checkpoints.get(*service.store.runs.resolve(asked["model"]))
        return model, asked["model"]
    cell = model.setdefault("cell", asked["model"])
    if cell != asked["model"]:
        raise InvalidSetting("cell", cell, f"left out, or {asked['model']}", "which is the model that was asked for")
    return model, None


def _hyperparameters(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that are given, from the two places where clients put them; `auto` counts as not given."""
    supervised = (asked.get("method") or {}).get("supervised") or {}
    found: dict[str, Any] = {}
    for place in (asked.get("hyperparameters"), supervised.get("hyperparameters")):
        for name, value in (place or {}).items():
            if value is None or value == "auto":
                continue
            if found.get(name, value) != value:
                raise InvalidSetting(f"method.supervised.hyperparameters.{name}", value, f"{found[name]}, as in hyperparameters")
            found[name] = value
    for name, others in EXCLUSIVE.items():
        if name in found and (other := next((each for each in others if each in asked), None)):
            raise InvalidSetting(f"hyperparameters.{name}", found[name], f"left out if {other} is given", "both decide the same")
    return found


def _names(configuration: Any) -> list[str]:
    return [field.name for field, _ in settings_of(configuration)]


def clean(value: Any) -> Any:
    """Replace lone surrogates in a value: no name has them, and the database cannot store them."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(name): clean(each) for name, each in value.items()}
    return value


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

STATUS: dict[str, Status] = {"paused": "queued"}  # the state in a word of OpenAI's, if it has none of ours: clients go on waiting
EVENT = "ftevent-"  # how the id of an event begins; its number follows


def job_of(run: Run) -> Job:
    """Return a run as a job."""
    mark: dict[str, Any] = run.request.get(EXTRA, {})
    hyperparameters = _hyperparameters_of(run, mark)
    share = share_done(run)
    running = run.state == "running"
    left = seconds_left(share, run.seconds, budget=run.training_config.get("budget")) if share and running else None
    usable = run.checkpoints and run.state not in ("queued", "running")
    return Job(
        id=run.name,
        created_at=seconds(run.created_at),
        finished_at=seconds(run.ended_at) if run.ended_at else None,
        estimated_finish=round(time.time() + left) if left is not None else None,
        model=run.parent or run.model_config["cell"],
        fine_tuned_model=run.name if usable else None,
        result_files=[],
        status=STATUS.get(run.state) or cast(Status, run.state),
        training_file=run.corpus or "",
        validation_file=run.validation_corpus,
        trained_tokens=round(run.epoch * run.epoch_symbols) if run.epoch_symbols is not None else None,
        hyperparameters=hyperparameters,
        method=Method(supervised=Supervised(hyperparameters=hyperparameters)),
        seed=run.training_config.get("seed", 0),
        error=JobFault(code="training_failed", message=run.message or "training failed") if run.state == "failed" else None,
        integrations=[],
        metadata=mark.get("metadata"),
        user_provided_suffix=mark.get("suffix"),
        meta=JobFacts(
            state=cast(State, run.state),
            step=run.step,
            epoch=run.epoch,
            seconds=run.seconds,
            share=share,
            validation_loss=run.best_validation_loss,
            bits_per_char=run.best_bits_per_char,
            message=run.message,
            wanted=cast(State | None, run.wanted),
            parent=run.parent,
            model_config=run.model_config,
            training_config=run.training_config,
        ),
    )


def has_metadata(run: Run, wanted: dict[str, str] | None) -> bool:
    """Return whether a run was ordered with all of the `wanted` metadata; None means with none at all."""
    metadata = run.request.get(EXTRA, {}).get("metadata") or {}
    return not metadata if wanted is None else wanted.items() <= metadata.items()


def _hyperparameters_of(run: Run, mark: dict[str, Any]) -> Hyperparameters:
    known = run.request.get("given", run.training_config)  # what is not in it was or will be chosen; runs of old releases have no request
    return Hyperparameters(
        n_epochs=math.ceil(known["epochs"]) if known.get("epochs") else "auto",
        batch_size=known.get("batch_size") or "auto",
        learning_rate_multiplier=mark.get("learning_rate_multiplier") or "auto",
    )


def event_shown(event: Event) -> JobEvent:
    """Return an event as OpenAI's clients know it."""
    return JobEvent(
        id=f"{EVENT}{event.id}",
        created_at=seconds(event.created_at),
        level=cast(Level, event.level),
        message=event.message,
        type=cast(Kind, event.type),
        data=event.data,
    )


def checkpoint_id(checkpoint: StoredCheckpoint) -> str:
    """Return the name of a checkpoint as a model."""
    return f"{checkpoint.run}@{checkpoint.step}"


def step_in(job: str, name: str) -> int | None:
    """Return the step of a checkpoint of a job from its id, whether or not it is still there; None for any other id."""
    step = name.removeprefix(f"{job}@")
    return int(step) if step != name and step.isascii() and step.isdigit() and len(step) < 19 else None


def checkpoint_shown(checkpoint: StoredCheckpoint) -> JobCheckpoint:
    """Return a checkpoint as OpenAI's clients know it."""
    name = checkpoint_id(checkpoint)
    return JobCheckpoint(
        id=name,
        created_at=seconds(checkpoint.created_at),
        fine_tuned_model_checkpoint=name,
        fine_tuning_job_id=checkpoint.run,
        step_number=checkpoint.step,
        metrics=CheckpointMetrics(
            step=checkpoint.step,
            train_loss=checkpoint.loss,
            valid_loss=checkpoint.validation_loss,
            bits_per_char=checkpoint.bits_per_char,
        ),
    )
