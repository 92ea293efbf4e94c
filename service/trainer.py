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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from model.batches import Streams
from model.checkpoint import Checkpoint, pack_state, unpack_state
from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.errors import (
    CharloomError,
    CheckpointNotFound,
    DatabaseBusy,
    InvalidSetting,
    OutOfMemory,
    ProcessLost,
    RunCannotGoOn,
    StoreError,
    TextError,
    TextTooShort,
    TrainingDiverged,
)
from model.group import ALONE, Group
from model.language_model import LanguageModel
from model.sampling import generate
from model.training import Progress, TrainingState, by_steps, evaluate, train
from model.vocabulary import Vocabulary
from model.workspace import Workspace
from service import machine
from service.assessor import Assessor
from service.capacity import refuse_too_large
from service.events import Ended, Event, Prepared, Stepped, Validated
from service.intake import LEAST_TEXT
from service.meter import Meter
from service.parallel import mpi
from service.parallel.processes import together
from service.reading import Text, read
from service.store import Metric, Run, Sample, Store

SAVE_EVERY = 60.0  # seconds between checkpoints, at most
SAVE_ATTEMPTS = 6  # each waits for a locked database as long as the store does, about ten seconds
HEARTBEAT = 15.0  # seconds; the lease of service.owner is four times that
DEFAULT_BUDGET = 180.0  # seconds, where a run is given no length

# Validating takes less than half of the time of learning from as many symbols; six times as many between two validations keep
# it, with storing, under a tenth. Texts so short that this would be a few steps are validated every 200.
VALIDATE_AFTER = 6
VALIDATING_FASTER = 2
VALIDATE_LEAST = 200  # steps
BUDGET_SHARE = 12  # in runs by budget, where the clock rules: train that many times as long as a validation takes
BUDGET_PARTS = 60  # ... but do not validate more often than that in all
BUDGET_VALIDATING = 0.09  # ... nor longer, with the last validation, than this share of the budget

LAST_MOMENT = 0.99  # the share at which even the shortest budget makes its one step

SAMPLE = SamplingConfig(length=240, temperature=0.8, seed=0)


def create(
    store: Store,
    corpus: str,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    name: str | None = None,
    threads: int = 0,
    processes: int = 0,
    ranks: int = 1,
) -> Run:
    """A new run of `corpus`, claimed by this process; without `name` one is made up from the cell and the corpus.

    `threads` and `processes` 0 take the fixed rule of `machine.workers_for`; several `ranks` of MPI are one process each. Raises
    `NameTaken`, `InvalidName`, `CorpusNotFound`, `TextTooShort`.
    """
    if training.epochs is None and training.steps is None and training.budget is None:
        training = replace(training, budget=DEFAULT_BUDGET)
    found = store.corpora.get(corpus)
    if found.characters < LEAST_TEXT:
        raise TextTooShort(f"corpus {corpus}", found.characters, LEAST_TEXT)
    workers = machine.workers_for(model, training, 1 if ranks > 1 else processes, threads)
    run = store.runs.create(
        name if name is not None else f"{corpus}-{model.cell}",
        corpus=corpus,
        model_config=model.to_dict(),
        training_config=training.to_dict(),
        environment=machine.environment(workers, ranks),
        exact=name is not None,
    )
    return store.runs.claim(run.name)


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
    run = store.runs.get(name)
    if run.corpus is None:
        raise RunCannotGoOn(name, "it was imported and has no corpus to train on")
    more = {key: value for key, value in (("epochs", epochs), ("steps", steps), ("budget", budget)) if value is not None}
    if run.state == "succeeded" and not more:
        raise RunCannotGoOn(name, "it has finished; say how much longer to train it with --epochs, --steps or --budget")
    extension = TrainingConfig.from_dict({**run.training_config, "epochs": None, "steps": None, "budget": None, **more}) if more else None
    return Trainer(store, store.runs.claim(name), began=began, extension=extension, ranks=ranks)


