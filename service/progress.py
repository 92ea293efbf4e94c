"""How far a run is, as others see it in the store."""

from __future__ import annotations

from dataclasses import dataclass

from service.store.runs import Run, Runs
from service.store.times import age


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run that is being trained, or waits for that."""

    run: str
    share: float | None = None  # 0 to 1; None where it cannot be told
    step: int = 0
    epoch: float = 0.0
    validation_loss: float | None = None


def share_done(run: Run) -> float | None:
    """The share of a run's length that is behind it, 0 to 1; None for one without a length, such as an imported model."""
    config = run.training_config
    before = run.environment.get("extended_at", {})  # where the part of the run began that its length is about
    done: dict[str, float] = {"steps": run.step, "epochs": run.epoch}
    # What a trainer wrote last is up to a minute old, but time passes evenly.
    done["budget"] = run.seconds + (age(run.heartbeat_at) if run.state == "running" and run.heartbeat_at else 0)
    for length, value in done.items():
        whole = config.get(length)
        if whole:
            return min(1.0, max(0.0, (value - float(before.get(length, 0))) / float(whole)))
    return None


def training(runs: Runs) -> Training | None:
    """The run that is being trained now, the newest where there are several, else the one that is next; None where there is none."""
    listed = runs.list()
    waiting = (run for run in reversed(listed) if run.state == "queued" and run.queued)
    run = next((run for run in listed if run.state == "running"), None) or next(waiting, None)
    if run is None:
        return None
    return Training(run=run.name, share=share_done(run), step=run.step, epoch=run.epoch, validation_loss=run.best_validation_loss)
