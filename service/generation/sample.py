"""Writes the texts of one request in this process, for `charloom sample`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from model.backend import network_for
from model.config import SamplingConfig
from model.copy_guard import CopySource
from model.errors import listed
from model.kernels.library import shortcoming
from model.normalization import with_lf
from model.out_of_vocabulary import Substitution
from model.output_text import FinishReason
from model.record_sampling import FRUITLESS, RecordSource, Tries
from model.sampling import MAX_PROMPT, Accepted, Sampler
from service.generation.model_cache import load
from service.store import Run, Store
from service.system import hardware
from service.system.errors import NoMoreRecords
from service.system.formatting import counted

SEEDS = 2**32  # drawn seeds stay below it, so that they can be typed


def with_seed(config: SamplingConfig) -> SamplingConfig:
    """Return the same settings with a seed, drawn if they have none."""
    return config if config.seed is not None else replace(config, seed=secrets.randbelow(SEEDS))


def shortage(config: SamplingConfig, tries: Tries) -> NoMoreRecords | None:
    """Return why there are fewer records than are asked for, if no more were found."""
    if not tries.gave_up:
        return None
    [(reason, _)] = tries.left_out.most_common(1)
    prompted = bool(config.prompt or config.prompt_ids)
    return NoMoreRecords(config.texts, tries.kept, FRUITLESS, tries.words, reason, config.most_symbols, prompted=prompted)


def replaced(substituted: Sequence[Substitution]) -> str:
    """Returns in one sentence which characters of a prompt were replaced, and by what."""
    instead = {each.character: "the unknown symbol" if each.by is None else repr(each.by) if each.by else "nothing" for each in substituted}
    read = [f"{form} for {listed(repr(c) for c, other in instead.items() if other == form)}" for form in dict.fromkeys(instead.values())]
    times = sum(each.times for each in substituted)
    are = "is" if times == 1 else "are"
    return f"{counted(times, 'character')} of the prompt {are} not in the model's alphabet; read instead: {listed(read)}"


class Whole(NamedTuple):
    """A text that is finished."""

    text: str  # without its prompt
    finish_reason: FinishReason


@dataclass(frozen=True)
class SampledTexts:
    """Texts that are about to be written."""

    model: str  # RUN@STEP
    run: Run
    config: SamplingConfig  # with its seed
    accepted: Accepted
    sampler: Sampler
    index: CopySource | None  # of the corpus, if needed
    separator: str | None  # of the model's records
    known: RecordSource | None  # the records of its corpus, if needed

    @property
    def notes(self) -> list[str]:
        """Sentences about what happened to the prompt, and if numpy computes for want of the library."""
        notes = [why] if (why := shortcoming()) else []
        if self.accepted.substituted:
            notes.append(replaced(self.accepted.substituted))
        *before, last = with_lf(self.config.prompt).split(self.separator) if self.separator else [self.config.prompt]
        if before and len(last) <= MAX_PROMPT and (self.accepted.truncated or self.config.records):
            notes.append("the prompt has several records; only the last one counts, since a record does not depend on the one before it")
        elif self.accepted.truncated:
            notes.append(f"the prompt is long; its last {self.accepted.prompt_symbols:,} symbols were read")
        return notes

    def head(self, turn: int) -> str:
        """Return the line above a text if there are several."""
        return f"--- text {turn + 1} of {self.config.n}, seed {self.config.seed or 0} + {turn} ---" if self.config.n > 1 else ""

    def whole(self) -> list[Whole]:
        """Write all texts to their ends and return them."""
        parts: list[list[str]] = [[] for _ in range(self.config.n)]
        reasons: list[FinishReason] = ["length"] * self.config.n
        with hardware.blas_threads(1):
            while self.sampler.active:
                for piece in self.sampler.step():
                    parts[piece.choice].append(piece.text)
                    reasons[piece.choice] = piece.finish_reason or "length"
        return [Whole("".join(part), reason) for part, reason in zip(parts, reasons, strict=True)]

    def records(self) -> Iterator[tuple[str, int]]:
        """Yield records, each as soon as it is found, with the seed that writes it again alone.

        Raises `NoMoreRecords` at the end if they are fewer than asked for.
        """
        with hardware.blas_threads(1):
            while self.sampler.active:
                for piece in self.sampler.step():
                    if piece.finish_reason == "stop" and self.tries:
                        yield piece.text, (self.config.seed or 0) + self.tries.numbers[piece.choice]
        if self.tries and (error := shortage(self.config, self.tries)):
            raise error

    @property
    def tries(self) -> Tries | None:
        """What was tried so far, if records are asked for."""
        return self.accepted.tries

    def whole_records(self, text: Whole) -> list[str]:
        """Returns the records of a text with its prompt that are whole; none if the model is one of prose."""
        if self.separator is None:
            return []
        parts = (with_lf(self.config.prompt) + text.text).split(self.separator)
        return [part for part in (parts if text.finish_reason == "stop" else parts[:-1]) if part.strip()]

    @property
    def between(self) -> str:
        """What to print between two records, so that a reader of the same kind cuts them apart: the separator, on lines of its own."""
        separator = self.separator or "\n"
        return separator if "\n" in separator else f"\n{separator}\n"

    def pieces(self, begin: Callable[[str], None] = lambda head: None) -> Iterator[str]:
        """Yield what to print: each prompt with its text, one text after the other, as early as possible.

        If there are several, `begin` is called with the line above each.
        """
        waiting: list[list[str]] = [[with_lf(self.config.prompt)] for _ in range(self.config.n)]
        done = [False] * self.config.n
        turn, headed = 0, -1
        with hardware.blas_threads(1):
            while turn < self.config.n:
                if self.config.n > 1 and turn != headed:
                    headed = turn
                    begin(self.head(turn))
                yield from waiting[turn]
                waiting[turn].clear()
                if done[turn]:
                    turn += 1
                    yield "\n"
                    continue
                for piece in self.sampler.step():
                    waiting[piece.choice].append(piece.text)
                    done[piece.choice] = piece.finish_reason is not None


def write(
    store: Store,
    model: str | None,
    config: SamplingConfig,
    index_of: Callable[[Run], CopySource] | None = None,
    records_of: Callable[[Run, str], RecordSource] | None = None,
) -> SampledTexts:
    """Begin to write with a model (see `Runs.resolve`); `index_of` returns the index of its corpus, for `max_copy`.

    `records_of` returns the records of the corpus, given the model's separator, for `new` and `valid`. Raises as `load`, `Sampler.add`,
    `index_of` and `records_of`.
    """
    run, stored, checkpoint = load(store, model)
    index = index_of(run) if index_of else None
    config = with_seed(config)
    separator = checkpoint.vocabulary.separator
    known = records_of(run, separator) if records_of and separator is not None else None
    sampler = Sampler(network_for(checkpoint.model, hardware.cores()), checkpoint.vocabulary)
    accepted = sampler.add(config, index, records=known)
    return SampledTexts(f"{run.name}@{stored.step}", run, config, accepted, sampler, index, separator, known)
