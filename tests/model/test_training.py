"""Training repeats, goes on where it was interrupted to the last bit, and measures what it says it measures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.backend import network_for
from model.batches import Streams
from model.checkpoint import Checkpoint, pack_state, unpack_state
from model.config import CELLS, OPTIMIZERS, SCHEDULES, ModelConfig, TrainingConfig
from model.errors import TrainingDiverged
from model.functions import UNKNOWN_COST
from model.language_model import LanguageModel
from model.optimizer import learning_rate
from model.process_group import ProcessGroup, Reduced
from model.training import VALIDATION_CONTEXT, VALIDATION_STREAMS, Progress, TrainingState, by_steps, evaluate, train
from model.vocabulary import SymbolCounts, Vocabulary

TEXT = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs! "
WORDS = Vocabulary.build(SymbolCounts("char", "nfc").add([TEXT]))
IDS = WORDS.encode(TEXT)


class Changed(ProcessGroup):
    """One process whose gradient is changed in place on its way."""

    def __init__(self, change: Callable[[NDArray[Any]], None]) -> None:
        self._change = change

    def reduce(self, gradient: NDArray[Any], loss: float, norm: Callable[[NDArray[Any]], float]) -> Reduced:
        self._change(gradient)
        return super().reduce(gradient, loss, norm)


class Run:
    """A run of a tiny model over `TEXT`."""

    def __init__(self, steps: int, model_config: dict[str, Any] | None = None, **config: Any) -> None:
        self.config = TrainingConfig(**({"batch_size": 3, "seq_length": 7, "seed": 4, "reset_rate": 0.2} | config))
        self.model = LanguageModel.new(ModelConfig(**({"hidden_size": 6} | (model_config or {}))), WORDS.size, self.config.seed)
        self.streams = Streams(IDS, self.config.batch_size, self.config.seq_length)
        self.state = TrainingState.new(self.model, self.streams, self.config)
        self.state.last_step = steps

    def train(self, **settings: Any) -> Iterator[Progress]:
        return train(self.model, self.streams, self.config, self.state, **settings)

    def stored_and_loaded(self) -> None:
        """As a process that was killed finds it in the store."""
        model, state = Checkpoint(self.model, WORDS).to_bytes(), pack_state(self.state)
        self.model, self.state = Checkpoint.from_bytes(model).model, unpack_state(state)

    def bits(self) -> tuple[bytes, bytes]:
        return self.model.parameters.flat.tobytes(), pack_state(self.state)


# ── repeating and going on ────────────────────────────────────────────────────────────────────────────────────────────

KINDS: list[dict[str, Any]] = [
    {"model_config": {"cell": cell, "activation": activation, "num_layers": layers, "embedding_size": embedding, "dropout": dropout},
     "optimizer": rule, "schedule": schedule, "weight_decay": decay, "clip_value": value}
    for (cell, activation), layers, embedding, dropout, rule, schedule, decay, value in [
        (("lstm", "tanh"), 2, 0, 0.3, "adam", "cosine", 0.1, 0),
        (("gru", "tanh"), 1, 4, 0.0, "rmsprop", "constant", 0, 0.1),
        (("gru", "tanh"), 2, 0, 0.5, "adam", "exponential", 0, 0),
        (("rnn", "tanh"), 1, 0, 0.2, "adagrad", "cosine", 0, 0),
        (("rnn", "relu"), 3, 5, 0.1, "sgd", "cosine", 0.01, 0),
        (("rnn", "identity"), 1, 0, 0.0, "adam", "cosine", 0, 0.5),
    ]
]  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind['model_config']['cell']}-{kind['optimizer']}")


def test_the_kinds_are_of_every_sort() -> None:
    assert {kind["model_config"]["cell"] for kind in KINDS} == set(CELLS)
    assert {kind["optimizer"] for kind in KINDS} == set(OPTIMIZERS)
    assert {kind["schedule"] for kind in KINDS} == set(SCHEDULES)


@each_kind
def test_the_same_run_gives_the_same_weights_and_another_seed_others(kind: dict[str, Any]) -> None:
    runs = [Run(9, **kind), Run(9, **kind), Run(9, **kind | {"seed": 5})]
    first, second, other = ([progress.loss for progress in run.train()] for run in runs)
    assert first == second != other
    assert runs[0].bits() == runs[1].bits() != runs[2].bits()


@each_kind
def test_interrupted_at_any_step_it_goes_on_as_if_it_had_not_been(kind: dict[str, Any]) -> None:
    """Also at the end of an epoch and just beside it, and several times."""
    steps = 11
    whole = Run(steps, **kind)
    progress = list(whole.train())
    assert whole.streams.chunks == 4
    assert progress[-1].epoch == steps / 4
    for stops in [*([step] for step in range(steps)), [2, 4, 5], list(range(steps))]:
        run = Run(steps, **kind)
        seen: list[Progress] = []
        for stop in [*stops, steps]:
            seen += itertools.islice(run.train(), stop - len(seen))
            run.stored_and_loaded()
        assert seen == progress
        assert run.bits() == whole.bits()


def test_a_finished_run_can_be_given_more_steps() -> None:
    """The schedule runs once more over the added part."""
    run = Run(6)
    rates = [progress.learning_rate for progress in run.train()]
    assert list(run.train()) == []
    run.state.first_step, run.state.last_step = run.state.step, run.state.step + 6
    more = list(run.train())
    assert [progress.learning_rate for progress in more] == rates
    assert [progress.step for progress in more] == [7, 8, 9, 10, 11, 12]


def test_without_random_resets_the_state_goes_on_over_the_epochs_end() -> None:
    """A naive loop: one long forward pass per stream, cut in chunks, with the streams moved on by one at the epoch's end."""
    run = Run(6, reset_rate=0.0, learning_rate=1e-30)
    model, streams = run.model, run.streams
    losses = [progress.loss for progress in run.train()]
    state, expected = model.zero_state(streams.batch_size), []
    for step in range(6):
        chunk = step % streams.chunks
        if step and chunk == 0:
            moved = np.zeros_like(state)
            for b in range(1, streams.batch_size):
                moved[:, :, b] = state[:, :, b - 1]
            state = moved
        inputs, targets = streams.chunk(chunk)
        logits, state, _ = model.forward(inputs, state)
        p = np.exp(logits.astype(float))
        p /= p.sum(axis=-1, keepdims=True)
        expected.append(-np.log(np.take_along_axis(p, targets[..., None].astype(int), -1)).mean())
    assert losses == pytest.approx(expected, rel=1e-5)


