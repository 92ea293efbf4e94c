"""Carries out a run before whoever watches: shows what happens, and lets signals save and pause it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import TYPE_CHECKING

from model.errors import StoreError
from service.events import Ended
from service.terminal.display import Display, farewell

if TYPE_CHECKING:
    from service.trainer import Trainer

STOPPED_BY = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    **({signal.SIGHUP: "a closed terminal"} if hasattr(signal, "SIGHUP") else {}),
    # Of the signals that mpiexec passes on, the one that it does not follow by SIGKILL half a second later.
    **({signal.SIGUSR1: "SIGUSR1"} if hasattr(signal, "SIGUSR1") else {}),
}


def carry_out(work: Trainer, display: Display, echo: Callable[[str], None], tell: Callable[[str], None], option: str = "") -> int:
    """Train and show it. Ctrl-C, SIGTERM and a closed terminal save, then it ends; a second Ctrl-C does not wait.

    `echo` writes a part of the output, `tell` a line beside it; `option` names the database where the next command needs that.
    Returns the status to end with: 0, or 128 and the signal's number (130 for Ctrl-C). Raises what `Trainer.events` raises, and
    `OSError` where the output could not be written; the run is then paused.
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
                except OSError as error:  # whoever read it has left, or its terminal was closed
                    left = error
                    work.stop("paused because nobody reads its output any more")
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
