"""Sampling: many requests, one batched step.

`Sampler.step` draws the next few symbols of every active text; each symbol of all of them takes one pass through the network.
Requests join and leave between steps. Each text has its own generator, seeded by its request, and its rows are computed
independently of the others' (`model.batch_invariant`), so that a text is the same whether it is written alone or in company.

What changes probabilities applies in this order: penalties and bias (`model.penalties`), max_copy (`model.copy_guard`), temperature
(`model.temperature`), top_k, top_p, min_p (`model.filters`). T time, B active texts, V symbols, (L, S, B, H) states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.batch_invariant import Prepare, Products, RowByRow
from model.config import SamplingConfig
from model.copy_guard import CopyGuard, CopyRules, CopySource
from model.decode_step import NetworkStepper
from model.detokenizer import Detokenizer
from model.errors import InvalidSetting
from model.functions import Ids, plain_arithmetic
from model.language_model import LanguageModel
from model.log_likelihood import judged
from model.normalization import normalize
from model.out_of_vocabulary import Substitution
from model.output_text import OutputText, Piece, Start
from model.prompt_logprobs import PromptLogprobs
from model.sampling_batch import SamplingBatch
from model.settings import Course
from model.stop_strings import StopWatch
from model.temperature import Temperatures
from model.utf8_constraint import Utf8Guide
from model.vocabulary import Vocabulary

Array = NDArray[Any]

MAX_PROMPT = 8192  # symbols of a prompt that are read at most: its last ones
SLICE = 256  # symbols of a prompt that are read between two steps of the others
LEAST_ROWS = 8  # of a group: fewer would not be worth another thread
SHORTEST, LONGEST = 8, 32  # symbols drawn in one step: what is done once per step then costs each of them little ...
WORK = 100_000_000  # ... but weights times symbols of more than the shortest stay below this, some ten milliseconds


Steps = Sequence[Callable[[], list[Piece]]]
Crew = Callable[[Steps], list[list[Piece]]]  # does all steps, which do not depend on each other


def one_after_the_other(steps: Steps) -> list[list[Piece]]:
    """The crew of one."""
    return [step() for step in steps]


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
    temperatures: Temperatures
    state: Array  # (L, S, 1, H)
    source: CopySource | None = None  # what is not to be copied
    done: int = 0
    echo: PromptLogprobs | None = None  # where its log-probabilities are told


class Sampler:
    """Writes texts with one model. Not for use by several threads at once: one thread owns it."""

    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        *,
        max_prompt: int = MAX_PROMPT,
        prepare: Prepare = RowByRow,
        crew: Crew = one_after_the_other,
        groups: int = 1,
    ) -> None:
        """The parameters of the model must not change while it is used. `prepare` is how products are made (`model.batch_invariant`).

        Where there are enough texts, their rows are divided into `groups`, whose steps `crew` does, perhaps side by side.
        """
        self.model, self.vocabulary, self.max_prompt = model, vocabulary, max_prompt
        self._crew, self._most_groups = crew, groups
        self._products = Products(prepare)
        with plain_arithmetic():  # as in step
            self._table = model.input_table()
        self._guide = Utf8Guide(vocabulary.symbols) if vocabulary.level == "byte" else None
        self._names = vocabulary.names
        self._copy_rules: CopyRules | None = None  # once they are needed
        self._prompts: deque[_Prompt] = deque()
        self._texts: list[OutputText] = []
        self._groups: list[SamplingBatch] = []  # what has to be made anew where the texts are others
        self._state = model.zero_state(0)  # (L, S, B, H), column b belongs to self._texts[b]
        self._requests = 0

    def prepare(self) -> None:
        """Do now, and perhaps in another thread, what the first step would take its time for."""
        NetworkStepper(self.model, self.model.zero_state(1), self._table, self._products)

    @property
    def active(self) -> int:
        """Texts being written and requests whose prompt is being read."""
        return len(self._texts) + len(self._prompts)

    def add(self, config: SamplingConfig, source: CopySource | None = None) -> Accepted:
        """Begin a request; its texts come out of the following steps. With `max_copy`, `source` is what they must not copy from.

        Raises `InvalidSetting` without a seed, since nothing here is random by itself, and for `max_copy` without a source.
        """
        if config.seed is None:
            raise InvalidSetting("seed", None, "given here", "whoever calls the sampler chooses it")
        if config.max_copy is not None and source is None:
            raise InvalidSetting("max_copy", config.max_copy, "left out here", "there is no text that must not be copied")
        if config.prompt_ids is None:
            ids, substituted, truncated = self.vocabulary.encode_prompt(config.prompt, self.max_prompt)
        else:
            ids, substituted, truncated = self.vocabulary.encode_ids(config.prompt_ids, self.max_prompt)
        self._requests += 1
        prompt = _Prompt(self._requests, config, ids, Temperatures(config.course), self.model.zero_state(1), source)
        if config.echo and config.logprobs is not None:
            prompt.echo = PromptLogprobs(Detokenizer(self.vocabulary, self._guide), self._names)
            prompt.echo.begin(int(ids[0]))
        self._prompts.append(prompt)
        return Accepted(self._requests, len(ids), truncated, substituted)

    def cancel(self, request: int) -> None:
        """Forget a request; its row is free at once."""
        self._prompts = deque(prompt for prompt in self._prompts if prompt.request != request)
        self._keep([text.request != request for text in self._texts])

    def end(self, request: int) -> list[Piece]:
        """End the texts of a request as if their length were reached; returns their last pieces."""
        reading = [prompt for prompt in self._prompts if prompt.request == request]
        texts = [text for prompt in reading for text in self._texts_of(prompt)] + [text for text in self._texts if text.request == request]
        self.cancel(request)
        return [text.finish() for text in texts]

    # ── temperature ───────────────────────────────────────────────────────────────────────────────────────────────────

    def set_temperature(self, request: int, value: float) -> int:
        """Change the temperature of a request; returns the position from which on it is in force, the same in all of its texts.

        Raises `KeyError` for a request that is not being written.
        """
        positions = [text.symbols for text in self._texts if text.request == request]
        position = max(positions, default=0)  # texts of a request are written side by side
        self._temperatures(request).change(position, value)
        for rows in self._groups:
            rows.look()
        return position

    def schedule(self, request: int) -> Course:
        """The temperatures of a request from which its texts can be made again. Raises `KeyError` as `set_temperature`."""
        return self._temperatures(request).course

    def _temperatures(self, request: int) -> Temperatures:
        writing: list[OutputText | _Prompt] = [*self._texts, *self._prompts]
        for each in writing:
            if each.request == request:
                return each.temperatures
        raise KeyError(request)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> list[Piece]:
        """Read some of the prompts that wait, then draw the next symbols of each text. Returns what there is to show."""
        pieces = self._read_prompts()
        if not self._texts:
            return pieces
        if not self._groups:
            self._groups = self._grouped()
        count = min(self._burst(), *(text.left for text in self._texts))
        new = [piece for found in self._crew([partial(rows.step, count) for rows in self._groups]) for piece in found]
        over = {(piece.request, piece.choice) for piece in new if piece.finish_reason is not None}
        if over:
            self._keep([(text.request, text.choice) not in over for text in self._texts])
        return pieces + new

    def _burst(self) -> int:
        """How many symbols to draw before anything else is looked at. What is drawn behind a stop string is lost."""
        if any(text.config.stop for text in self._texts):
            return SHORTEST
        return max(SHORTEST, min(LONGEST, WORK // (self.model.parameters.flat.size * len(self._texts))))

    def _grouped(self) -> list[SamplingBatch]:
        B = len(self._texts)
        count = max(1, min(self._most_groups, B // LEAST_ROWS))
        bounds = [B * index // count for index in range(count + 1)]
        return [
            SamplingBatch(
                NetworkStepper(self.model, self._state[:, :, start:stop], self._table, self._products),
                self._texts[start:stop],
                self._guide,
                self._names,
            )
            for start, stop in pairwise(bounds)
        ]

    def _read_prompts(self) -> list[Piece]:
        """Read the oldest prompts, in slices that depend on nothing else, up to `SLICE` symbols of them together."""
        pieces: list[Piece] = []
        left = SLICE
        while self._prompts:
            prompt = self._prompts[0]
            until = min(prompt.done + SLICE, len(prompt.ids) - 1)  # the last symbol is read by the first step
            if until - prompt.done > left:
                break
            left -= until - prompt.done
            if until > prompt.done:
                self._read(prompt, until)
            if until == len(prompt.ids) - 1:
                pieces += self._begin(self._prompts.popleft())
        return pieces

    def _begin(self, prompt: _Prompt) -> list[Piece]:
        """The texts of a prompt that is read become rows."""
        config = prompt.config
        texts = self._texts_of(prompt)
        if not config.length:
            return [text.finish() for text in texts]
        self._texts += texts
        self._state = np.concatenate([self._state, np.repeat(prompt.state, config.n, axis=2)], axis=2)
        self._groups = []
        return [text.opening() for text in texts] if config.echo else []

    def _read(self, prompt: _Prompt, until: int) -> None:
        """Read a prompt up to a symbol."""
        if prompt.echo is None:
            with plain_arithmetic():
                _, prompt.state, _ = self.model.read(prompt.ids[prompt.done : until, None], prompt.state, table=self._table)
        else:
            part, alternatives = prompt.ids[prompt.done : until + 1], prompt.config.logprobs or 0
            found, prompt.state = judged(self.model, self._table, part, prompt.state, alternatives, self.vocabulary.unknown_cost)
            prompt.echo.add(found)
        prompt.done = until

    def _texts_of(self, prompt: _Prompt) -> list[OutputText]:
        """The texts that follow a prompt."""
        config, normalization = prompt.config, "none" if self.vocabulary.normalization == "none" else "nfc"
        start = Start(
            prompt.request,
            config,
            prompt.ids,
            self.vocabulary.decode(prompt.ids) if config.echo else "",
            prompt.echo.scores if prompt.echo else [],
            prompt.temperatures,
            StopWatch(normalize(stop, normalization) for stop in config.stop),  # texts come out composed
        )
        return [
            OutputText(start, choice, Detokenizer(self.vocabulary, self._guide), self.vocabulary.size, self._guard(prompt))
            for choice in range(config.n)
        ]

    def _guard(self, prompt: _Prompt) -> CopyGuard | None:
        """What keeps one text of a request from copying, where that is wanted."""
        if prompt.config.max_copy is None or prompt.source is None:
            return None
        self._copy_rules = self._copy_rules or CopyRules(self.vocabulary)
        return CopyGuard(self._copy_rules, prompt.source, prompt.config.max_copy)

    def _keep(self, which: list[bool]) -> None:
        if not all(which):
            self._texts = [text for text, keep in zip(self._texts, which, strict=True) if keep]
            self._state = np.ascontiguousarray(self._state[:, :, np.array(which)])
            self._groups = []


def generate(
    model: LanguageModel, vocabulary: Vocabulary, config: SamplingConfig, prepare: Prepare = RowByRow, source: CopySource | None = None
) -> Iterator[Piece]:
    """One request by itself: its pieces as they are made. Raises as `Sampler.add`."""
    sampler = Sampler(model, vocabulary, prepare=prepare)
    sampler.add(config, source)
    while sampler.active:
        yield from sampler.step()
