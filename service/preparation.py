"""Makes ready what a claimed run trains with: its text, its model and its state, new ones or those of its last checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from model.batches import Streams
from model.checkpoint import Checkpoint, unpack_state
from model.config import ModelConfig, TrainingConfig
from model.errors import CheckpointNotFound
from model.language_model import LanguageModel
from model.training import TrainingState
from service import machine
from service.capacity import refuse_too_large
from service.reading import Text, read
from service.store import Run, Store
from service.store.blobs import LARGEST


class Material(NamedTuple):
    """What training works on."""

    text: Text
    streams: Streams
    model: LanguageModel
    state: TrainingState
    is_new: bool  # nothing was stored of it yet


def adopt_ranks(store: Store, run: Run, model: ModelConfig, training: TrainingConfig, ranks: int, notes: list[str]) -> Run:
    """The run, to go on with the ranks of MPI at hand where it had another number of them, or none; `notes` then get a sentence."""
    before = run.environment
    if before.get("ranks", 1) == ranks:
        return run
    workers = machine.workers_for(model, training, 1 if ranks > 1 else 0, before["threads"])
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
    here = machine.environment(machine.Workers(1, 1))
    now, before = (f"{each.get('kernels')} and numpy {each.get('numpy')}" for each in (here, run.environment))
    if before != now:
        notes.append(f"the run was trained with {before}, here it goes on with {now}: its weights will not be the same to the last bit")
    origin = f"the last checkpoint of run {run.name}"
    return Checkpoint.from_bytes(model, origin), unpack_state(state, origin)


def _hands(environment: dict[str, Any]) -> str:
    """``3 ranks``: who trains, as the environment of a run says it."""
    ranks, processes = environment.get("ranks", 1), environment["processes"]
    return f"{ranks} ranks" if ranks > 1 else f"{processes} process{'' if processes == 1 else 'es'}"
