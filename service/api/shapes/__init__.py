"""What the routes answer: one msgspec Struct for each object of the API, from which `/openapi.json` is derived.

Views build their answers from these, so that what is declared is what is sent. OpenAI's objects carry OpenAI's fields; what that
API has no word for is in `meta`, or a further field named as in our configurations. Times are whole seconds since 1970.
"""

from __future__ import annotations

from service.api.shapes.base import Count, Deleted, Error, Fault, Page, Seconds, Shape
from service.api.shapes.files import File, FileFacts
from service.api.shapes.inspection import Cells, Inspected, UnitActivations
from service.api.shapes.jobs import (
    Auto,
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
from service.api.shapes.models import Model, ModelFacts
from service.api.shapes.novelty import ComparedRecord, CopiedSpan, TextNovelty
from service.api.shapes.service import Health, Training
from service.api.shapes.texts import (
    Completion,
    CompletionChoice,
    CompletionFacts,
    CompletionLogprobs,
    Generated,
    GeneratedPiece,
    PromptFacts,
    Scored,
    Substituted,
    TextScore,
    Usage,
)

__all__ = [
    "Auto",
    "Cells",
    "CheckpointMetrics",
    "ComparedRecord",
    "Completion",
    "CompletionChoice",
    "CompletionFacts",
    "CompletionLogprobs",
    "CopiedSpan",
    "Count",
    "Deleted",
    "Error",
    "Fault",
    "File",
    "FileFacts",
    "Generated",
    "GeneratedPiece",
    "Health",
    "Hyperparameters",
    "Inspected",
    "Job",
    "JobCheckpoint",
    "JobEvent",
    "JobFacts",
    "JobFault",
    "Kind",
    "Level",
    "Method",
    "Model",
    "ModelFacts",
    "Page",
    "PromptFacts",
    "Scored",
    "Seconds",
    "Shape",
    "State",
    "Substituted",
    "Supervised",
    "TextNovelty",
    "TextScore",
    "Training",
    "UnitActivations",
    "Usage",
]
