"""Adds the C library to what setuptools builds; everything else is in pyproject.toml.

The environment variable ``CHARLOOM_BUILD_KERNELS`` may be ``require`` (fail if the library cannot be built) or ``no`` (do not build it).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command import bdist_wheel, build_py

ROOT = Path(__file__).resolve().parent
KERNELS = Path("model", "kernels")
sys.path.insert(0, str(ROOT))  # build tools do not put it there
from model.kernels import build  # noqa: E402  (needs nothing that may not be installed yet)


class BuildWithKernels(build_py.build_py):
    """Compiles the library into the folder that is packed, or beside its sources for an editable installation."""

    libraries: list[str] = []  # noqa: RUF012 (setuptools makes one object of it)

    def run(self) -> None:
        super().run()
        wish = os.environ.get("CHARLOOM_BUILD_KERNELS", "")
        folder = (ROOT if self.editable_mode else Path(self.build_lib)) / KERNELS
        if wish != "no" and build.main(["--output", str(folder), *(["--require"] if wish == "require" else [])]):
            raise SystemExit("the C library is required, but it was not built")
        self.libraries = [str(file) for file in folder.glob("charloom-*") if not self.editable_mode]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self.libraries]


class WheelOfOnePlatform(bdist_wheel.bdist_wheel):
    """Tags a wheel with its platform if the library is in it. It fits any Python, because it is loaded with ctypes."""

    def run(self) -> None:
        self.run_command("build")
        self.root_is_pure = not self.get_finalized_command("build_py").libraries
        self.distribution.has_ext_modules = lambda: not self.root_is_pure  # chooses the folder to install into
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfOnePlatform})
