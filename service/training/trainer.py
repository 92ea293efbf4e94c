"""Carries out one run: text from the store, `model.training`, and what comes of it back into the store.

The command line and the worker both consume `Trainer.events`: they print or pass on what happened, and never store anything
themselves. At every validation, metrics, checkpoint, sample and event are stored in one transaction; between validations a checkpoint
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

from model.backend import Network, network_for
from model.config import ModelConfig, TrainingConfig
from model.errors import CharloomError, InvalidSetting, TextError, TrainingDiverged
from model.process_group import ProcessGroup
from model.training import TrainingState, evaluate, train
from service.store import Metric, Run, Sample, Store
from service.store.run_history import NewEvent
from service.system import hardware
from service.system.errors import OutOfMemory
from service.system.formatting import duration
from service.training import event_log, mpi
from service.training.checkpointing import Material, Saver, adopt_environment, draw, prepare
from service.training.event_log import MetricsLog
from service.training.hyperparameters import settle
from service.training.jobs import extension
from service.training.learning_curve import Assessor
from service.training.progress import Ended, Event, Meter, Prepared, Validated, length_in_steps
from service.training.run_control import RunControl, Stopped

SAVE_EVERY = 60.0  # seconds between checkpoints, at most


def resume(
    store: Store,
    name: str,
    *,
    epochs: float | None = None,
    steps: int | None = None,
    budget: float | None = None,
    began: float | None = None,
    new: bool = False,
    ranks: int = 1,
    threads: int = 0,
) -> Trainer:
    """Claims a run and returns its trainer: a `new` one that was just ordered, or a stored one.

    A stored one goes on with any number of `ranks`, and of `threads`, by default those of its order.

    What the order left open is chosen now, if it was not before. If a length is given, the learning-rate schedule restarts and covers
    the additional training. A `new` run that is refused before its first step, because its settings or its text cannot be used, is not
    kept.
    Raises `RunNotFound`, `RunBusy`, `InvalidSetting`, and `RunCannotGoOn` for a finished run without a length or an imported one.
    """
    longer = partial(extension, epochs=epochs, steps=steps, budget=budget)
    longer(store.runs.get(name))  # refused before it is claimed
    run = store.runs.claim(name)
    start = time.monotonic() if began is None else began
    try:
        run, notes = settle(store, run, ranks=ranks, spent=lambda: time.monotonic() - start)
    except BaseException as error:
        event_log.given_up(store, run, error)
        if new:
            store.runs.remove(run.name)
        raise
    return Trainer(store, run, began=start, extension=longer(run), new=new, ranks=ranks, threads=threads, notes=notes)


class Trainer:
    """Trains one claimed run. `stop` may be called from a signal handler or another thread."""

    _assessor: Assessor  # as soon as the text is read
    _saver: Saver
    _meter: Meter  # as soon as training begins
    _log: MetricsLog

    def __init__(
        self,
        store: Store,
        run: Run,
        *,
        began: float | None = None,
        extension: TrainingConfig | None = None,
        new: bool = False,
        ranks: int = 1,
        threads: int = 0,
        notes: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`began` is when the run's time started, on `clock`; by default now. An `extension` starts the schedule once more, over it.

        A `new` run that is refused before its first step, because its settings or its text cannot be used, is not kept. Of several
        `ranks` of MPI this process is rank 0, and the others follow. `threads` share the work of a step; 0: as many as were ordered, or
        as there are cores. `notes` are told first when the run begins.
        """
        self._store, self._clock, self._extension, self._new = store, clock, extension, new
        start = clock() if began is None else began
        earlier = self._earlier = run.seconds  # spent before this process
        # It must not refer to self, so that the memory of the trainer is freed when it ends.
        self._spent: Callable[[], float] = lambda: earlier + clock() - start
        self.run = run
        self._training = extension or TrainingConfig.from_dict(run.training_config)
        self._model_config = ModelConfig.from_dict(run.model_config)
        self._control = RunControl(store, run, clock)
        self._network: Network  # as soon as training begins
        self._ranks = ranks
        self._threads = threads or run.request.get("threads", 0)
        self._notes = list(notes)
        self._early: str | None = None  # why it ended before its time, if it was not stopped

    def stop(self, reason: str, state: str = "paused") -> None:
        """Asks it to save and end after the present step; the run then gets that `state`, with `reason` as its message.

        It also stops by itself, within a second, if the store has such a request.
        """
        self._control.stop(reason, state)

    @property
    def seconds(self) -> float:
        """Time spent on the run so far, over all resumptions."""
        return self._spent()

    def events(self) -> Generator[Event, None, None]:
        """Train, yielding what happens. The run is given back at the end, whatever the end is.

        Raises `TrainingDiverged` (the run has then failed), `TextTooShort`, `OutOfMemory`, `StoreError`, ...
        """
        hardware.give_memory_back()
        try:
            self._threads = hardware.training_threads(self._threads, mpi.ranks_here())
            with hardware.blas_threads(self._threads):
                yield from self._events()
        except MemoryError as error:
            told = OutOfMemory(str(error))
            self._give_up(told)
            raise told from error
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """Gives the run back after an error; its checkpoints stay."""
        # If the store fails, or another process owns the run, nothing is written; once this process has ended, the run counts as paused.
        with contextlib.suppress(CharloomError):
            self.run = event_log.given_up(self._store, self.run, error)
            if self._new and isinstance(error, (InvalidSetting, TextError)):
                self._store.runs.remove(self.run.name)

    # ── the run from its beginning to its end ─────────────────────────────────────────────────────────────────────────

    def _events(self) -> Iterator[Event]:
        self.run = adopt_environment(self._store, self.run, self._threads, self._ranks, self._notes)
        arguments = self._store, self.run, self._model_config, self._training, self._ranks, self._notes
        try:
            material = prepare(*arguments, self._control.tick_reading)
        except Stopped:
            yield self._end()
            return
        text, streams, model, state, is_new = material
        self.run = self._store.runs.configure(self.run, epoch_symbols=streams.symbols)
        self._saver = Saver(self._store, text)
        if is_new:
            state.last_step = length_in_steps(self._training, streams)
            self._adopt_extension()
        elif self._extension:
            if self._extension.schedule != "constant":
                self._notes.append("the learning rate starts once more at its highest, so the loss may rise at first")
            self._extend(material, length_in_steps(self._training, streams))
        earlier = (each for each in self._store.metrics.list(self.run, after=state.first_step) if each.step <= state.step)
        self._assessor = Assessor(text, self._training.budget, earlier)
        max_steps = self.run.request.get("max_steps")
        by_budget = self._training.budget is not None
        prepared = Prepared(
            run=self.run,
            symbols=streams.symbols,
            validation_symbols=text.split.stop - text.split.start,
            vocabulary_size=text.vocabulary.size,
            parameters=len(model.parameters.flat),
            steps=None if by_budget else min(state.last_step, state.first_step + (max_steps or state.last_step)) - state.step,
            notes=self._notes,
        )
        event_log.begun(self._store, prepared)
        yield prepared
        ranks, unknown_cost = min(self._ranks, streams.batch_size), text.vocabulary.unknown_cost
        ids = text.ids if text.records is not None else text.ids[: text.split.training]
        with mpi.together(ranks, model, streams, ids, self._training, state, unknown_cost, self._threads) as group:
            self._network = network_for(model, self._threads, trains=True)
            self._saver.group = group
            self._meter = Meter(self._training, streams, text, self._assessor, self._spent, max_steps)
            self._log = MetricsLog(self._store, text, self._meter.recent, state.step)
            yield from self._train(material, group)
        yield self._end(state)

    def _end(self, state: TrainingState | None = None) -> Ended:
        stopping = self._control.stopping
        ending, message = (stopping.state, stopping.reason) if stopping else ("succeeded", self._early)
        self.run = event_log.ended(self._store, self.run, ending, message)
        if state and math.isfinite(state.best_loss):
            return Ended(run=self.run, best_step=state.best_step, best=self._assessor.place(state.best_loss))
        return Ended(run=self.run)

    def _extend(self, material: Material, steps: int) -> None:
        """Starts the schedule once more, over `steps` steps or over the new budget."""
        state = material.state
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
        packed = self._saver.pack(self.run, material.model, state, metric)
        with self._store.immediate():  # the settings and the state that follows them: both or neither
            self._adopt_extension()
            self.run = self._saver.store(self.run, packed)
        self._control.saved()

    def _adopt_extension(self) -> None:
        if self._extension:
            began = {"steps": self.run.step, "epochs": self.run.epoch, "budget": self._earlier}
            self.run = self._store.runs.configure(self.run, training_config=self._extension.to_dict(), extended_from=began)

    def _train(self, material: Material, group: ProcessGroup) -> Iterator[Event]:
        text, streams, model, state, _ = material
        meter = self._meter
        if self._owes_validation(state):
            try:
                yield self._validate(material, self._store.metrics.list(self.run, after=state.step - 1)[0])
            except Stopped:
                return
        saved = self.seconds
        metric, validated_step, longest = None, -1, self.run.request.get("max_seconds") or math.inf
        unknown_cost = text.vocabulary.unknown_cost
        for progress in train(model, streams, self._training, state, meter.share, group, unknown_cost, network=self._network):
            stepped = meter.stepped(progress, state)
            yield stepped
            metric = meter.metric(progress)
            self._log.stepped(self.run, stepped, metric, partial(draw, self._network, text.vocabulary, progress.step, self._control.look))
            self._control.look()
            if self._control.stopping:
                break
            if self.seconds - state.first_second >= longest:
                self._early = f"ended after {duration(longest)}, the longest that this service trains a job; the last checkpoint is kept"
                break
            if stepped.share < 1 and meter.validation_is_due(state):
                try:
                    yield self._validate(material, metric, stepped.seconds_left)
                except Stopped:
                    break
                validated_step = state.step
                if self._training.patience and state.stale >= self._training.patience:
                    self._early = f"no better in {self._training.patience:,} validations; --patience takes another number"
                    break
                saved = self.seconds
            elif self.seconds - saved > SAVE_EVERY:
                self._save(material, metric)
                saved = self.seconds
        yield from self._conclude(material, metric, validated_step == state.step)

    def _conclude(self, material: Material, metric: Metric | None, validated: bool) -> Iterator[Event]:
        """Validates once more, or only saves if the run was stopped; `metric` is None if no step was made."""
        state = material.state
        if state.step == state.first_step + 1 and self.seconds - state.first_second > 0.5 * (self._training.budget or math.inf):
            self._early = "the time was over after one step"
        if validated:
            return
        if not self._control.stopping:  # a validation may have taken the rest of a budget
            last = metric or Metric(step=state.step, epoch=state.epoch + state.chunk / material.streams.chunks)
            try:
                yield self._validate(material, last)
                return
            except Stopped:
                pass
        if metric is not None:
            self._save(material, metric)

    def _owes_validation(self, state: TrainingState) -> bool:
        """Returns whether a stop skipped a due validation. Only for runs measured in steps: with a budget the due time has changed."""
        if self._training.budget is not None or state.step == state.first_step or not self._meter.validation_is_due(state):
            return False
        return self._meter.share(state) < 1 and self._store.checkpoints.get(self.run, "last").validation_loss is None

    # ── checkpoints ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _validate(self, material: Material, metric: Metric, seconds_left: float = 0.0) -> Validated:
        """Validates, and stores the results or nothing: raises `Stopped`."""
        text, state = material.text, material.state
        self._release()
        self._assessor.prepare(self._control.tick)
        began, split, unknown_cost = self.seconds, text.split, text.vocabulary.unknown_cost
        found = evaluate(self._network, text.validation, split.start, split.stop, unknown_cost, self._control.tick)
        if not math.isfinite(found.loss):
            raise TrainingDiverged(state.step, "validation loss", found.loss)
        sample = draw(self._network, text.vocabulary, state.step, self._control.tick)
        best = state.validated(found.loss)
        metric = replace(
            metric, validation_loss=found.loss, bits_per_char=found.loss * text.symbols_per_char / math.log(2), seconds=self.seconds
        )
        standing = self._assessor.assess(metric, seconds_left)
        share = min(1.0, self._meter.share(state))
        event = self._log.validated(metric, share, seconds_left, sample, standing, self._assessor.baselines)
        self._save(material, metric, sample, event)
        self._meter.validated(self.seconds - began)
        return Validated(metric=metric, sample=sample.text, best=best, standing=standing)

    def _save(self, material: Material, metric: Metric, sample: Sample | None = None, event: NewEvent | None = None) -> None:
        self._release()
        self.run = self._saver.store(self.run, self._saver.pack(self.run, material.model, material.state, metric, sample, event))
        self._control.saved()
        if shortage := self._store.room.shortage():  # now, while all is stored: the next checkpoint would be refused
            self._control.stop(shortage, "paused")

    def _release(self) -> None:
        """Frees the memory of a step: validating and packing a checkpoint, which is made of several copies, need some of their own."""
        self._network.release()
