"""Shows a run while it trains: a bar on a terminal, lines in a file or pipe, or JSON lines for programs; and plots its losses.

Each display turns an event of `service.training.progress` into text. `carry_out` trains, writes that text and lets signals save and
pause the run.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from service.system.errors import StoreError
from service.system.formatting import duration, rate
from service.terminal.text import clipped, dim, green, indented, sentence, yellow
from service.training.progress import Ended, Event, Prepared, Stepped, Validated

if TYPE_CHECKING:
    from service.training.trainer import Trainer


# ── plot ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

Points = Sequence[tuple[float, float]]


def plot(series: Sequence[tuple[str, Points]], width: int = 72, height: int = 12) -> str:
    """Plots series, each with its character, in one frame; later ones are drawn on top. Returns an empty text without points.

    ::

        3.31 ┤·
             │·•
        1.52 ┤    ·•·•·•
             └──────────
             0      2,940
    """
    points = [point for _, each in series for point in each]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    labels = [f"{high:.2f}", f"{low:.2f}"]
    margin = max(map(len, labels))
    inner = max(10, width - margin - 2)
    grid = [[" "] * inner for _ in range(height)]
    for mark, each in series:
        for x, y in each:
            column = round((x - first) / (last - first) * (inner - 1)) if last > first else 0
            row = round((high - y) / (high - low) * (height - 1)) if high > low else height - 1
            grid[row][column] = mark
    lines = []
    for row, cells in enumerate(grid):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{''.join(cells)}".rstrip())
    lines.append(" " * margin + " └" + "─" * inner)
    right = f"{last:,.0f}"
    lines.append(f"{' ' * margin}  {f'{first:,.0f}':<{max(1, inner - len(right))}}{right}")
    return "\n".join(lines)


# ── displays ──────────────────────────────────────────────────────────────────────────────────────────────────────────

BAR = 0.1  # seconds between two drawings of the bar
LINE = 10.0  # seconds between two lines if there is no terminal
JSON = 1.0  # seconds between two step events
SAMPLE_LINES = 3


class Display(Protocol):
    def show(self, event: Event) -> str:
        """Returns the text to write for an event, with its line ends; often empty."""
        ...


def headline(event: Prepared) -> str:
    """Describes in a line or two what will be trained."""
    model, run = event.run.model_config, event.run
    layers = f"{model['num_layers']}x{model['hidden_size']}"
    line = (
        f"run {run.name}: {model['cell']} {layers}, {event.parameters:,} parameters, alphabet of {event.vocabulary_size:,},"
        f" learning from {event.symbols:,} symbols of corpus {run.corpus}, validating on {event.validation_symbols:,}"
    )
    return "\n".join([line, *event.notes])


def place(event: Validated) -> str:
    """Describes a validation loss and its standing."""
    return f"step {event.metric.step:,}  validation loss {event.standing.words}"


def best_place(event: Ended) -> str:
    """Describes the best loss of a run that has succeeded, in a line; empty for any other run."""
    if event.run.state != "succeeded" or event.best is None:
        return ""
    compared = (event.best.better_than or event.best.worse_than) and not event.best.diverged
    return f"best at step {event.best_step or 0:,}: {event.best.words}" + (" of this corpus" if compared else "")


def farewell(event: Ended, option: str = "") -> str:
    """Says how the run ended, and what to do next; `option` names the database if the next command needs that."""
    run = event.run
    if run.state != "succeeded":
        return f"{run.message}: run {run.name} is saved at step {run.step:,}; go on with: charloom train --resume {run.name}{option}"
    why = f" ({run.message})" if run.message else ""
    return f"run {run.name} is trained: step {run.step:,}{why}; write with: charloom sample {run.name}{option}"


def remaining(event: Stepped) -> str:
    """Says how long the run still takes; after its last step, what it does then, which may take long."""
    return f"{duration(event.seconds_left)} left" if event.share < 1 else "validating"


class BarDisplay:
    """For a terminal: one line that is redrawn, with validations and samples above it."""

    def __init__(self, width: Callable[[], int], clock: Callable[[], float] = time.monotonic, option: str = "") -> None:
        self._width, self._clock, self._option = width, clock, option
        self._drawn = -BAR
        self._last_step: int | None = None
        self._validation = ""
        self._open = False

    def show(self, event: Event) -> str:
        width = self._width()
        match event:
            case Prepared():
                self._last_step = event.run.step + event.steps if event.steps is not None else None
                return headline(event) + "\n"
            case Stepped():
                now = self._clock()
                if now - self._drawn < BAR and event.share < 1:
                    return ""
                self._drawn, self._open = now, True
                return "\r" + self._bar(event, width) + "\x1b[K"
            case Validated():
                self._validation = f"val {event.metric.validation_loss or 0:.3f}, {event.metric.bits_per_char or 0:.2f} bits"
                lines = [sentence(place(event), width - 1)]
                if outlook := event.standing.outlook:
                    words = sentence(outlook.words, width - 1, first="    ")
                    lines.append(yellow(words) if outlook.verdict == "overfitting" else words)
                lines.append(dim(indented(event.sample, width - 1, SAMPLE_LINES)))
                return self._close() + "".join(f"{line}\n" for line in lines)
            case Ended():
                lines = [sentence(best_place(event), width - 1), farewell(event, self._option)]
                return self._close() + "".join(f"{line}\n" for line in lines if line)

    def _close(self) -> str:
        """Erases the bar if one is drawn."""
        was_open, self._open = self._open, False
        return "\r\x1b[K" if was_open else ""

    def _bar(self, event: Stepped, width: int) -> str:
        parts, gap, least = self._parts(event, "step ", "epoch "), "  ", 12
        if len(gap.join(parts)) + least + 1 >= width:
            parts, gap, least = self._parts(event, "", "ep "), " ", 4
        while len(parts) > 1 and len(gap.join(parts)) + least + 1 >= width:
            parts.pop()
        text = gap.join(parts)
        room = min(width - 2 - len(text), 30)
        if room < 4:
            return clipped(text, width - 1)
        full = round(event.share * room)
        return green("━" * full) + dim("━" * (room - full)) + " " + text

    def _parts(self, event: Stepped, step: str, epoch: str) -> list[str]:
        """Returns the parts of the bar's text, the most important first; the last ones go if the line is too narrow."""
        progress = event.progress
        parts = [
            f"{event.share:4.0%}",
            f"loss {progress.loss:.3f}",
            remaining(event),
            self._validation,
            f"{step}{progress.step:,}" + (f"/{self._last_step:,}" if self._last_step is not None else ""),
            f"{epoch}{progress.epoch:.2f}",
            rate(event.characters_per_second),
        ]
        return [part for part in parts if part]


