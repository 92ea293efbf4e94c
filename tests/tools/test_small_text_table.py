"""The recipe for small texts predicts one of them better than any n-gram model, and the table finds a network that does not."""

from __future__ import annotations

from tools.small_text_table import TEXTS, compare, row


def test_a_recipe_is_learned_better_than_by_counting() -> None:
    found = compare(TEXTS / "recipe.txt", [0], ["--records", "none"])
    assert (found.characters, found.validated) == (770, 77)
    assert not found.worse
    assert found.network[0] < found.ngram - 0.1


def test_a_network_that_is_worse_is_found() -> None:
    found = compare(TEXTS / "tune.abc", seeds=[0, 1], options=["--hidden-size", "2", "--steps", "3", "--records", "none"])
    assert found.worse
    assert found.order == "5-gram", "the tune repeats its bars"
    assert row(found)[0] == "tune.abc"
    assert found._replace(ngram=99.0).worse is False
