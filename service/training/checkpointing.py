"""What a run keeps on its way: a text that its model draws, and checkpoints.

Makes ready what a claimed run trains with: its text, its model and its state, new ones or those of its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from model.batches import Streams
from model.checkpoint import Checkpoint, pack_state, unpack_state
from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.language_model import LanguageModel
from model.process_group import ALONE, ProcessGroup
from model.sampling import generate
from model.training import TrainingState
from model.vocabulary import Vocabulary
from service.store import Metric, Run, Sample, Store
from service.store.blobs import LARGEST
from service.system import hardware
from service.system.errors import CheckpointNotFound, DatabaseBusy
from service.system.hardware import refuse_too_large
from service.training import event_log
from service.training.dataset import Dataset, read

# ── preparation ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Material(NamedTuple):
    """What training works on."""

    text: Dataset
    streams: Streams
    model: LanguageModel
    state: TrainingState
    is_new: bool  # nothing was stored of it yet


def adopt_ranks(store: Store, run: Run, model: ModelConfig, training: TrainingConfig, ranks: int, notes: list[str]) -> Run:
    """The run, to go on with the ranks of MPI at hand where it had another number of them, or none; `notes` then get a sentence."""
    before = run.environment
    if before.get("ranks", 1) == ranks:
        return run
    workers = hardware.workers_for(model, training, 1 if ranks > 1 else 0, before["threads"])
    now = {**before, "processes": workers.processes, "ranks": ranks}
    notes.append(
        f"the run was trained with {_hands(before)} before, here it goes on with {_hands(now)}:"
        " what it computes from here on is the same to rounding, not to the last bit"
    )
    return store.runs.configure(run, environment=now)


def material(
    store: Store,
    run: Run,
    config: ModelConfig,
    training: TrainingConfig,
    ranks: int,
    notes: list[str],
    tick: Callable[[], None] | None = None,
) -> Material:
    """Read the text, and load the last checkpoint or make a new model; `notes` get what the user should know.

    `tick` is called now and then; what it raises ends the reading. Raises as `reading.read`, `capacity.refuse_too_large` and
    `Checkpoint.from_bytes` do.
    """
    checkpoint, state = _last_checkpoint(store, run, notes)
    text = read(store, run.corpus or "", config, training, checkpoint.vocabulary if checkpoint else None, run.validation_corpus, tick)
    streams = Streams(text.ids[: text.split.training], training.batch_size, training.seq_length)
    refuse_too_large(config, training.optimizer, text.vocabulary.size, streams.chunk(0)[0].size, LARGEST)
    if checkpoint:  # a parent's may have had another dropout
        model = LanguageModel(config, text.vocabulary.size, checkpoint.model.parameters)
    else:
        model = LanguageModel.new(config, text.vocabulary.size, training.seed)
    if run.parent and state is None and text.strangers.symbols:
        count, different = text.strangers
        notes.append(
            f"{count:,} of the {len(text.ids):,} symbols of corpus {run.corpus} ({different:,} different ones) are not in the alphabet of"
            f" model {run.parent}: they are read as the unknown symbol, and never written"
        )
    if text.note:
        notes.append(text.note)
    if streams.batch_size < training.batch_size:
        notes.append(f"the text is short: it is read as {streams.batch_size} streams instead of {training.batch_size}")
    if streams.batch_size < ranks:
        notes.append(f"{streams.batch_size} streams are enough for as many of the {ranks} ranks; the others have nothing to do")
    if state is None:
        return Material(text, streams, model, TrainingState.new(model, streams, training), is_new=True)
    return Material(text, streams, model, state, is_new=False)


def _last_checkpoint(store: Store, run: Run, notes: list[str]) -> tuple[Checkpoint | None, TrainingState | None]:
    """Where the run stands in the store; it begins anew where it was stopped before its first checkpoint of its own."""
    try:
        if run.parent and not store.checkpoints.get(run, "last").step:
            _, model = store.checkpoints.load(run, "last")
            return Checkpoint.from_bytes(model, f"model {run.parent}"), None
        _, model, state = store.checkpoints.load_state(run)
    except CheckpointNotFound:
        return None, None
    here = hardware.environment(hardware.Workers(1, 1))
    now, before = (f"{each.get('kernels')} and numpy {each.get('numpy')}" for each in (here, run.environment))
    if before != now:
        notes.append(f"the run was trained with {before}, here it goes on with {now}: its weights will not be the same to the last bit")
    origin = f"the last checkpoint of run {run.name}"
    return Checkpoint.from_bytes(model, origin), unpack_state(state, origin)


def _hands(environment: dict[str, Any]) -> str:
    """``3 ranks``: who trains, as the environment of a run says it."""
    ranks, processes = environment.get("ranks", 1), environment["processes"]
    return f"{ranks} ranks" if ranks > 1 else f"{processes} process{'' if processes == 1 else 'es'}"


# ── saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SAVE_ATTEMPTS = 6  # each waits for a locked database as long as the store does, about ten seconds
TEMPERATURE = 0.8
SAMPLE = SamplingConfig(length=240, temperature=TEMPERATURE, seed=0)


def draw(model: LanguageModel, vocabulary: Vocabulary, step: int, tick: Callable[[], None]) -> Sample:
    """A text by the model as it is now. `tick` is called now and then; what it raises ends the drawing."""
    pieces = []
    with hardware.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
        for piece in generate(model, vocabulary, SAMPLE, hardware.prepare_for(model)):
            tick()
            pieces.append(piece.text)
    return Sample(step=step, text="".join(pieces), temperature=TEMPERATURE, seed=SAMPLE.seed)


class Saver:
    """Stores checkpoints of a claimed run. Its `group` are the processes that hold parts of the state."""

    def __init__(self, store: Store, text: Dataset) -> None:
        self._store, self._text = store, text
        self.group: ProcessGroup = ALONE

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
        tell = partial(event_log.validated, self._store, run, metric, told or {}) if sample else None
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
