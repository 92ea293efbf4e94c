"""Distances and the map, against angles computed one by one and the eigenvectors of the covariance."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from model.inspection.neighbours import MOST, neighbours, principal
from model.language_model import LanguageModel

V = 9


@pytest.mark.parametrize("embedding_size", [0, 4])
def test_distances_are_of_angles_seen_from_the_mean(make_model: Callable[..., LanguageModel], embedding_size: int) -> None:
    model = make_model(V, embedding_size=embedding_size)
    ids = np.array([3, 0, 8, 5, 1])
    table = model.parameters["embedding"] if embedding_size else model.parameters["layers.0.Wx"]
    rows = [table[id_] - table[ids].mean(axis=0) for id_ in ids]
    found = neighbours(model, ids, 3)
    for place, id_ in enumerate(ids.tolist()):
        apart = {}
        for other, row in zip(ids.tolist(), rows, strict=True):
            if other != id_:
                cos = float(rows[place] @ row) / math.sqrt(float(rows[place] @ rows[place]) * float(row @ row))
                apart[other] = 1 - cos
        nearest = sorted(apart, key=lambda other: apart[other])[:3]
        assert found.nearest[place].tolist() == nearest
        assert found.distances[place] == pytest.approx([apart[other] for other in nearest])


def test_characters_that_are_looked_up_alike_are_neighbours(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model(V, embedding_size=3)
    table = model.parameters["embedding"]
    table[7] = table[2] * 1.01
    assert neighbours(model, np.arange(V)).nearest[2][0] == 7


def test_the_map_is_of_the_first_two_eigenvectors() -> None:
    rows = np.random.default_rng(5).standard_normal((12, 4)) * [5, 3, 1, 0.5]
    places, shares = principal(rows)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    centred = rows - rows.mean(axis=0)
    for column, which in enumerate((-1, -2)):
        expected = centred @ vectors[:, which]
        expected *= np.sign(expected[np.argmax(np.abs(expected))])
        assert places[:, column] == pytest.approx(expected)
        assert shares[column] == pytest.approx(values[which] / values.sum())


def test_the_signs_of_the_map_do_not_depend_on_the_signs_of_the_decomposition() -> None:
    rows = np.random.default_rng(6).standard_normal((8, 3))
    mirrored, _ = principal(-rows)
    places, _ = principal(rows)
    for column in range(2):
        assert mirrored[:, column].max() == np.abs(mirrored[:, column]).max()
        assert np.abs(places[:, column]) == pytest.approx(np.abs(mirrored[:, column]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_symbols_have_a_map(make_model: Callable[..., LanguageModel], count: int) -> None:
    found = neighbours(make_model(V), np.arange(count))
    assert found.nearest.shape == (count, count - 1)
    assert found.places.shape == (count, 2)
    assert np.isfinite(found.places).all()


def test_equal_rows_are_no_trouble(make_model: Callable[..., LanguageModel]) -> None:
    model = make_model(V)
    model.parameters.flat[:] = 1
    found = neighbours(model, np.arange(4))
    assert np.isfinite(found.distances).all()
    assert (found.places == 0).all()
    assert found.shares == (0, 0)


def test_a_map_has_an_end(make_model: Callable[..., LanguageModel]) -> None:
    assert len(neighbours(make_model(MOST + 5), np.arange(MOST + 5)).ids) == MOST
