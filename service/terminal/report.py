"""Reports about runs, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.characters import safe
from service.store import Checkpoint, Run, Store
from service.terminal.plot import plot
from service.terminal.text import clipped, indented, table, wrapped
from service.units import duration, size

SAMPLES = 5  # shown of a run's, spread over its time
SAMPLE_LINES = 6
LABEL = 12  # columns


def runs_table(runs: Sequence[Run], width: int) -> str:
    """One line a run, cut to `width`."""
    rows = [
        [run.name, run.state, _network(run), run.corpus or "-", f"{run.step:,}", _loss(run.best_validation_loss), duration(run.seconds)]
        for run in runs
    ]
    return table(["run", "state", "network", "corpus", "step", "validation loss", "time"], rows, width)


def checkpoints_table(checkpoints: Sequence[Checkpoint], width: int) -> str:
    """One line a checkpoint, cut to `width`."""
    rows = [
        [
            f"{each.run}@{each.step}",
            f"{each.epoch:.2f}",
            _loss(each.validation_loss),
            _loss(each.bits_per_char),
            size(each.model_bytes),
            " ".join(word for word, holds in (("best", each.best), ("last", each.last), ("pinned", each.pinned)) if holds),
        ]
        for each in checkpoints
    ]
    return table(["checkpoint", "epoch", "validation loss", "bits per character", "size", ""], rows, width)


def run_report(store: Store, run: Run, width: int) -> str:
    """All about a run: settings, losses as a plot, checkpoints, samples over time."""
    metrics, samples, checkpoints = store.metrics.list(run), store.samples.list(run), store.checkpoints.list(run)
    facts = {
        "run": f"{run.name}, {run.state}" + (f", to be {run.wanted}" if run.wanted else "") + (f": {run.message}" if run.message else ""),
        "corpus": (run.corpus or "-") + (f", validated on {run.validation_corpus}" if run.validation_corpus else ""),
        "parent": run.parent or "",
        "network": _network(run),
        "trained": f"{run.step:,} steps, {run.epoch:.2f} epochs, {duration(run.seconds)}",
        "best": f"{_loss(run.best_validation_loss)} nats, {_loss(run.best_bits_per_char)} bits per character, on validation",
        "model": _settings(run.model_config),
        "training": _settings(run.training_config),
        "on": _settings({name: value for name, value in run.environment.items() if not isinstance(value, dict)}),
        "times": f"created {run.created_at}, started {run.started_at or '-'}, ended {run.ended_at or '-'}",
    }
    if run.best_validation_loss is None:
        del facts["best"]
    if run.parent is None:
        del facts["parent"]
    lines = [f"{label:<{LABEL}}{wrapped(text, width, LABEL)}" for label, text in facts.items()]
    training = [(each.step, each.loss) for each in metrics if each.loss is not None]
    validation = [(each.step, each.validation_loss) for each in metrics if each.validation_loss is not None]
    if validation:
        lines += ["", clipped("loss in nats per symbol (· training, • validation) against steps", width)]
        lines.append(plot([("·", training), ("•", validation)], width=min(width, 80)))
    if checkpoints:
        lines += ["", checkpoints_table(checkpoints, width)]
    spread = sorted({round(index * (len(samples) - 1) / max(1, SAMPLES - 1)) for index in range(SAMPLES)}) if samples else []
    for index in spread:
        each = samples[index]
        lines += ["", f"sample at step {each.step:,}", indented(each.text, width, SAMPLE_LINES)]
    return safe("\n".join(lines))


def _network(run: Run) -> str:
    model = run.model_config
    return f"{model['cell']} {model['num_layers']}x{model['hidden_size']}"


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None) or "-"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
