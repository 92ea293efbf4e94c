"""What cannot be trained here is refused before it is begun."""

from __future__ import annotations

import pytest

from model.config import ModelConfig
from model.errors import ModelTooLarge
from service import machine
from service.capacity import refuse_too_large
from service.store.blobs import LARGEST


def test_what_the_database_cannot_hold_is_refused() -> None:
    with pytest.raises(ModelTooLarge, match=r"hidden_size is 16,384, which makes .* parameters; .* in one part of a checkpoint"):
        refuse_too_large(ModelConfig(hidden_size=16_384), "adam", 100, 2048, LARGEST)


def test_what_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 50_000_000)
    refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 2048, LARGEST)
    with pytest.raises(ModelTooLarge, match=r"of memory, and 0.1 GB is the limit"):
        refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 200_000, LARGEST)
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    refuse_too_large(ModelConfig(hidden_size=256), "adam", 100, 200_000, LARGEST)


def test_one_memory_of_the_optimizer_leaves_room_for_twice_the_model() -> None:
    model = ModelConfig(hidden_size=6400)
    refuse_too_large(model, "sgd", 100, 2048, LARGEST)
    with pytest.raises(ModelTooLarge):
        refuse_too_large(model, "adam", 100, 2048, LARGEST)
