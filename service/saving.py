"""What a run keeps on its way: a text that its model draws, and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from model.checkpoint import Checkpoint, pack_state
from model.config import SamplingConfig
from model.errors import DatabaseBusy
from model.group import ALONE, Group
from model.language_model import LanguageModel
from model.sampling import generate
from model.training import TrainingState
from model.vocabulary import Vocabulary
from service import chronicle, machine
from service.reading import Text
from service.store import Metric, Run, Sample, Store

SAVE_ATTEMPTS = 6  # each waits for a locked database as long as the store does, about ten seconds
TEMPERATURE = 0.8
SAMPLE = SamplingConfig(length=240, temperature=TEMPERATURE, seed=0)


def draw(model: LanguageModel, vocabulary: Vocabulary, step: int, tick: Callable[[], None]) -> Sample:
    """A text by the model as it is now. `tick` is called now and then; what it raises ends the drawing."""
    pieces = []
    with machine.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
        for piece in generate(model, vocabulary, SAMPLE, machine.prepare_for(model)):
            tick()
            pieces.append(piece.text)
    return Sample(step=step, text="".join(pieces), temperature=TEMPERATURE, seed=SAMPLE.seed)


class Saver:
    """Stores checkpoints of a claimed run. Its `group` are the processes that hold parts of the state."""

    def __init__(self, store: Store, text: Text) -> None:
        self._store, self._text = store, text
        self.group: Group = ALONE

    def save(
        self,
        run: Run,
        model: LanguageModel,
        state: TrainingState,
        metric: Metric,
        sample: Sample | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> Run:
        """Store the step, with a sample and an event where it was just validated; the run as it stands then.

        `told` are further numbers for that event. A locked database is waited for. Raises as `Checkpoints.save`.
        """
        self._text.release()
        facts: dict[str, Any] = {"run": run.name, "step": state.step, "corpus": run.corpus}
        if metric.validation_loss is not None:
            facts |= {"validation_loss": metric.validation_loss, "bits_per_char": metric.bits_per_char}
        tell = partial(chronicle.validated, self._store, run, metric, told or {}) if sample else None
        checkpoint = Checkpoint(model, self._text.vocabulary, facts)
        model_bytes, state_bytes = checkpoint.to_bytes(), pack_state(replace(state, hidden=self.group.collect(state.hidden)))
        for attempt in range(1, SAVE_ATTEMPTS + 1):
            try:
                self._store.checkpoints.save(run, metric, model_bytes, state_bytes, [sample] if sample else [], tell)
                break
            except DatabaseBusy:
                if attempt == SAVE_ATTEMPTS:
                    raise
        return replace(run, step=metric.step, epoch=metric.epoch, seconds=metric.seconds)
