"""Chooses the hyperparameters that the user left open from the text and the time budget: what `--budget` does.

The quality of a network depends on its size and on the number of symbols it reads, and a budget pays for the product of both.
`service.training.throughput` measures in about a second how many multiply-adds per second this machine trains with. `choose` takes the
largest network that still reads `PRACTICE` symbols for each multiply-add it makes per symbol (about its number of weights; the measure
of Kaplan et al. 2020, the number is our own), but none larger than its text can fill. A text that is read many times is learned by
heart, so dropout and weight decay grow with the epochs, symbols get an embedding, which generalises better and learns more slowly,
and training on a small text ends before the budget does. A text of up to `SMALL_TEXT` symbols costs any machine seconds, so nothing is
measured or weighed for it: it gets one network, wide enough to learn in a few passes, and as much dropout and weight decay as that
network bears. The numbers come from runs on tinyshakespeare, Python's standard library,
Korean and Chinese texts, and names; ``bench/NOTES.md`` describes those that were compared, the others are estimates from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from model.config import ModelConfig, TrainingConfig
from model.settings import settings_of
from service.store import Corpus, Run, Store
from service.system import hardware
from service.system.formatting import duration
from service.training import mpi
from service.training.jobs import DEFAULT_BUDGET, count_symbols
from service.training.throughput import (
    MEASURING,
    SAMPLE_ALPHABET,
    SAMPLE_MODEL,
    STREAMS,
    Speed,
    multiply_adds,
    speed,
    work,
    work_per_second,
)

# ── recipe ───────────────────────────────────────────────────────────────────────────────────────────────────────────

MEASURING_SHARE = 0.03  # of a budget that a measurement takes at most
LIGHT = 0.6  # a chosen network with less than this share of the sample's work is measured itself: it has other limits
MOST_MEASURED = 2048  # symbols of its alphabet in that measurement

SIZES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1280, 1536, 2048)
PRACTICE = 7.0  # symbols read per multiply-add of the network
WEIGHTS_PER_SYMBOL, FEWEST_WEIGHTS = 1.5, 10_000  # a text of N symbols can fill 10,000 + 1.5 N weights
LARGE_LAYER = 896  # from this size on two layers are tried, too
TRAINING_SHARE = 0.9  # of a budget: the rest is for starting and validating
MOST_EPOCHS = 60.0  # more passes over a text teach a network little that it can use elsewhere ...
EPOCHS_OF_THOUSAND = 10.0  # ... and of a text of 1,000 symbols no more than these, growing with the sixth root of its size
WELL_WITHIN = 1.5  # a budget for more than this multiple of them is cut to them
VALIDATIONS = 20  # of a run that becomes shorter than its budget
VALIDATION_SHARE, LEAST_VALIDATION = 0.06, 20_000  # symbols read at a validation: this share of all symbols trained on, or at least ...
PATIENCE = 15  # validations without a better loss that end a run early
UNDROPPED, DROPOUT_PER_DOUBLING = 1.7, 0.12  # up to this number of epochs no dropout, then so much for each doubling of them
MOST_DROPOUT = 0.5
WEIGHT_DECAY, MOST_WEIGHT_DECAY = 0.05, 0.15  # for up to FEW_EPOCHS; for more it grows with them
FEW_EPOCHS = 5.0
RATE = {"lstm": 8.0, "gru": 5.0, "rnn": 1.0}  # learning_rate times hidden_size
LOWEST_RATE, HIGHEST_RATE = 0.001, 0.025
BETA1 = 0.8  # a shorter memory of the gradients than Adam's usual one bears the higher rates
AT_ONCE = 2048  # symbols of an update; with more of them the learning rate is higher
MANY_UPDATES = 1000  # a run that has them with the longest sequences gets these, and half of the streams if they are enough
FEWEST_UPDATES = 700  # of a run, before its batches are made smaller
SMALLEST_BATCH, SHORTEST, LONGEST = 4, 32, 64
STREAMS_PER_THREAD = 16  # with fewer, a further thread adds little
COMMON = 100  # symbols that most of a text is made of: the output weights of others are seldom trained and seldom needed
LARGE_ALPHABET, EMBEDDING = 2048, 256  # from this alphabet size on, symbols get an embedding of this size ...
OFTEN, OFTEN_EMBEDDING = 6.0, 128  # ... and smaller alphabets one of this, or of the layer's size, if a text is read more epochs than this

SMALL_TEXT = 5_000  # symbols in the training part, up to which the following holds instead
SMALL_TEXT_NETWORK = 192  # hidden units, and the size of an embedding: with 64 a text is learned in more passes, and not as well
SMALL_TEXT_EPOCHS = 30.0  # a list of names is best after 5 of them, a log after 20, a tune that repeats its bars after 30
SMALL_TEXT_DROPOUT, SMALL_TEXT_DECAY = 0.6, 0.3
SMALL_TEXT_BATCH = {"batch_size": 2, "seq_length": 32}  # a text of 500 symbols still has eight updates in a pass
SMALL_TEXT_RATE = 0.08  # of `RATE`, since an update has 64 symbols
SURE_WORK = 2e9  # multiply-adds per second that any machine trains this network with: numpy alone made 5.6e9 with one core of a busy Xeon


class ChosenHyperparameters(NamedTuple):
    """What was chosen."""

    model: ModelConfig
    training: TrainingConfig
    words: str  # a sentence for the user


def choose_here(
    symbols: int,
    alphabet: int,
    budget: float,
    given: Mapping[str, Any],
    *,
    threads: int = 1,
    ranks: int = 1,
    spent: Callable[[], float] = lambda: 0.0,
) -> ChosenHyperparameters:
    """Measure the speed of this machine if it matters, and `choose`; `spent` returns the seconds of the budget that are gone."""
    sure = Speed(SURE_WORK, threads * ranks)
    if _small_text(_training_part(symbols, given), alphabet, _paid(sure, budget, spent()), given):
        return choose(symbols, alphabet, budget, sure, given, spent())
    seconds = min(MEASURING, MEASURING_SHARE * budget)
    found = speed(threads, ranks, seconds, given.get("batch_size", 0))
    choice = choose(symbols, alphabet, budget, found, given, spent())
    V = min(alphabet, MOST_MEASURED)
    if ranks == 1 and work(choice.model, V) < LIGHT * work(SAMPLE_MODEL, SAMPLE_ALPHABET):
        found = found._replace(work=work_per_second(threads, choice.model, choice.training, V, seconds))
        choice = choose(symbols, alphabet, budget, found, given, spent())
    return choice


def choose(symbols: int, alphabet: int, budget: float, found: Speed, given: Mapping[str, Any], spent: float = 0.0) -> ChosenHyperparameters:
    """Choose settings for a text of `symbols` symbols over an alphabet, and a budget of which `spent` seconds are gone.

    `given` holds the settings that the user chose, by their names in the configurations; they stay, and the others follow them.
    """
    N, paid = _training_part(symbols, given), _paid(found, budget, spent)
    small = _small_text(N, alphabet, paid, given)
    network, epochs, limit, short = small or _plan(N, alphabet, paid, given)
    read = epochs * N
    rate = RATE[network.cell] / network.hidden_size
    if small:
        batch = {name: given.get(name, size) for name, size in SMALL_TEXT_BATCH.items()}
        rate, dropout, decay = SMALL_TEXT_RATE * rate, SMALL_TEXT_DROPOUT, SMALL_TEXT_DECAY
    else:
        batch = _batch(read, found, given)
        rate *= math.sqrt(max(1.0, math.prod(batch.values()) / AT_ONCE))
        dropout = min(MOST_DROPOUT, max(0.0, DROPOUT_PER_DOUBLING * math.log2(epochs / UNDROPPED)))
        decay = min(MOST_WEIGHT_DECAY, WEIGHT_DECAY * max(1.0, epochs / FEW_EPOCHS))
    free: dict[str, Any] = {
        "dropout": round(dropout, 2),
        "learning_rate": float(f"{min(HIGHEST_RATE, max(LOWEST_RATE, rate)):.2g}"),
        "beta1": BETA1,
        "budget": budget,
        "max_epochs": limit,
        "patience": PATIENCE,
        "weight_decay": round(decay, 3),
        **batch,
    }
    at_once = max(LEAST_VALIDATION, round(VALIDATION_SHARE * read))
    if at_once < min(symbols - N, TrainingConfig().validation_size):
        free["validation_size"] = at_once
    if short:
        validations = epochs if small else VALIDATIONS  # once a pass of a small text
        free["validation_interval"] = max(1, round(read / math.prod(batch.values()) / validations))
    kept = {name: value for name, value in given.items() if name != "budget"}
    model = ModelConfig(**{**network.to_dict(), **_of(ModelConfig, free), **_of(ModelConfig, kept)})
    training = TrainingConfig(**{**_of(TrainingConfig, free), **_of(TrainingConfig, kept)})
    return ChosenHyperparameters(model, training, _words(model, training, epochs, short, "max_epochs" in given))


class _Plan(NamedTuple):
    """What a budget is spent on."""

    network: ModelConfig
    epochs: float  # passes over the training part
    limit: float | None  # of them; None if only the time ends the run
    short: bool  # whether the limit is reached before the time is over


def _training_part(symbols: int, given: Mapping[str, Any]) -> int:
    """Return how many symbols of a text are trained on."""
    validating: float = symbols * given.get("validation_fraction", TrainingConfig().validation_fraction)
    return max(1, round(symbols - validating))


def _paid(found: Speed, budget: float, spent: float) -> float:
    """Return the work that the rest of a budget pays for."""
    return found.work * TRAINING_SHARE * max(budget - spent, 0.1 * budget)


def _small_text(N: int, V: int, paid: float, given: Mapping[str, Any]) -> _Plan | None:
    """Plan for a small text; None if the text is larger, or if time or user leave less than half of its passes."""
    fixed = {"cell": "lstm", "hidden_size": SMALL_TEXT_NETWORK, **_of(ModelConfig, given)}
    fixed.setdefault("embedding_size", min(fixed["hidden_size"], SMALL_TEXT_NETWORK))
    network = ModelConfig(**fixed)
    epochs = given.get("max_epochs") or SMALL_TEXT_EPOCHS
    if N > SMALL_TEXT or epochs < SMALL_TEXT_EPOCHS / 2 or paid < epochs * N * work(network, V):
        return None
    return _Plan(network, epochs, epochs, short=True)


def _plan(N: int, V: int, paid: float, given: Mapping[str, Any]) -> _Plan:
    """Choose a network, and how often it reads a training part of N symbols, for `paid` units of work."""
    network = _network(N, V, paid, given)
    limit = given.get("max_epochs")
    epochs = paid / work(network, V) / N
    if min(epochs, limit or math.inf) > OFTEN and "embedding_size" not in given and not network.embedding_size:
        # It learns more slowly than a table of input weights, but less by heart.
        network = replace(network, embedding_size=min(network.hidden_size, OFTEN_EMBEDDING))
        epochs = paid / work(network, V) / N
    if limit is None:
        enough = round(min(MOST_EPOCHS, EPOCHS_OF_THOUSAND * (N / 1000) ** (1 / 6)), 1)
        limit = enough if epochs > WELL_WITHIN * enough else None
    if limit is None or epochs <= limit:
        return _Plan(network, epochs, limit, short=False)
    return _Plan(network, limit, limit, short=True)


def _network(N: int, V: int, paid: float, given: Mapping[str, Any]) -> ModelConfig:
    """Choose the largest network that the budget and the text allow, of the sizes that the user leaves open; if none, the smallest."""
    fixed = _of(ModelConfig, given)
    fixed.setdefault("cell", "lstm")
    if V >= LARGE_ALPHABET:
        fixed.setdefault("embedding_size", EMBEDDING)
    sizes = [fixed.pop("hidden_size")] if "hidden_size" in fixed else SIZES
    layers = fixed.pop("num_layers", None)

    def largest(num_layers: int) -> ModelConfig:
        candidates = [ModelConfig(**fixed, num_layers=num_layers, hidden_size=size) for size in sizes]
        return next((config for config in reversed(candidates) if affordable(config)), candidates[0])

    def affordable(config: ModelConfig) -> bool:
        weights = multiply_adds(config, min(V, COMMON))
        return paid / work(config, V) >= PRACTICE * weights and weights <= FEWEST_WEIGHTS + WEIGHTS_PER_SYMBOL * N

    if layers is not None:
        return largest(layers)
    one = largest(1)
    return largest(2) if one.hidden_size >= LARGE_LAYER and "hidden_size" not in given else one


def _batch(symbols: float, found: Speed, given: Mapping[str, Any]) -> dict[str, int]:
    """Choose streams and their length: what is given, else as many as were measured, but less if the run would have too few updates."""
    B = given.get("batch_size", STREAMS)
    T = max(SHORTEST, min(LONGEST, AT_ONCE // B))
    if symbols / (B * LONGEST) >= MANY_UPDATES:
        T = LONGEST
        if "batch_size" not in given and found.threads * STREAMS_PER_THREAD <= B // 2:
            B //= 2  # which are enough for this number of threads
    batch = {"batch_size": B, "seq_length": given.get("seq_length", T)}
    if not batch.keys() & given.keys() and symbols / math.prod(batch.values()) < FEWEST_UPDATES:
        batch = {"batch_size": STREAMS // 4, "seq_length": LONGEST}  # half as many symbols, in fewer and longer streams
    for name, least in (("batch_size", SMALLEST_BATCH), ("seq_length", SHORTEST)):
        while name not in given and batch[name] > least and symbols / math.prod(batch.values()) < FEWEST_UPDATES:
            batch[name] //= 2
    return batch


def _of(config: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are fields of a configuration."""
    return {field.name: values[field.name] for field, _ in settings_of(config) if field.name in values}


