"""Runs the benchmarks and prints tables and JSON (``make bench``). See ``python -m bench --help``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import cores, memory, quality, report, sampling, serving, training
from bench.processes import child, tell

ALONE = ("training", "sampling", "memory", "cores")  # what is measured when nothing is named
GRIDS: dict[str | None, Iterable[str]] = {"training": training.GRID, "sampling": sampling.GRID}
EPILOG = "Without PART, training, sampling, memory and cores are measured; serving asks a service over HTTP, beside a plain one;"
EPILOG += " quality trains for all its budgets, and as long with PyTorch."


def parsed() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Charloom beside its peers.", epilog=EPILOG)
    parser.add_argument("part", nargs="?", choices=[*ALONE, "serving", "quality"], help="what to measure")
    parser.add_argument("path", nargs="?", type=Path, help="text for quality; text whose lines memory's corpora are made of")
    parser.add_argument("--quick", action="store_true", help="few and short repetitions: to see that it works, not for figures")
    parser.add_argument("--only", default="", help="of training and sampling, only networks whose name holds this (2x512)")
    parser.add_argument("--big", action="store_true", help="memory: corpora of 1 GB, too; takes 4 GB in TMPDIR and ten minutes")
    parser.add_argument("--budgets", nargs="+", default=["1m", "3m", "15m"], help="quality: how long to train")
    parser.add_argument("--json", type=Path, help="file for all figures (default: bench.json, or bench-quality.json)")
    parser.add_argument("--svg", type=Path, default=Path("bench-quality.svg"), help="quality: file for the curves")
    arguments = parser.parse_args()
    if arguments.part == "quality" and arguments.path is None:
        parser.error("quality needs the PATH of a text")
    if arguments.path is not None and arguments.part not in ("quality", "memory"):
        parser.error(f"{arguments.part} reads no text; leave out {arguments.path}")
    if arguments.part == "serving" and arguments.only in serving.PARTS:
        return arguments
    names = list(GRIDS.get(arguments.part, []))
    if arguments.only and not any(arguments.only in name for name in names):
        parser.error(
            f"--only {arguments.only!r} is in none of the names of {arguments.part or 'all parts'}: {'; '.join(names) or 'name a part'}"
        )
    return arguments


def measured(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of one benchmark."""
    match part:
        case "memory":
            return memory.measure(arguments.quick, arguments.big, str(arguments.path or "python"))
        case "cores":
            return cores.measure(arguments.quick)
        case "quality":
            return quality.measure(arguments.path, arguments.budgets)
        case _:
            return child(part, quick=arguments.quick, only=arguments.only)


def main() -> None:
    """Measure what is asked for, print it, and write it as JSON."""
    arguments = parsed()
    found: dict[str, Any] = {"machine": child("machine"), "quick": arguments.quick}
    print(report.heading(found["machine"]), flush=True)
    for part in [arguments.part] if arguments.part else ALONE:
        tell(f"measuring {part}")
        found[part] = measured(part, arguments)
        print(f"\n{report.PARTS[part](found[part])}", flush=True)
    if "quality" in found:
        arguments.svg.write_text(quality.plot(found["quality"]), encoding="utf-8")
    file = arguments.json or Path("bench-quality.json" if "quality" in found else "bench.json")
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {file}" + (f" and {arguments.svg}" if "quality" in found else ""))


if __name__ == "__main__":
    main()