class Trainer:
    """Trains one claimed run. `stop` may be called from a signal handler or another thread."""

    _assessor: Assessor  # as soon as the text is read

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
        self._began = clock() if began is None else began
        self._earlier = run.seconds  # spent before this process
        self.run = run
        self._training = extension or TrainingConfig.from_dict(run.training_config)
        self._model_config = ModelConfig.from_dict(run.model_config)
        self._stopping = ""
        self._validation_seconds = 0.0  # the last one took, or the first one will probably take
        self._validating = 0.0  # all of them took, in this process
        self._chunks = 1  # of an epoch
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
        return self._earlier + self._clock() - self._began

    def events(self) -> Iterator[Event]:
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
        self._adopt_ranks()
        checkpoint, state = self._last_checkpoint()
        vocabulary = checkpoint.vocabulary if checkpoint else None
        text = read(self._store, self.run.corpus or "", self._model_config, self._training, vocabulary)
        streams = Streams(text.ids[: text.split.training], self._training.batch_size, self._training.seq_length)
        refuse_too_large(self._model_config, self._training.optimizer, text.vocabulary.size, streams.chunk(0)[0].size)
        model = checkpoint.model if checkpoint else LanguageModel.new(self._model_config, text.vocabulary.size, self._training.seed)
        if text.note:
            self._notes.append(text.note)
        if streams.batch_size < self._training.batch_size:
            self._notes.append(f"the text is short: it is read as {streams.batch_size} streams instead of {self._training.batch_size}")
        if streams.batch_size < self._ranks:
            self._notes.append(
                f"{streams.batch_size} streams are enough for as many of the {self._ranks} ranks; the others have nothing to do"
            )
        if state is None:
            state = TrainingState.new(model, streams, self._training)
            state.last_step = self._steps(streams)
            self._adopt_extension()
        elif self._extension:
            state.first_step, state.last_step, state.first_second = state.step, state.step + self._steps(streams), self._earlier
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
        earlier = (each for each in self._store.metrics.list(self.run, after=state.first_step) if each.step <= state.step)
        self._assessor = Assessor(text, self._training.budget, earlier)
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

    def _adopt_ranks(self) -> None:
        """Go on with the ranks at hand where the run had another number of them, or none."""
        before = self.run.environment
        if before.get("ranks", 1) == self._ranks:
            return
        workers = machine.workers_for(self._model_config, self._training, 1 if self._ranks > 1 else 0, before["threads"])
        now = {**before, "processes": workers.processes, "ranks": self._ranks}
        self._notes.append(
            f"the run was trained with {_hands(before)} before, here it goes on with {_hands(now)}:"
            " what it computes from here on is the same to rounding, not to the last bit"
        )
        self.run = self._store.runs.configure(self.run, environment=now)

    def _adopt_extension(self) -> None:
        if self._extension:
            began = {"steps": self.run.step, "epochs": self.run.epoch, "budget": self._earlier}
            self.run = self._store.runs.configure(
                self.run, training_config=self._extension.to_dict(), environment={**self.run.environment, "extended_at": began}
            )

    def _train(self, model: LanguageModel, streams: Streams, state: TrainingState, text: Text, group: Group) -> Iterator[Event]:
        share = self._share if self._training.budget is not None else by_steps
        limit = self._training.budget if self._training.max_epochs is None else None  # what the time left is told from
        self._chunks = streams.chunks
        meter = Meter(self._clock)
        validated = saved = beat = self._clock()
        metric, validated_step = None, -1
        for progress in train(model, streams, self._training, state, share, group, text.vocabulary.unknown_cost, self._workspace):
            meter.add(progress)
            if not self._validating:  # what the first validation will take
                self._validation_seconds = (text.split.stop - text.split.start) / (VALIDATING_FASTER * meter.speed)
            now = self._clock()
            spent = share(state)
            yield Stepped(
                progress=progress,
                share=min(1.0, spent),
                seconds_left=meter.seconds_left(spent, limit),
                characters_per_second=meter.speed / text.symbols_per_char,
            )
            metric = self._metric(progress, meter, text)
            if self._stopping:
                break
            if spent < 1 and self._is_due(state, now - validated, streams, text):
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

    def _share(self, state: TrainingState) -> float:
        """The share of the budget that is spent. Time for the baselines, the last validation and the end is set aside."""
        budget = self._training.budget or 0.0
        aside = min(0.5 * budget, 1.2 * self._validation_seconds + self._assessor.seconds_to_prepare + 0.3)
        share = (self.seconds - state.first_second) / (budget - aside)
        if self._training.max_epochs is not None:
            share = max(share, (state.step - state.first_step) / (self._training.max_epochs * self._chunks))
        return share if state.step > state.first_step else min(share, LAST_MOMENT)

    def _steps(self, streams: Streams) -> int:
        """The length of the run, or of its extension, in steps; 0 where a budget rules."""
        if self._training.epochs is not None:
            return max(1, math.ceil(self._training.epochs * streams.chunks))
        return self._training.steps or 0

    def _is_due(self, state: TrainingState, seconds: float, streams: Streams, text: Text) -> bool:
        """Whether it is time to validate. Where steps rule, a matter of the step alone, so that a repetition keeps the same checkpoints."""
        done, interval = state.step - state.first_step, self._training.validation_interval
        if interval:
            return done % interval == 0
        if self._training.budget is not None:
            budget, once = self._training.budget, self._validation_seconds
            affordable = self._validating + 2 * once <= BUDGET_VALIDATING * budget
            return affordable and seconds >= max(BUDGET_SHARE * once, budget / BUDGET_PARTS)
        symbols = VALIDATE_AFTER * (text.split.stop - text.split.start)
        return done % max(VALIDATE_LEAST, symbols * streams.chunks // streams.symbols) == 0

    # ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _last_checkpoint(self) -> tuple[Checkpoint | None, TrainingState | None]:
        """Where the run stands in the store; it begins anew where it was stopped before its first checkpoint."""
        try:
            _, model, state = self._store.checkpoints.load_state(self.run)
        except CheckpointNotFound:
            return None, None
        here = machine.environment(machine.Workers(1, 1))
        now, before = (f"{each.get('kernels')} and numpy {each.get('numpy')}" for each in (here, self.run.environment))
        if before != now:
            self._notes.append(
                f"the run was trained with {before}, here it goes on with {now}: its weights will not be the same to the last bit"
            )
        origin = f"the last checkpoint of run {self.run.name}"
        return Checkpoint.from_bytes(model, origin), unpack_state(state, origin)

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
        self._validation_seconds = self._clock() - began
        self._validating += self._validation_seconds
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


def _hands(environment: dict[str, Any]) -> str:
    """``3 ranks``: who trains, as the environment of a run says it."""
    ranks, processes = environment.get("ranks", 1), environment["processes"]
    return f"{ranks} ranks" if ranks > 1 else f"{processes} process{'' if processes == 1 else 'es'}"