def _words(model: ModelConfig, training: TrainingConfig, epochs: float, short: bool, limited: bool) -> str:
    """Say in a sentence what was chosen; a `short` run ends before its budget, by the user's max_epochs if `limited`."""
    dropout = f", dropout {model.dropout:g}" if model.dropout else ""
    embedding = f", an embedding of {model.embedding_size}" if model.embedding_size else ""
    settings = (
        f"{model.cell} {model.num_layers}x{model.hidden_size}{embedding}{dropout}, {training.batch_size} streams of {training.seq_length},"
        f" learning rate {training.learning_rate:g}"
    )
    time = duration(training.budget or 0.0)
    if short:
        passes = f"it will read the text {epochs:.3g} times" if limited else f"the text is small, so {epochs:.3g} passes over it will do"
        other = "" if limited else " (--max-epochs takes another number)"
        return f"chosen: {settings}; {passes}, in less than {time}{other}"
    return f"chosen for {time}: {settings}; it will read the text about {_times(epochs)} times"


def _times(epochs: float) -> str:
    return f"{epochs:.1f}" if epochs >= 0.95 else f"{epochs:.1g}"


# ── settling ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ALLOWED_RATE = 1000.0  # the highest learning rate of TrainingConfig


def settle(store: Store, run: Run, *, ranks: int = 1, spent: Callable[[], float] = lambda: 0.0) -> tuple[Run, list[str]]:
    """Choose what the request of a claimed run left open, once; returns the run with its settings, and notes for the user.

    If a time rules, the speed of this machine is measured for about a second; `spent` returns the seconds of the budget that are
    gone. `ranks` of MPI train together. Raises `InvalidSetting`, `StoreError`.
    """
    if "threads" in run.environment:  # settled before
        return run, []
    given = run.request.get("given", {})
    threads = hardware.training_threads(run.request.get("threads", 0), mpi.ranks_here())
    model, training = ModelConfig.from_dict(run.model_config), TrainingConfig.from_dict(run.training_config)
    notes = []
    if training.epochs is None and training.steps is None:
        assert run.corpus_id is not None  # an imported model is refused before its run is claimed
        corpus = store.corpora.get(run.corpus_id)
        symbols, alphabet = _size(store, corpus, model)
        budget = training.budget or min(DEFAULT_BUDGET, run.request.get("max_seconds") or math.inf)
        choice = choose_here(symbols, alphabet, budget, given, threads=threads, ranks=ranks, spent=spent)
        model, training, notes = choice.model, choice.training, [choice.words]
    if "learning_rate" not in given:
        rate = training.learning_rate * run.request.get("learning_rate_multiplier", 1.0)
        training = replace(training, learning_rate=min(ALLOWED_RATE, rate))
    environment = hardware.environment(threads, ranks)
    run = store.runs.configure(run, model_config=model.to_dict(), training_config=training.to_dict(), environment=environment)
    return run, notes


def _size(store: Store, corpus: Corpus, model: ModelConfig) -> tuple[int, int]:
    """Return the number of symbols in a corpus, and of different ones; estimates if only reading the text would tell."""
    counts = count_symbols(store, corpus, model)
    if counts is not None:
        symbols, alphabet = counts.total, int((counts.counts > 0).sum())
    else:
        symbols, alphabet = (corpus.bytes, 256) if model.level == "byte" else (corpus.characters, corpus.alphabet_size)
    if corpus.records is not None and corpus.records.get("unique") and corpus.records.get("count"):
        symbols = max(1, round(symbols * corpus.records["different"] / corpus.records["count"]))
    return symbols, alphabet
