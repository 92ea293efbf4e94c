"""Trains and evaluates a model. `train` is a generator: it yields progress, and the caller prints and stores it.

It opens no file, reads no clock and no global random state. A `TrainingState` holds everything that an interrupted run needs to
continue: the same state, weights, text and settings give the same weights, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model import optimizer
from model.backend import Network, network_for
from model.batches import Ids, Streams
from model.config import TrainingConfig
from model.errors import TrainingDiverged
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.parameters import Parameters
from model.process_group import ALONE, ProcessGroup

Array = NDArray[Any]

VALIDATION_STREAMS = 64  # read in parallel in a validation: enough to keep the products efficient
VALIDATION_CONTEXT = 100  # symbols that each stream reads before its first scored symbol
VALIDATION_LENGTH = 25  # symbols of each stream that are read at once: enough for the products, little memory


@dataclass
class TrainingState:
    """The state of a run. `train` updates it; a checkpoint stores it."""

    hidden: Array  # (L, S, B, H), carried from chunk to chunk
    memory: optimizer.Memory  # of the optimizer
    step: int = 0  # updates so far
    epoch: int = 0  # whole passes over the training part
    chunk: int = 0  # chunks of this epoch so far
    first_step: int = 0  # the schedule begins at this step ...
    last_step: int = 0  # ... and ends at this one, if the run has a number of steps
    first_second: float = 0.0  # the schedule begins after this much training time, if the run has a budget
    best_loss: float = field(default=math.inf)  # lowest validation loss so far, nats per symbol
    best_step: int = 0
    stale: int = 0  # validations since then

    @classmethod
    def new(cls, model: LanguageModel, streams: Streams, config: TrainingConfig) -> TrainingState:
        """Returns the state at the beginning of a run."""
        return cls(model.zero_state(streams.batch_size), optimizer.new_memory(config, model.parameters.flat))

    def validated(self, loss: float) -> bool:
        """Notes a validation loss; returns whether it is the best so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.stale = loss, self.step, 0
            return True
        self.stale += 1
        return False

    def advance(self, streams: Streams) -> bool:
        """Counts one chunk as trained; returns whether it was the last one of an epoch."""
        self.step += 1
        self.chunk += 1
        if self.chunk < streams.chunks:
            return False
        self.epoch, self.chunk = self.epoch + 1, 0
        return True


class Progress(NamedTuple):
    """One update of the weights."""

    step: int
    epoch: float  # passes over the training part, including the fraction of the current one
    loss: float  # nats per symbol, before the update
    grad_norm: float  # before clipping
    learning_rate: float
    share: float  # of the run that was done before this update, 0 to 1
    symbols: int  # read in this update


def by_steps(state: TrainingState) -> float:
    """Returns the share of the run that is done, for a run with a number of steps."""
    return (state.step - state.first_step) / max(1, state.last_step - state.first_step)