class LineDisplay:
    """For a file or pipe: a line every few seconds and at each validation."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, option: str = "") -> None:
        self._clock, self._option = clock, option
        self._drawn = clock()

    def show(self, event: Event) -> str:
        match event:
            case Prepared():
                return headline(event) + "\n"
            case Stepped():
                now = self._clock()
                if now - self._drawn < LINE:
                    return ""
                self._drawn = now
                progress = event.progress
                return (
                    f"step {progress.step:,}  epoch {progress.epoch:.2f}  loss {progress.loss:.3f}  {rate(event.characters_per_second)}"
                    f"  {event.share:.0%} done, {remaining(event)}\n"
                )
            case Validated():
                outlook = f"    {event.standing.outlook.words}\n" if event.standing.outlook else ""
                return f"{place(event)}\n{outlook}{indented(event.sample, 100, SAMPLE_LINES)}\n"
            case Ended():
                lines = [best_place(event), farewell(event, self._option)]
                return "".join(f"{line}\n" for line in lines if line)


class JsonDisplay:
    """For programs: one JSON object a line, whose `event` is prepared, step, validation or end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = clock() - JSON

    def show(self, event: Event) -> str:
        facts: dict[str, Any] = {}
        match event:
            case Prepared():
                facts = {**asdict(event), "event": "prepared", "run": event.run.name, "corpus": event.run.corpus}
            case Stepped():
                now = self._clock()
                if now - self._drawn < JSON:
                    return ""
                self._drawn = now
                facts = {
                    "event": "step",
                    **event.progress._asdict(),
                    "share": event.share,
                    "characters_per_second": round(event.characters_per_second, 1),
                    "seconds_left": round(event.seconds_left, 1) if math.isfinite(event.seconds_left) else None,
                }
            case Validated():
                facts = {"event": "validation", **asdict(event.metric), "best": event.best, "standing": asdict(event.standing)}
                facts["sample"] = event.sample
                facts.pop("created_at")
            case Ended():
                run = event.run
                facts = {
                    "event": "end",
                    "run": run.name,
                    "state": run.state,
                    "message": run.message,
                    "step": run.step,
                    "epoch": run.epoch,
                    "validation_loss": run.best_validation_loss,
                    "bits_per_char": run.best_bits_per_char,
                    "best_step": event.best_step,
                    "standing": asdict(event.best) if event.best else None,
                    "seconds": run.seconds,
                }
        return json.dumps(facts, ensure_ascii=False) + "\n"


# ── carrying out a run ───────────────────────────────────────────────────────────────────────────────────────────────

STOPPED_BY = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    **({signal.SIGHUP: "a closed terminal"} if hasattr(signal, "SIGHUP") else {}),
    # Of the signals that mpiexec passes on, the only one that is not followed by SIGKILL half a second later.
    **({signal.SIGUSR1: "SIGUSR1"} if hasattr(signal, "SIGUSR1") else {}),
}


def carry_out(work: Trainer, display: Display, echo: Callable[[str], None], tell: Callable[[str], None], option: str = "") -> int:
    """Trains a run and shows it. Ctrl-C, SIGTERM and a closed terminal save and pause it; a second Ctrl-C ends at once.

    `echo` writes a part of the output, `tell` a line beside it; `option` names the database if the next command needs that.
    Returns the exit status: 0, or 128 plus the signal's number (130 for Ctrl-C). Raises what `Trainer.events` raises, and
    `OSError` if the output could not be written; the run is then paused.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        work.stop(f"paused by {STOPPED_BY[signal.Signals(number)]}")

    left: OSError | None = None
    before = {number: signal.signal(number, stop) for number in STOPPED_BY}
    try:
        with closing(work.events()) as events:
            for event in events:
                text = display.show(event)
                try:
                    if text and left is None:
                        echo(text)
                except OSError as error:  # its reader has ended, or its terminal was closed
                    left = error
                    work.stop("paused because its output is no longer read")
    except KeyboardInterrupt:
        received.append(signal.SIGINT)
    except StoreError:
        tell(f"run {work.run.name} is stored up to step {work.run.step:,}; go on with: charloom train --resume {work.run.name}{option}")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if left and not received:
        raise left
    if len(received) > 1 and not left and work.run.state != "succeeded":
        tell(f"\n{farewell(Ended(run=work.run), option)}")
    return 128 + received[0] if received else 0
