"""PyTorch: `nn.Embedding`, `nn.LSTM` or `nn.GRU`, `nn.Linear`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.measuring import Run
from bench.networks import VOCABULARY, Network
from model.batches import Ids, Streams

Array = NDArray[Any]

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def module(network: Network, tensors: Mapping[str, Array]) -> Any:
    """The network with given weights."""
    H = network.hidden_size
    parts = nn.ModuleDict(
        {
            "embedding": nn.Embedding(VOCABULARY, H),
            "rnn": LAYERS[network.cell](H, H, network.num_layers),
            "output": nn.Linear(H, VOCABULARY),
        }
    )
    parts.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return parts


def logits(parts: Any) -> Callable[[NDArray[np.int64]], Array]:
    """The logits (T, B, V) for ids (T, B), from a state of zeros."""

    def of(ids: NDArray[np.int64]) -> Array:
        with torch.inference_mode():
            h, _ = parts["rnn"](parts["embedding"](torch.from_numpy(ids)))
            found: Array = parts["output"](h).numpy()
        return found

    return of


def detached(state: Any) -> Any:
    """A carried state through which no gradient flows back; a tuple for the LSTM."""
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def training(parts: Any, ids: Ids, batch_size: int, seq_length: int) -> Run:
    """Steps of forward, backward, clipping and Adam on carried state. The chunks are tensors already."""
    embedding, recurrent, output = parts["embedding"], parts["rnn"], parts["output"]
    parameters = list(parts.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    streams = Streams(ids.astype(np.int64), batch_size, seq_length)
    chunks = [tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in streams.chunk(index)) for index in range(streams.chunks)]
    state, done = None, 0

    def run(count: int) -> None:
        nonlocal state, done
        for _ in range(count):
            inputs, targets = chunks[done % len(chunks)]
            h, state = recurrent(embedding(inputs), state)
            loss = nn.functional.cross_entropy(output(h).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            state = detached(state)
            done += 1

    return run


def threaded(run: Run, threads: int) -> Run:
    """The same with that many threads."""

    def with_threads(count: int) -> None:
        torch.set_num_threads(threads)
        run(count)

    return with_threads


def sampling(parts: Any, texts: int, temperature: float) -> Run:
    """Texts written side by side, one character of each a step."""
    embedding, recurrent, output = parts["embedding"], parts["rnn"], parts["output"]

    def run(count: int) -> None:
        with torch.inference_mode():
            ids, state = torch.zeros(1, texts, dtype=torch.long), None
            for _ in range(count):
                h, state = recurrent(embedding(ids), state)
                p = torch.softmax(output(h[0]) / temperature, dim=-1)
                ids = torch.multinomial(p, 1).T

    return run
