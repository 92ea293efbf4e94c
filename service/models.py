"""Models in memory: found by name at each request, loaded once, forgotten when others need their room."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from typing import NamedTuple

from model.checkpoint import Checkpoint
from model.errors import CharloomError, CheckpointNotFound, ModelInTraining, ModelsInUse, NotFound
from model.sampling import MAX_PROMPT, Sampler
from service import exchange, machine
from service.crew import Crew
from service.progress import share_done
from service.store import Checkpoint as Stored
from service.store import Run, Store

Key = tuple[int, int, str]  # run, step and content: a run that trains on, or a name that is used anew, is another model


TIMES = 2  # a model's parameters are in memory: as they are, and in the table and the blocks of its sampler


class Model:
    """A checkpoint that is ready to write. Its `sampler` belongs to the engine's thread, which drops it after a fault."""

    def __init__(self, run: Run, stored: Stored, checkpoint: Checkpoint, max_prompt: int, crew: Crew) -> None:
        self.run, self.stored, self.checkpoint, self._max_prompt, self._crew = run, stored, checkpoint, max_prompt, crew
        self.sampler: Sampler | None = self.new_sampler()

    def new_sampler(self) -> Sampler:
        """A sampler without requests, with all that takes its time done: the engine's thread should not have to wait for it."""
        network, vocabulary = self.checkpoint.model, self.checkpoint.vocabulary
        prepare, crew = machine.prepare_for(network), self._crew
        sampler = Sampler(network, vocabulary, max_prompt=self._max_prompt, prepare=prepare, crew=crew, groups=crew.size)
        sampler.prepare()
        return sampler

    @property
    def name(self) -> str:
        """``RUN@STEP``, by which the same checkpoint can be asked for again."""
        return f"{self.run.name}@{self.stored.step}"

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return TIMES * self.checkpoint.model.parameters.flat.nbytes


class Size(NamedTuple):
    """What a model's checkpoint knows and its run does not."""

    parameters: int
    alphabet_size: int


class Models:
    """The models of a store. May be used from any thread; a slow load keeps nobody waiting whose model is in memory."""

    def __init__(self, store: Store, memory: int, max_prompt: int = MAX_PROMPT, crew: Crew | None = None) -> None:
        """`memory`: bytes that models may take, those that are writing included; a single one may always be loaded.

        `crew` shares the work of writing many texts.
        """
        self._store, self._memory, self._max_prompt, self._crew = store, memory, max_prompt, crew or Crew(1)
        self._loaded: OrderedDict[Key, Model] = OrderedDict()  # the one used last stands last
        self._alive: weakref.WeakValueDictionary[Key, Model] = weakref.WeakValueDictionary()  # those, and others that still write
        self._sizes: dict[tuple[int, str], Size] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def get(self, name: str) -> Model:
        """The model that ``latest``, ``RUN``, ``RUN@STEP``, ``RUN@best`` or ``RUN@last`` means at this moment.

        Raises `NotFound`, `InvalidSetting`, `ModelInTraining`, `ModelsInUse`, `CheckpointError` and `StoreError`.
        """
        name = name.encode("utf-8", "replace").decode()  # half a surrogate pair is in no name, and SQLite refuses it
        try:
            run, stored = self._find(name)
            return self._in_memory(_key(run, stored)) or self._load(run, stored)
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

    def _in_memory(self, key: Key) -> Model | None:
        with self._lock:
            model = self._alive.get(key)
            if model:
                self._loaded[key] = model
                self._loaded.move_to_end(key)
            return model

    def _load(self, run: Run, stored: Stored) -> Model:
        name = f"{run.name}@{stored.step}"
        with self._loading:
            model = self._in_memory(_key(run, stored))  # whoever loaded before us may have wanted the same
            if model:
                return model
            self._make_room(name, TIMES * stored.model_bytes)
            model = Model(*exchange.load(self._store, name), self._max_prompt, self._crew)
            with self._lock:
                key = _key(model.run, model.stored)
                self._loaded[key] = self._alive[key] = model
            return model

    def _make_room(self, name: str, wanted: int) -> None:
        """Forget models until there is room for another one. Raises `ModelsInUse`."""
        with self._lock:
            while self._loaded and self._taken() + wanted > self._memory:
                self._loaded.popitem(last=False)  # texts that are being written with it keep it until they end
            if self._alive and self._taken() + wanted > self._memory:
                raise ModelsInUse(name, self._memory)

    def _taken(self) -> int:
        return sum(model.bytes for model in self._alive.values())

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
