"""Long lists in parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import InvalidSetting
from service.web.api.responses import page


@given(st.integers(0, 12), st.integers(1, 5))
def test_the_parts_are_the_whole(count: int, limit: int) -> None:
    whole = [str(number) for number in range(count)]
    seen: list[str] = []
    after, more = None, True
    while more:
        part = page(whole, str, str.upper, after, limit)
        assert len(part.data) <= limit
        assert (part.first_id, part.last_id) == ((part.data[0], part.data[-1]) if part.data else (None, None))
        seen, after, more = seen + part.data, part.last_id, part.has_more
        assert part.data or not more
    assert seen == whole


def test_an_id_that_is_not_there() -> None:
    with pytest.raises(InvalidSetting, match="after is 'x'; it must be the id of something in this list") as raised:
        page("abc", str, str, "x", 2)
    assert raised.value.param == "after"
