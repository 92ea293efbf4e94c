"""What stands behind every route: the store, the models in memory, the engine, and the limits of this service."""

from __future__ import annotations

from model.config import SamplingConfig
from model.errors import InvalidSetting, ModelInTraining, NoModelYet
from service.config import ServiceConfig
from service.engine import Engine, Request
from service.models import Models
from service.progress import Training, training
from service.store import Store
from service.writing import with_seed


class Service:
    """Everything that a route needs. May be used from any thread."""

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.store = Store(config.db)
        self.models = Models(self.store, config.model_memory)
        self.engine = Engine(max_rows=config.max_rows, max_waiting=config.max_waiting)

    def begin(self, model: str, config: SamplingConfig, *, whole: bool) -> Request:
        """Put a request for text to the engine, with a seed made up where it has none.

        Raises `InvalidSetting` over a limit of this service, `ModelInTraining`, and as `Models.get` and `Engine.submit`.
        """
        self._check_limits(config)
        try:
            found = self.models.get(model)
        except NoModelYet:
            at_work = self.training()
            if at_work is None:
                raise
            raise ModelInTraining(at_work.run or "default", at_work.share) from None
        return self.engine.submit(found, with_seed(config), whole=whole)

    def _check_limits(self, config: SamplingConfig) -> None:
        hint = "the limit of this service"
        if config.length > self.config.max_length:
            raise InvalidSetting("length", config.length, f"a whole number from 0 to {self.config.max_length:,}", hint)
        if config.n > self.config.max_texts:
            raise InvalidSetting("n", config.n, f"a whole number from 1 to {self.config.max_texts:,}", hint)

    def training(self) -> Training | None:
        """What is being trained at this moment, if anything."""
        found = training(self.store)
        return found or (Training(share=0.0) if self.config.first_model() else None)

    def close(self) -> None:
        """Stop writing and close the database."""
        self.engine.stop()
        self.store.close()
