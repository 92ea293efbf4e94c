"""``make bench``: training and sampling speed beside PyTorch, as tables. All figures are medians of interleaved repetitions."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from bench import sampling, training
from service import machine
from service.terminal.text import table


def shown(rows: list[dict[str, Any]]) -> str:
    """Characters per second and their ratio, as a table."""
    cells = [[row["network"], f"{row['charloom']:,.0f}", f"{row['pytorch']:,.0f}", f"{row['ratio']:.2f}"] for row in rows]
    return table(["network", "charloom", "pytorch", "ratio"], cells)


def main() -> None:
    """Measure what is asked for, print it, and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["training", "sampling", []], help="what to measure; by default both")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="file for the figures")
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "cores": machine.cores(),
        "kernels": machine.kernels(),
        "pytorch": torch.__version__,
        "python": platform.python_version(),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    for name, measure, threads in (("training", training.measure, machine.cores()), ("sampling", sampling.measure, 1)):
        if name in (arguments.parts or ["training", "sampling"]):
            torch.set_num_threads(threads)
            with machine.blas_threads(threads):
                found[name] = measure()
            print(
                f"\n{name}, characters per second, at most {threads} thread{'s' if threads > 1 else ''}\n{shown(found[name])}", flush=True
            )
    arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
