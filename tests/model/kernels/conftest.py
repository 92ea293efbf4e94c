"""The libraries that this processor can run, each built for these tests if it is not there."""

from __future__ import annotations

import pytest

from model.kernels.library import Library, instruction_sets, path_of


@pytest.fixture(scope="session", params=instruction_sets() or ["none"])
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "none" or not path_of(request.param).exists():
        pytest.skip(f"there is no library for {request.param} here")
    return Library(path_of(request.param), request.param)
