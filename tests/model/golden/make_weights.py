"""Made weights.json beside it: the sha256 of the weights of small models after 50 steps of training by the kernels.

    python -m tests.model.golden.make_weights > tests/model/golden/weights.json

A change of these numbers means that the same text, settings and seed give other weights than before: the CHANGELOG must then say so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import product
from typing import Any

import numpy as np

from model.backend import network_for
from model.batches import Streams
from model.config import CELLS, OPTIMIZERS, ModelConfig, TrainingConfig
from model.kernels.library import library, shortcoming
from model.language_model import LanguageModel
from model.training import TrainingState, train

STEPS, V = 50, 29
IDS = (np.arange(900) * np.arange(900) // 7 % (V + 1)).astype(np.uint8)  # V is the unknown symbol
SCHEDULES = {"adam": "cosine", "rmsprop": "constant", "adagrad": "exponential", "sgd": "cosine"}

Case = tuple[str, int, float, str]
CASES: dict[str, Case] = {
    f"{cell} {layers}x21, dropout {dropout:g}, {rule}": (cell, layers, dropout, rule)
    for cell, layers, dropout, rule in product(sorted(CELLS), (1, 2), (0.0, 0.3), OPTIMIZERS)
}


def weights_of(case: Case, threads: int) -> str:
    """The sha256 of the trained weights, by what `network_for` chooses."""
    cell, layers, dropout, rule = case
    embedding_size = 5 * (layers - 1)
    config = ModelConfig(cell=cell, num_layers=layers, hidden_size=21, embedding_size=embedding_size, dropout=dropout)
    training = TrainingConfig(
        batch_size=9,
        seq_length=11,
        seed=layers,
        optimizer=rule,
        schedule=SCHEDULES[rule],
        learning_rate=0.003,
        reset_rate=0.1,
        weight_decay=0.1 * (layers - 1),
        clip_norm=0.7,
        clip_value=0.05 * (layers - 1),
    )
    model, streams = LanguageModel.new(config, V, training.seed), Streams(IDS, training.batch_size, training.seq_length)
    state = TrainingState.new(model, streams, training)
    state.last_step = STEPS
    network: Any = network_for(model, threads, trains=True)
    for _ in train(model, streams, training, state, network=network):
        pass
    return hashlib.sha256(model.parameters.flat.astype("<f4").tobytes()).hexdigest()


if __name__ == "__main__":
    if library() is None:
        sys.exit(shortcoming() or "numpy is chosen, but this table is of the kernels")
    sys.stdout.write(json.dumps({name: weights_of(case, 1) for name, case in CASES.items()}, indent=1) + "\n")
