"""The bill of materials names each package of the lock with its hashes, and what the image is made without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.sbom import REMOVED, ROOT, base_image, document


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The document, as the command prints it."""
    found = [subprocess.run([sys.executable, "-m", "tools.sbom"], cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)]
    assert found[0] == found[1]
    made: dict[str, Any] = json.loads(found[0])
    return made


def libraries(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["components"] if each["type"] == "library"}


def test_every_locked_package_is_in_it_with_all_hashes(written: dict[str, Any]) -> None:
    lines = (ROOT / "requirements.txt").read_text().replace("\\\n", " ").splitlines()
    locked = {}
    for line in (line for line in lines if not line.lstrip().startswith("#")):
        pin, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        requirement = Requirement(pin)
        locked[requirement.name] = (str(requirement.specifier).removeprefix("=="), sorted(hashes), requirement.marker is not None)
    assert len(locked) > 20
    found = {
        name: (
            each["version"],
            sorted(found["content"] for reference in each["externalReferences"] for found in reference["hashes"]),
            "properties" in each,
        )
        for name, each in libraries(written).items()
    }
    assert found == locked
    assert all(each["purl"] == f"pkg:pypi/{name}@{each['version']}" for name, each in libraries(written).items())


def test_dependencies_are_those_that_packages_declare(written: dict[str, Any]) -> None:
    graph = {each["ref"]: set(each["dependsOn"]) for each in written["dependencies"]}
    packages = libraries(written)
    assert set(graph) == {each["purl"] for each in packages.values()} | {written["metadata"]["component"]["purl"]}
    for name in ("charloom", "flask", "jinja2", "sqlite-utils"):
        declared = [Requirement(each) for each in metadata.requires(name) or ()]
        names = {canonicalize_name(each.name) for each in declared if each.marker is None or each.marker.evaluate({"extra": ""})}
        purl = next(ref for ref in graph if ref.startswith(f"pkg:pypi/{name}@"))
        assert {packages[each]["purl"] for each in names & set(packages)} <= graph[purl]
        assert names <= set(packages)


def test_what_the_image_is_made_without_is_told(written: dict[str, Any]) -> None:
    assert {name for name, each in libraries(written).items() if each["scope"] == "excluded"} == set(REMOVED)
    removed = re.search(r"--python /opt/charloom/bin/python uninstall --quiet --yes ([a-z ]+) ", (ROOT / "Dockerfile").read_text())
    assert removed is not None
    assert removed[1].split() == list(REMOVED)


def test_the_base_image_is_in_it_with_or_without_a_digest(written: dict[str, Any], tmp_path: Path) -> None:
    (container,) = [each for each in written["components"] if each["type"] == "container"]
    assert container["name"] == "python"
    digest = f"sha256:{'0123456789abcdef' * 4}"
    assert base_image("ARG BASE_IMAGE=python:3.11-slim\n")["purl"] == "pkg:docker/python@3.11-slim"
    pinned = base_image(f"# first\nARG BASE_IMAGE=python:3.11-slim@{digest}\nFROM x\n")
    assert (pinned["version"], pinned["purl"]) == (digest, f"pkg:docker/python@{digest.replace(':', '%3A')}?tag=3.11-slim")
    with pytest.raises(LookupError, match="ARG BASE_IMAGE"):
        base_image("FROM python:3.11-slim\n")
    for name in ("pyproject.toml", "requirements.txt", "Dockerfile"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    assert document(tmp_path)["serialNumber"] == written["serialNumber"]
    (tmp_path / "Dockerfile").write_text(f"ARG BASE_IMAGE=python:3.11-slim@{digest}\n")
    assert document(tmp_path)["serialNumber"] != written["serialNumber"]
