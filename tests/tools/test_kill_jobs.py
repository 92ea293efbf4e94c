"""A short version of the siege, and the proof that it would notice a loss. The long one: ``python -m tools.kill_test --victim service``."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store import Store
from tools.kill_jobs import Siege
from tools.kill_test import Lost


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system has no /proc")
def test_no_job_is_lost_with_the_service_and_a_loss_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.kill_jobs.AT_ONCE", 2)
    siege = Siege(tmp_path, "service", kills=1, steps=150)
    siege.carry_out(tell=False)
    assert {name for name, _ in siege.told} == {"job-0", "job-1"}
    assert len(siege.told) == 50
    with Store(siege.db) as store:
        run = store.runs.get("job-0")
        siege.told["job-0", 151] = 1.0
        with pytest.raises(Lost, match=r"events of the steps \[151\] are gone"):
            siege.check_job(store, run)
        del siege.told["job-0", 151]
        loss = siege.told["job-0", 150]
        siege.told["job-0", 150] = loss + 0.1
        with pytest.raises(Lost, match="the loss of step 150 has changed"):
            siege.check_job(store, run)
        siege.told["job-0", 150] = loss
        siege.kept["job-0"] = 151
        with pytest.raises(Lost, match="its last checkpoint went back"):
            siege.check_job(store, run)
        store.db.execute("DELETE FROM metrics WHERE step = 150")
        with pytest.raises(Lost, match="the validation of step 150 was told and is not in the file"):
            siege.check_job(store, run)
        store.db.execute("UPDATE runs SET state = 'paused' WHERE name = 'job-1'")
        with pytest.raises(Lost, match="job-1 is paused"):
            siege.check(store)
