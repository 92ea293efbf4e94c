"""Attacks on memory and processor stay within bounds, and so does the largest allowed request of each route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.web.app import create_app
from tools import attacks
from tools.watched_service import MB, WatchedService, watched_service

SIZE, ROUTE_SIZE = 0.07, 0.03  # of the attacks, and of the largest requests: the tool sends them whole
MOST, SLOWEST, LONGEST = 150, 8, 60  # MB, and seconds of /health and of an attack: bounds that a busy machine keeps


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedService]:
    db = tmp_path_factory.mktemp("attacked") / "charloom.db"
    attacks.fill(db)
    with watched_service(db, "--workers", "0") as service:
        service.upload("warm.txt", attacks.TEXT.encode() * 3)
        yield service


def hold(service: WatchedService, name: str, attack: attacks.Attack, size: float) -> attacks.Cost:
    cost = attacks.measure(service, name, attack, size)
    said = attacks.line(cost)
    assert not cost.failures, said
    assert set(cost.statuses) <= {200, 400, 404, 413, 429}, said
    assert cost.peak < MOST * MB, said
    assert cost.slowest < SLOWEST, said
    assert cost.seconds < LONGEST, said
    return cost


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_is_bounded(service: WatchedService, name: str) -> None:
    hold(service, name, attacks.ATTACKS[name], SIZE)


def test_the_largest_request_of_each_route_is_bounded(service: WatchedService, tmp_path: Path) -> None:
    app = create_app(tmp_path / "routes.db")
    rules = [(method, rule.rule) for rule in app.url_map.iter_rules() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    app.extensions["charloom"].close()
    unknown = [each for each in rules if each[0] != "GET" and each not in attacks.LARGEST]
    assert not unknown, "what is the largest request that these routes allow? tools.attacks.LARGEST must have it"
    assert len(rules) > 25
    for method, rule in sorted(rules):
        cost = hold(service, f"{method} {rule}", attacks.LARGEST.get((method, rule)) or attacks.reading(rule), ROUTE_SIZE)
        assert set(cost.statuses) <= {200, 400, 404}, attacks.line(cost)


def test_memory_that_is_taken_is_found(service: WatchedService) -> None:
    """The measure itself: an answer of some megabytes is seen in the peak."""

    def send(service: WatchedService) -> list[int]:
        body = {"model": attacks.MODEL, "n": 64, "max_tokens": 300, "logprobs": 20}
        return [service.ask("POST", attacks.COMPLETION, body)[0]]

    cost = attacks.measure(service, "logprobs", lambda size: send, 1)
    assert cost.statuses == {200: 1}
    assert cost.peak > 20 * MB
