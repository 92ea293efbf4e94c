"""Draws the next symbols of a batch of texts with the C library: several symbols of all texts in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.copy_guard import Mask
from model.functions import Array
from model.kernels.library import LogprobArrays, SamplingRow
from model.kernels.network import KernelNetwork
from model.output_text import DrawnLogprob, OutputText
from model.sampling_batch import Drawn, SamplingBatch
from model.temperature import inverse_temperature
from model.utf8_constraint import Utf8Guide

MOST_ALTERNATIVES = 20  # of sampling.h


class KernelBatch(SamplingBatch):
    """Some texts, with what the library needs to know of each."""

    def __init__(
        self, network: KernelNetwork, texts: list[OutputText], state: Array, guide: Utf8Guide | None, names: Sequence[str]
    ) -> None:
        super().__init__(texts, state, guide, names)
        self._network, self._rows = network, (SamplingRow * len(texts))()
        self._reporting = [row for row, text in enumerate(texts) if text.config.logprobs is not None]
        for row, text in zip(self._rows, texts, strict=True):
            config, penalties = text.config, text.penalties
            row.top_k, row.top_p, row.min_p = config.top_k, config.top_p, config.min_p
            row.alternatives = -1 if config.logprobs is None else config.logprobs
            row.last, row.utf8 = text.last, text.detokenizer.utf8_state
            if penalties:  # the library counts in these arrays, which belong to the text
                row.repetition, row.presence, row.frequency = penalties.repetition, penalties.presence, penalties.frequency
                row.counts, row.present, row.bias = (each.ctypes.data for each in (penalties.counts, penalties.present, penalties.bias))
        self.refresh_temperatures()
        self._guide_arrays = None if guide is None else (np.ascontiguousarray(guide.allowed), np.ascontiguousarray(guide.next, np.int32))

    def refresh_temperatures(self) -> None:
        """Reads the temperatures anew, since they may have changed."""
        for row, text in zip(self._rows, self.texts, strict=True):
            row.inverse = inverse_temperature(text.temperature)
        self._moving = [(row, text) for row, text in zip(self._rows, self.texts, strict=True) if text.temperatures.moves]

    def draw(self, random: NDArray[np.float64], forbidden: dict[int, Mask]) -> Drawn:
        """See `SamplingBatch`."""
        B, count = random.shape
        for row, text in self._moving:
            row.inverse = inverse_temperature(text.temperature)
        for index, mask in forbidden.items():
            self._rows[index].forbidden = mask.ctypes.data
        drawn, arrays = np.empty((B, count), np.int32), LogprobArrays()
        reported = B if self._reporting else 0
        own, theirs = np.empty((reported, count)), np.empty((reported, count, MOST_ALTERNATIVES))
        others = np.empty(theirs.shape, np.int32)
        if self._reporting:
            arrays.drawn, arrays.alternatives, arrays.their_logprobs = (each.ctypes.data for each in (own, others, theirs))
        allowed, following = (None, None) if self._guide_arrays is None else (each.ctypes.data for each in self._guide_arrays)
        self._network.sample(B, count, self._rows, self.state, random, allowed, following, drawn, arrays)
        for index in forbidden:
            self._rows[index].forbidden = None
        symbols = drawn.tolist()
        logprobs: dict[int, list[DrawnLogprob]] = {}
        for index in self._reporting:
            most = min(self.texts[index].config.logprobs or 0, self._network.model.vocabulary_size)
            each = zip(symbols[index], own[index].tolist(), others[index, :, :most].tolist(), theirs[index, :, :most].tolist(), strict=True)
            logprobs[index] = [
                (self._names[symbol], log, [(self._names[other], its) for other, its in zip(places, logs, strict=True)])
                for symbol, log, places, logs in each
            ]
        return Drawn(symbols, logprobs)
