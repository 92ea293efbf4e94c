"""Fixtures: the events of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from model.training import Progress
from service.store import Metric, Run
from service.training.learning_curve import Outlook, Standing
from service.training.progress import Ended, Prepared, Stepped, Validated

RUN = Run(
    id=1,
    name="tale-lstm",
    corpus="tale",
    corpus_id=1,
    state="running",
    message=None,
    model_config={"cell": "lstm", "num_layers": 2, "hidden_size": 128},
    training_config={"steps": 900},
    environment={"threads": 1},
    step=100,
    epoch=0.5,
    best_validation_loss=1.5,
    best_bits_per_char=2.164,
    seconds=12.0,
    checkpoints=1,
    created_at="2026-01-01T00:00:00.000Z",
    started_at=None,
    ended_at=None,
    owner=None,
    heartbeat_at=None,
)


STANDING = Standing(
    loss=1.25,
    bits_per_char=1.803,
    better_than="bigram",
    worse_than="4-gram",
    words="1.250 nats = 1.80 bits per character, between a bigram (2.96) and a 4-gram model (1.75)",
    outlook=None,
)
OUTLOOKS = {
    "learning": Outlook(
        verdict="learning", gain=0.04, gain_seconds=83.0, words="still learning: about 0.04 nats more in the 83 seconds left"
    ),
    "overfitting": Outlook(
        verdict="overfitting",
        rise=0.2,
        since_step=90,
        words="overfitting: validation is up 0.200 since step 90 while training fell 0.167; the best is kept",
    ),
}


def changed(run: Run, **values: Any) -> Run:
    return Run(**{**vars(run), **values})


@dataclass(frozen=True)
class Events:
    """Makes events of one run."""

    run: Run = RUN

    def prepared(self, steps: int | None = 900, notes: tuple[str, ...] = ()) -> Prepared:
        return Prepared(
            run=self.run, symbols=9000, validation_symbols=1000, vocabulary_size=60, parameters=70_000, steps=steps, notes=list(notes)
        )

    def stepped(self, step: int = 101, share: float = 0.25, seconds_left: float = 83.0, speed: float = 312_000.0) -> Stepped:
        progress = Progress(step, step / 200, 1.234567, 0.5, 0.01, share, 2048)
        return Stepped(progress=progress, share=share, seconds_left=seconds_left, characters_per_second=speed)

    def validated(self, sample: str = "once\nupon", best: bool = True, outlook: str = "") -> Validated:
        metric = Metric(step=110, epoch=0.55, validation_loss=1.25, bits_per_char=1.803)
        return Validated(metric=metric, sample=sample, best=best, standing=replace(STANDING, outlook=OUTLOOKS.get(outlook)))

    def ended(self, **values: Any) -> Ended:
        return Ended(run=changed(self.run, **values), best_step=90, best=STANDING)


@pytest.fixture(scope="session")  # nothing of it changes, and hypothesis asks for that
def events() -> Events:
    return Events()


@pytest.fixture
def change() -> Callable[..., Run]:
    return changed