def train(
    model: LanguageModel,
    streams: Streams,
    config: TrainingConfig,
    state: TrainingState,
    share: Callable[[TrainingState], float] = by_steps,
    group: ProcessGroup = ALONE,
    unknown_cost: float = UNKNOWN_COST,
    threads: int = 1,
    network: Network | None = None,
) -> Iterator[Progress]:
    """Trains the model in place until `share` reaches 1; yields after each update.

    `share(state)` returns the share of the run that is done; the learning-rate schedule follows it. In a `group`, each process calls
    this with the same arguments and reads its own rows of the streams. The kernels use up to `threads` threads, whose number
    changes no bit. A `network` for training may be given, so that its memory can be released between two updates.
    Raises `TrainingDiverged`, before the weights are changed, if a loss or gradient is not finite.
    """
    B = streams.batch_size
    rows = group.rows(B)
    network = network or network_for(model, threads, trains=True)
    updates = network.optimizer(state.memory, config)
    gradients = Parameters(model.parameters.shapes, group.gradient_buffer(model.parameters.flat))
    while (done := group.begin(share(state))) < 1:
        inputs, targets = streams.chunk(state.chunk, state.epoch)
        hidden = state.hidden[:, :, rows]  # a view
        # A new generator for each step, so that a checkpoint needs no random state.
        rng = np.random.Generator(np.random.PCG64([config.seed, state.step]))
        if config.reset_rate and model.boundary is None:  # a record begins with a state of zero in any case
            # A state that is never reset drifts away from those at the beginning of a text; see TrainingConfig.reset_rate.
            hidden[:, :, (rng.random(B) < config.reset_rate)[rows]] = 0
        masks = model.masks(rng, B)  # of all streams, so that they are the same for any group
        loss, hidden[...] = network.loss_and_gradients(
            inputs[:, rows],
            targets[:, rows],
            hidden,
            gradients,
            count=inputs.size,
            masks=None if masks is None else masks[:, rows],
            unknown_cost=unknown_cost,
        )
        gradient, norm, loss = group.reduce(gradients.flat, loss, updates.norm)
        if not math.isfinite(loss):
            raise TrainingDiverged(state.step + 1, "loss", loss)
        if not math.isfinite(norm):
            raise TrainingDiverged(state.step + 1, "gradient's norm", norm)
        rate = optimizer.learning_rate(config, done)
        updates.update(gradient, norm, rate, state.step + 1)
        network.refresh()
        if state.advance(streams):
            moved = streams.carry(group.gather(state.hidden))
            state.hidden[:, :, rows] = moved[:, :, rows]
        group.barrier()
        yield Progress(state.step, state.epoch + state.chunk / streams.chunks, loss, norm, rate, done, inputs.size)


class Evaluation(NamedTuple):
    """How well a model predicts a text."""

    loss: float  # nats per symbol; not finite if the weights are too large
    symbols: int
    unknown: int  # of them outside the alphabet


def evaluate(
    network: Network,
    ids: Ids,
    start: int,
    stop: int,
    unknown_cost: float = UNKNOWN_COST,
    tick: Callable[[], None] | None = None,
) -> Evaluation:
    """Returns the loss over ids[start:stop], each predicted from the symbols before it: 0 < start < stop.

    They are read as parallel streams with carried state. Each stream first reads up to `VALIDATION_CONTEXT` symbols before its first
    one, so that the result is close to that of a single stream. If the model has a boundary, ids[0] is one. `tick` is called now
    and then; an exception that it raises ends the evaluation.
    """
    total = stop - start
    B = int(np.clip(total // (4 * VALIDATION_CONTEXT), 1, VALIDATION_STREAMS))
    length = -(-total // B)
    firsts = start + length * np.arange(B)  # (B,) the first target of each stream
    records = network.model.boundary is not None  # then what stands before the first symbol may be read as further boundaries
    context = VALIDATION_CONTEXT if records else min(VALIDATION_CONTEXT, start - 1)
    hidden = network.model.zero_state(B)
    cost, unknown = 0.0, 0
    for offset in range(-context, 0, VALIDATION_LENGTH):
        before = firsts + np.arange(offset, min(offset + VALIDATION_LENGTH, 0))[:, None]  # (T, B)
        _, hidden = network.read(ids[np.maximum(before - 1, 0)], hidden)
    for offset in range(0, length, VALIDATION_LENGTH):
        if tick:
            tick()
        places = firsts + np.arange(offset, min(offset + VALIDATION_LENGTH, length))[:, None]  # (T, B) of the targets
        counts = places < stop  # the last stream may be shorter
        places = np.minimum(places, stop - 1)
        targets = ids[places]
        costs, hidden = network.nats(ids[places - 1], targets, hidden, unknown_cost)  # what is not finite appears in the result
        cost += float(costs[counts].cumsum()[-1])  # in order, so that its bits depend on nothing else
        unknown += int(np.count_nonzero(targets[counts] >= network.model.vocabulary_size))
    return Evaluation(cost / total, total, unknown)
