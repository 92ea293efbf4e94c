"""Runs, their events and their checkpoints as OpenAI's clients know fine-tuning jobs."""

from __future__ import annotations

import time
from typing import Any, cast

from service.api.answers import seconds
from service.api.orders import MARK
from service.api.shapes import (
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
    Supervised,
)
from service.jobs import ORDER
from service.progress import share_done
from service.store import Checkpoint, Event, Run

EVENT = "ftevent-"  # how the id of an event begins; its number follows


def described(run: Run) -> Job:
    """A run as a job."""
    mark: dict[str, Any] = run.environment.get(MARK, {})
    hyperparameters = _hyperparameters(run, mark)
    share = share_done(run)
    running = run.state == "running"
    left = run.seconds * (1 - share) / share if share and running else None
    usable = run.checkpoints and run.state not in ("queued", "running")
    return Job(
        id=run.name,
        created_at=seconds(run.created_at),
        finished_at=seconds(run.ended_at) if run.ended_at else None,
        estimated_finish=round(time.time() + left) if left is not None else None,
        model=run.parent or run.model_config["cell"],
        fine_tuned_model=run.name if usable else None,
        result_files=[],
        status=cast(State, run.state),
        training_file=run.corpus,
        validation_file=run.validation_corpus,
        trained_tokens=round(run.epoch * run.environment["epoch"]["symbols"]) if "epoch" in run.environment else None,
        hyperparameters=hyperparameters,
        method=Method(supervised=Supervised(hyperparameters=hyperparameters)),
        seed=run.training_config.get("seed", 0),
        error=JobFault(code="training_failed", message=run.message or "training failed") if run.state == "failed" else None,
        integrations=[],
        metadata=mark.get("metadata"),
        user_provided_suffix=mark.get("suffix"),
        meta=JobFacts(
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


def has_metadata(run: Run, wanted: dict[str, str]) -> bool:
    """Whether a run was ordered with all of some metadata."""
    metadata = run.environment.get(MARK, {}).get("metadata") or {}
    return wanted.items() <= metadata.items()


def _hyperparameters(run: Run, mark: dict[str, Any]) -> Hyperparameters:
    order = run.environment.get(ORDER)  # what is not in it will be chosen
    known = run.training_config if order is None else order["given"]
    return Hyperparameters(
        n_epochs=known.get("epochs") or "auto",
        batch_size=known.get("batch_size") or "auto",
        learning_rate_multiplier=mark.get("learning_rate_multiplier") or "auto",
    )


def event_shown(event: Event) -> JobEvent:
    """An event as OpenAI's clients know it."""
    return JobEvent(
        id=f"{EVENT}{event.id}",
        created_at=seconds(event.created_at),
        level=cast(Level, event.level),
        message=event.message,
        type=cast(Kind, event.type),
        data=event.data,
    )


def checkpoint_shown(checkpoint: Checkpoint) -> JobCheckpoint:
    """A checkpoint as OpenAI's clients know it."""
    name = f"{checkpoint.run}@{checkpoint.step}"
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
