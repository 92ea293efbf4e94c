"""Sampling: many requests, one batched step.

`Sampler.step` draws one symbol for every active text and advances all of them in one pass through the network. Requests join and
leave between steps. Each text has its own generator, seeded by its request, and its rows are computed independently of the
others' (`model.products`), so that a text is the same whether it is written alone or in company.

Order of the filters: temperature, top_k, top_p, min_p. T time, B active texts, V symbols, (L, S, B, H) states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.cells import Product
from model.config import SamplingConfig
from model.decoding import TextWriter
from model.errors import InvalidSetting
from model.functions import Ids, plain_arithmetic
from model.language_model import LanguageModel
from model.normalization import normalize
from model.products import row_by_row
from model.stops import StopWatch
from model.substitution import Substitution
from model.utf8 import Utf8Guide
from model.vocabulary import Vocabulary
from model.workspace import Workspace

Array = NDArray[Any]

MAX_PROMPT = 8192  # symbols of a prompt that are read at most: its last ones
SLICE = 256  # symbols of a prompt that are read between two steps of the others
DRAWS = 64  # random numbers that a text takes from its generator at a time
OVERFLOW = 1e300  # stands for infinity among logits; differences of two remain numbers
FINISHING = 8  # further symbols that a text may take to finish the character in which it would be cut


class Piece(NamedTuple):
    """Something new to show of one text."""

    request: int
    choice: int  # which of the request's n texts
    text: str
    symbols: int  # drawn so far
    finish_reason: str | None  # "length" or "stop" in the last piece of a text, else None


class Accepted(NamedTuple):
    """What became of a prompt when its request was accepted."""

    request: int
    prompt_symbols: int  # that will be read
    truncated: bool  # whether the prompt was longer than what is read
    substituted: list[Substitution]  # in what will be read


@dataclass
class _Prompt:
    """A request whose prompt is being read."""

    request: int
    config: SamplingConfig
    ids: Ids
    done: int
    state: Array  # (L, S, 1, H)


class _Text:
    """One text that is being written: a row of the batch."""

    def __init__(self, request: int, choice: int, config: SamplingConfig, last: int, writer: TextWriter, stops: StopWatch) -> None:
        self.request, self.choice, self.config, self.last, self.writer, self.stops = request, choice, config, last, writer, stops
        self.plain = not (config.top_k or config.top_p < 1 or config.min_p)
        self.symbols = 0
        self._rng = np.random.Generator(np.random.PCG64((config.seed or 0) + choice))
        self._draws: list[float] = []

    def draw(self) -> float:
        """The text's next random number in [0, 1)."""
        if not self._draws:
            self._draws = self._rng.random(DRAWS)[::-1].tolist()
        return self._draws.pop()

    def take(self, symbol: int) -> Piece | None:
        """Add a drawn symbol; returns what there is to show, if anything."""
        self.last = symbol
        self.symbols += 1
        text = self.stops.push(self.writer.push(symbol))
        over = self.symbols - self.config.length
        cut = over >= 0 and (not self.writer.inside_character or over >= FINISHING)
        if not cut and not self.stops.stopped:
            return self._piece(text, None) if text else None
        return self.finish(text)

    def finish(self, text: str = "") -> Piece:
        """The last piece, with all that was held back."""
        if not self.stops.stopped:
            text += self.stops.push(self.writer.flush())
        if self.stops.stopped:
            return self._piece(text, "stop")
        return self._piece(text + self.stops.flush(), "length")

    def _piece(self, text: str, finish_reason: str | None) -> Piece:
        return Piece(self.request, self.choice, text, self.symbols, finish_reason)


