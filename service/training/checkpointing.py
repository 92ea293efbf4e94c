"""Restores a claimed run from its last checkpoint, or makes its model and state anew; packs and stores checkpoints and samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from model.backend import Network
from model.batches import Streams
from model.checkpoint import Checkpoint, pack_state, unpack_state
from model.config import ModelConfig, SamplingConfig, TrainingConfig
from model.kernels.library import shortcoming
from model.language_model import LanguageModel
from model.process_group import ALONE, ProcessGroup
from model.sampling import generate
from model.training import TrainingState
from model.vocabulary import Vocabulary
from service.store import Metric, Run, Sample, Store
from service.store.blobs import LARGEST
from service.store.run_history import NewEvent
from service.system import hardware
from service.system.errors import CheckpointNotFound, DatabaseBusy
from service.system.hardware import refuse_too_large
from service.training.dataset import Dataset, read

# ── restoring ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Material(NamedTuple):
    """What a run trains with."""

    text: Dataset
    streams: Streams
    model: LanguageModel
    state: TrainingState
    is_new: bool  # the run has no checkpoint of its own yet


def adopt_environment(store: Store, run: Run, threads: int, ranks: int, notes: list[str]) -> Run:
    """Returns the run, set to train in this process's environment.

    `notes` get a sentence for each change that changes bits, and if numpy computes for want of the library.
    """
    before, now = run.environment, hardware.environment(threads, ranks)
    if why := shortcoming():
        notes.append(why)
    if run.step:
        earlier, later = _arithmetic(before), _arithmetic(now)
        if earlier != later:
            notes.append(
                f"the run was trained with {earlier} before, here it goes on with {later}: its weights will not be the same to the last bit"
            )
        if before.get("ranks", 1) != ranks:
            notes.append(
                f"the run was trained with {_hands(before)} before, here it goes on with {_hands(now)}:"
                " what it computes from here on is the same to rounding, not to the last bit"
            )
    return run if before == now else store.runs.configure(run, environment=now)


def _arithmetic(environment: dict[str, Any]) -> str:
    """Returns in words what computed a run, from its environment; all kernels give the same bits, whatever the instruction set."""
    if "arithmetic" not in environment:
        return f"numpy {environment.get('numpy')} by an earlier release of Charloom"
    return "the kernels" if environment["arithmetic"].startswith("kernels ") else str(environment["arithmetic"])


def prepare(
    store: Store,
    run: Run,
    config: ModelConfig,
    training: TrainingConfig,
    ranks: int,
    notes: list[str],
    tick: Callable[[], None] | None = None,
) -> Material:
    """Reads the text, and loads the last checkpoint or makes a new model; `notes` get sentences for the user.

    `tick` is called now and then; what it raises ends the reading. Raises as `dataset.read`, `hardware.refuse_too_large` and
    `Checkpoint.from_bytes`.
    """
    checkpoint, state = _last_checkpoint(store, run)
    assert run.corpus_id is not None  # an imported model is refused before its run is claimed
    records = run.request.get("records"), run.request.get("validation_records")
    vocabulary = checkpoint.vocabulary if checkpoint else None
    text = read(store, run.corpus_id, config, training, vocabulary, run.validation_corpus_id, tick, records)
    streams = text.streams(training)
    refuse_too_large(config, training.optimizer, text.vocabulary.size, streams.chunk(0)[0].size, LARGEST)
    if checkpoint:  # a parent's may have had another dropout
        model = LanguageModel(config, text.vocabulary.size, checkpoint.model.parameters, text.vocabulary.boundary)
    else:
        model = LanguageModel.new(config, text.vocabulary.size, training.seed, boundary=text.vocabulary.boundary)
    if text.told:
        notes.append(text.told)
    if run.parent and state is None and text.unknown.symbols:
        count, different = text.unknown
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


def _last_checkpoint(store: Store, run: Run) -> tuple[Checkpoint | None, TrainingState | None]:
    """Returns the last checkpoint and its state; without a state for a run that begins from a parent, neither for a new one."""
    try:
        if run.parent and not store.checkpoints.get(run, "last").step:
            _, model = store.checkpoints.load(run, "last")
            return Checkpoint.from_bytes(model, f"model {run.parent}"), None
        _, model, state = store.checkpoints.load_state(run)
    except CheckpointNotFound:
        return None, None
    origin = f"the last checkpoint of run {run.name}"
    return Checkpoint.from_bytes(model, origin), unpack_state(state, origin)


def _hands(environment: dict[str, Any]) -> str:
    """Returns what trains, for example ``3 ranks``, from the environment of a run."""
    ranks = environment.get("ranks", 1)
    return f"{ranks} ranks" if ranks > 1 else "1 process"


# ── saving ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SAVE_ATTEMPTS = 6  # each waits as long for a locked database as the store does, about ten seconds
TEMPERATURE = 0.8
SAMPLE = SamplingConfig(length=240, temperature=TEMPERATURE, seed=0)


def draw(network: Network, vocabulary: Vocabulary, step: int, tick: Callable[[], None]) -> Sample:
    """Returns a text by a network as it is now. `tick` is called at each piece; what it raises ends the text."""
    pieces = []
    with hardware.blas_threads(1):  # as every sample, so that the same seed gives the same text anywhere
        for piece in generate(network, vocabulary, SAMPLE):
            tick()
            pieces.append(piece.text)
    return Sample(step=step, text="".join(pieces), temperature=TEMPERATURE, seed=SAMPLE.seed)


class PackedCheckpoint(NamedTuple):
    """All that is stored of a step, ready before the database is locked."""

    metric: Metric
    model: bytes
    state: bytes
    sample: Sample | None  # of a validation
    event: NewEvent | None


class Saver:
    """Packs and stores checkpoints of a claimed run. Its `group` are the processes that hold parts of the state."""

    def __init__(self, store: Store, text: Dataset) -> None:
        self._store, self._text = store, text
        self.group: ProcessGroup = ALONE

    def pack(
        self,
        run: Run,
        model: LanguageModel,
        state: TrainingState,
        metric: Metric,
        sample: Sample | None = None,
        event: NewEvent | None = None,
    ) -> PackedCheckpoint:
        """Returns the checkpoint of a step; with a sample and an event if the step was just validated."""
        self._text.release()
        facts: dict[str, Any] = {"run": run.name, "step": state.step, "corpus": run.corpus}
        if metric.validation_loss is not None:
            facts |= {"validation_loss": metric.validation_loss, "bits_per_char": metric.bits_per_char}
        model_bytes = Checkpoint(model, self._text.vocabulary, facts).to_bytes()
        state_bytes = pack_state(replace(state, hidden=self.group.collect(state.hidden)))
        return PackedCheckpoint(metric, model_bytes, state_bytes, sample, event)

    def store(self, run: Run, packed: PackedCheckpoint) -> Run:
        """Stores a checkpoint in one transaction; returns the run as it stands then.

        Waits for a locked database. Raises as `Checkpoints.save`.
        """
        metric, model, state, sample, event = packed
        for attempt in range(1, SAVE_ATTEMPTS + 1):
            try:
                self._store.checkpoints.save(run, metric, model, state, [sample] if sample else [], event)
                break
            except DatabaseBusy:
                if attempt == SAVE_ATTEMPTS:
                    raise
        return replace(run, step=metric.step, epoch=metric.epoch, seconds=metric.seconds)
