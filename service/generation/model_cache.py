"""Keeps loaded models in memory within a limit; exports and imports them as safetensors files."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from model.backend import network_for
from model.checkpoint import Checkpoint
from model.errors import CharloomError, DamagedCheckpoint, UnreadableSource
from model.sampling import MAX_PROMPT, Sampler
from service.store import Metric, Run, Store, Which
from service.store import StoredCheckpoint as Stored
from service.store.runs import share_done
from service.system.concurrency import LruCache
from service.system.disk import write_whole
from service.system.errors import CheckpointNotFound, ModelInTraining, ModelsInUse, NotFound

# ── loading, export and import ───────────────────────────────────────────────────────────────────────────────────────

LARGEST_FILE = 2_000_000_000  # bytes of an imported file; the largest model here has far fewer


class LoadedCheckpoint(NamedTuple):
    """A checkpoint of the store, loaded."""

    run: Run
    stored: Stored
    checkpoint: Checkpoint


def load(store: Store, name: str | None = None) -> LoadedCheckpoint:
    """Return the model that ``RUN``, ``RUN@STEP``, ``RUN@best``, ``RUN@last``, ``latest`` or None means.

    Raises `RunNotFound`, `CheckpointNotFound`, `NoModelYet` and `CheckpointError`.
    """
    return load_of(store, *store.runs.resolve(name))


def load_of(store: Store, run: Run, which: Which) -> LoadedCheckpoint:
    """Return a model of a run. Raises `CheckpointNotFound` and `CheckpointError`."""
    stored, data = store.checkpoints.load(run, which)
    return LoadedCheckpoint(run, stored, Checkpoint.from_bytes(data, f"checkpoint {run.name}@{stored.step}"))


def export(store: Store, name: str, file: Path, *, overwrite: bool = False) -> Stored:
    """Write the model part of a checkpoint to a safetensors file, which appears once it is complete.

    Raises `FileTaken`, `FileUnwritable`, and as `load`.
    """
    run, which = store.runs.resolve(name)
    stored, data = store.checkpoints.load(run, which)
    write_whole(file, data, overwrite=overwrite)
    return stored


def import_file(store: Store, file: Path, name: str, *, exact: bool = True) -> Run:
    """Store a safetensors file that `export` wrote, as `import_model` does. Raises `UnreadableSource` and as that."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise DamagedCheckpoint(str(file), f"it is larger than {LARGEST_FILE:,} bytes, the limit")
        data = file.read_bytes()
    except OSError as error:
        raise UnreadableSource(str(file), error.strerror or str(error)) from None
    return import_model(store, Checkpoint.from_bytes(data, str(file)), file.name, name, exact=exact)


def import_model(store: Store, checkpoint: Checkpoint, origin: str, name: str, *, exact: bool = True) -> Run:
    """Store a model from elsewhere as a finished run. A `name` that need not be `exact` is made free by a number.

    Raises `NameTaken`, `InvalidName`, `NoRoomLeft`.
    """
    facts = checkpoint.facts
    step, loss, bits = (facts.get(key) for key in ("step", "validation_loss", "bits_per_char"))
    metric = Metric(
        step=step if type(step) is int and 0 <= step < 2**62 else 0,
        validation_loss=loss if type(loss) is float else None,
        bits_per_char=bits if type(bits) is float else None,
    )
    with store.immediate():  # the run is there with its checkpoint, or not at all
        config = checkpoint.model.config.to_dict()
        run = store.runs.claim(store.runs.create(name, corpus=None, model_config=config, training_config={}, exact=exact).name)
        store.checkpoints.save(run, metric, checkpoint.to_bytes(), None)
        return store.runs.release(run, "succeeded", f"imported from {origin}")


# ── models in memory ─────────────────────────────────────────────────────────────────────────────────────────────────

ModelKey = tuple[int, int, str]  # run, step and content: a run that trains on, or a name that is used anew, is another model


COPIES = 2  # of a model's parameters in memory: the model's own, and at most as many that are packed for its network
OBJECTS = 20_000  # bytes of a model's Python objects, beside its arrays and its alphabet; measured in CPython 3.11
SIZES = 10_000  # runs whose sizes are remembered: those of the longest list


class LoadedModel:
    """A checkpoint that is ready to write. Its `sampler` belongs to the engine's thread, which drops it after a fault."""

    def __init__(self, run: Run, stored: Stored, checkpoint: Checkpoint, max_prompt: int, threads: int) -> None:
        self.run, self.stored, self.checkpoint, self.max_prompt = run, stored, checkpoint, max_prompt
        self.network = network_for(checkpoint.model, threads)
        self.sampler: Sampler | None = self.new_sampler()

    def new_sampler(self) -> Sampler:
        """Return a sampler without requests."""
        return Sampler(self.network, self.checkpoint.vocabulary, max_prompt=self.max_prompt)

    @property
    def name(self) -> str:
        """``RUN@STEP``, which always names the same checkpoint."""
        return f"{self.run.name}@{self.stored.step}"

    @property
    def bytes(self) -> int:
        """About its size in memory."""
        return bytes_in_memory(self.checkpoint)


