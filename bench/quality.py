"""Measures how long `charloom train --budget` takes to reach a validation loss, beside plain PyTorch with the same recipe."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import ours
from bench.measuring import OURS, TITLES
from bench.processes import child, tell
from bench.svg import Line, chart, y_ticks
from bench.watching import watch
from model.config import ModelConfig, TrainingConfig
from service.store import Store
from service.training.dataset import read

TARGETS = (1.9, 1.7, 1.6, 1.55, 1.5, 1.4697)  # nats per character; the last is what nanoGPT's recipe for a GPU reaches
COLORS = {OURS: "#2f81f7", "pytorch": "#e8590c"}
TIMES = [(5, "5s"), (10, "10s"), (20, "20s"), (30, "30s"), (60, "1m"), (120, "2m"), (180, "3m"), (300, "5m"), (600, "10m")]
TIMES += [(900, "15m"), (1800, "30m"), (3600, "1h"), (7200, "2h"), (18_000, "5h"), (86_400, "24h")]
OVERRUN = 1.01  # a run may end so much after its budget without asking for a wider plot
MARGIN = 0.02  # nats between the lowest loss and the axis
HIGHEST = 2.4  # nats that are drawn: what comes before says little and would flatten the rest

Curve = list[tuple[float, float]]  # seconds since the start of the command, nats per symbol


def measure(path: Path, budgets: list[str]) -> dict[str, Any]:
    """For each budget the curves of both, the settings that ours chose, and the seconds to each of `TARGETS`.

    Raises `RuntimeError` where a training fails.
    """
    rows = []
    for budget in budgets:
        with tempfile.TemporaryDirectory(prefix="charloom-bench-") as folder:
            row = _row(path, budget, Path(folder))
        for name in COLORS:
            row[name] |= {"best": min(loss for _, loss in row[name]["curve"]), "reached": reached(row[name]["curve"])}
        rows.append(row)
    return {"text": path.name, "targets": TARGETS, "rows": rows}


def _row(path: Path, budget: str, folder: Path) -> dict[str, Any]:
    db, ids = folder / "bench.db", folder / "ids.npy"
    lines = watch(ours.command("train", path, "--budget", budget, "--json", "--db", db), memory=False).lines
    events = [(seconds, json.loads(line)) for seconds, line in lines]
    curve = [(seconds, event["validation_loss"]) for seconds, event in events if event["event"] == "validation"]
    tell(f"  quality, charloom, {budget}: {min(loss for _, loss in curve):.4f} nats")
    run = ours.newest_run(db)
    with Store(db) as store:
        text = read(store, run.corpus or "", ModelConfig.from_dict(run.model_config), TrainingConfig.from_dict(run.training_config))
    np.save(ids, text.ids)
    found = child(
        "peers.recipe",
        ids=str(ids),
        vocabulary_size=text.vocabulary.size,
        unknown_cost=text.vocabulary.unknown_cost,
        split=list(text.split),
        model=run.model_config,
        training=run.training_config,
        due=[seconds for seconds, _ in curve],
        began=time.monotonic(),
    )
    return {
        "budget": budget,
        "model_config": run.model_config,
        "training_config": run.training_config,
        "environment": run.environment,
        OURS: {"curve": curve, "steps": run.step},
        "pytorch": found,
    }


def reached(curve: Curve) -> list[float | None]:
    """Seconds after which a validation first found each of `TARGETS`, or None."""
    return [next((seconds for seconds, loss in curve if loss <= target), None) for target in TARGETS]


def plot(found: dict[str, Any]) -> str:
    """All curves as SVG."""
    lines = [
        Line(TITLES[name], color, row[name]["curve"], note=row["budget"], dashed=name != OURS)
        for name, color in COLORS.items()
        for row in found["rows"]
    ]
    times = [seconds for line in lines for seconds, _ in line.points]
    losses = [loss for line in lines for _, loss in line.points]
    first = max([place for place, _ in TIMES if place <= min(times)], default=TIMES[0][0])
    last = min([place for place, _ in TIMES if place >= max(max(times) / OVERRUN, first + 1)], default=TIMES[-1][0])
    across = [tick for tick in TIMES if first <= tick[0] <= last]
    lowest = min(losses) - MARGIN
    return chart(
        f"Validation loss on the last tenth of {found['text']}",
        "time since the start of the command",
        "nats per character",
        lines,
        across,
        y_ticks(lowest, max(lowest + 0.1, min(HIGHEST, max(losses)))),
    )
