"""Texts are compared in NFC with LF, and what is found leads back to the text as it was."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from service.novelty.forms import Comparable
from service.novelty.spans import Span

TEXTS = st.text("ab\r\n\u0301\u0323\u1112\u1161\u11ab한é가😀", max_size=20)


@given(TEXTS)
def test_a_text_is_composed_and_has_plain_line_ends(text: str) -> None:
    expected = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    assert Comparable(text).text == expected


@given(TEXTS)
def test_every_character_leads_back_to_what_it_came_from(text: str) -> None:
    form = Comparable(text)
    places = [form.original(Span(place, place + 1)) for place in range(len(form.text))]
    for place, span in enumerate(places):
        assert form.text[place] in Comparable(text[span.start : span.stop]).text
    assert "".join(Comparable(text[span.start : span.stop]).text for span in dict.fromkeys(places)) == form.text
    assert {each for span in places for each in range(span.start, span.stop)} == set(range(len(text)))


def test_spans_grow_to_whole_characters() -> None:
    form = Comparable("ab\r\ncafe\u0301 \u1112\u1161\u11ab!")
    assert form.text == "ab\ncafé 한!"
    assert form.original(Span(2, 7)) == Span(2, 9)
    assert form.original(Span(8, 10)) == Span(10, 14)
    assert Comparable("café").original(Span(1, 3)) == Span(1, 3)
