"""Excludes unlikely symbols before the draw: top_k, top_p, min_p."""

from __future__ import annotations

import numpy as np

from model.functions import Array


def filter_probabilities(p: Array, top_k: int, top_p: float, min_p: float) -> Array:
    """Returns p (V,) with 0 for every symbol that a filter excludes. The likeliest symbol always stays; of equals the first stay.

    `top_k` keeps the k likeliest; `top_p` the fewest whose share of the rest reaches it (Holtzman et al. 2020); `min_p` those at
    least that share as likely as the likeliest (Nguyen et al. 2024).
    """
    order = np.argsort(-p, kind="stable")
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        sums = np.cumsum(p[order], dtype=np.float64)
        order = order[: 1 + int(np.searchsorted(sums, top_p * sums[-1]))]
    if min_p:
        order = order[p[order] >= min_p * p[order[0]]]
    kept = np.zeros_like(p)
    kept[order] = p[order]
    return kept