class Sampler:
    """Writes texts with one model. Not for use by several threads at once: one thread owns it."""

    def __init__(
        self, model: LanguageModel, vocabulary: Vocabulary, *, max_prompt: int = MAX_PROMPT, product: Product = row_by_row
    ) -> None:
        self.model, self.vocabulary, self.max_prompt = model, vocabulary, max_prompt
        self._product = product
        with plain_arithmetic():  # as in step
            self._table = model.input_table()
        self._guide = Utf8Guide(vocabulary.symbols) if vocabulary.level == "byte" else None
        self._workspace = Workspace()
        self._prompts: deque[_Prompt] = deque()
        self._texts: list[_Text] = []
        self._state = model.zero_state(0)  # (L, S, B, H), column b belongs to self._texts[b]
        self._requests = 0

    @property
    def active(self) -> int:
        """Texts being written and requests whose prompt is being read."""
        return len(self._texts) + len(self._prompts)

    def add(self, config: SamplingConfig) -> Accepted:
        """Begin a request; its texts come out of the following steps.

        Raises `InvalidSetting` without a seed: nothing here is random by itself.
        """
        if config.seed is None:
            raise InvalidSetting("seed", None, "given here", "whoever calls the sampler chooses it")
        ids, substituted, truncated = self.vocabulary.encode_prompt(config.prompt, self.max_prompt)
        self._requests += 1
        self._prompts.append(_Prompt(self._requests, config, ids, 0, self.model.zero_state(1)))
        return Accepted(self._requests, len(ids), truncated, substituted)

    def cancel(self, request: int) -> None:
        """Forget a request; its row is free at once."""
        self._prompts = deque(prompt for prompt in self._prompts if prompt.request != request)
        self._keep([text.request != request for text in self._texts])

    def step(self) -> list[Piece]:
        """Read a slice of the oldest waiting prompt, then draw one symbol for each text. Returns what there is to show."""
        pieces = self._read_prompt()
        if not self._texts:
            return pieces
        last = np.array([[text.last for text in self._texts]])  # (1, B)
        with plain_arithmetic():  # a model that overflows still writes something; see _choose
            logits, self._state, _ = self.model.forward(
                last, self._state, workspace=self._workspace, product=self._product, table=self._table
            )
            symbols = self._choose(logits[0])
        finished = False
        for text, symbol in zip(self._texts, symbols, strict=True):
            piece = text.take(symbol)
            if piece:
                pieces.append(piece)
                finished = finished or piece.finish_reason is not None
        if finished:
            over = {(piece.request, piece.choice) for piece in pieces if piece.finish_reason}
            self._keep([(text.request, text.choice) not in over for text in self._texts])
        return pieces

    def _read_prompt(self) -> list[Piece]:
        """Read up to `SLICE` symbols of the oldest prompt, in a product of its own; when it is read, its texts become rows."""
        if not self._prompts:
            return []
        prompt = self._prompts[0]
        until = min(prompt.done + SLICE, len(prompt.ids) - 1)  # the last symbol is read by the first step
        if until > prompt.done:
            part = prompt.ids[prompt.done : until, None]
            with plain_arithmetic():
                _, prompt.state, _ = self.model.read(part, prompt.state, product=self._product, table=self._table)
            prompt.done = until
        if prompt.done < len(prompt.ids) - 1:
            return []
        self._prompts.popleft()
        config = prompt.config
        # Texts come out composed, so stop strings are looked for composed.
        stops = StopWatch(normalize(stop, "none" if self.vocabulary.normalization == "none" else "nfc") for stop in config.stop)
        last = int(prompt.ids[-1])
        texts = [
            _Text(prompt.request, choice, config, last, TextWriter(self.vocabulary, self._guide), stops.again())
            for choice in range(config.n)
        ]
        if not config.length:
            return [text.finish() for text in texts]
        self._texts += texts
        self._state = np.concatenate([self._state, np.repeat(prompt.state, config.n, axis=2)], axis=2)
        self._workspace = Workspace()  # its buffers fit the number of texts
        return []

    def _keep(self, which: list[bool]) -> None:
        if not all(which):
            self._texts = [text for text, keep in zip(self._texts, which, strict=True) if keep]
            self._state = self._state[:, :, np.array(which)]
            self._workspace = Workspace()

    def _choose(self, logits: Array) -> list[int]:
        """One symbol per text from logits (B, V). Each row depends on nothing but its own logits and settings.

        Weights so large that a sum overflows give logits that are no numbers: those symbols are never drawn but where all are.
        """
        scores = logits.astype(np.float64)
        if not np.isfinite(scores).all():
            scores = np.nan_to_num(scores, nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW)
        if self._guide:
            scores[~self._guide.allowed[[text.writer.utf8_state for text in self._texts]]] = -np.inf
        temperatures = np.array([text.config.temperature for text in self._texts])
        p = tempered(scores, temperatures)
        for row, text in enumerate(self._texts):
            if not text.plain:
                p[row] = filtered(p[row], text.config.top_k, text.config.top_p, text.config.min_p)
        sums = np.cumsum(p, axis=1)
        draws = np.array([text.draw() for text in self._texts])
        chosen = (sums <= (draws * sums[:, -1])[:, None]).sum(axis=1)
        # Rounding may carry a draw next to 1 past the last symbol.
        chosen = np.where((chosen < p.shape[1]) & (temperatures > 0), chosen, p.argmax(axis=1))
        return [int(symbol) for symbol in chosen]


def tempered(scores: Array, temperatures: Array) -> Array:
    """softmax(scores / temperature), not yet divided by its sum; its largest entry is 1. ``(B, V), (B,) -> (B, V)``

    Temperature 0 leaves only the likeliest symbols.
    """
    heat = np.where(temperatures > 0, temperatures, 1.0)[:, None]
    p: Array = np.exp((scores - scores.max(axis=1, keepdims=True)) / heat)
    cold = temperatures == 0
    if cold.any():
        p[cold] = p[cold] == 1
    return p


def filtered(p: Array, top_k: int, top_p: float, min_p: float) -> Array:
    """p (V,) with 0 for every symbol that a filter excludes. The likeliest symbol always stays; of equals the first stay.

    `top_k` keeps the k likeliest; `top_p` the fewest whose share of the rest reaches it (Holtzman et al. 2020); `min_p` those at
    least that share as likely as the likeliest (Nguyen et al. 2024).
    """
    order = np.argsort(-p, kind="stable")
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        sums = np.cumsum(p[order])
        order = order[: 1 + int(np.searchsorted(sums, top_p * sums[-1]))]
    if min_p:
        order = order[p[order] >= min_p * p[order[0]]]
    kept = np.zeros_like(p)
    kept[order] = p[order]
    return kept


def generate(model: LanguageModel, vocabulary: Vocabulary, config: SamplingConfig) -> Iterator[Piece]:
    """One request by itself: its pieces as they are made."""
    sampler = Sampler(model, vocabulary)
    sampler.add(config)
    while sampler.active:
        yield from sampler.step()
