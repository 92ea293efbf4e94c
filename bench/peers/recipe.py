"""The plain PyTorch network under the recipe of one of our runs, for as long, validated at the same times on the same symbols.

What PyTorch's users would not write by themselves is left out: how our weights begin, how streams are reset.
The rates of its embedding and its output weights are as ours, since that helps it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.peers.pytorch import LAYERS, detached
from bench.processes import tell
from model import optimizer
from model.batches import Streams
from model.config import ModelConfig, TrainingConfig
from model.training import VALIDATION_CONTEXT, VALIDATION_STREAMS
from service.system import hardware

TRIAL = 9  # steps from which the number of threads is chosen
ASIDE = 0.02  # share of the budget that is kept for the last validation while none has been made


def measure(
    *,
    ids: str,
    vocabulary_size: int,
    unknown_cost: float,
    split: list[int],
    model: dict[str, Any],
    training: dict[str, Any],
    due: list[float],
    began: float,
) -> dict[str, Any]:
    """The curve of validation losses: pairs of seconds since `began` (on `time.monotonic`) and nats per symbol.

    `ids` is a file of numpy's, `split` where its training part ends and which symbols validate, `due` the seconds after which
    to validate; the last validation ends the budget. Choosing the number of threads is not counted.
    """
    model_config, config = ModelConfig.from_dict(model), TrainingConfig.from_dict(training)
    budget = config.budget or due[-1]
    symbols = np.load(ids, mmap_mode="r")
    streams = Streams(symbols[: split[0]], config.batch_size, config.seq_length)
    before = time.monotonic()
    threads = _fastest(lambda: _Network(model_config, vocabulary_size, config), *_tensors(streams, 0))
    began += time.monotonic() - before
    torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    network = _Network(model_config, vocabulary_size, config)
    curve: list[tuple[float, float]] = []
    aside, step, state = ASIDE * budget, 0, None

    def validate() -> float:
        started = time.monotonic()
        loss = network.loss(symbols, split[1], split[2], unknown_cost)
        curve.append((time.monotonic() - began, loss))
        tell(f"  quality, pytorch: {curve[-1][0]:.1f} s, {loss:.4f} nats")
        return time.monotonic() - started

    while (spent := (time.monotonic() - began) / (budget - aside)) < 1:
        if len(due) > 1 and time.monotonic() - began >= due[0]:
            aside = 1.2 * validate()
            while len(due) > 1 and due[0] <= time.monotonic() - began:
                due = due[1:]
        state = network.learn(*_tensors(streams, step % streams.chunks), state, optimizer.learning_rate(config, spent))
        step += 1
        if step % streams.chunks == 0:
            state = _carried(state)
    validate()
    return {"curve": curve, "steps": step, "threads": threads}


def _tensors(streams: Streams, index: int) -> tuple[Any, Any]:
    """Inputs and targets (T, B) of a chunk."""
    inputs, targets = (torch.from_numpy(part.astype(np.int64)) for part in streams.chunk(index))
    return inputs, targets


def _fastest(network: Callable[[], _Network], inputs: Any, targets: Any) -> int:
    """One thread or as many as there are cores, whichever makes the quicker steps at this moment."""
    taken = {}
    for threads in {1, hardware.cores()}:
        torch.set_num_threads(threads)
        trial, times = network(), []
        for _ in range(TRIAL):
            before = time.monotonic()
            trial.learn(inputs, targets, None, 0.0)
            times.append(time.monotonic() - before)
        taken[threads] = median(times)
    return min(taken, key=lambda threads: taken[threads])


class _Network:
    """Embedding, recurrent layers, output, and Adam with decoupled weight decay of the matrices."""

    def __init__(self, model: ModelConfig, V: int, config: TrainingConfig) -> None:
        H, between = model.hidden_size, model.dropout if model.num_layers > 1 else 0.0
        E = model.embedding_size or H
        self.V, self.config = V, config
        self.embedding = nn.Embedding(V + 1, E)  # the last row is the unknown symbol's
        self.recurrent = LAYERS[model.cell](E, H, model.num_layers, dropout=between)
        self.dropout, self.output = nn.Dropout(model.dropout), nn.Linear(H, V)
        self.parts = nn.ModuleList([self.embedding, self.recurrent, self.dropout, self.output])
        self.parameters = list(self.parts.parameters())
        rates = {id(self.embedding.weight): config.input_rate, id(self.output.weight): config.output_rate}
        self.adam = torch.optim.AdamW(
            [
                {"params": [p], "weight_decay": config.weight_decay if p.ndim > 1 else 0.0, "multiple": rates.get(id(p), 1.0)}
                for p in self.parameters
            ],
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )

    def costs(self, inputs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        """Nats of each target (T, B), 0 where it is unknown, and the state afterwards."""
        h, state = self.recurrent(self.embedding(inputs), state)
        scores = self.output(self.dropout(h)).flatten(0, 1)
        each = nn.functional.cross_entropy(scores, targets.flatten(), ignore_index=self.V, reduction="none")
        return each.view(targets.shape), state

    def learn(self, inputs: Any, targets: Any, state: Any, rate: float) -> Any:
        """One update; the state to carry on."""
        for group in self.adam.param_groups:
            group["lr"] = rate * group["multiple"]
        self.parts.train()
        costs, state = self.costs(inputs, targets, state)
        self.adam.zero_grad()
        costs.mean().backward()
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.adam.step()
        return detached(state)

    def loss(self, ids: Any, start: int, stop: int, unknown_cost: float) -> float:
        """Nats per symbol over ids[start:stop], read as `model.training.evaluate` reads them."""
        self.parts.eval()
        total = stop - start
        B = int(np.clip(total // (4 * VALIDATION_CONTEXT), 1, VALIDATION_STREAMS))
        length = -(-total // B)
        firsts = start + length * np.arange(B)
        context, state, cost = min(VALIDATION_CONTEXT, start - 1), None, 0.0
        with torch.inference_mode():
            for offset in range(-context, length, VALIDATION_CONTEXT):
                places = firsts + np.arange(offset, min(offset + VALIDATION_CONTEXT, length))[:, None]  # (T, B) of the targets
                known = np.minimum(places, stop - 1)
                inputs, targets = (torch.from_numpy(ids[each].astype(np.int64)) for each in (known - 1, known))
                costs, state = self.costs(inputs, targets, state)
                counted = torch.from_numpy((places < stop) & (np.arange(offset, offset + len(places)) >= 0)[:, None])
                cost += float(costs[counted].sum(dtype=torch.float64)) + unknown_cost * int((targets[counted] == self.V).sum())
        return cost / total


def _carried(state: Any) -> Any:
    """The state for the next epoch, as `Streams.carry` has it: each stream goes on where the one before it ended."""

    def moved(part: Any) -> Any:
        part = part.roll(1, dims=1)
        part[:, 0] = 0
        return part

    return tuple(map(moved, state)) if isinstance(state, tuple) else moved(state)
