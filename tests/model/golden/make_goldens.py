"""Made pytorch.json beside it: what PyTorch's nn.RNN, nn.GRU and nn.LSTM give for small models, in float64.

    python make_goldens.py > pytorch.json      needs torch (2.13.0 made the stored numbers) and numpy
    python make_goldens.py --seed 7            the same for other random numbers

It knows nothing of Charloom's code. Each case is a whole language model: embedding or one-hot rows, two recurrent layers, a
linear layer, cross-entropy. Parameters and gradients are written in Charloom's names and layout: matrices transposed, LSTM gates
i f o g for PyTorch's i f g o, one bias b for PyTorch's two, but the GRU's recurrent bias of n apart as bn. Inputs have few
decimals, so that the file is small and exact.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
import torch

T, B, V, E, H, L = 5, 2, 7, 4, 3, 2  # odd and distinct, so that a transposition cannot pass
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
KINDS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]


def shapes(cell: str, embedding_size: int) -> dict[str, tuple[int, ...]]:
    gates = GATES[cell] * H
    found: dict[str, tuple[int, ...]] = {"embedding": (V, E)} if embedding_size else {}
    for layer in range(L):
        D = H if layer else embedding_size or V
        found |= {f"layers.{layer}.Wx": (D, gates), f"layers.{layer}.b": (gates,), f"layers.{layer}.Wh": (H, gates)}
        if cell == "gru":
            found[f"layers.{layer}.bn"] = (H,)
    return found | {"Wy": (H, V), "by": (V,)}


def swapped(cell: str, rows: np.ndarray) -> np.ndarray:
    """i f o g <-> i f g o along the first axis; other cells have the same order in both."""
    if cell != "lstm":
        return rows
    i, f, o, g = np.split(rows, 4)
    return np.concatenate((i, f, g, o))


def case(cell: str, activation: str, embedding_size: int, rng: np.random.RandomState) -> dict[str, Any]:
    def draw(*shape: int) -> np.ndarray:
        return np.round(rng.standard_normal(shape) / 2, 3)

    parameters = {name: draw(*shape) for name, shape in shapes(cell, embedding_size).items()}
    inputs, targets = rng.randint(0, V, (T, B)), rng.randint(0, V, (T, B))
    state = draw(L, 2 if cell == "lstm" else 1, B, H)

    options = {"nonlinearity": activation} if cell == "rnn" else {}
    recurrent = getattr(torch.nn, cell.upper())(embedding_size or V, H, L, dtype=torch.float64, **options)
    weights = recurrent._parameters
    with torch.no_grad():
        for layer in range(L):
            own = {name.removeprefix(f"layers.{layer}."): value for name, value in parameters.items() if f"layers.{layer}." in name}
            b_hh = draw(*own["b"].shape)  # how the sum b is split between the two must not matter
            if cell == "gru":
                b_hh[2 * H :] = 0
            b_ih = own["b"] - b_hh
            if cell == "gru":
                b_hh[2 * H :] = own["bn"]
            for name, value in (("weight_ih", own["Wx"].T), ("weight_hh", own["Wh"].T), ("bias_ih", b_ih), ("bias_hh", b_hh)):
                weights[f"{name}_l{layer}"].copy_(torch.tensor(swapped(cell, value)))
    outer = {name: torch.tensor(parameters[name], requires_grad=True) for name in ("embedding", "Wy", "by") if name in parameters}

    start = torch.tensor(state, requires_grad=True)
    ids = torch.tensor(inputs)
    x = outer["embedding"][ids] if embedding_size else torch.nn.functional.one_hot(ids, V).double()
    output, end = recurrent(x, (start[:, 0], start[:, 1]) if cell == "lstm" else start[:, 0])
    logits = output @ outer["Wy"] + outer["by"]
    loss = torch.nn.functional.cross_entropy(logits.reshape(T * B, V), torch.tensor(targets).ravel())
    loss.backward()

    gradients = {name: value.grad.numpy() for name, value in outer.items()}
    for layer in range(L):

        def gradient(name: str, layer: int = layer) -> np.ndarray:
            return swapped(cell, weights[f"{name}_l{layer}"].grad.numpy())

        gradients[f"layers.{layer}.Wx"] = gradient("weight_ih").T
        gradients[f"layers.{layer}.b"] = gradient("bias_ih")
        gradients[f"layers.{layer}.Wh"] = gradient("weight_hh").T
        if cell == "gru":
            gradients[f"layers.{layer}.bn"] = gradient("bias_hh")[2 * H :]
    expected = {
        "output": output.detach().numpy(),
        "logits": logits.detach().numpy(),
        "state": torch.stack(end if cell == "lstm" else (end,), dim=1).detach().numpy(),
        "loss": loss.item(),
        "dstate": start.grad.numpy(),
        "gradients": gradients,
    }
    config = {"cell": cell, "activation": activation, "hidden_size": H, "num_layers": L, "embedding_size": embedding_size}
    given = {"config": config, "vocabulary_size": V, "inputs": inputs, "targets": targets, "state": state, "parameters": parameters}
    return given | {"expected": expected}


def plain(value: Any) -> Any:
    """Arrays as lists, numbers to 13 decimals."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return np.round(value, 13).tolist()
    return value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    rng = np.random.RandomState(parser.parse_args().seed)
    cases = [plain(case(cell, activation, size, rng)) for cell, activation in KINDS for size in (0, E)]
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases)
    sys.stdout.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