def test_the_share_of_streams_that_begin_anew_is_the_reset_rate() -> None:
    for rate, low, high in ((0.0, 0, 0), (1.0, 1, 1), (0.25, 0.12, 0.38)):
        run = Run(150, reset_rate=rate)
        begun: list[NDArray[Any]] = []
        network: Any = network_for(run.model, trains=True)
        keep = network.loss_and_gradients

        def spy(inputs: Any, targets: Any, state: NDArray[Any], *rest: Any, keep: Any = keep, begun: Any = begun, **more: Any) -> Any:
            begun.append(~state.any(axis=(0, 1, 3)))  # (B,)
            return keep(inputs, targets, state, *rest, **more)

        network.loss_and_gradients = spy
        for progress in run.train(network=network):
            if progress.step % run.streams.chunks == 0:
                run.state.hidden[:] = 1  # else the first stream of an epoch begins anew, too
            if progress.step == 1:
                begun.clear()
        each_stream = np.mean(begun, axis=0)
        assert low <= each_stream.min()
        assert each_stream.max() <= high


# ── how long, and what is told ────────────────────────────────────────────────────────────────────────────────────────


def test_progress_tells_what_happened() -> None:
    run = Run(6, clip_norm=0.01, warmup=0.5, schedule="exponential")
    before = run.model.parameters.flat.copy()
    for number, progress in enumerate(run.train(), 1):
        inputs, _ = run.streams.chunk(number - 1 if number <= 4 else number - 5)
        assert (progress.step, progress.epoch, progress.symbols) == (number, number / 4, inputs.size)
        assert progress.share == (number - 1) / 6
        assert progress.learning_rate == learning_rate(run.config, progress.share)
        assert math.isfinite(progress.loss)
        assert progress.grad_norm > 0.01, "before clipping"
    assert (run.state.step, run.state.epoch, run.state.chunk) == (6, 1, 2)
    assert not (run.model.parameters.flat == before).all()


