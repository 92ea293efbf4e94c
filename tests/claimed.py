"""Orders runs for tests of what trains them: with settings given in full, and claimed by this process."""

from __future__ import annotations

from model.config import ModelConfig, TrainingConfig
from service.store import Run, Store
from service.system import hardware
from service.training import jobs
from service.training.jobs import JobSpec


def claimed_run(
    store: Store,
    corpus: str,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    name: str | None = None,
    ranks: int = 1,
) -> Run:
    """A new run of a stored corpus that trains exactly as it is told: nothing is chosen, and no speed is measured."""
    spec = JobSpec(corpus=corpus, model=model.to_dict(), training=training.to_dict(), name=name)
    run = store.runs.claim(jobs.submit(store, spec, queued=False).name)
    return store.runs.configure(run, environment=hardware.environment(hardware.training_threads(), ranks))
