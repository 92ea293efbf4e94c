"""A text as it is compared with a corpus, and the way back to the text as it was."""

from __future__ import annotations

import re

from model.normalization import Composer, normalize
from service.novelty.spans import Span


class Comparable:
    """A text in NFC and with LF line ends, as `text`. Most texts are so already."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._clusters: list[Span] | None = None  # for each character, the part of the text that became it and its neighbours
        if "\r" in text or normalize(text, "nfc") != text:
            self._compose(text)

    def _compose(self, text: str) -> None:
        composer, composed = Composer(), ""
        clusters: list[Span] = []
        begin = 0
        for found in re.finditer(r"\r\n?|[^\r]", text):
            done = composer.push(found[0].replace("\r", "\n")[:1])
            if done:
                composed += done
                clusters += [Span(begin, found.start())] * len(done)
                begin = found.start()
        done = composer.flush()
        self.text = composed + done
        self._clusters = clusters + [Span(begin, len(text))] * len(done)

    def original(self, span: Span) -> Span:
        """Where a span of the comparable text stands in the text as it was, with all of the characters that it has a part of."""
        if self._clusters is None:
            return span
        return Span(self._clusters[span.start].start, self._clusters[span.stop - 1].stop)