def test_share_decides_how_long() -> None:
    """A clock that only the test reads."""
    times = iter([0.0, 0.1, 0.15, 0.3, 0.6, 0.99, 1.0, 5.0])
    run = Run(10**9, schedule="cosine", warmup=0.0, learning_rate=1.0, final_learning_rate=0.01)
    seen = list(run.train(share=lambda state: next(times)))
    assert [progress.share for progress in seen] == [0.0, 0.1, 0.15, 0.3, 0.6, 0.99]
    assert [progress.learning_rate for progress in seen] == [learning_rate(run.config, progress.share) for progress in seen]
    assert next(times) == 5.0


@pytest.mark.parametrize(
    ("first", "last", "step", "expected"), [(0, 10, 0, 0), (0, 10, 5, 0.5), (0, 10, 10, 1), (10, 20, 15, 0.5), (3, 3, 4, 1)]
)
def test_by_steps_is_the_share_of_the_steps(first: int, last: int, step: int, expected: float) -> None:
    run = Run(0)
    run.state.first_step, run.state.last_step, run.state.step = first, last, step
    assert by_steps(run.state) == expected


def test_reduce_gets_the_gradient_before_it_is_measured_and_clipped() -> None:
    """Twice the gradient of one step of plain descent is twice the step."""

    def double(gradient: NDArray[Any]) -> None:
        gradient *= 2

    config: dict[str, Any] = {"optimizer": "sgd", "clip_norm": 0.0, "schedule": "constant", "warmup": 0.0, "learning_rate": 0.01}
    once, twice = Run(1, **config), Run(1, **config)
    start = once.model.parameters.flat.copy()
    (one,), (two,) = once.train(), twice.train(group=Changed(double))
    assert two.grad_norm == pytest.approx(2 * one.grad_norm, rel=1e-6)
    np.testing.assert_allclose(twice.model.parameters.flat - start, 2 * (once.model.parameters.flat - start), rtol=0, atol=1e-6)


def test_updates_are_counted_from_one() -> None:
    """Under a gradient that never changes, Adam's corrected means are that gradient: each step is the learning rate."""
    run = Run(5, learning_rate=0.01, input_rate=1.0, output_rate=1.0, schedule="constant", warmup=0.0, clip_norm=0.0)
    before = run.model.parameters.flat.copy()

    def always(gradient: NDArray[Any]) -> None:
        gradient[:] = -0.5

    for progress in run.train(group=Changed(always)):
        np.testing.assert_allclose(run.model.parameters.flat - before, 0.01 * progress.step, rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "adagrad"])
@pytest.mark.parametrize("embedding", [0, 5])
def test_what_symbols_are_looked_up_in_and_the_output_weights_learn_at_rates_of_their_own(optimizer: str, embedding: int) -> None:
    """The first step of these rules is the learning rate times a constant, whatever the gradient."""
    config: dict[str, Any] = {"optimizer": optimizer, "learning_rate": 0.01, "schedule": "constant", "warmup": 0.0, "clip_norm": 0.0}
    run = Run(1, {"num_layers": 2, "embedding_size": embedding}, input_rate=3.0, output_rate=0.5, **config)
    before = run.model.parameters.flat.copy()

    def always(gradient: NDArray[Any]) -> None:
        gradient[:] = -0.5

    list(run.train(group=Changed(always)))
    run.model.parameters.flat -= before
    moved = {name: view.copy() for name, view in run.model.parameters.items()}
    step = moved["by"][0]
    expected = dict.fromkeys(moved, 1.0) | {"embedding" if embedding else "layers.0.Wx": 3.0, "Wy": 0.5}
    for name, view in moved.items():
        np.testing.assert_allclose(view, step * expected[name], rtol=1e-3, err_msg=name)


