"""The libraries that this processor can run, and the compilers that tests build others with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from model.kernels import build
from model.kernels.library import Library, instruction_sets, path_of


@pytest.fixture(scope="session", params=instruction_sets() or ["none"])
def library(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> Library:
    if request.param == "none":
        pytest.skip("there are no kernels for this processor")
    if not path_of(request.param).exists():
        missing(f"the library for {request.param} was not built (python -m model.kernels.build)")
    return Library(path_of(request.param), request.param)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Skips a test for a reason, or fails it if CHARLOOM_NO_SKIP is set."""
    return pytest.fail if os.environ.get("CHARLOOM_NO_SKIP") else pytest.skip


@pytest.fixture(scope="session")
def zig(missing: Callable[[str], NoReturn]) -> Path:
    """The compiler of the installed package `ziglang`."""
    found = build.installed_zig()
    if found is None:
        missing("the package ziglang is not installed (make .venv/.compiler)")
    return found


@pytest.fixture(scope="session")
def zig_cache(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment in which zig keeps the C libraries that it compiles, from one run of the tests to the next."""
    folder = str(request.config.cache.mkdir("zig"))
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
