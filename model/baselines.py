"""Computes the losses that n-gram models of the training part reach: uniform, unigram, bigram, up to 5-gram.

An n-gram model predicts a symbol w from the n-1 symbols before it, the context (Shannon 1948). The probabilities are those of
Witten and Bell (1991), interpolated (Chen and Goodman 1999, section 2.6)::

    p(w | context) = (c(context, w) + T(context) p(w | shorter context)) / (c(context) + T(context))

c counts occurrences in the training part and T(context) the different symbols seen after it. The shorter context lacks the first
symbol; the empty one falls back on 1 / V, and a context that never occurred on the shorter one. As for the network, the alphabet is
the V known symbols: the unknown symbol (id V) may be part of a context, but is neither counted nor predicted.

Only contexts that occur in the scored text are counted. They are few, so they are numbered 0, 1, 2, ... order by order, and a context
of any length is one integer made from the number of its beginning and its last symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batches import Ids
from model.functions import UNKNOWN_COST

Array = NDArray[Any]

ORDERS = (0, 1, 2, 3, 4, 5)
NAMES = ("uniform", "unigram", "bigram", "trigram")  # of the first orders; then 4-gram, 5-gram, ...
COUNTED = 20_000_000  # symbols at the end of the training part that are counted
CHUNK = 2**18  # of them looked up at once: its arrays stay in the processor's caches
SHARES = 8  # parts in which distinct strings are counted
SCORED = 2**20  # symbols scored at once: for each such block the training part is counted again (2 to 7 s for `COUNTED` symbols)

ABSENT = -1
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4)


def name(order: int) -> str:
    """Returns the name of an n-gram model of this order; order 0 knows only the alphabet."""
    return NAMES[order] if order < len(NAMES) else f"{order}-gram"


def ngram_losses(
    ids: Ids,
    training_stop: int,
    start: int,
    stop: int,
    vocabulary_size: int,
    unknown_cost: float = UNKNOWN_COST,
    orders: Sequence[int] = ORDERS,
    tick: Callable[[], None] | None = None,
    boundary: int | None = None,
) -> dict[int, float]:
    """Returns the mean loss over ids[start:stop], in nats per symbol, of the n-gram model of each order, counted in ids[:training_stop].

    0 <= training_stop <= start < stop. Contexts reach back across `start`, as the network's do, but not across a `boundary`. An unknown
    target costs `unknown_cost`, as in `model.training.evaluate`. `ids` (N,) may be memory-mapped: only the last `COUNTED` symbols of the
    training part are read. Memory grows with neither text nor alphabet: at most 300 MB were measured for 200,000 scored symbols, and 400 MB
    for any number, with V from 65 to 100,000. `tick` is called now and then; an exception that it raises ends the counting.
    """
    training = ids[max(0, training_stop - COUNTED) : training_stop]
    costs = np.zeros(max(orders) + 1)
    for first in range(start, stop, SCORED):
        last = min(stop, first + SCORED)
        reach = max(0, first - max(orders))
        read = np.asarray(ids[reach:last], np.int64)
        unknown = read[first - reach :] >= vocabulary_size
        for order, p in enumerate(probabilities(training, read, vocabulary_size, max(orders), tick, boundary)):
            costs[order] += np.where(unknown, unknown_cost, -np.log(p[first - reach :])).sum()
    return {order: float(costs[order]) / (stop - start) for order in orders}


def probabilities(
    training: Ids,
    read: Ids,
    vocabulary_size: int,
    highest: int,
    tick: Callable[[], None] | None = None,
    boundary: int | None = None,
) -> Iterator[Array]:
    """Yields the probability (N,) of each symbol of `read` (N,), given those before it, by models of order 0, 1, ... `highest`.

    At the beginning of `read` contexts are shorter, and behind a `boundary`, which is the first symbol of a context. The probability of an
    unknown symbol has no meaning.
    """
    symbols = vocabulary_size + 1  # with the unknown one
    read = np.asarray(read, np.int64)
    p = np.full(len(read), 1 / vocabulary_size)
    yield p
    before = np.zeros(len(read), np.int64)  # (N,) the number of each symbol's context, at first the empty one
    training_before = np.zeros(len(training), np.int32)  # the same for the training part
    contexts = 1  # the number of distinct contexts
    for order in range(1, highest + 1):
        edge = boundary if order > 1 else None  # a longer string does not end in it as a context
        here = np.flatnonzero(before != ABSENT)
        keys, strings = np.unique(before[here] * symbols + read[here], return_inverse=True)  # contexts with their next symbol
        c_string, c, T = _count(training, training_before, HashIndex(keys), contexts, symbols, tick, edge)
        context = before[here]
        p, shorter = p.copy(), p[here]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a context never occurred
            longer = (c_string[strings] + T[context] * shorter) / (c + T)[context]
        p[here] = np.where(c[context] > 0, longer, shorter)
        yield p
        before = np.full(len(read) + 1, ABSENT)
        before[here + 1] = strings
        if edge is not None:
            before[1:][read == edge] = ABSENT
        before, contexts = before[:-1], len(keys)


def _count(
    training: Ids,
    before: Array,
    strings: HashIndex,
    contexts: int,
    symbols: int,
    tick: Callable[[], None] | None = None,
    edge: int | None = None,
) -> tuple[Array, Array, Array]:
    """Returns c of each string (a context with its next symbol), c of each context, T of each context.

    `before` (N,) holds the context of each training symbol, ABSENT if it has no number. It is updated in place to the contexts that
    are longer by one symbol; there is none behind `edge`.
    """
    c_string, c = np.zeros(strings.count, np.int64), np.zeros(contexts, np.int64)
    others: list[Array] = []  # strings without a number, as sorted keys
    for stop in range(len(training), 0, -CHUNK):  # from the end, since the next symbol's longer context takes this one's place
        if tick:
            tick()
        start = max(0, stop - CHUNK)
        ids, context = np.asarray(training[start:stop], np.int64), before[start:stop].astype(np.int64)
        keys = context * symbols + ids  # negative if the context is ABSENT
        string = strings.find(keys)
        after = string[: len(before) - start - 1]
        before[start + 1 : stop + 1] = after if edge is None else np.where(ids[: len(after)] == edge, ABSENT, after)
        counts = (context != ABSENT) & (ids < symbols - 1)
        c += np.bincount(context[counts], minlength=contexts)
        c_string += np.bincount(string[counts & (string != ABSENT)], minlength=strings.count)
        others.append(_distinct_keys(keys[counts & (string == ABSENT)]))
    before[:1] = ABSENT
    T = np.bincount(strings.keys[c_string > 0] // symbols, minlength=contexts) + _distinct(others, contexts, symbols)
    return c_string, c, T


def _distinct(parts: list[Array], contexts: int, symbols: int) -> Array:
    """Returns the number of distinct keys of each context. Each part is sorted; parts may share keys."""
    counts = np.zeros(contexts, np.int64)
    bounds = symbols * (contexts * np.arange(SHARES + 1) // SHARES)
    cuts = [np.searchsorted(part, bounds) for part in parts]
    for share in range(SHARES):  # one share of the contexts at a time, to copy little at once
        keys = [part[cut[share] : cut[share + 1]] for part, cut in zip(parts, cuts, strict=True)]
        counts += np.bincount(_distinct_keys(np.concatenate([bounds[:0], *keys])) // symbols, minlength=contexts)
    return counts


def _distinct_keys(keys: Array) -> Array:
    """Returns the distinct keys; `keys` are sorted in place. numpy's `unique` is slower, since it hashes."""
    keys.sort()
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


