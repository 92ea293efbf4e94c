"""What all tests share: hypothesis' profile, and one BLAS thread each."""

from __future__ import annotations

import os

# The networks of tests are tiny: one thread is quickest, and pytest's other workers have the other cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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