def bytes_in_memory(checkpoint: Checkpoint) -> int:
    """Return about how much memory a checkpoint takes once it is ready to write."""
    return OBJECTS + COPIES * checkpoint.model.parameters.flat.nbytes + checkpoint.vocabulary.nbytes


class ModelSize(NamedTuple):
    """Facts that are in a model's checkpoint and not in its run."""

    parameters: int
    alphabet_size: int
    separator: str | None  # of records


class ModelCache:
    """Keeps models in memory. May be used from any thread; requests for loaded models do not wait while another model is loaded."""

    def __init__(self, store: Store, memory: int, max_prompt: int = MAX_PROMPT, threads: int = 1) -> None:
        """`memory`: bytes that all models may take, those that are writing included; a single model may always be loaded.

        Large batches are divided among `threads`.
        """
        self._store, self._memory, self._max_prompt, self._threads = store, memory, max_prompt, threads
        self._loaded: OrderedDict[ModelKey, LoadedModel] = OrderedDict()  # the one used last stands last
        self._alive: weakref.WeakValueDictionary[ModelKey, LoadedModel] = (
            weakref.WeakValueDictionary()
        )  # those, and others that still write
        self._sizes: LruCache[tuple[int, str], ModelSize] = LruCache(SIZES)
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, name: str) -> LoadedModel:
        """Return the model that ``latest``, ``RUN``, ``RUN@STEP``, ``RUN@best`` or ``RUN@last`` means now.

        Raises `NotFound`, `InvalidSetting`, `ModelInTraining`, `ModelsInUse`, `CheckpointError` and `StoreError`.
        """
        name = name.encode("utf-8", "replace").decode()  # no name has a lone surrogate, and SQLite refuses it
        try:
            run, stored = self._find(name)
            model = self._in_memory(_key(run, stored)) or self._load(run, stored)
            model.run = run  # it, or its corpus, may have got another name
            return model
        except (NotFound, ValueError) as error:
            if isinstance(error, CharloomError):
                error.param = "model"
            raise

    def _find(self, name: str) -> tuple[Run, Stored]:
        run, which = self._store.runs.resolve(name)
        try:
            return run, self._store.checkpoints.get(run, which)
        except CheckpointNotFound:
            if run.state in ("queued", "running") and not run.checkpoints:
                raise ModelInTraining(run.name, share_done(run)) from None
            raise

    def _in_memory(self, key: ModelKey) -> LoadedModel | None:
        with self._lock:
            model = self._alive.get(key)
            if model:
                self._loaded[key] = model
                self._loaded.move_to_end(key)
            return model

    def _load(self, run: Run, stored: Stored) -> LoadedModel:
        name = f"{run.name}@{stored.step}"
        with self._loading:
            model = self._in_memory(_key(run, stored))  # another thread may have loaded it meanwhile
            if model:
                return model
            self.forget_deleted()
            loaded = load(self._store, name)
            self._make_room(name, bytes_in_memory(loaded.checkpoint))
            model = LoadedModel(*loaded, self._max_prompt, self._threads)
            with self._lock:
                key = _key(model.run, model.stored)
                self._loaded[key] = self._alive[key] = model
            return model

    def forget_deleted(self) -> None:
        """Drop the models whose checkpoints are no longer stored; texts that they are writing keep them until they end."""
        with self._lock:
            keys = list(self._loaded)
        gone = [key for key in keys if not self._store.checkpoints.exists(*key)]
        with self._lock:
            for key in gone:
                self._loaded.pop(key, None)

    def _make_room(self, name: str, wanted: int) -> None:
        """Drop the least recently used models until `wanted` bytes are free. Raises `ModelsInUse`."""
        with self._lock:
            while self._loaded and self._taken() + wanted > self._memory:
                self._loaded.popitem(last=False)  # texts being written with it keep it until they end
            if self._alive and self._taken() + wanted > self._memory:
                raise ModelsInUse(name, self._memory)

    def _taken(self) -> int:
        return sum(model.bytes for model in self._alive.values())

    def size(self, run: Run) -> ModelSize | None:
        """Return the size of a run's model, which never changes and is read once; None if no checkpoint can be read."""
        key = (run.id, run.created_at)
        size = self._sizes.get(key)
        if size is None:
            try:
                stored, data = self._store.checkpoints.load(run, "last")
                checkpoint = Checkpoint.from_bytes(data, f"checkpoint {run.name}@{stored.step}")
            except CharloomError:
                return None
            size = ModelSize(len(checkpoint.model.parameters.flat), checkpoint.vocabulary.size, checkpoint.vocabulary.separator)
            self._sizes.put(key, size)
        return size


def _key(run: Run, stored: Stored) -> ModelKey:
    return run.id, stored.step, stored.model_sha256
