"""A short version of the torture, and the proof that it would notice a loss. The long one: ``python -m tools.kill_test``."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from service.store import Store
from tools.kill_test import NAME, Lost, Torture


def test_nothing_is_lost_and_a_loss_would_be_noticed(tmp_path: Path) -> None:
    torture = Torture(tmp_path, kills=2, steps=48, seed=3, hidden_size=4)
    torture.carry_out(tell=False)
    assert len(torture.kept) == 2
    untold = set(range(4, 49, 4)) ^ set(torture.reported)
    assert untold <= set(range(4, 48, 4))
    assert len(untold) <= 2, "one for each kill between storing and telling"

    with pytest.raises(Lost, match="had a validation loss of"):
        torture.take({"event": "validation", "step": 48, "validation_loss": 99.0})
    with Store(tmp_path / "killed.db") as store:
        run = store.runs.get(NAME)
        stored, model, state = store.checkpoints.load_state(run)
        checkpoint = Checkpoint.from_bytes(model)
        checkpoint.model.parameters.flat[7] *= 1 + 1e-6
        claimed = store.runs.claim(NAME)
        metric = next(each for each in store.metrics.list(run) if each.step == stored.step)
        store.checkpoints.save(claimed, metric, checkpoint.to_bytes(), state)
        store.runs.release(claimed, "succeeded")
    whole, killed = torture.outcome("whole.db"), torture.outcome("killed.db")
    assert [part for part in whole if whole[part] != killed[part]] == ["weights"]

    torture.reported[49] = 1.0
    with pytest.raises(Lost, match=r"not in the file: \{49\}"):
        torture.last_step(run)
