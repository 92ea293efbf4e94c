"""Runs the cases of test_network.py and other kernels with a library that has the sanitizers.

``python -m tests.model.kernels.run_sanitized LIBRARY NAME``: AddressSanitizer must be the first library of the process, so this is a
process of its own. Where something is wrong, the sanitizer ends it.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np

from model.config import OPTIMIZERS, SamplingConfig
from model.kernels.library import Library
from model.kernels.network import KernelNetwork
from model.sampling import generate
from tests.model.kernels import test_network, test_optimizer, test_texts

SEEDS = range(12)


def main(path: str, name: str) -> int:
    library = Library(Path(path), name)
    for (cell, activation), seed in product(test_network.CELLS, SEEDS):
        case = test_network.Case(cell, activation, seed)
        test_network.test_loss_state_and_gradients_are_those_of_numpy(library, case)
        test_network.test_a_text_is_read_as_in_training_and_as_by_numpy(library, case)
        test_network.test_a_stream_has_the_same_bits_alone_and_in_company(library, case)
    test_network.test_what_the_library_cannot_read_is_refused(library)
    for (model, words), top_k in product(test_texts.MODELS, (0, 3, 1000)):
        config = SamplingConfig(
            prompt="ab", length=70, n=9, seed=1, top_k=top_k, top_p=0.9, min_p=0.01, repetition_penalty=1.2, logprobs=20, stop=("zz",)
        )
        list(generate(KernelNetwork(library, model, threads=2), words, config))
    for size in (1, 7, 8, 9, 31, 67):
        normal = np.random.default_rng(size).standard_normal((size, size))
        library.orthogonal(size, normal.ctypes.data)
    for rule, sizes, settings in product(OPTIMIZERS, test_optimizer.SIZES, test_optimizer.SETTINGS):
        test_optimizer.test_updates_are_those_of_numpy_and_do_not_depend_on_threads(library, sizes, rule, settings)
    sys.stdout.write("no fault\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
