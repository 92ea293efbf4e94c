"""Long lists in parts, also while they change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidSetting
from service.web.api.responses import cursor, page


@given(st.lists(st.integers(0, 30), unique=True), st.integers(1, 5), st.booleans())
def test_the_parts_are_the_whole(numbers: list[int], limit: int, ascending: bool) -> None:
    whole = sorted(numbers, reverse=not ascending)
    seen: list[str] = []
    after, more = None, True
    while more:
        part = page(numbers, str, str, limit, position_of=float, after=after, ascending=ascending)
        assert len(part.data) <= limit
        assert (part.first_id, part.last_id) == ((part.data[0], part.data[-1]) if part.data else (None, None))
        seen, after, more = seen + part.data, float(part.last_id or 0), part.has_more
        assert part.data or not more
    assert seen == [str(number) for number in whole]


@given(st.sets(st.integers(0, 30)), st.integers(1, 5), st.booleans(), st.data())
def test_what_stays_is_seen_once_whatever_is_deleted_meanwhile(
    numbers: set[int], limit: int, ascending: bool, choices: st.DataObject
) -> None:
    left, deleted, seen = set(numbers), set[int](), list[int]()
    after, more = None, True
    while more:
        part = page(left, str, int, limit, position_of=float, after=after, ascending=ascending)
        seen, after, more = seen + part.data, float(part.last_id or 0), part.has_more
        gone = choices.draw(st.sets(st.sampled_from(sorted(left)))) if left else set[int]()
        left, deleted = left - gone, deleted | gone
    assert len(seen) == len(set(seen))
    assert numbers - deleted <= set(seen)


def test_no_entries_are_a_page_too() -> None:
    part = page([1, 2], str, str, 0, position_of=float)
    assert (part.data, part.has_more, part.first_id, part.last_id) == ([], True, None, None)


def test_an_id_that_never_was_there() -> None:
    with pytest.raises(InvalidSetting, match="after is 'x'; it must be the id of something in this list, or deleted from it") as raised:
        cursor("x", lambda name: None)
    assert raised.value.param == "after"
    assert cursor(None, lambda name: None) is None
    assert cursor("x", lambda name: 2.5) == 2.5
