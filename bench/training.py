"""Measures training speed: characters per second of forward, backward, clipping and Adam in float32 on carried state, beside PyTorch.

PyTorch gets as many threads as there are cores, and if that is more than one, it is also measured with one thread: if another program
runs, PyTorch's threads wait for each other, and the ratio to them would flatter us.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import ours
from bench.machine import Peak
from bench.measuring import OURS, QUICK, THOROUGH, compared, interleaved, summary
from bench.networks import VOCABULARY, Network, check
from bench.processes import tell
from service.system import hardware

STREAMS, LENGTH = 64, 64
CLASSIC = 50  # streams, and symbols of each: the setting of char-rnn's users
CELLS = ("lstm", "gru")
CASES = [(Network(cell, layers, size), STREAMS, LENGTH) for cell in CELLS for layers in (1, 2) for size in (128, 256, 512)]
CASES += [(Network(cell, 2, 128), CLASSIC, CLASSIC) for cell in CELLS]
GRID = {f"{network}, {streams}x{length}": (network, streams, length) for network, streams, length in CASES}
SYMBOLS = 400_000


def measure(quick: bool, only: str = "") -> dict[str, Any]:
    """A row for each network, the geometric mean of the ratios, the lowest ratio and the machine's best product rate.

    Only networks whose name holds `only` are measured.
    """
    from bench.peers import pytorch

    cores = hardware.cores()
    ids = np.random.default_rng(0).integers(0, VOCABULARY, SYMBOLS).astype(np.uint8)
    peak, rows = Peak(), []
    for name, (network, streams, length) in GRID.items():
        if only not in name:
            continue
        peak.measure()
        model, tensors = network.weights()
        parts = pytorch.module(network, tensors)
        check(model, "PyTorch", pytorch.logits(parts))
        theirs = pytorch.training(parts, ids, streams, length)
        runs = {OURS: ours.training(model, ids, streams, length), "pytorch": pytorch.threaded(theirs, cores)}
        if cores > 1:
            runs["pytorch_alone"] = pytorch.threaded(theirs, 1)
        found = compared(interleaved(runs, streams * length, QUICK if quick else THOROUGH))
        rows.append({"network": name, "multiply_adds": network.multiply_adds(), "threads": hardware.training_threads(), **found})
        tell(f"  training {name}: {found['ratio']:.2f}")
    for row in rows:
        row["share_of_peak"] = row[OURS]["median"] * row["multiply_adds"] / peak.rate
    return {
        "pytorch_threads": cores,
        "peak": 2 * peak.rate,  # floating point operations per second
        **summary(rows),
    }
