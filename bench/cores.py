"""Measures how training scales with cores: one thread, as many threads as cores, as many ranks of MPI.

Each is the command that a user would give, and its speed the one that it prints.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from bench import ours
from bench.networks import Network
from bench.processes import tell
from bench.texts import lines_of, write_corpus
from bench.watching import watch
from service.system import hardware

NETWORKS = (Network("lstm", 1, 128), Network("gru", 1, 256), Network("lstm", 2, 512))
STREAMS, LENGTH = 64, 64
SIZE = 10**6  # bytes of the corpus
SECONDS, QUICK = 10, 3  # of training each time, about
ROUNDS = 3
# Open MPI asks root twice, and would bind a rank to a core that another program may be using.
MPI = ("env", "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")


def measure(quick: bool) -> dict[str, Any]:
    """A row for each network: characters/s of each way, medians and all repetitions; None for ranks where there is no MPI."""
    cores = hardware.cores()
    launcher = mpiexec()
    rows = []
    with tempfile.TemporaryDirectory(prefix="charloom-bench-") as folder:
        text, db = Path(folder) / "corpus.txt", Path(folder) / "bench.db"
        write_corpus(text, lines_of("python"), SIZE)
        ways = {
            "alone": ours.command("train", text, "--threads", "1"),
            "threads": ours.command("train", text, "--threads", str(cores)),
        }
        if launcher:
            ranks = [*MPI, launcher, "--oversubscribe", "--bind-to", "none", "-n", str(cores)]
            ways["ranks"] = [*ranks, *ours.command("train", text, "--threads", "1")]
        for network in NETWORKS:
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _, name in product(range(1 if quick else ROUNDS), ways):
                options = options_of(network, QUICK if quick else SECONDS)
                rates[name].append(speed(watch([*ways[name], *options, "--db", str(db), "--json"], memory=False).lines))
            found = {name: {"median": median(each), "repetitions": each} for name, each in rates.items()}
            rows.append({"network": str(network), "ranks": None, **found})
            tell(f"  cores {network}: " + ", ".join(f"{name} {each['median']:,.0f}" for name, each in found.items()))
    return {"cores": cores, "rows": rows}


def mpiexec() -> str | None:
    """The launcher beside this interpreter, or the system's; None where it or mpi4py is missing."""
    if importlib.util.find_spec("mpi4py") is None:
        return None
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


def options_of(network: Network, seconds: float) -> list[str]:
    """Options to train `network` for a budget."""
    sizes = {"cell": network.cell, "hidden-size": network.hidden_size, "num-layers": network.num_layers}
    reading = {"batch-size": STREAMS, "seq-length": LENGTH, "budget": f"{seconds:g}s", "validation-size": 1000}
    return [word for name, value in (sizes | reading).items() for word in (f"--{name}", str(value))]


def speed(lines: list[tuple[float, str]]) -> float:
    """Characters per second: the median of what ``charloom train --json`` told at its steps, the first of which warms up."""
    told = [event["characters_per_second"] for _, line in lines if (event := json.loads(line))["event"] == "step"]
    return float(median(told[1:] or told))