class HashIndex:
    """Maps sorted keys to their numbers 0, 1, 2, ... with a hash table: several times as fast as a binary search."""

    def __init__(self, keys: Array) -> None:
        """`keys` (N,) int64: sorted, distinct, not negative."""
        self.keys = keys
        self.count = len(keys)
        bits = self.count.bit_length() + 3  # eight to sixteen slots per key: collisions are rare
        self._shift = np.uint64(64 - bits)
        self._slots = np.full(2**bits, ABSENT, np.int32)
        slots, numbers = self._slot(keys), np.arange(self.count)
        self._slots[slots] = numbers
        self._collided = np.flatnonzero(self._slots[slots] != numbers)  # keys whose slot holds another key

    def _slot(self, keys: Array) -> Array:
        hashed: Array = (keys.astype(np.uint64) * GOLDEN) >> self._shift
        return hashed

    def find(self, keys: Array) -> Array:
        """Returns the numbers (M,) int32 of keys (M,); ABSENT for keys without one."""
        numbers: Array = self._slots[self._slot(keys)]
        if self.count:
            collided = np.flatnonzero((self.keys[numbers] != keys) & (numbers != ABSENT))
            numbers[collided] = self._search(keys[collided])
        return numbers

    def _search(self, keys: Array) -> Array:
        """`find` for keys whose slot holds another key, by binary search."""
        if not len(self._collided):
            return np.full(len(keys), ABSENT)
        places = np.searchsorted(self.keys[self._collided], keys)
        numbers = self._collided[np.minimum(places, len(self._collided) - 1)]
        return np.where(self.keys[numbers] == keys, numbers, ABSENT)
