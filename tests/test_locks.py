"""The locked versions fit the ranges, each has hashes, and nothing in them belongs to one machine."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-build.txt", "model/kernels/requirements-compiler.txt")


def pins(lock: str) -> dict[str, str]:
    """Name -> version of everything a lock names."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE)}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_with_hashes(lock: str) -> None:
    lines = [line.strip() for line in (ROOT / lock).read_text(encoding="utf-8").splitlines()]
    kinds = re.compile(r"#.*|[a-z0-9._-]+==[^\s;]+( ; .*)? \\|--hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not kinds.fullmatch(line)] == []
    assert [line for line, after in pairwise(lines) if "==" in line and "--hash" not in after] == []
    assert pins(lock)


@pytest.mark.parametrize(
    ("lock", "group"),
    [
        ("requirements.txt", None),
        ("requirements-dev.txt", "test"),
        ("requirements-dev.txt", "lint"),
        ("requirements-dev.txt", "mpi"),
        ("requirements-build.txt", "build"),
        ("model/kernels/requirements-compiler.txt", "compiler"),
    ],
)
def test_the_pins_lie_in_the_ranges(lock: str, group: str | None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    ranges = project["dependency-groups"][group] if group else project["project"]["dependencies"]
    locked = pins(lock)
    for requirement in map(Requirement, ranges):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, f"{lock} is older than pyproject.toml: make lock"


def test_tests_run_on_the_versions_that_users_get() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()
