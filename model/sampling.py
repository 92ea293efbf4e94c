"""Sampling: many requests, one batched step.

`Sampler.step` draws the next few symbols of every active text; each symbol of all of them takes one pass through the network.
Requests join and leave between steps. Each text has its own generator, seeded by its request, and its rows are computed
independently of the others' (`model.products`), so that a text is the same whether it is written alone or in company.

Order of the filters: temperature, top_k, top_p, min_p. T time, B active texts, V symbols, (L, S, B, H) states.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import SamplingConfig
from model.decoding import TextWriter
from model.errors import InvalidSetting
from model.functions import Ids, plain_arithmetic
from model.language_model import LanguageModel
from model.normalization import normalize
from model.products import Prepare, Products, RowByRow
from model.stepping import Stepper
from model.stops import StopWatch
from model.substitution import Substitution
from model.utf8 import Utf8Guide
from model.vocabulary import Vocabulary

Array = NDArray[Any]

MAX_PROMPT = 8192  # symbols of a prompt that are read at most: its last ones
SLICE = 256  # symbols of a prompt that are read between two steps of the others
BURST = 8  # symbols drawn in one step at most: what is done once per step then costs each of them little
DRAWS = 64  # random numbers that a text takes from its generator at a time
BELOW_ONE = 1 - 2.0**-40  # draws are scaled by it, so that rounding never carries one past the last symbol
COOLEST = 1e30  # 1 / temperature at most: beyond, single precision has no numbers, and only the likeliest symbol is left anyway
OVERFLOW = 1e38  # stands for infinity among logits; differences of two remain numbers
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

    def draw(self, count: int) -> list[float]:
        """The text's next random numbers, in [0, 1)."""
        while len(self._draws) < count:
            self._draws += (BELOW_ONE * self._rng.random(DRAWS)).tolist()
        taken, self._draws = self._draws[:count], self._draws[count:]
        return taken

    @property
    def left(self) -> int:
        """Symbols that may be drawn before anything has to be looked at again."""
        return 1 if self.writer.guide else max(1, self.config.length - self.symbols)

    def take(self, symbols: list[int]) -> Piece | None:
        """Add drawn symbols, of which those behind a stop string count no more; returns what there is to show, if anything."""
        self.last = symbols[-1]
        text = ""
        if self.config.stop:
            for symbol in symbols:
                self.symbols += 1
                text += self.stops.push(self.writer.push(symbol))
                if self.stops.stopped:
                    return self.finish(text)
        else:
            self.symbols += len(symbols)
            text = self.writer.write(symbols)
        over = self.symbols - self.config.length
        if over >= 0 and (not self.writer.inside_character or over >= FINISHING):
            return self.finish(text)
        return self._piece(text, None) if text else None

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

    def __init__(self, model: LanguageModel, vocabulary: Vocabulary, *, max_prompt: int = MAX_PROMPT, prepare: Prepare = RowByRow) -> None:
        """The parameters of the model must not change while it is used. `prepare` is how products are made (`model.products`)."""
        self.model, self.vocabulary, self.max_prompt = model, vocabulary, max_prompt
        self._products = Products(prepare)
        with plain_arithmetic():  # as in step
            self._table = model.input_table()
        self._guide = Utf8Guide(vocabulary.symbols) if vocabulary.level == "byte" else None
        self._prompts: deque[_Prompt] = deque()
        self._texts: list[_Text] = []
        self._rows: _Rows | None = None  # what has to be made anew where the texts are others
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
        """Read a slice of the oldest waiting prompt, then draw the next symbols of each text. Returns what there is to show."""
        pieces = self._read_prompt()
        if not self._texts:
            return pieces
        if self._rows is None:
            stepper = Stepper(self.model, self._state, self._table, self._products)
            self._rows = _Rows(stepper, self._texts, self._guide)
        count = min(BURST, *(text.left for text in self._texts))
        draws = np.array([text.draw(count) for text in self._texts]).T  # (count, B)
        drawn = np.empty((count, len(self._texts)), np.intp)
        last = np.array([text.last for text in self._texts])  # (B,)
        with plain_arithmetic():  # a model that overflows still writes something; see _Rows.choose
            for index in range(count):
                drawn[index] = last = self._rows.next(last, draws[index])
        over = set()
        for text, symbols in zip(self._texts, drawn.T.tolist(), strict=True):
            piece = text.take(symbols)
            if piece:
                pieces.append(piece)
                if piece.finish_reason is not None:
                    over.add((piece.request, piece.choice))
        if over:
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
                _, prompt.state, _ = self.model.read(part, prompt.state, table=self._table)
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
        self._rows = None
        return []

    def _keep(self, which: list[bool]) -> None:
        if not all(which):
            self._texts = [text for text, keep in zip(self._texts, which, strict=True) if keep]
            self._state = np.ascontiguousarray(self._state[:, :, np.array(which)])
            self._rows = None


