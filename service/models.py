"""Models in memory: found by name at each request, loaded once, forgotten when others need their room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from model.checkpoint import Checkpoint
from model.errors import CharloomError, CheckpointNotFound, ModelInTraining, NotFound
from model.sampling import Sampler
from service import exchange, machine
from service.progress import share_done
from service.store import Checkpoint as Stored
from service.store import Run, Store

Key = tuple[int, int, str]  # run, step and content: a run that trains on, or a name that is used anew, is another model


class Model:
    """A checkpoint that is ready to write. Its `sampler` belongs to the engine's thread, which drops it after a fault."""

    def __init__(self, run: Run, stored: Stored, checkpoint: Checkpoint) -> None:
        self.run, self.stored, self.checkpoint = run, stored, checkpoint
        self.sampler: Sampler | None = self.new_sampler()

    def new_sampler(self) -> Sampler:
        """A sampler without requests."""
        return Sampler(self.checkpoint.model, self.checkpoint.vocabulary, prepare=machine.prepare_for(self.checkpoint.model))

    @property
    def name(self) -> str:
        """``RUN@STEP``, by which the same checkpoint can be asked for again."""
        return f"{self.run.name}@{self.stored.step}"

    @property
    def bytes(self) -> int:
        """About what it takes in memory: the parameters, and the table and buffers of its sampler."""
        return 2 * self.checkpoint.model.parameters.flat.nbytes


class Size(NamedTuple):
    """What a model's checkpoint knows and its run does not."""

    parameters: int
    alphabet_size: int


class Models:
    """The models of a store. May be used from any thread; a slow load keeps nobody waiting whose model is in memory."""

    def __init__(self, store: Store, memory: int) -> None:
        """`memory`: bytes that idle models may take; the one used last always stays."""
        self._store, self._memory = store, memory
        self._loaded: OrderedDict[Key, Model] = OrderedDict()  # the one used last stands last
        self._sizes: dict[tuple[int, str], Size] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, name: str) -> Model:
        """The model that ``latest``, ``RUN``, ``RUN@STEP``, ``RUN@best`` or ``RUN@last`` means at this moment.

        Raises `NotFound`, `InvalidSetting`, `ModelInTraining`, `CheckpointError` and `StoreError`.
        """
        name = name.encode("utf-8", "replace").decode()  # half a surrogate pair is in no name, and SQLite refuses it
        try:
            key = self._find(name)
            return self._in_memory(key) or self._load(name, key)
        except (NotFound, ValueError) as error:
            if isinstance(error, CharloomError):
                error.param = "model"
            raise

    def _find(self, name: str) -> Key:
        run, which = self._store.runs.resolve(name)
        try:
            return _key(run, self._store.checkpoints.get(run, which))
        except CheckpointNotFound:
            if run.state == "running" and not run.checkpoints:
                raise ModelInTraining(run.name, share_done(run)) from None
            raise

    def _in_memory(self, key: Key) -> Model | None:
        with self._lock:
            model = self._loaded.get(key)
            if model:
                self._loaded.move_to_end(key)
            return model

    def _load(self, name: str, key: Key) -> Model:
        with self._loading:
            model = self._in_memory(key)  # whoever loaded before us may have wanted the same
            if model:
                return model
            model = Model(*exchange.load(self._store, name))
            with self._lock:
                self._loaded[_key(model.run, model.stored)] = model
                while sum(each.bytes for each in self._loaded.values()) > self._memory and len(self._loaded) > 1:
                    self._loaded.popitem(last=False)  # texts that are being written with it keep it until they end
            return model

    def size(self, run: Run) -> Size | None:
        """How large a run's model is; read once from a checkpoint, since it never changes. None where none can be read."""
        key = (run.id, run.created_at)
        if key not in self._sizes:
            try:
                stored, data = self._store.checkpoints.load(run, "last")
                checkpoint = Checkpoint.from_bytes(data, f"checkpoint {run.name}@{stored.step}")
            except CharloomError:
                return None
            self._sizes[key] = Size(len(checkpoint.model.parameters.flat), checkpoint.vocabulary.size)
        return self._sizes[key]


def _key(run: Run, stored: Stored) -> Key:
    return run.id, stored.step, stored.model_sha256
