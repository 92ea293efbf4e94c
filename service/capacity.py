"""Whether a model can be trained here at all: told before anything is made that neither memory nor database could hold."""

from __future__ import annotations

from model.cells import CELLS
from model.config import ModelConfig
from model.errors import ModelTooLarge
from model.optimizer import RULES
from model.parameters import count
from service import machine


def refuse_too_large(config: ModelConfig, optimizer: str, V: int, symbols: int, largest: int) -> None:
    """Raise `ModelTooLarge` for a model over V symbols that learns from `symbols` of them in each step.

    `largest` is how many bytes one part of a stored checkpoint may have.
    """
    parameters = count(config, V)
    vectors = len(RULES[optimizer].memory)
    stored = 4 * parameters * max(1, vectors)
    if stored > largest:
        raise ModelTooLarge(config.hidden_size, parameters, stored, largest, "in one part of a checkpoint")
    # A step keeps about two rows of gates and six of states a layer, and the logits twice; weights are there with their
    # gradients, the optimizer's memory, and once more while a checkpoint is stored.
    row = config.num_layers * config.hidden_size * (2 * len(CELLS[config.cell].gates) + 6) + 2 * V
    needed = 4 * (parameters * (3 + 2 * vectors) + symbols * row)
    free = machine.free_memory()
    if free is not None and needed > free:
        raise ModelTooLarge(config.hidden_size, parameters, needed, free, "of memory")
