"""Measures sampling speed: characters per second for 1, 8 and 64 texts in one thread, beside PyTorch and onnxruntime."""

from __future__ import annotations

from typing import Any

from bench import ours
from bench.measuring import OURS, QUICK, THOROUGH, compared, interleaved, summary
from bench.networks import Network, check
from bench.processes import tell
from service.system import hardware

TEMPERATURE = 0.8
NETWORKS = [Network(cell, layers, size) for cell in ("lstm", "gru") for layers, size in ((1, 128), (2, 256), (2, 512))]
GRID = {f"{network}, {texts} text{'s' if texts > 1 else ''}": (network, texts) for network in NETWORKS for texts in (1, 8, 64)}


def measure(quick: bool, only: str = "") -> dict[str, Any]:
    """A row for each network and number of texts, with the ratio to the faster peer and that to PyTorch alone, and their summary.

    Only rows whose name holds `only` are measured.
    """
    import torch

    from bench.peers import onnxruntime, pytorch

    torch.set_num_threads(1)
    rows = []
    for name, (network, texts) in GRID.items():
        if only not in name:
            continue
        model, tensors = network.weights()
        parts, session = pytorch.module(network, tensors), onnxruntime.Session(network, tensors)
        check(model, "PyTorch", pytorch.logits(parts))
        check(model, "onnxruntime", onnxruntime.logits(session))
        runs = {
            OURS: ours.sampling(model, texts, TEMPERATURE),
            "pytorch": pytorch.sampling(parts, texts, TEMPERATURE),
            "onnxruntime": onnxruntime.sampling(session, texts, TEMPERATURE),
        }
        with hardware.blas_threads(1):
            found = compared(interleaved(runs, texts, QUICK if quick else THOROUGH))
        found["pytorch_ratio"] = found[OURS]["median"] / found["pytorch"]["median"]
        rows.append({"network": name, **found})
        tell(f"  sampling {name}: {found['ratio']:.2f}")
    return summary(rows)
