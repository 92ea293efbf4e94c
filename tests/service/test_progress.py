"""How far a run is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.progress import share_done, training
from service.store import Run, Store


@pytest.mark.parametrize(
    ("config", "progress", "share"),
    [
        ({"steps": 400}, {"step": 100}, 0.25),
        ({"epochs": 2.0}, {"epoch": 0.5}, 0.25),
        ({"budget": 60.0}, {"seconds": 15.0}, 0.25),
        ({"budget": 60.0}, {"seconds": 61.0}, 1.0),
        ({"steps": 400}, {"step": 900}, 1.0),
        ({"steps": None, "epochs": None, "budget": None}, {"step": 100}, None),
        ({}, {}, None),
    ],
)
def test_share(add_model: Callable[..., Run], config: dict[str, Any], progress: dict[str, Any], share: float | None) -> None:
    run = replace(add_model(steps=()), training_config=config, **progress)
    assert share_done(run) == share


def test_time_passes_between_two_signs_of_life(add_model: Callable[..., Run]) -> None:
    heartbeat = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    run = replace(add_model(steps=(), state="running"), training_config={"budget": 60.0}, heartbeat_at=heartbeat)
    share = share_done(run)
    assert share is not None
    assert 0.5 <= share < 0.75


def test_what_is_trained_now(store: Store, add_model: Callable[..., Run]) -> None:
    add_model("old")
    assert training(store.runs) is None
    add_model("young", state="running")
    found = training(store.runs)
    assert found is not None
    assert (found.run, found.share, found.step) == ("young", 0.25, 100)
