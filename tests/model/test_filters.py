"""Filters against a naive one."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from model.filters import filter_probabilities

probabilities = st.lists(st.one_of(st.floats(1e-9, 1), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=12).filter(any)


def naive_filter(p: list[float], top_k: int, top_p: float, min_p: float) -> list[float]:
    """One symbol at a time, as the words of the settings say it."""
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        total, reached, kept = float(np.cumsum([p[i] for i in order])[-1]), 0.0, []
        for i in order:
            kept.append(i)
            reached += p[i]
            if reached >= top_p * total:
                break
        order = kept
    if min_p:
        order = [i for i in order if p[i] >= min_p * p[order[0]]]
    return [p[i] if i in order else 0.0 for i in range(len(p))]


@given(probabilities, st.integers(0, 13), st.floats(1e-6, 1), st.floats(0, 1))
@example([0.25, 0.5, 0.25, 0.1], 0, 1.0, 0.5)
@example([0.25, 0.5, 0.5], 0, 1.0, 1.0)
@example([0.25, 0.5, 0.25], 0, 0.5, 0.0)
@example([0.25, 0.5, 0.25], 0, 0.75, 0.0)
def test_filters_keep_what_a_naive_one_keeps(p: list[float], top_k: int, top_p: float, min_p: float) -> None:
    kept = filter_probabilities(np.array(p), top_k, top_p, min_p)
    assert kept.tolist() == naive_filter(p, top_k, top_p, min_p)
    assert kept[p.index(max(p))] == max(p), "the likeliest always stays"
