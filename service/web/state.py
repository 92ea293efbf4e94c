"""What stands behind every route: the store, the models in memory, the engine, and the limits of this service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.config import SamplingConfig
from model.errors import InvalidSetting, Word
from service.generation.engine import Engine, Observer
from service.generation.model_cache import LoadedModel, ModelCache
from service.generation.sample import with_seed
from service.generation.scheduler import Request, RunningRequests
from service.generation.scoring import Scorer
from service.inspection.cell_search import CellReports
from service.inspection.inspector import Inspector
from service.novelty.index_manager import Comparer
from service.store import Store
from service.store.runs import RunProgress, training
from service.system import hardware
from service.system.concurrency import ThreadPool
from service.system.disk import check_room
from service.system.errors import ModelInTraining, NoModelYet
from service.web.service_config import ServiceConfig

Prompt = str | Sequence[int]  # as text, or as ids of symbols


class Service:
    """Everything that a route needs. May be used from any thread."""

    def __init__(self, config: ServiceConfig, observer: Observer | None = None) -> None:
        """`observer` receives the engine's measurements. Raises `StoreError`."""
        self.config = config
        self.store = Store(config.db)
        self._crew = ThreadPool(hardware.cores())
        self.models = ModelCache(self.store, config.model_memory, config.max_prompt, self._crew)
        self.engine = Engine(max_rows=config.max_rows, max_waiting=config.max_waiting, max_seconds=config.max_seconds, observer=observer)
        self.running = RunningRequests()
        self.scorer = Scorer(config.max_seconds, lambda: self.engine.rows > 0)
        self.comparer = Comparer(self.store, config.max_seconds, lambda: self.engine.rows > 0)
        self.inspector = Inspector(self.store, config.max_seconds, lambda: self.engine.rows > 0)
        self.cells = CellReports(self.store, config.max_seconds)

    def begin(
        self, model: str, config: SamplingConfig, prompts: Sequence[Prompt] | None = None, *, whole: bool, novelty: bool = False
    ) -> Request:
        """Put a request for text to the engine; the same for each of several `prompts`, with seeds made up where it has none.

        With `novelty` its texts will be held against their corpus. Raises `InvalidSetting` over a limit of this service, and as `find`,
        `Engine.submit` and, where its corpus is needed, `Comparer.prepare` and `Comparer.source`.
        """
        configs = [with_seed(each) for each in ([config] if prompts is None else [_continuing(prompt, config) for prompt in prompts])]
        self._check_limits(config, len(configs))
        found = self.find(model)
        if novelty:
            self.comparer.prepare(found.run)
        source = self.comparer.source(found.run) if config.max_copy is not None else None
        return self.engine.submit(found, configs, whole=whole, source=source)

    def find(self, model: str) -> LoadedModel:
        """The model that a name means now. Raises `ModelInTraining` also where it is the very first, and as `ModelCache.get`."""
        try:
            return self.models.get(model)
        except NoModelYet:
            at_work = self.training()
            if at_work is None:
                raise
            raise ModelInTraining(at_work.run, at_work.share) from None

    def _check_limits(self, config: SamplingConfig, prompts: int) -> None:
        hint = "the limit of this service"
        if config.length > self.config.max_length:
            raise InvalidSetting("length", config.length, f"a whole number from 0 to {self.config.max_length:,}", hint)
        if prompts > self.config.max_texts:
            raise InvalidSetting("prompt", Word(f"a list of {prompts:,}"), f"a list of at most {self.config.max_texts:,}", hint)
        if config.n > self.config.max_texts // prompts:
            each = f" for each of {prompts:,} prompts" if prompts > 1 else ""
            raise InvalidSetting("n", config.n, f"a whole number from 1 to {self.config.max_texts // prompts:,}{each}", hint)

    def check_room(self, extra: int = 0) -> None:
        """Raise `NoRoomLeft` where something that takes room (`extra` bytes that are known of) should not begin."""
        check_room(self.store.path, self.config.min_disk, extra)

    def training(self) -> RunProgress | None:
        """What is being trained at this moment, or waits for that, if anything."""
        return training(self.store.runs)

    def close(self) -> None:
        """Stop writing and close the database."""
        self.engine.stop()
        self._crew.close()
        self.comparer.close()
        self.store.close()


def _continuing(prompt: Prompt, config: SamplingConfig) -> SamplingConfig:
    """The same request with another prompt."""
    if isinstance(prompt, str):
        return replace(config, prompt=prompt, prompt_ids=None)
    return replace(config, prompt="", prompt_ids=tuple(prompt))
