"""Writes what the image is made of as a software bill of materials (CycloneDX 1.6), from the lock and the Dockerfile: ``make sbom``.

    python -m tools.sbom > charloom.cdx.json

It has the locked packages with their hashes and their dependencies, and the base image. Packages that the image is made without have
the scope `excluded`. The same sources give the same bytes. It does not list the packages of the base image's distribution.
"""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>.*?))? \\\n(?P<rest>(?:^ .*\n?)+)", re.MULTILINE)
BASE = re.compile(
    r"^ARG BASE_IMAGE=(?:docker\.io/library/)?(?P<name>[^:@\s]+):(?P<tag>[^@\s]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?$", re.MULTILINE
)
REMOVED = ("pip", "wheel")  # from the environment of the image: the Dockerfile uninstalls them
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "charloom")  # of serial numbers, each made from what the document says


class Pin(NamedTuple):
    """A package of a lock."""

    name: str
    version: str
    marker: str | None  # for which interpreters and systems, if not for all
    hashes: list[str]  # SHA-256 of its files
    needed_by: list[str]

    @property
    def purl(self) -> str:
        """Its address: https://github.com/package-url/purl-spec."""
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(lock: str) -> list[Pin]:
    """Reads a lock as uv writes it."""
    found = []
    for each in PIN.finditer(lock):
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", each["rest"])
        needed_by = re.findall(r"^    #(?: via|  ) ([a-z0-9._-]+)", each["rest"], re.MULTILINE)
        found.append(Pin(each["name"], each["version"], each["marker"], hashes, needed_by))
    return found


def component(pin: Pin) -> dict[str, Any]:
    """Describes a package."""
    files = {"type": "distribution", "url": f"https://pypi.org/project/{pin.name}/{pin.version}/"}
    hashes = [{"alg": "SHA-256", "content": each} for each in pin.hashes]
    marker = {"properties": [{"name": "charloom:marker", "value": pin.marker}]} if pin.marker else {}
    return {
        "type": "library",
        "bom-ref": pin.purl,
        "scope": "excluded" if pin.name in REMOVED else "required",
        "name": pin.name,
        "version": pin.version,
        "purl": pin.purl,
        "externalReferences": [{**files, "hashes": hashes}],
        **marker,
    }


def base_image(dockerfile: str) -> dict[str, Any]:
    """Describes the base image. Raises `LookupError` if the Dockerfile names none."""
    found = BASE.search(dockerfile)
    if found is None:
        raise LookupError("the Dockerfile has no line ARG BASE_IMAGE=NAME:TAG or NAME:TAG@sha256:...")
    version = found["digest"] or found["tag"]
    purl = f"pkg:docker/{found['name']}@{version.replace(':', '%3A')}" + (f"?tag={found['tag']}" if found["digest"] else "")
    return {"type": "container", "bom-ref": purl, "name": found["name"], "version": version, "purl": purl}


def document(root: Path = ROOT) -> dict[str, Any]:
    """Returns the document of the project in a folder."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = pins((root / "requirements.txt").read_text(encoding="utf-8"))
    image = base_image((root / "Dockerfile").read_text(encoding="utf-8"))
    product = f"pkg:pypi/{project['name']}@{project['version']}"
    needs = {product: [image["bom-ref"], *(pin.purl for pin in locked if project["name"] in pin.needed_by)]}
    needs |= {pin.purl: [each.purl for each in locked if pin.name in each.needed_by] for pin in locked}
    content = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": product,
                "name": project["name"],
                "version": project["version"],
                "purl": product,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [image, *map(component, locked)],
        "dependencies": [{"ref": ref, "dependsOn": found} for ref, found in needs.items()],
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(content))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
