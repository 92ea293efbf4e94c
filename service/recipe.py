"""Settings from a text and a time: what `--budget` chooses where the user does not.

A network is as good as its size and its practice, and a budget pays for their product. `speed` measures for about a second how
many multiply-adds this machine trains with; `choose` takes the largest network that still reads `PRACTICE` symbols for each
multiply-add it makes per symbol (about its number of weights; the measure of Kaplan et al. 2020, the number is our own), but none
larger than its text can fill. What is read over and over is learned by heart, so dropout and weight decay grow with the epochs,
symbols get an embedding, which generalises better and learns more slowly, and a small text ends before the budget does. The numbers
come from runs on tinyshakespeare, Python's standard library, Korean and Chinese texts, and names; ``bench/NOTES.md`` tells of those
that were tried one against another, the others are estimates from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from model.batches import Streams
from model.cells import CELLS
from model.config import ModelConfig, TrainingConfig
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.settings import settings_of
from model.training import TrainingState, train
from service import machine
from service.machine import Workers
from service.parallel.processes import SUPPORTED, together
from service.units import duration

MEASURING = 0.4  # seconds of training for each way to split streams over processes, and for the chosen network ...
MEASURING_SHARE = 0.03  # ... or less, where that is more than this share of the budget
TRIALS_SHARE = 0.06  # of the budget: when so much is gone, with starting processes, no further way is tried
BRIEF = 10.0  # seconds: in a shorter budget processes are not worth their start
SAMPLE_MODEL = ModelConfig(cell="lstm", hidden_size=256)  # what is measured ...
SAMPLE_TRAINING = TrainingConfig(batch_size=64, seq_length=32)
SAMPLE_ALPHABET = 64  # ... over so many symbols
SMALL = 0.6  # a chosen network that takes less than this share of its work is measured itself: calls cost it more than arithmetic
MOST_MEASURED = 2048  # symbols of its alphabet, for that

SIZES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1280, 1536, 2048)
PRACTICE = 7.0  # symbols read per multiply-add of the network
WEIGHTS_PER_SYMBOL, FEWEST_WEIGHTS = 1.5, 10_000  # a text of N symbols can fill 10,000 + 1.5 N weights
LARGE_LAYER = 896  # from here on two layers are tried, too
ELEMENTWISE = 200  # a gate's own arithmetic for one symbol, forward and backward, takes the time of so many multiply-adds
TRAINING_SHARE = 0.9  # of a budget: the rest goes into starting and validating
MOST_EPOCHS = 60.0  # more passes over a text teach a network little that it can use elsewhere ...
SMALL_TEXT_EPOCHS = 10.0  # ... and of a text of 1,000 symbols no more than these, growing with the sixth root of its size
WELL_WITHIN = 1.5  # a budget for many more becomes just these
VALIDATIONS = 20  # of a run that becomes shorter than its budget
VALIDATION_SHARE, LEAST_VALIDATION = 0.06, 20_000  # symbols read at a validation: this share of all that is learned from, or so many
PATIENCE = 15  # validations without a better loss that end a run before its time
DROPOUT_PER_DOUBLING = 0.12  # of the epochs beyond the first
MOST_DROPOUT = 0.5
WEIGHT_DECAY, MOST_WEIGHT_DECAY = 0.05, 0.15  # for up to FEW_EPOCHS; for more it grows with them
FEW_EPOCHS = 5.0
RATE = {"lstm": 4.0, "gru": 2.6, "rnn": 0.6}  # learning_rate times hidden_size
LOWEST_RATE, HIGHEST_RATE = 0.001, 0.02
STREAMS = (64, 128)  # the second where there are more processors than the first can be split over
EACH = (16, 8)  # streams of a process
DOUBLED = 0.85  # with twice the streams a symbol teaches as much as this share of one
AT_ONCE = 2048  # symbols of an update; with more of them the learning rate is higher
FEWEST_UPDATES = 700  # smaller batches rather than fewer
SMALLEST_BATCH, SHORTEST, LONGEST = 4, 32, 64
COMMON = 100  # symbols that most of a text is made of: the output weights of others are seldom practised and seldom needed
LARGE_ALPHABET, EMBEDDING = 2048, 256  # from so many symbols on they get an embedding of this size ...
OFTEN, OFTEN_EMBEDDING = 6.0, 128  # ... and others one of this, or of the layer's size, where a text is read more often


class Speed(NamedTuple):
    """How fast this machine trains."""

    work: float  # per second, by all processes together; see `work`
    workers: Workers
    given: bool = False  # whether the number of processes is the user's
    streams: int = STREAMS[0]  # that were split over the processes


class Choice(NamedTuple):
    """What was chosen, and why."""

    model: ModelConfig
    training: TrainingConfig
    workers: Workers
    words: str


def choose_here(
    symbols: int,
    alphabet: int,
    budget: float,
    given: Mapping[str, Any],
    *,
    processes: int = 0,
    threads: int = 0,
    ranks: int = 1,
    spent: Callable[[], float] = lambda: 0.0,
) -> Choice:
    """`choose` for the speed of this machine, measured now; `spent` tells what of the budget is gone."""
    seconds = min(MEASURING, MEASURING_SHARE * budget)
    if budget < BRIEF:
        processes = processes or 1
    found = speed(processes, threads, ranks, seconds, given.get("batch_size", 0), TRIALS_SHARE * budget)
    choice = choose(symbols, alphabet, budget, found, given, spent())
    V = min(alphabet, MOST_MEASURED)
    if ranks == 1 and work(choice.model, V) < SMALL * work(SAMPLE_MODEL, SAMPLE_ALPHABET):
        found = found._replace(work=_work_per_second(choice.workers, choice.model, choice.training, V, seconds), workers=choice.workers)
        choice = choose(symbols, alphabet, budget, found, given, spent())
    return choice


def speed(
    processes: int = 0,
    threads: int = 0,
    ranks: int = 1,
    seconds: float = MEASURING,
    streams: int = 0,
    patience: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Train a network for some `seconds` in each way that may be best of those that leave what is given (not 0) as it is.

    Several `ranks` of MPI are taken to be as fast as this one, each a process. After `patience` seconds no further way is tried.
    """
    end = clock() + patience
    found: list[Speed] = []
    for count, split in ways(machine.cores() // max(1, threads), ranks if ranks > 1 else processes, streams):
        if found and clock() > end:
            break
        here = 1 if ranks > 1 else count  # the other ranks are elsewhere, with streams of their own
        workers, training = Workers(here, max(1, threads)), replace(SAMPLE_TRAINING, batch_size=max(1, split * here // count))
        pace = _work_per_second(workers, training=training, seconds=seconds) * count / here
        found.append(Speed(pace, workers, bool(processes) or ranks > 1, split))
    return max(found, key=lambda each: each.work * DOUBLED ** math.log2(each.streams / STREAMS[0]))


def ways(cores: int, processes: int = 0, streams: int = 0) -> list[tuple[int, int]]:
    """Numbers of processes and of the streams that are split over them which may be the fastest; what is given (not 0) stays.

    The surest come first. With more processors there may be more streams: an update then learns from more text in the same time.
    """
    if processes:
        return [(processes, streams or next((B for B in STREAMS if B // EACH[0] >= processes), STREAMS[-1]))]
    sizes = [streams] if streams else [count for count in STREAMS if count <= STREAMS[0] or cores * EACH[0] > STREAMS[0]]
    most = cores if SUPPORTED else 1
    found = [(1, sizes[0])] + [(min(most, max(1, B // each)), B) for each in EACH for B in sizes]
    return list(dict.fromkeys(found))


def _work_per_second(
    workers: Workers,
    config: ModelConfig = SAMPLE_MODEL,
    training: TrainingConfig = SAMPLE_TRAINING,
    V: int = SAMPLE_ALPHABET,
    seconds: float = MEASURING,
) -> float:
    B, T = training.batch_size, training.seq_length
    ids = np.random.default_rng(0).integers(0, V, 4 * B * T + 1).astype(np.min_scalar_type(V))
    streams = Streams(ids, B, T)
    with machine.blas_threads(workers.threads):
        model = LanguageModel.new(config, V)
        state = TrainingState.new(model, streams, training)
        processes = min(workers.processes, B)
        with together(processes, model, streams, ids, training, state, UNKNOWN_COST) as (model, state, group):
            state.last_step = 10**9
            began, symbols = math.inf, 0
            for progress in train(model, streams, training, state, group=group):
                now = time.perf_counter()
                if progress.step == 2:  # the first ones make buffers, and the other processes are starting
                    began = now
                elif progress.step > 2:
                    symbols += progress.symbols
                    if now - began > seconds:
                        return symbols * work(config, V) / (now - began)
    raise AssertionError("training by steps has no other end")


def multiply_adds(config: ModelConfig, V: int) -> int:
    """Multiply-adds of the matrix products for one symbol, forward."""
    H, gates = config.hidden_size, len(CELLS[config.cell].gates)
    first = config.embedding_size * gates * H
    return first + gates * H * H * (2 * config.num_layers - 1) + H * V


def work(config: ModelConfig, V: int) -> float:
    """What learning from one symbol takes, in multiply-adds: the products, twice as much backward as forward, and what is between."""
    gates = len(CELLS[config.cell].gates) * config.hidden_size * config.num_layers
    return 3 * multiply_adds(config, V) + ELEMENTWISE * gates


def choose(symbols: int, alphabet: int, budget: float, found: Speed, given: Mapping[str, Any], spent: float = 0.0) -> Choice:
    """The settings for a text of so many symbols, with so many different ones, and a budget of which some seconds are `spent`.

    `given` holds the settings that the user chose, by their names in the configurations; they stay, and the others follow them.
    """
    defaults = TrainingConfig()
    validating = symbols * given.get("validation_fraction", defaults.validation_fraction)
    N = max(1, round(symbols - validating))
    paid = found.work * TRAINING_SHARE * max(budget - spent, 0.1 * budget)

    network, epochs, limit, short = _plan(N, alphabet, paid, given)
    read = epochs * N
    batch = _batch(read, found.streams, given)
    rate = RATE[network.cell] / network.hidden_size * math.sqrt(max(1.0, math.prod(batch.values()) / AT_ONCE))
    dropout = min(MOST_DROPOUT, max(0.0, DROPOUT_PER_DOUBLING * math.log2(epochs)))
    free: dict[str, Any] = {
        "dropout": round(dropout, 2),
        "learning_rate": float(f"{min(HIGHEST_RATE, max(LOWEST_RATE, rate)):.2g}"),
        "budget": budget,
        "max_epochs": limit,
        "patience": PATIENCE,
        "weight_decay": round(min(MOST_WEIGHT_DECAY, WEIGHT_DECAY * max(1.0, epochs / FEW_EPOCHS)), 3),
        **batch,
    }
    at_once = max(LEAST_VALIDATION, round(VALIDATION_SHARE * read))
    if at_once < min(validating, defaults.validation_size):
        free["validation_size"] = at_once
    if short:
        free["validation_interval"] = max(1, round(read / math.prod(batch.values()) / VALIDATIONS))
    kept = {name: value for name, value in given.items() if name != "budget"}
    model = ModelConfig(**{**network.to_dict(), **_of(ModelConfig, free), **_of(ModelConfig, kept)})
    training = TrainingConfig(**{**_of(TrainingConfig, free), **_of(TrainingConfig, kept)})
    worth = max(1, min(training.batch_size // EACH[-1], training.batch_size * model.hidden_size // machine.WORTH_A_PROCESS))
    workers = found.workers if found.given else found.workers._replace(processes=min(found.workers.processes, worth))
    return Choice(model, training, workers, _words(model, training, workers, epochs, short, "max_epochs" in given))


class _Plan(NamedTuple):
    """What a budget is spent on."""

    network: ModelConfig
    epochs: float  # passes over the training part
    limit: float | None  # of them; None where only the time ends the run
    short: bool  # whether the limit is reached before the time is over


def _plan(N: int, V: int, paid: float, given: Mapping[str, Any]) -> _Plan:
    """A network and how often it reads a training part of N symbols, for so much work that is `paid`."""
    network = _network(N, V, paid, given)
    limit = given.get("max_epochs")
    epochs = paid / work(network, V) / N
    if min(epochs, limit or math.inf) > OFTEN and "embedding_size" not in given and not network.embedding_size:
        # It learns more slowly than a table, but less by heart.
        network = replace(network, embedding_size=min(network.hidden_size, OFTEN_EMBEDDING))
        epochs = paid / work(network, V) / N
    if limit is None:
        enough = round(min(MOST_EPOCHS, SMALL_TEXT_EPOCHS * (N / 1000) ** (1 / 6)), 1)
        limit = enough if epochs > WELL_WITHIN * enough else None
    if limit is None or epochs <= limit:
        return _Plan(network, epochs, limit, short=False)
    return _Plan(network, limit, limit, short=True)


def _network(N: int, V: int, paid: float, given: Mapping[str, Any]) -> ModelConfig:
    """The largest network that the budget and the text allow, of the sizes that the user leaves open; the smallest where none is."""
    fixed = _of(ModelConfig, given)
    fixed.setdefault("cell", "lstm")
    if V >= LARGE_ALPHABET:
        fixed.setdefault("embedding_size", EMBEDDING)
    sizes = [fixed.pop("hidden_size")] if "hidden_size" in fixed else SIZES
    layers = fixed.pop("num_layers", None)

    def largest(num_layers: int) -> ModelConfig:
        candidates = [ModelConfig(**fixed, num_layers=num_layers, hidden_size=size) for size in sizes]
        return next((each for each in reversed(candidates) if affordable(each)), candidates[0])

    def affordable(config: ModelConfig) -> bool:
        each = multiply_adds(config, min(V, COMMON))
        return paid / work(config, V) >= PRACTICE * each and each <= FEWEST_WEIGHTS + WEIGHTS_PER_SYMBOL * N

    if layers is not None:
        return largest(layers)
    one = largest(1)
    return largest(2) if one.hidden_size >= LARGE_LAYER and "hidden_size" not in given else one


def _batch(symbols: float, streams: int, given: Mapping[str, Any]) -> dict[str, int]:
    """Streams and their length: what is given, else so many as were measured, but less where the run would have too few updates."""
    B = given.get("batch_size", streams)
    batch = {"batch_size": B, "seq_length": given.get("seq_length", max(SHORTEST, min(LONGEST, AT_ONCE // B)))}
    if not batch.keys() & given.keys() and symbols / math.prod(batch.values()) < FEWEST_UPDATES:
        batch = {"batch_size": STREAMS[0] // 4, "seq_length": LONGEST}  # half as many symbols, in fewer and longer streams
    for name, least in (("batch_size", SMALLEST_BATCH), ("seq_length", SHORTEST)):
        while name not in given and batch[name] > least and symbols / math.prod(batch.values()) < FEWEST_UPDATES:
            batch[name] //= 2
    return batch


def _of(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are fields of a configuration."""
    return {field.name: values[field.name] for field, _ in settings_of(config) if field.name in values}


def _words(model: ModelConfig, training: TrainingConfig, workers: Workers, epochs: float, short: bool, limited: bool) -> str:
    dropout = f", dropout {model.dropout:g}" if model.dropout else ""
    several = f", {workers.processes} processes" if workers.processes > 1 else ""
    embedding = f", an embedding of {model.embedding_size}" if model.embedding_size else ""
    settings = (
        f"{model.cell} {model.num_layers}x{model.hidden_size}{embedding}{dropout}, {training.batch_size} streams of {training.seq_length},"
        f" learning rate {training.learning_rate:g}{several}"
    )
    time = duration(training.budget or 0.0)
    if short:
        passes = f"it will read the text {epochs:.3g} times" if limited else f"the text is small, so {epochs:.3g} passes over it will do"
        return f"chosen: {settings}; {passes}, in less than {time}"
    return f"chosen for {time}: {settings}; it will read the text about {_times(epochs)} times"


def _times(epochs: float) -> str:
    return f"{epochs:.1f}" if epochs >= 0.95 else f"{epochs:.1g}"
