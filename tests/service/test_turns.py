"""Turns of requests that read, and their time."""

from __future__ import annotations

import time

import pytest
from werkzeug.exceptions import ClientDisconnected

from model.errors import TookTooLong, TooManyRequests, WaitedTooLong
from service.turns import Turns


def test_few_at_once_few_that_wait_and_no_more() -> None:
    turns = Turns(at_once=2, waiting=1, seconds=0.05)
    with turns.turn(), turns.turn():
        with pytest.raises(WaitedTooLong, match=r"waited 0\.05 seconds"), turns.turn():
            pass
        assert turns._places.acquire(blocking=False), "who waited in vain has gone"
        with pytest.raises(TooManyRequests, match="1 requests are waiting already"), turns.turn():
            pass
        turns._places.release()
    for _ in range(9):  # every place was given back
        with pytest.raises(KeyError), turns.turn():
            raise KeyError
    with turns.turn(), turns.turn():
        pass


def test_the_clock_begins_where_it_is_made() -> None:
    tick = Turns(1, 1, seconds=30).clock(lambda: False)
    tick()
    late = Turns(1, 1, seconds=0.01).clock(lambda: False)
    time.sleep(0.02)
    with pytest.raises(TookTooLong, match=r"not done within 0\.01 seconds"):
        late()
    with pytest.raises(ClientDisconnected):
        Turns(1, 1, seconds=30).clock(lambda: True)()
