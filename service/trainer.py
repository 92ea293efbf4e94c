"""Carries out one run: text from the store, `model.training`, and what comes of it back into the store.

The command line and the worker both consume `Trainer.events`: they print or pass on what happened, and never store anything
themselves. At every validation, metrics, checkpoint and sample are stored in one transaction; between validations a checkpoint
is stored every `SAVE_EVERY` seconds. A process that is killed at any moment loses the steps since the last of them, and a run
that goes on from there computes the same weights as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from model.batches import Streams
from model.checkpoint import Checkpoint, pack_state
from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import CharloomError, DatabaseBusy, InvalidSetting, OutOfMemory, ProcessLost, StoreError, TextError, TrainingDiverged
from model.group import ALONE, Group
from model.language_model import LanguageModel
from model.sampling import generate
from model.training import Progress, TrainingState, evaluate, train
from model.vocabulary import Vocabulary
from model.workspace import Workspace
from service import machine
from service.assessor import Assessor
from service.events import Ended, Event, Prepared, Stepped, Validated
from service.meter import Meter
from service.orders import extension
from service.pace import Pace, length_in_steps
from service.parallel import mpi
from service.parallel.processes import together
from service.preparation import adopt_ranks, material
from service.reading import Text
from service.store import Metric, Run, Sample, Store

SAVE_EVERY = 60.0  # seconds between checkpoints, at most
SAVE_ATTEMPTS = 6  # each waits for a locked database as long as the store does, about ten seconds
HEARTBEAT = 15.0  # seconds; the lease of service.owner is four times that
SAMPLE = SamplingConfig(length=240, temperature=0.8, seed=0)


def resume(
    store: Store,
    name: str,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    budget: float | None = None,
    began: float | None = None,
    ranks: int = 1,
) -> Trainer:
    """Claim a run to go on with it, with any number of `ranks`. A length starts the schedule once more over that much more training.

    Raises `RunNotFound`, `RunBusy`, `InvalidSetting`, and `RunCannotGoOn` for a finished run without a length or an imported one.
    """
    longer = extension(store.runs.get(name), epochs=epochs, steps=steps, budget=budget)
    return Trainer(store, store.runs.claim(name), began=began, extension=longer, ranks=ranks)


class Trainer:
    """Trains one claimed run. `stop` may be called from a signal handler or another thread."""

    _assessor: Assessor  # as soon as the text is read
    _pace: Pace

    def __init__(
        self,
        store: Store,
        run: Run,
        *,
        began: float | None = None,
        extension: TrainingConfig | None = None,
        new: bool = False,
        ranks: int = 1,
        notes: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`began` is when the run's time started, on `clock`; by default now. An `extension` starts the schedule once more, over it.

        A `new` run that is refused before its first step, because its settings or its text cannot be used, is not kept. Of several
        `ranks` of MPI this process is rank 0, and the others follow. `notes` are told first when the run begins.
        """
        self._store, self._clock, self._extension, self._new = store, clock, extension, new
        start = clock() if began is None else began
        earlier = self._earlier = run.seconds  # spent before this process
        # It holds nothing of the trainer, whose memory is so free as soon as it has ended.
        self._spent: Callable[[], float] = lambda: earlier + clock() - start
        self.run = run
        self._training = extension or TrainingConfig.from_dict(run.training_config)
        self._model_config = ModelConfig.from_dict(run.model_config)
        self._stopping = ""
        self._workspace = Workspace()
        self._ranks = ranks
        self._group: Group = ALONE
        self._notes = list(notes)

    def stop(self, reason: str) -> None:
        """Ask it to save and end after the present step; the run is then paused, with `reason` as its message."""
        self._stopping = self._stopping or reason

    @property
    def seconds(self) -> float:
        """Time spent on the run so far, over all resumptions."""
        return self._spent()

    def events(self) -> Generator[Event, None, None]:
        """Train, yielding what happens. The run is given back at the end, whatever the end is.

        Raises `TrainingDiverged` (the run has then failed), `TextTooShort`, `OutOfMemory`, `StoreError`, ...
        """
        machine.give_memory_back()
        try:
            with machine.blas_threads(self.run.environment["threads"]):
                yield from self._events()
        except MemoryError as error:
            told = OutOfMemory(str(error))
            self._give_up(told)
            raise told from error
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Give the run back when something ends it before its time; its checkpoints stay."""
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
        message = str(error) if isinstance(error, CharloomError) else f"{type(error).__name__}: {error}"
        if stopped:
            message = "stopped before the last steps were saved"
        state = "paused" if stopped or isinstance(error, (StoreError, ProcessLost)) else "failed"
        # Where the store itself is the trouble, or the run is another's now, it reads as paused once this process is gone.
        with contextlib.suppress(CharloomError):
            self.run = self._store.runs.release(self.run, state, message)
            if self._new and isinstance(error, (InvalidSetting, TextError)):
                self._store.runs.remove(self.run.name)

    # ── the run from its beginning to its end ─────────────────────────────────────────────────────────────────────────

    def _events(self) -> Iterator[Event]:
        self.run = adopt_ranks(self._store, self.run, self._model_config, self._training, self._ranks, self._notes)
        text, streams, model, state, is_new = material(self._store, self.run, self._model_config, self._training, self._ranks, self._notes)
        if is_new:
            state.last_step = length_in_steps(self._training, streams)
            self._adopt_extension()
        elif self._extension:
            self._extend(model, state, text, length_in_steps(self._training, streams))
        earlier = (each for each in self._store.metrics.list(self.run, after=state.first_step) if each.step <= state.step)
        self._assessor = Assessor(text, self._training.budget, earlier)
        self._pace = Pace(self._training, streams, text, self._assessor, self._spent)
        by_budget = self._training.budget is not None
        yield Prepared(
            run=self.run,
            symbols=streams.symbols,
            validation_symbols=text.split.stop - text.split.start,
            vocabulary_size=text.vocabulary.size,
            parameters=len(model.parameters.flat),
            steps=None if by_budget else state.last_step - state.step,
            notes=self._notes,
        )
        processes = min(self._ranks if self._ranks > 1 else self.run.environment["processes"], streams.batch_size)
        ids = text.ids[: text.split.training]
        form = partial(mpi.together, threads=self.run.environment["threads"]) if self._ranks > 1 else together
        with form(processes, model, streams, ids, self._training, state, text.vocabulary.unknown_cost) as (model, state, group):
            self._group = group
            yield from self._train(model, streams, state, text, group)
        if self._stopping:
            self.run = self._store.runs.release(self.run, "paused", self._stopping)
        else:
            self.run = self._store.runs.release(self.run, "succeeded")
        if math.isfinite(state.best_loss):
            yield Ended(run=self.run, best_step=state.best_step, best=self._assessor.place(state.best_loss))
        else:
            yield Ended(run=self.run)

    def _extend(self, model: LanguageModel, state: TrainingState, text: Text, steps: int) -> None:
        """Start the schedule once more, over so many steps or over the new budget."""
        state.first_step, state.last_step, state.first_second = state.step, state.step + steps, self._earlier
        state.stale = 0  # patience begins anew, too
        last = self._store.checkpoints.get(self.run, "last")  # stored once more, with all that is known of it
        metric = Metric(
            step=state.step,
            epoch=last.epoch,
            loss=last.loss,
            validation_loss=last.validation_loss,
            bits_per_char=last.bits_per_char,
            seconds=self._earlier,
        )
        with self._store.immediate(durable=True):  # the settings and the state that follows them: both or neither
            self._adopt_extension()
            self._save(model, state, text, metric)

    def _adopt_extension(self) -> None:
        if self._extension:
            began = {"steps": self.run.step, "epochs": self.run.epoch, "budget": self._earlier}
            self.run = self._store.runs.configure(
                self.run, training_config=self._extension.to_dict(), environment={**self.run.environment, "extended_at": began}
            )

    def _train(self, model: LanguageModel, streams: Streams, state: TrainingState, text: Text, group: Group) -> Iterator[Event]:
        pace = self._pace
        limit = self._training.budget if self._training.max_epochs is None else None  # what the time left is told from
        meter = Meter(self._clock)
        validated = saved = beat = self._clock()
        metric, validated_step = None, -1
        for progress in train(model, streams, self._training, state, pace.share, group, text.vocabulary.unknown_cost, self._workspace):
            meter.add(progress)
            pace.learned(meter.speed)
            now = self._clock()
            spent = pace.share(state)
            yield Stepped(
                progress=progress,
                share=min(1.0, spent),
                seconds_left=meter.seconds_left(spent, limit),
                characters_per_second=meter.speed / text.symbols_per_char,
            )
            metric = self._metric(progress, meter, text)
            if self._stopping:
                break
            if spent < 1 and pace.is_due(state, now - validated):
                yield self._validate(model, state, text, metric, meter.seconds_left(spent, limit))
                validated_step = state.step
                if self._training.patience and state.stale >= self._training.patience:
                    break
                validated = saved = beat = self._clock()
                meter.restart()
            elif now - saved > SAVE_EVERY:
                self._save(model, state, text, metric)
                saved = beat = self._clock()
            elif now - beat > HEARTBEAT:
                with contextlib.suppress(DatabaseBusy):  # the next one will do
                    self._store.runs.heartbeat(self.run)
                beat = now
        if self._stopping and metric is not None:
            self._save(model, state, text, metric)
        elif not self._stopping and validated_step != state.step:  # a validation may have taken the rest of a budget
            yield self._validate(model, state, text, metric or Metric(step=state.step, epoch=state.epoch + state.chunk / streams.chunks))

    # ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _validate(self, model: LanguageModel, state: TrainingState, text: Text, metric: Metric, seconds_left: float = 0.0) -> Validated:
        self._assessor.prepare()
        began = self._clock()
        with np.errstate(all="ignore"):  # what is not finite is found below, and named
            found = evaluate(model, text.ids, text.split.start, text.split.stop, text.vocabulary.unknown_cost, self._workspace)
        if not math.isfinite(found.loss):
            raise TrainingDiverged(state.step, "validation loss", found.loss)
        best = state.validated(found.loss)
        sample = Sample(step=state.step, text=self._sample(model, text.vocabulary), temperature=SAMPLE.temperature, seed=SAMPLE.seed)
        metric = replace(
            metric, validation_loss=found.loss, bits_per_char=found.loss * text.symbols_per_char / math.log(2), seconds=self.seconds
        )
        self._save(model, state, text, metric, [sample])
        self._pace.validated(self._clock() - began)
        standing = self._assessor.assess(metric, seconds_left)
        return Validated(metric=metric, sample=sample.text, best=best, standing=standing)

    def _sample(self, model: LanguageModel, vocabulary: Vocabulary) -> str:
        with machine.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
            return "".join(piece.text for piece in generate(model, vocabulary, SAMPLE, machine.prepare_for(model)))

    def _save(self, model: LanguageModel, state: TrainingState, text: Text, metric: Metric, samples: list[Sample] | None = None) -> None:
        self._workspace.clear()  # a checkpoint is made of several copies, for which there would else be less room
        text.release()
        facts: dict[str, Any] = {"run": self.run.name, "step": state.step, "corpus": self.run.corpus}
        if metric.validation_loss is not None:
            facts |= {"validation_loss": metric.validation_loss, "bits_per_char": metric.bits_per_char}
        checkpoint = Checkpoint(model, text.vocabulary, facts)
        model_bytes, state_bytes = checkpoint.to_bytes(), pack_state(replace(state, hidden=self._group.collect(state.hidden)))
        for attempt in range(1, SAVE_ATTEMPTS + 1):
            try:
                self._store.checkpoints.save(self.run, metric, model_bytes, state_bytes, samples or [])
                self.run = replace(self.run, step=metric.step, epoch=metric.epoch, seconds=metric.seconds)
                return
            except DatabaseBusy:
                if attempt == SAVE_ATTEMPTS:
                    raise

    def _metric(self, progress: Progress, meter: Meter, text: Text) -> Metric:
        return Metric(
            step=progress.step,
            epoch=progress.epoch,
            loss=meter.loss,
            learning_rate=progress.learning_rate,
            grad_norm=progress.grad_norm,
            characters_per_second=meter.speed / text.symbols_per_char,
            seconds=self.seconds,
        )
