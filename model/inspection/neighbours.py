"""Measures how alike the embeddings of characters are: distances by direction, and a map.

The embedding of a character is its row of the embedding table or, without one, of the first layer's input table. The distance is 1 - cos
of the angle between two rows, seen from the mean of all: 0 for the same direction, 1 for orthogonal ones, 2 for opposite ones. (The
Euclidean distance would tell little: in hundreds of dimensions it comes mostly from the initialization, and rare characters would be
neighbours of all others, since their rows are the shortest.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.functions import Array, Ids
from model.language_model import LanguageModel

NEAREST = 5
MOST = 500  # characters on one map


class Neighbours(NamedTuple):
    """The neighbours of N symbols among themselves."""

    ids: Ids  # (N,)
    nearest: Ids  # (N, K) the ids of the nearest others, the nearest first
    distances: Array  # (N, K) theirs
    places: Array  # (N, 2) on a map: the first two principal components of the directions
    shares: tuple[float, float]  # of the variance, that the map's directions explain


def neighbours(model: LanguageModel, ids: Ids, nearest: int = NEAREST) -> Neighbours:
    """Returns the neighbours among symbols `ids` (N,), all different; of more than `MOST` only the first ones."""
    ids = ids[:MOST]
    rows = model.input_table()[ids].astype(np.float64)  # (N, D)
    rows -= rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    distances = np.clip(1 - rows @ rows.T, 0, 2)  # (N, N)
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, : max(0, min(nearest, len(ids) - 1))]
    places, shares = principal(rows)
    return Neighbours(ids, ids[order], np.take_along_axis(distances, order, axis=1), places, shares)


def principal(rows: Array) -> tuple[Array, tuple[float, float]]:
    """Returns the first two principal components (N, 2) of rows (N, D), and their shares of the variance.

    The decomposition leaves the sign of each open: the largest magnitude is made positive.
    """
    places = np.zeros((len(rows), 2))
    U, singular, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    found = (U * singular)[:, :2]
    for column in range(found.shape[1]):
        farthest = found[np.argmax(np.abs(found[:, column])), column]
        places[:, column] = found[:, column] * (-1 if farthest < 0 else 1)
    variance = singular**2 / max((singular**2).sum(), np.finfo(float).tiny)
    first, second = np.append(variance, [0, 0])[:2].tolist()
    return places, (first, second)
