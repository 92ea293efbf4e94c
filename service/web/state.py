"""Holds the state behind every route: the store, the models in memory, the engine, and the limits of the service."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Semaphore

from model.config import SamplingConfig
from model.errors import InvalidSetting, Word
from service.generation.engine import Engine, Observer
from service.generation.model_cache import LoadedModel, ModelCache
from service.generation.request import Request, RunningRequests, most_logprobs
from service.generation.sample import with_seed
from service.generation.scoring import Scorer
from service.inspection.cell_search import CellReports
from service.inspection.inspector import Inspector
from service.novelty.index_manager import Comparer
from service.store import Store
from service.store.runs import RunProgress, training
from service.system import hardware
from service.system.concurrency import MemoryBudget
from service.system.errors import ModelInTraining, NoModelYet
from service.web.rate_limits import RateLimits
from service.web.service_config import ServiceConfig

log = logging.getLogger("charloom")

UPLOADS_AT_WORK = 2  # at a time: each takes a processor and some 30 MB, while the others wait or receive
MEMORY_WAIT, WAITING_UPLOADS = 5.0, 16  # seconds that an upload waits until others give memory back, and how many do, each in a thread
Prompt = str | Sequence[int]  # text, or ids of symbols


class Service:
    """The objects that routes share. May be used from any thread."""

    def __init__(self, config: ServiceConfig, observer: Observer | None = None) -> None:
        """`observer` receives the engine's measurements. Raises `StoreError`."""
        self.config = config
        self.store = Store(config.db, min_disk=config.min_disk)
        for note in self.store.room.notes():
            log.warning(note)
        self.models = ModelCache(self.store, config.model_memory, config.max_prompt, hardware.cores())
        self.engine = Engine(
            max_rows=config.max_rows,
            max_waiting=config.max_waiting,
            max_logprobs=config.max_logprobs,
            max_seconds=config.max_seconds,
            observer=observer,
        )
        self.running = RunningRequests()
        self.limits = RateLimits(config)
        self.upload_memory = MemoryBudget(config.upload_memory, MEMORY_WAIT, WAITING_UPLOADS)
        self.upload_places = Semaphore(UPLOADS_AT_WORK)
        self.scorer = Scorer(config.max_seconds, lambda: self.engine.rows > 0)
        self.comparer = Comparer(self.store, config.max_seconds, lambda: self.engine.rows > 0)
        self.inspector = Inspector(self.store, config.max_seconds, lambda: self.engine.rows > 0)
        self.cells = CellReports(self.store, config.max_seconds)

    def begin(
        self,
        model: str,
        config: SamplingConfig,
        prompts: Sequence[Prompt] | None = None,
        *,
        whole: bool,
        novelty: bool = False,
        caller: str = "",
    ) -> Request:
        """Submit a request for text to the engine, the same for each of several `prompts`; a missing seed is drawn.

        With `novelty`, prepares the index of the corpus that its texts are compared with. Raises `InvalidSetting` above a limit of this
        service, and as `find`, `Engine.submit` and, if the corpus is needed, `Comparer.prepare` and `Comparer.source`.
        """
        self._check_texts(config, 1 if prompts is None else len(prompts))  # before a configuration is made for each prompt
        configs = [with_seed(each) for each in ([config] if prompts is None else [_continuing(prompt, config) for prompt in prompts])]
        self._check_logprobs(configs)
        found = self.find(model)
        records = None
        if config.new or config.valid or (novelty and config.records):
            records = self.comparer.records(found.run, found.checkpoint.vocabulary.separator)
            if config.valid:
                records.check_valid()
        elif novelty:
            self.comparer.prepare(found.run)
        source = self.comparer.source(found.run) if config.max_copy is not None else None
        request = self.engine.submit(found, configs, whole=whole, source=source, records=records, caller=caller)
        request.settle = partial(self.limits.symbols.spend, caller)
        return request

    def find(self, model: str) -> LoadedModel:
        """Return the model that a name means now. Raises as `ModelCache.get`, and `ModelInTraining` also for the very first model."""
        try:
            return self.models.get(model)
        except NoModelYet:
            progress = self.training()
            if progress is None:
                raise
            raise ModelInTraining(progress.run, progress.share) from None

    def _check_texts(self, config: SamplingConfig, prompts: int) -> None:
        hint = "the limit of this service"
        if config.most_symbols > self.config.max_length:
            raise InvalidSetting("length", config.most_symbols, f"a whole number from 0 to {self.config.max_length:,}", hint)
        if prompts > self.config.max_texts:
            raise InvalidSetting("prompt", Word(f"a list of {prompts:,}"), f"a list of at most {self.config.max_texts:,}", hint)
        each = f" for each of {prompts:,} prompts" if prompts > 1 else ""
        for name, count, most in (("n", config.n, self.config.max_texts), ("records", config.records or 1, self.config.max_records)):
            if count > most // prompts:
                raise InvalidSetting(name, count, f"a whole number from 1 to {most // prompts:,}{each}", hint)

    def _check_logprobs(self, configs: Sequence[SamplingConfig]) -> None:
        """Raise `InvalidSetting` if the texts could get more log-probabilities than all that are written at a time may have."""
        limit = self.config.max_logprobs
        if sum(most_logprobs(each, self.config.max_prompt) for each in configs) <= limit:
            return
        fewest = sum(most_logprobs(replace(each, logprobs=0), self.config.max_prompt) for each in configs)
        must = f"at most {limit // fewest - 1}" if fewest <= limit else "left out"
        hint = f"the limit of this service is {limit:,} log-probabilities at a time"
        raise InvalidSetting("logprobs", configs[0].logprobs, f"{must} for texts of this number and length", hint)

    def check_room(self, extra: int = 0) -> None:
        """Raise `NoRoomLeft` if the disk has too little room to begin something that takes `extra` bytes or more."""
        self.store.room.keep_reserve()
        self.store.room.check(extra)

    def training(self) -> RunProgress | None:
        """Return the progress of the run that is being trained or waits for it, if any."""
        return training(self.store.runs)

    def close(self) -> None:
        """Stop writing and close the database."""
        self.engine.stop()
        self.comparer.close()
        self.store.close()


def _continuing(prompt: Prompt, config: SamplingConfig) -> SamplingConfig:
    """Return the same settings with another prompt."""
    if isinstance(prompt, str):
        return replace(config, prompt=prompt, prompt_ids=None)
    return replace(config, prompt="", prompt_ids=tuple(prompt))
