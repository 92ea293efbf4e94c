"""Starts processes as a user would: without this machine's environment variables that choose BLAS kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FORCED = ("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_")  # they choose kernels, block sizes and threads


def environment() -> dict[str, str]:
    """This process's environment without what forces BLAS kernels or threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FORCED)}


def child(module: str, **options: Any) -> dict[str, Any]:
    """What `bench.<module>.measure(**options)` returns in a process of its own; its progress appears on stderr.

    Raises `subprocess.CalledProcessError` where it fails; it has told why on stderr.
    """
    command = [sys.executable, "-m", "bench.child", module, json.dumps(options)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def tell(text: str) -> None:
    """Say on stderr how far a benchmark is."""
    print(text, file=sys.stderr, flush=True)