def test_a_rate_of_0_leaves_weights_as_they_are() -> None:
    run = Run(3, input_rate=0.0, output_rate=0.0, weight_decay=0.5)
    before = {name: view.copy() for name, view in run.model.parameters.items()}
    list(run.train())
    kept = {name for name, view in run.model.parameters.items() if (view == before[name]).all()}
    assert kept == {"layers.0.Wx", "Wy"}


def test_only_matrices_decay() -> None:
    run = Run(1, weight_decay=0.5, learning_rate=0.1, input_rate=1.0, output_rate=2.0, warmup=0.0, optimizer="sgd")
    for view in run.model.parameters.values():
        view[:] = 1

    def nothing(gradient: NDArray[Any]) -> None:
        gradient[:] = 0

    list(run.train(group=Changed(nothing)))
    for name, view in run.model.parameters.items():
        expected = 0.9 if name == "Wy" else 0.95 if view.ndim == 2 else 1.0
        np.testing.assert_allclose(view, expected, rtol=1e-6, err_msg=name)


# ── divergence ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["loss", "gradient's norm"])
def test_a_number_that_is_none_stops_before_the_weights_are_touched(what: str) -> None:
    run = Run(10)
    list(itertools.islice(run.train(), 3))
    if what == "loss":
        run.model.parameters["by"][0] = np.nan
    before = run.bits()

    def spoil(gradient: NDArray[Any]) -> None:
        gradient[5] = np.inf

    with pytest.raises(TrainingDiverged, match=f"the {what} of step 4 is (nan|inf), not a finite number"):
        list(run.train(group=Changed(spoil)))
    assert run.model.parameters.flat.tobytes() == before[0]
    assert run.state.step == 3


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_step_size_that_is_far_too_large_ends_in_a_sentence_and_not_in_a_warning(rule: str) -> None:
    run = Run(2000, {"cell": "rnn", "activation": "identity"}, optimizer=rule, learning_rate=1000.0, clip_norm=0.0, weight_decay=100.0)
    with pytest.raises(TrainingDiverged):
        list(run.train())


# ── what is learned ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cell", CELLS)
def test_a_fresh_model_knows_nothing(cell: str) -> None:
    """Its loss is about ln V: a little more, since its guesses are random and not equal."""
    losses = [
        evaluate(network_for(LanguageModel.new(ModelConfig(cell=cell, hidden_size=32), WORDS.size, seed)), IDS, 1, len(IDS)).loss
        for seed in range(5)
    ]
    assert math.log(WORDS.size) - 0.05 < np.mean(losses) < math.log(WORDS.size) + 0.25


@pytest.mark.parametrize("cell", CELLS)
def test_a_tiny_text_is_learned_by_heart(cell: str) -> None:
    """200 characters, less than 0.02 nats each."""
    text = (TEXT * 3)[:200]
    words = Vocabulary.build(SymbolCounts("char", "nfc").add([text]))
    ids = words.encode(text)
    config = TrainingConfig(batch_size=1, seq_length=50, learning_rate=0.01, reset_rate=0.0, seed=1)
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=48), words.size, 1)
    streams = Streams(ids, config.batch_size, config.seq_length)
    state = TrainingState.new(model, streams, config)
    state.last_step = 500
    losses = [progress.loss for progress in train(model, streams, config, state)]
    assert losses[0] > 2
    assert np.mean(losses[-4:]) < 0.02


