"""The C library touches no memory but its own and does nothing undefined: AddressSanitizer and UndefinedBehaviorSanitizer agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.kernels import build
from model.kernels.library import instruction_sets

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",  # Python itself frees little at its end
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",  # so that the sanitizer knows where each array ends
    "OMP_NUM_THREADS": "1",
}


def runtime(compiler: str) -> Path:
    """AddressSanitizer itself; the name alone if the compiler has none."""
    return Path(subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory, missing: Any) -> Path:
    """A folder with the libraries that have the sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    gcc = next((each for each in ("gcc", "cc") if _has_sanitizers(each)), None)
    if gcc is None:
        missing("there is no gcc with AddressSanitizer")
    assert build.main(["--sanitize", "--compiler", str(gcc), "--output", str(folder)]) == 0
    (folder / "libasan.so").symlink_to(runtime(str(gcc)).resolve())
    return folder


def _has_sanitizers(compiler: str) -> bool:
    try:
        return runtime(compiler).is_absolute()
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.mark.parametrize("name", instruction_sets() or ["none"])
def test_the_sanitizers_find_nothing(name: str, sanitized: Path) -> None:
    if name == "none":
        pytest.skip("there are no kernels for this processor")
    command = [sys.executable, "-m", "tests.model.kernels.run_sanitized", str(sanitized / build.library_name(name)), name]
    environment = {**os.environ, **OPTIONS, "LD_PRELOAD": str(sanitized / "libasan.so")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no fault\n"), done.stderr[-4000:]
