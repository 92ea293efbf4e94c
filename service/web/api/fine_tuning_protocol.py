"""Defines the answers about training jobs, their events and their checkpoints."""

from __future__ import annotations

from typing import Any, Literal

from service.web.api.protocol import Count, Seconds, Shape

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]  # those of a `State` that OpenAI's clients know
Auto = Literal["auto"]
Level = Literal["info", "warn", "error"]
Kind = Literal["message", "metrics"]


class Hyperparameters(Shape, kw_only=True):
    """As OpenAI's API calls them. `auto` is chosen when the job begins; if `n_epochs` is `auto`, a time budget rules.

    OpenAI's clients know whole `n_epochs` only: a part of an epoch counts as one, and `training_config` has the exact number.
    """

    n_epochs: Auto | int
    batch_size: Auto | int
    learning_rate_multiplier: Auto | float


class Supervised(Shape, kw_only=True):
    """The settings of the method."""

    hyperparameters: Hyperparameters


class Method(Shape, kw_only=True):
    """The way of training."""

    type: Literal["supervised"] = "supervised"
    supervised: Supervised


class JobFault(Shape, kw_only=True):
    """Why a job has failed."""

    code: str
    message: str
    param: str | None = None


class JobFacts(Shape, kw_only=True):
    """How far a job is. `share` is null if it is not known; losses are the best so far, in nats per symbol.

    `state` may also be `paused`, for which OpenAI's API has no word. `wanted` is the state that a running job was asked to take, and
    will soon have.
    """

    state: State
    step: Count
    epoch: float
    seconds: float
    share: float | None
    validation_loss: float | None
    bits_per_char: float | None
    message: str | None
    wanted: State | None
    parent: str | None
    model_config: dict[str, Any]
    training_config: dict[str, Any]


class Job(Shape, kw_only=True):
    """A run. `fine_tuned_model` is its name as soon as it has ended, or is paused, with a checkpoint.

    `status` is `queued` if `meta.state` is `paused`. `training_file` is empty for an imported model.

    `trained_tokens` are the symbols that were read up to its last checkpoint, counted each time; null before it begins.
    """

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: Seconds
    finished_at: Seconds | None
    estimated_finish: Seconds | None
    model: str
    fine_tuned_model: str | None
    organization_id: Literal["charloom"] = "charloom"
    result_files: list[str]
    status: Status
    training_file: str
    validation_file: str | None
    trained_tokens: int | None
    hyperparameters: Hyperparameters
    method: Method
    seed: int
    error: JobFault | None
    integrations: list[Any]
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    meta: JobFacts


class JobEvent(Shape, kw_only=True):
    """Something that happened to a job; those of type `metrics` have numbers in `data`."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: Seconds
    level: Level
    message: str
    type: Kind
    data: dict[str, Any] | None


class CheckpointMetrics(Shape, kw_only=True):
    """What was measured at a checkpoint; losses in nats per symbol."""

    step: Count
    train_loss: float | None
    valid_loss: float | None
    bits_per_char: float | None


class JobCheckpoint(Shape, kw_only=True):
    """A checkpoint that a job has kept; `fine_tuned_model_checkpoint` is a model."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: Seconds
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: Count
    metrics: CheckpointMetrics