# ── validation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def naive_evaluation(model: LanguageModel, ids: list[int], start: int, stop: int, unknown_cost: float) -> tuple[float, int, int]:
    """One stream at a time, one symbol at a time."""
    total, V = stop - start, model.vocabulary_size
    B = max(1, min(64, total // 400))
    length = math.ceil(total / B)
    cost, unknown, read = 0.0, 0, 0
    for b in range(B):
        first, end = start + b * length, min(start + (b + 1) * length, stop)
        state = model.zero_state(1)
        begin = max(first - 1 - min(100, start - 1), 0)
        for place in range(begin, end - 1):
            logits, state, _ = model.forward(np.array([[ids[place]]]), state)
            if place + 1 < first:
                continue
            read += 1
            target = ids[place + 1]
            if target >= V:
                unknown, cost = unknown + 1, cost + unknown_cost
            else:
                a = logits[0, 0].astype(float)
                cost += math.log(np.exp(a - a.max()).sum()) + a.max() - a[target]
    return cost / total, read, unknown


@pytest.mark.parametrize(
    ("start", "stop", "cell"),
    [(1, 2, "lstm"), (1, 40, "gru"), (5, 300, "rnn"), (150, 1349, "lstm"), (101, 902, "gru"), (300, 1501, "lstm"), (7, 2007, "rnn")],
)
def test_the_validation_loss_is_that_of_a_naive_reading(start: int, stop: int, cell: str) -> None:
    """With 1 to 5 streams, whose last one is shorter."""
    rng = np.random.default_rng(stop)
    ids = rng.integers(0, 9, 2100).astype(np.uint8)  # 8 is outside the alphabet
    model = LanguageModel.new(ModelConfig(cell=cell, hidden_size=5, num_layers=2), 8, 3)
    found = evaluate(network_for(model), ids, start, stop, 2.5)
    loss, symbols, unknown = naive_evaluation(model, ids.tolist(), start, stop, 2.5)
    assert (found.symbols, found.unknown) == (symbols, unknown) == (stop - start, int((ids[start:stop] == 8).sum()))
    assert found.loss == pytest.approx(loss, rel=1e-5)


def test_the_loss_hardly_depends_on_the_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(200, {"cell": "lstm", "hidden_size": 16}, batch_size=4, learning_rate=0.02)
    list(run.train())
    rng = np.random.default_rng(0)
    ids = np.concatenate([IDS] * 60)[rng.integers(0, 50) :][:5000]
    losses = []
    for streams in (1, 2, 3, VALIDATION_STREAMS):
        monkeypatch.setattr("model.training.VALIDATION_STREAMS", streams)
        losses.append(evaluate(network_for(run.model), ids, 500, len(ids)).loss)
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-3)


@given(st.integers(1, 50), st.integers(1, 30_000))
def test_every_symbol_counts_once(start: int, total: int) -> None:
    """A model without an opinion: each known symbol costs ln V."""
    model = LanguageModel.new(ModelConfig(cell="rnn", hidden_size=1), 2)
    model.parameters.flat[:] = 0
    ids = np.zeros(start + total, np.uint8)
    ids[start + total // 2] = 2
    found = evaluate(network_for(model), ids, start, start + total)
    assert (found.symbols, found.unknown) == (total, 1)
    assert found.loss == pytest.approx(((total - 1) * math.log(2) + UNKNOWN_COST) / total, rel=1e-6)


def test_evaluating_does_not_depend_on_what_comes_after_or_long_before() -> None:
    model = LanguageModel.new(ModelConfig(cell="rnn", activation="identity", hidden_size=4), WORDS.size)  # forgets nothing
    ids = np.concatenate([IDS] * 10)
    changed = ids.copy()
    changed[600:] = 0
    changed[: 300 - 1 - VALIDATION_CONTEXT] = 0
    assert evaluate(network_for(model), ids, 300, 600) == evaluate(network_for(model), changed, 300, 600)
    changed[299 - VALIDATION_CONTEXT] = 0
    assert evaluate(network_for(model), ids, 300, 600) != evaluate(network_for(model), changed, 300, 600)


def test_a_model_that_overflows_has_no_finite_loss_and_gives_no_warning() -> None:
    model = LanguageModel.new(ModelConfig(cell="rnn", activation="identity", hidden_size=4), WORDS.size)
    model.parameters.flat[:] = 1e38
    assert not math.isfinite(evaluate(network_for(model), IDS, 40, len(IDS)).loss)


def test_an_evaluation_may_be_broken_off() -> None:
    ticks: list[int] = []
    model = LanguageModel.new(ModelConfig(hidden_size=3), WORDS.size)
    found = evaluate(network_for(model), IDS, 40, len(IDS), tick=lambda: ticks.append(1))
    assert found == evaluate(network_for(model), IDS, 40, len(IDS))
    assert len(ticks) > 1
    with pytest.raises(ZeroDivisionError):
        evaluate(network_for(model), IDS, 40, len(IDS), tick=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