class _Rows:
    """The texts of some steps as rows of arrays (B, ...), which are made once for all of these steps."""

    def __init__(self, stepper: Stepper, texts: list[_Text], guide: Utf8Guide | None) -> None:
        self._stepper, self._texts, self._guide = stepper, texts, guide
        temperatures = np.array([text.config.temperature for text in texts])
        self._coolness, self._cold = coolness(temperatures), np.flatnonzero(temperatures == 0)
        self._filtered = [(row, text.config) for row, text in enumerate(texts) if not text.plain]
        self._sums = np.empty((len(texts), stepper.logits.shape[1]))

    def next(self, last: Ids, draws: Array) -> Ids:
        """Read the last symbols (B,) and draw the next ones (B,)."""
        return self.choose(self._stepper.step(last), draws)

    def choose(self, scores: Array, draws: Array) -> Ids:
        """One symbol per row of logits (B, V), which are overwritten, with one random number each.

        Each row depends on nothing but its own logits and settings. Weights so large that a sum overflows give logits that are no
        numbers: those symbols are never drawn but where all are.
        """
        forbidden = ~self._guide.allowed[[text.writer.utf8_state for text in self._texts]] if self._guide else None
        if forbidden is not None:
            scores[forbidden] = -np.inf
        highest = np.maximum.reduce(scores, axis=1, keepdims=True)
        if not math.isfinite(np.add.reduce(highest, axis=None)):
            np.nan_to_num(scores, copy=False, nan=-OVERFLOW, posinf=OVERFLOW, neginf=-OVERFLOW)
            if forbidden is not None:
                scores[forbidden] = -np.inf
            highest = np.maximum.reduce(scores, axis=1, keepdims=True)
        p = tempered(scores, highest, self._coolness)
        for row, config in self._filtered:
            p[row] = filtered(p[row], config.top_k, config.top_p, config.min_p)
        sums = np.cumsum(p, axis=1, dtype=np.float64, out=self._sums)
        places = draws * sums[:, -1]
        chosen: Ids = (sums > places[:, None]).argmax(axis=1)
        if self._cold.size:
            chosen[self._cold] = p[self._cold].argmax(axis=1)
        return chosen


def coolness(temperatures: Array) -> Array:
    """1 / temperature as `tempered` takes it, ``(B,) -> (B, 1)``; where the temperature is 0, the likeliest symbol is taken anyway."""
    safe = np.where(temperatures > 0, temperatures, 1.0)
    return np.minimum(1 / np.maximum(safe, 1 / COOLEST), COOLEST).astype(np.float32)[:, None]


def tempered(scores: Array, highest: Array, cool: Array) -> Array:
    """softmax(scores / temperature), not yet divided by its sum; its largest entry is 1. ``(B, V), (B, 1), (B, 1) -> (B, V)``

    `highest` is the highest score of each row, `cool` is 1 / temperature. The scores are overwritten by the result.
    """
    scores -= highest
    scores *= cool
    return np.exp(scores, out=scores)


def filtered(p: Array, top_k: int, top_p: float, min_p: float) -> Array:
    """p (V,) with 0 for every symbol that a filter excludes. The likeliest symbol always stays; of equals the first stay.

    `top_k` keeps the k likeliest; `top_p` the fewest whose share of the rest reaches it (Holtzman et al. 2020); `min_p` those at
    least that share as likely as the likeliest (Nguyen et al. 2024).
    """
    order = np.argsort(-p, kind="stable")
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        sums = np.cumsum(p[order], dtype=np.float64)
        order = order[: 1 + int(np.searchsorted(sums, top_p * sums[-1]))]
    if min_p:
        order = order[p[order] >= min_p * p[order[0]]]
    kept = np.zeros_like(p)
    kept[order] = p[order]
    return kept


def generate(model: LanguageModel, vocabulary: Vocabulary, config: SamplingConfig, prepare: Prepare = RowByRow) -> Iterator[Piece]:
    """One request by itself: its pieces as they are made."""
    sampler = Sampler(model, vocabulary, prepare=prepare)
    sampler.add(config)
    while sampler.active:
        yield from sampler.step()
