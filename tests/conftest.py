"""What all tests share: hypothesis' profile, one BLAS thread each, and how many run side by side."""

from __future__ import annotations

import os

# The networks of tests are tiny: one thread is quickest, and pytest's other workers have the other cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "charloom",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Continuous integration draws the same examples each time; whoever develops draws new ones.
    derandomize=bool(os.environ.get("CI")),
    database=None,
)
settings.load_profile("charloom")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for two processors: many tests wait for a process, a browser or a clock."""
    return 3 * (os.cpu_count() or 1) // 2 or 1
