"""Samples texts for many requests at once, with continuous batching.

`Sampler.step` draws the next few symbols of every active text; one pass through the network serves one symbol of all texts. Requests
join and leave between steps, and so do the tries of a request for records (`model.record_sampling`). Each text has its own random
generator, seeded by its request, and its row is computed as if it were alone (`model.backend`), so that a text is the same in any
company.

Probabilities are changed in this order: penalties and bias (`model.penalties`), max_copy (`model.copy_guard`), temperature
(`model.temperature`), top_k, top_p, min_p (`model.filters`). T time, B active texts, V symbols, (L, S, B, H) states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.backend import Network
from model.config import SamplingConfig
from model.copy_guard import CopyGuard, CopyRules, CopySource
from model.detokenizer import Detokenizer
from model.errors import InvalidSetting
from model.functions import Ids
from model.kernels.network import KernelNetwork
from model.kernels.sampling import KernelBatch
from model.log_likelihood import score_slice
from model.normalization import normalize, with_lf
from model.out_of_vocabulary import Substitution
from model.output_text import OutputText, Piece, RequestStart
from model.prompt_logprobs import PromptLogprobs
from model.record_sampling import RecordSource, RecordWriter, Tries, missing
from model.sampling_batch import NumpyBatch, SamplingBatch
from model.settings import SchedulePairs
from model.stop_strings import StopStringMatcher
from model.temperature import TemperatureSchedule
from model.vocabulary import Encoded, Vocabulary

Array = NDArray[Any]

MAX_PROMPT = 8192  # symbols of a prompt that are read at most: its last ones
PREFILL_CHUNK = 256  # symbols of prompts that are read between two decode steps
MIN_BURST, MAX_BURST = 8, 64  # symbols per text and step: they share the work that is done once per step ...
BURST_WORK = 800_000_000  # ... but above `MIN_BURST`, weights times symbols stay below this, some ten milliseconds


class Accepted(NamedTuple):
    """How the prompt of an accepted request will be read."""

    request: int
    prompt_symbols: int  # that will be read
    truncated: bool  # whether the prompt was longer than what is read
    substituted: list[Substitution]  # in what will be read
    tries: Tries | None = None  # of a request for records, counted while it is written


@dataclass(eq=False)
class _Prompt:
    """A request whose prompt is being read."""

    request: int
    config: SamplingConfig
    ids: Ids
    temperatures: TemperatureSchedule
    state: Array  # (L, S, 1, H)
    source: CopySource | None = None  # the text that must not be copied
    records: RecordSource | None = None
    tries: Tries | None = None
    done: int = 0
    echo: PromptLogprobs | None = None  # if its log-probabilities are requested


class Sampler:
    """Writes texts with one model. Not thread-safe: one thread owns it."""

    def __init__(self, network: Network, vocabulary: Vocabulary, *, max_prompt: int = MAX_PROMPT) -> None:
        """The parameters of the network's model must not change while it is used."""
        self.model, self.vocabulary, self.max_prompt = network.model, vocabulary, max_prompt
        self._network = network
        self._names = vocabulary.names
        self._copy_rules: CopyRules | None = None  # made when first needed
        self._prompts: list[_Prompt] = []
        self._texts: list[OutputText] = []
        self._writers: dict[int, RecordWriter] = {}  # by request
        self._batch: SamplingBatch | None = None  # made anew when texts join or leave
        self._paused: dict[int, tuple[list[OutputText], Array]] = {}  # by request: texts that rest, with their states (L, S, B, H)
        self._state = self.model.zero_state(0)  # (L, S, B, H), column b belongs to self._texts[b]
        self._requests = 0

    @property
    def active(self) -> int:
        """The number of texts being written, those that rest included, of prompts being read, and of requests for records."""
        return len(self._all_texts()) + len(self._prompts) + len(self._writers)

    @property
    def busy(self) -> bool:
        """Whether a step has something to do."""
        return bool(self._texts or self._prompts or self._writers.keys() - self._paused.keys())

    def add(
        self,
        config: SamplingConfig,
        source: CopySource | None = None,
        prompt: Encoded | None = None,
        records: RecordSource | None = None,
    ) -> Accepted:
        """Adds a request, whose texts the following steps write. With `max_copy`, `source` is the text they must not copy.

        `prompt` replaces the config's; it may come from `encoded_prompt`. `records` are those of the corpus, for `new` and `valid`. Raises
        `InvalidSetting` without a seed, since the sampler has no randomness of its own, for `max_copy` without a source, for `new` and
        `valid` without the records, and for `records` if the model is one of prose.
        """
        if config.seed is None:
            raise InvalidSetting("seed", None, "given here", "the caller of the sampler chooses it")
        if config.max_copy is not None and source is None:
            raise InvalidSetting("max_copy", config.max_copy, "left out here", "there is no text that must not be copied")
        for name in ("new", "valid"):
            if getattr(config, name) and records is None:
                raise InvalidSetting(name, True, "left out here", "there are no records to compare with")
        ids, substituted, truncated = prompt or encoded_prompt(self.vocabulary, config, self.max_prompt)
        self._requests += 1
        tries = None if config.records is None else Tries()
        temperatures = TemperatureSchedule(config.temperature_schedule)
        added = _Prompt(self._requests, config, ids, temperatures, self.model.zero_state(1), source, records, tries)
        if _echoes(config) and config.logprobs is not None:
            added.echo = PromptLogprobs(Detokenizer(self.vocabulary), self._names)
            if self.vocabulary.boundary is None:  # else the first symbol is not shown
                added.echo.begin(int(ids[0]))
        self._prompts.append(added)
        return Accepted(self._requests, len(ids), truncated, substituted, tries)

    def cancel(self, request: int) -> None:
        """Removes a request; its rows are free at once."""
        self._prompts = [prompt for prompt in self._prompts if prompt.request != request]
        self._writers.pop(request, None)
        self._paused.pop(request, None)
        self._keep([text.request != request for text in self._texts])

    def end(self, request: int) -> list[Piece]:
        """Ends the texts of a request as if their length were reached; returns their last pieces."""
        reading = [prompt for prompt in self._prompts if prompt.request == request]
        lost = self._writers[request].missing() if request in self._writers else []
        lost += [piece for prompt in reading if prompt.tries for piece in missing(prompt.config)]
        if lost:
            self.cancel(request)
            return lost
        texts = [text for prompt in reading for text in self._texts_of(prompt)]
        texts += [text for text in self._all_texts() if text.request == request]
        self.cancel(request)
        return [text.finish() for text in texts]

    def pause(self, request: int) -> None:
        """Lets the texts of a request rest until `resume`. Its symbols stay the same, and its prompt is still read."""
        mine = [text.request == request for text in self._texts]
        self._paused[request] = [text for text in self._texts if text.request == request], self._state[:, :, np.array(mine, bool)]
        self._keep([not each for each in mine])

    def resume(self, request: int) -> None:
        """Writes the texts of a paused request on."""
        self._join(*self._paused.pop(request))

    # ── temperature ───────────────────────────────────────────────────────────────────────────────────────────────────

    def set_temperature(self, request: int, value: float) -> int:
        """Changes the temperature of a request; returns the position from which on it is in force, the same in all of its texts.

        In records it is in force from the beginning, and so in all that is not drawn yet.

        Raises `KeyError` for a request that is not active.
        """
        positions = [] if request in self._writers else [text.symbols for text in self._all_texts() if text.request == request]
        position = max(positions, default=0)  # the texts of a request advance together
        self._temperatures(request).change(position, value)
        if self._batch:
            self._batch.refresh_temperatures()
        return position

    def schedule(self, request: int) -> SchedulePairs:
        """Returns the temperatures that reproduce a request's texts. Raises `KeyError` as `set_temperature`."""
        return self._temperatures(request).pairs

    def _temperatures(self, request: int) -> TemperatureSchedule:
        if request in self._writers:
            return self._writers[request].temperatures
        writing: list[OutputText | _Prompt] = [*self._all_texts(), *self._prompts]
        for each in writing:
            if each.request == request:
                return each.temperatures
        raise KeyError(request)

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self) -> list[Piece]:
        """Reads some of the waiting prompts, then draws the next symbols of each text; returns what can be shown."""
        pieces = self._read_prompts()
        self._begin_tries()
        if not self._texts:
            return pieces
        self._batch = self._batch or self._new_batch()
        new = self._batch.step(min(self._burst(), self._batch.max_burst))
        finished = {(piece.request, piece.choice) for piece in new if piece.finish_reason is not None}
        if finished:
            self._keep([(text.request, text.choice) not in finished for text in self._texts])
        return pieces + (self._judged(new) if self._writers else new)

    def _begin_tries(self) -> None:
        """Begins further tries of the requests for records."""
        for request, writer in self._writers.items():
            if request not in self._paused and (texts := writer.begin()):
                self._join(texts, np.repeat(writer.state, len(texts), axis=2))

    def _judged(self, pieces: list[Piece]) -> list[Piece]:
        """Returns pieces of texts with, in place of those of tries, the records that are kept."""
        kept = []
        for piece in pieces:
            writer = self._writers.get(piece.request)
            kept += [piece] if writer is None else [each._replace(request=piece.request) for each in writer.add(piece)]
        for request in [request for request, writer in self._writers.items() if writer.done]:
            self.cancel(request)
        return kept

    def _burst(self) -> int:
        """Returns how many symbols to draw in one step.

        Few for a new text, whose first characters come sooner then, and with stop strings or records, since symbols drawn behind their
        ends are lost.
        """
        if any(text.config.stop or text.config.records or not text.symbols for text in self._texts):
            return MIN_BURST
        return max(MIN_BURST, min(MAX_BURST, BURST_WORK // (self.model.parameters.flat.size * len(self._texts))))

    def _new_batch(self) -> SamplingBatch:
        arguments = self._texts, self._state, self.vocabulary.guide, self._names
        if isinstance(self._network, KernelNetwork):
            return KernelBatch(self._network, *arguments)
        return NumpyBatch(self._network, *arguments)

    def _read_prompts(self) -> list[Piece]:
        """Reads prompts, up to `PREFILL_CHUNK` symbols together; those that end soonest first, so that none waits for a much longer one.

        Where a prompt is cut depends on it alone.
        """
        pieces: list[Piece] = []
        left = PREFILL_CHUNK
        while self._prompts:
            prompt = min(self._prompts, key=lambda each: len(each.ids) - each.done)
            until = min(prompt.done + PREFILL_CHUNK, len(prompt.ids) - 1)  # the last symbol is read by the first step
            if until - prompt.done > left:
                break
            left -= until - prompt.done
            if until > prompt.done:
                self._read(prompt, until)
            if until == len(prompt.ids) - 1:
                self._prompts.remove(prompt)
                pieces += self._begin(prompt)
        return pieces

    def _begin(self, prompt: _Prompt) -> list[Piece]:
        """Adds the texts of a prompt that is read to the state as rows; returns their first pieces."""
        config = prompt.config
        if prompt.tries is not None:
            begin = self._text_of(prompt)
            separator = self.vocabulary.separator or ""
            self._writers[prompt.request] = RecordWriter(
                config, prompt.tries, prompt.state, prompt.temperatures, separator, begin, prompt.records
            )
            return []
        texts = self._texts_of(prompt)
        if not config.most_symbols:
            self._paused.pop(prompt.request, None)
            return [text.finish() for text in texts]
        state = np.repeat(prompt.state, config.n, axis=2)
        if prompt.request in self._paused:
            self._paused[prompt.request] = texts, state
        else:
            self._join(texts, state)
        return [text.prompt_piece() for text in texts] if config.echo else []

    def _read(self, prompt: _Prompt, until: int) -> None:
        """Reads a prompt up to the symbol `until`."""
        if prompt.echo is None:
            _, prompt.state = self._network.read(prompt.ids[prompt.done : until, None], prompt.state)
        else:
            part, alternatives = prompt.ids[prompt.done : until + 1], prompt.config.logprobs or 0
            scored, prompt.state = score_slice(self._network, part, prompt.state, alternatives, self.vocabulary.unknown_cost)
            prompt.echo.add(scored)
        prompt.done = until

    def _texts_of(self, prompt: _Prompt) -> list[OutputText]:
        """Returns the n texts that continue a prompt."""
        return list(map(self._text_of(prompt), range(prompt.config.n)))

    def _text_of(self, prompt: _Prompt) -> Callable[[int], OutputText]:
        """Returns a function that begins the text of a number."""
        config, normalization = prompt.config, "none" if self.vocabulary.normalization == "none" else "nfc"
        given = self.vocabulary.given(prompt.ids)
        start = RequestStart(
            prompt.request,
            config,
            given,
            int(prompt.ids[-1]),
            self.vocabulary.decode(given) if _echoes(config) else "",
            prompt.echo.scores if prompt.echo else [],
            prompt.temperatures,
            StopStringMatcher(normalize(with_lf(stop), normalization) for stop in config.stop),  # texts come out composed
            None if config.records is None else self.vocabulary.boundary,
        )
        return lambda number: OutputText(start, number, Detokenizer(self.vocabulary), self.vocabulary.size, self._guard(prompt))

    def _guard(self, prompt: _Prompt) -> CopyGuard | None:
        """Returns the guard that keeps one text from copying, if the request has `max_copy`."""
        if prompt.config.max_copy is None or prompt.source is None:
            return None
        self._copy_rules = self._copy_rules or CopyRules(self.vocabulary)
        return CopyGuard(self._copy_rules, prompt.source, prompt.config.max_copy, one_record=prompt.tries is not None)

    def _all_texts(self) -> list[OutputText]:
        return self._texts + [text for texts, _ in self._paused.values() for text in texts]

    def _join(self, texts: list[OutputText], state: Array) -> None:
        """Adds texts with their states (L, S, B, H) to those that are written."""
        self._texts += texts
        self._state = np.concatenate([self._state, state], axis=2)
        self._batch = None

    def _keep(self, which: list[bool]) -> None:
        """Keeps the texts whose entry is true, with their rows of the state."""
        if not all(which):
            self._texts = [text for text, keep in zip(self._texts, which, strict=True) if keep]
            self._state = np.ascontiguousarray(self._state[:, :, np.array(which)])
            self._batch = None


def encoded_prompt(vocabulary: Vocabulary, config: SamplingConfig, limit: int = MAX_PROMPT) -> Encoded:
    """Returns the prompt of a request as ids, of which the last `limit` are read; of a request for records, those of its last record.

    Raises `InvalidSetting` for a request for records if the alphabet has no boundary.
    """
    if config.prompt_ids is None:
        found = vocabulary.encode_prompt(config.prompt, limit)
    else:
        found = vocabulary.encode_ids(config.prompt_ids, limit)
    if config.records is None:
        return found
    if vocabulary.boundary is None:
        hint = "a text that is made of records must be added as such before it is learned: charloom corpus add --records"
        raise InvalidSetting("records", config.records, "left out for a model of prose", hint)
    return found._replace(ids=found.ids[np.flatnonzero(found.ids == vocabulary.boundary)[-1] :])


def _echoes(config: SamplingConfig) -> bool:
    """Whether the texts of a request begin with its prompt: records do."""
    return config.echo or config.records is not None


def generate(
    network: Network,
    vocabulary: Vocabulary,
    config: SamplingConfig,
    source: CopySource | None = None,
    records: RecordSource | None = None,
) -> Iterator[Piece]:
    """Yields the pieces of one request, written alone. Raises as `Sampler.add`."""
    sampler = Sampler(network, vocabulary)
    sampler.add(config, source, records=records)
    while sampler.active:
        yield from sampler.step()
