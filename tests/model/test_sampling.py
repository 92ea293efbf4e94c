"""Sampling: exact distributions, filters against naive ones, and the same text in any company."""

from __future__ import annotations

import dataclasses
import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from model.backend import network_for
from model.config import CELLS, ModelConfig, SamplingConfig
from model.errors import InvalidSetting
from model.language_model import LanguageModel
from model.normalization import normalize
from model.out_of_vocabulary import Substitution
from model.output_text import FINISHING, Piece
from model.sampling import MAX_BURST, MAX_PROMPT, MIN_BURST, PREFILL_CHUNK, Sampler, generate
from model.vocabulary import SymbolCounts, Vocabulary


def vocabulary(text: str = "abcdefgh \n", level: str = "char", normalization: str = "nfc") -> Vocabulary:
    return Vocabulary.build(SymbolCounts(level, normalization).add([text]))


def memoryless(probabilities: Sequence[float], words: Vocabulary) -> LanguageModel:
    """A model that draws each symbol with these probabilities, whatever was read."""
    model = LanguageModel.new(ModelConfig(hidden_size=1), words.size)
    model.parameters.flat[:] = 0
    with np.errstate(divide="ignore"):
        model.parameters["by"][:] = np.maximum(np.log(probabilities), -1e4)
    return model


def wild(words: Vocabulary, cell: str = "lstm", scale: float = 3.0, **settings: Any) -> LanguageModel:
    """A model that depends strongly on all that it has read."""
    model = LanguageModel.new(ModelConfig(cell=cell, **({"hidden_size": 12} | settings)), words.size, seed=5)
    model.parameters.flat[:] *= scale
    return model


def texts(model: LanguageModel, words: Vocabulary, config: SamplingConfig) -> list[str]:
    """The texts of one request by itself."""
    written = [""] * config.n
    for piece in generate(network_for(model), words, config):
        written[piece.choice] += piece.text
    return written


def text(model: LanguageModel, words: Vocabulary, **settings: Any) -> str:
    return texts(model, words, SamplingConfig(**({"seed": 1} | settings)))[0]


def last_piece(model: LanguageModel, words: Vocabulary, **settings: Any) -> Piece:
    *_, last = generate(network_for(model), words, SamplingConfig(**({"seed": 1} | settings)))
    return last


# ── the distribution ──────────────────────────────────────────────────────────────────────────────────────────────────

FIVE = [0.4, 0.3, 0.15, 0.1, 0.05]


def chi_square(counts: Counter[str], expected: dict[str, float], draws: int) -> float:
    return sum((counts[c] - share * draws) ** 2 / (share * draws) for c, share in expected.items() if share)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"temperature": 1}, FIVE),
        ({"temperature": 0.5}, [p**2 for p in FIVE]),
        ({"temperature": 2}, [p**0.5 for p in FIVE]),
        ({"temperature": 1, "top_k": 2}, [0.4, 0.3, 0, 0, 0]),
        ({"temperature": 1, "top_k": 99}, FIVE),
        ({"temperature": 1, "top_p": 0.69}, [0.4, 0.3, 0, 0, 0]),
        ({"temperature": 1, "top_p": 0.71}, [0.4, 0.3, 0.15, 0, 0]),
        ({"temperature": 1, "min_p": 0.3}, [0.4, 0.3, 0.15, 0, 0]),
        ({"temperature": 0.5, "min_p": 0.3}, [0.16, 0.09, 0, 0, 0]),
        # In this order: of 0.4 0.3 0.15 0.1, the first three reach 0.85 of what top_k left; alone, top_p would keep four.
        ({"temperature": 1, "top_k": 4, "top_p": 0.86}, [0.4, 0.3, 0.15, 0, 0]),
        ({"temperature": 1, "top_k": 3, "top_p": 0.8}, [0.4, 0.3, 0, 0, 0]),
    ],
)
def test_symbols_are_drawn_as_often_as_they_should_be(settings: dict[str, Any], expected: list[float]) -> None:
    """Chi-square with up to 4 degrees of freedom, for one fixed seed: 23.5 is exceeded once in 10,000 seeds."""
    words, draws = vocabulary("abcde"), 20_000
    model = memoryless(FIVE, words)
    config = SamplingConfig(length=draws // 50, n=50, seed=7, **settings)
    counts = Counter("".join(texts(model, words, config)))
    shares = dict(zip("abcde", (p / sum(expected) for p in expected), strict=True))
    assert set(counts) == {c for c, share in shares.items() if share}
    assert chi_square(counts, shares, draws) < 23.5


def test_one_symbol_after_the_other_is_independent() -> None:
    words, draws = vocabulary("ab"), 20_000
    written = "".join(texts(memoryless([0.5, 0.5], words), words, SamplingConfig(length=draws // 50, n=50, temperature=1, seed=3)))
    pairs = Counter(written[i : i + 2] for i in range(0, len(written), 2))
    assert chi_square(pairs, dict.fromkeys(["aa", "ab", "ba", "bb"], 0.25), draws // 2) < 21.1  # 3 degrees, 1 in 10,000


def test_temperature_zero_takes_the_likeliest_and_of_equals_the_first() -> None:
    words = vocabulary("abcde")
    assert text(memoryless([0.1, 0.2, 0.3, 0.25, 0.15], words), words, temperature=0, length=50) == "c" * 50
    assert text(memoryless([0.1, 0.3, 0.3, 0.3, 0], words), words, temperature=0, length=50) == "b" * 50
    model = wild(vocabulary())
    expected, state, last = "", model.zero_state(1), vocabulary().encode("a")
    for _ in range(40):
        logits, state, _ = model.forward(last[None], state)
        last = np.array([int(logits[0, 0].argmax())])
        expected += vocabulary().decode(last)
    assert text(model, vocabulary(), prompt="a", temperature=0, length=40, top_p=0.1, min_p=0.5, top_k=3) == expected


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-9, 100])
def test_extreme_temperatures_draw_without_a_warning(temperature: float) -> None:
    words = vocabulary("abcde")
    written = text(memoryless(FIVE, words), words, temperature=temperature, length=200)
    assert set(written) == ({"a"} if temperature < 1 else set("abcde"))


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_text_i_of_n_uses_the_seed_plus_i() -> None:
    words = vocabulary()
    config = SamplingConfig(prompt="abc", length=60, n=5, seed=100, temperature=1.5)
    several = texts(wild(words), words, config)
    assert several == [texts(wild(words), words, dataclasses.replace(config, n=1, seed=100 + i))[0] for i in range(5)]
    assert len(set(several)) == 5
    largest = dataclasses.replace(config, seed=2**63 - 1, n=3)
    assert len(set(texts(wild(words), words, largest))) == 3


def test_the_same_seed_gives_the_same_text_and_another_another() -> None:
    words = vocabulary()
    assert text(wild(words), words, length=50) == text(wild(words), words, length=50)
    assert text(wild(words), words, length=50) != text(wild(words), words, length=50, seed=2)


def test_a_request_needs_a_seed() -> None:
    words = vocabulary()
    with pytest.raises(InvalidSetting, match="seed is None"):
        Sampler(network_for(wild(words)), words).add(SamplingConfig())


def test_what_is_told_of_a_prompt() -> None:
    words = vocabulary()
    sampler = Sampler(network_for(wild(words)), words, max_prompt=4)
    assert sampler.add(SamplingConfig(prompt="aÉ中", seed=0)) == (
        1,
        3,
        False,
        [Substitution("É", "e", 1), Substitution("中", None, 1)],
        None,
    )
    assert sampler.add(SamplingConfig(prompt="中abcd", seed=0)) == (2, 4, True, [], None)
    assert sampler.add(SamplingConfig(seed=0)) == (3, 1, False, [], None)
    assert sampler.active == 3


@pytest.mark.parametrize("length", [0, 1, 2, 100])
def test_length_counts_symbols(length: int) -> None:
    words = vocabulary()
    pieces = list(generate(network_for(wild(words)), words, SamplingConfig(length=length, seed=0, n=2)))
    for choice in range(2):
        mine = [piece for piece in pieces if piece.choice == choice]
        assert len("".join(piece.text for piece in mine)) == length
        assert [piece.finish_reason for piece in mine] == [None] * (len(mine) - 1) + ["length"]
        assert mine[-1].symbols == length


def test_an_alphabet_of_one_symbol() -> None:
    words = vocabulary("a")
    assert text(wild(words), words, length=5) == "aaaaa"
    assert text(wild(words), words, length=5, temperature=0, top_k=1, top_p=0.1, min_p=1) == "aaaaa"


def test_an_empty_prompt_is_a_line_end_that_was_read() -> None:
    words = vocabulary()
    assert text(wild(words), words, length=40) == text(wild(words), words, length=40, prompt="\n")
    words = vocabulary("abc")
    assert text(wild(words), words, length=40) == text(wild(words), words, length=40, prompt="中")


@pytest.mark.parametrize("cell", CELLS)
def test_a_long_prompt_is_read_in_slices_as_if_in_one_go(cell: str) -> None:
    words = vocabulary()
    model, rng = wild(words, cell, scale=1.0), random.Random(0)
    for length in (PREFILL_CHUNK - 1, PREFILL_CHUNK, PREFILL_CHUNK + 1, PREFILL_CHUNK + 2, 3 * PREFILL_CHUNK + 5):
        prompt = "".join(rng.choice("abcdefgh ") for _ in range(length))
        state = model.zero_state(1)
        logits, _, _ = model.forward(words.encode(prompt)[:, None], state)
        sampler = Sampler(network_for(model), words)
        sampler.add(SamplingConfig(prompt=prompt, seed=0, temperature=0, length=1))
        steps = 0
        pieces: list[Piece] = []
        while sampler.active:
            pieces += sampler.step()
            steps += 1
        assert steps == max(1, math.ceil((length - 1) / PREFILL_CHUNK))
        assert "".join(piece.text for piece in pieces) == words.decode(np.array([int(logits[-1, 0].argmax())]))


def test_only_the_end_of_a_very_long_prompt_is_read() -> None:
    words = vocabulary()
    model, tail = wild(words), "gfedcba" * 5
    expected = text(model, words, prompt="a" * MAX_PROMPT + tail, length=30)
    assert expected == text(model, words, prompt="b" + "a" * MAX_PROMPT + tail, length=30)
    sampler = Sampler(network_for(model), words, max_prompt=len(tail))
    sampler.add(SamplingConfig(prompt="abc" * 1000 + tail, length=30, seed=1))
    written = ""
    while sampler.active:
        written += "".join(piece.text for piece in sampler.step())
    assert written == text(model, words, prompt=tail, length=30)


# ── the same text in any company ──────────────────────────────────────────────────────────────────────────────────────

CORPUS = "가각힣 abc é 中\n\U0001f600 ñ 나다라 e\u0301"


def requests(rng: random.Random, count: int) -> list[SamplingConfig]:
    return [
        SamplingConfig(
            prompt="".join(rng.choice(CORPUS + "Zß") for _ in range(rng.choice([0, 1, 5, 40, PREFILL_CHUNK + 3]))),
            length=rng.choice([0, 1, 7, 30]),
            temperature=rng.choice([0, 0.7, 1.5]),
            top_k=rng.choice([0, 3]),
            top_p=rng.choice([1, 0.8]),
            min_p=rng.choice([0, 0.1]),
            stop=tuple(rng.sample(["a", "가", " a", "é"], rng.choice([0, 0, 2]))),
            n=rng.choice([1, 1, 2, 3]),
            seed=rng.randrange(2**63),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("cell", "level", "normalization", "settings"),
    [
        ("lstm", "char", "nfc", {}),
        ("gru", "char", "nfd", {"num_layers": 2}),
        ("rnn", "byte", "nfc", {"embedding_size": 5}),
        ("lstm", "byte", "nfd", {"num_layers": 2, "embedding_size": 7, "hidden_size": 33}),
        ("gru", "char", "none", {"hidden_size": 70}),
    ],
)
def test_a_text_is_the_same_alone_and_in_company(cell: str, level: str, normalization: str, settings: dict[str, Any]) -> None:
    """Up to 63 others join and leave at any moment, some because they are cancelled."""
    words = vocabulary(CORPUS, level, normalization)
    model = wild(words, cell, **settings)
    rng = random.Random(f"{cell}{level}")
    waiting = requests(rng, 40)
    alone = [list(generate(network_for(model), words, config)) for config in waiting]

    sampler, most, cancelled = Sampler(network_for(model), words), 0, set()
    company: dict[int, list[Piece]] = {}
    number: dict[int, int] = {}
    while sampler.active or len(number) < len(waiting):
        while len(number) < len(waiting) and rng.random() < 0.7 and sampler.active + waiting[len(number)].n <= 64:
            index = len(number)
            number[sampler.add(waiting[index]).request] = index
        for piece in sampler.step():
            company.setdefault(number[piece.request], []).append(piece)
        most = max(most, sampler.active)
        if rng.random() < 0.05:
            victim = rng.choice(list(number))
            sampler.cancel(victim)
            cancelled.add(number[victim])
    assert most > 8
    for index, expected in enumerate(alone):
        for choice in range(waiting[index].n):
            mine = [piece for piece in company.get(index, []) if piece.choice == choice]
            theirs = [piece for piece in expected if piece.choice == choice]
            written, whole = ("".join(piece.text for piece in pieces) for pieces in (mine, theirs))
            if index in cancelled:
                assert whole.startswith(written)
            else:
                assert written == whole
                assert mine[-1][3:] == theirs[-1][3:], "symbols drawn, and why it ended"
                assert [piece.finish_reason for piece in mine[:-1]] == [None] * (len(mine) - 1)


def test_a_batch_of_sixty_four_is_sixty_four_texts() -> None:
    words = vocabulary()
    model = wild(words, hidden_size=64)
    config = SamplingConfig(prompt="abc", length=40, n=64, seed=9, temperature=1)
    assert texts(model, words, config) == [text(model, words, prompt="abc", length=40, seed=9 + i, temperature=1) for i in range(64)]


def test_a_text_is_the_same_even_where_the_smallest_difference_would_grow_into_another() -> None:
    """A chaotic network: a product that rounds differently in company is a different text within a few dozen symbols."""
    words = vocabulary()
    model = LanguageModel.new(ModelConfig(cell="rnn", hidden_size=48), words.size, seed=5)
    model.parameters["layers.0.Wx"][:] *= 0.1
    model.parameters["layers.0.Wh"][:] *= 3
    config = SamplingConfig(prompt="abc", length=150, n=64, seed=9, temperature=1)
    together = texts(model, words, config)
    for i in range(0, 64, 9):
        assert together[i] == texts(model, words, dataclasses.replace(config, n=1, seed=9 + i))[0]

    nudged = LanguageModel(model.config, words.size, model.parameters.astype(np.float32))
    nudged.parameters["layers.0.Wh"][0, 0] = np.nextafter(nudged.parameters["layers.0.Wh"][0, 0], np.float32(9))
    assert texts(nudged, words, config) != together, "chaotic enough"


def test_fewer_symbols_are_drawn_at_once_at_first_and_where_they_take_long_or_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    words = vocabulary()
    model = wild(words)

    def second(n: int = 1, stop: tuple[str, ...] = ()) -> int:
        pieces = [
            piece for piece in generate(network_for(model), words, SamplingConfig(length=100, seed=1, n=n, stop=stop)) if not piece.choice
        ]
        assert pieces[0].symbols == MIN_BURST
        return pieces[1].symbols - pieces[0].symbols

    assert second() == MAX_BURST
    assert second(stop=("never there",)) == MIN_BURST
    monkeypatch.setattr("model.sampling.BURST_WORK", model.parameters.flat.size * 20)
    assert (second(), second(n=2), second(n=64)) == (20, 10, MIN_BURST)


def test_a_cancelled_request_is_forgotten_at_any_stage() -> None:
    words = vocabulary()
    sampler = Sampler(network_for(wild(words)), words)
    reading = sampler.add(SamplingConfig(prompt="ab" * PREFILL_CHUNK, seed=0)).request
    waiting = sampler.add(SamplingConfig(seed=0)).request
    sampler.step()
    sampler.cancel(reading)
    assert sampler.active == 1
    sampler.step()
    sampler.cancel(waiting)
    sampler.cancel(waiting)
    sampler.cancel(999)
    assert sampler.active == 0
    assert sampler.step() == []


# ── whole characters ──────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = [(level, normalization) for level in ("char", "byte") for normalization in ("nfc", "nfd", "none")]


@pytest.mark.parametrize(("level", "normalization"), KINDS)
def test_what_is_written_is_whole_known_valid_and_composed(level: str, normalization: str) -> None:
    words = vocabulary("가각힣 ab é\n\U0001f600", level, normalization)
    model = memoryless(np.full(words.size, 1 / words.size).tolist(), words)
    known = set(words.symbols)
    for seed, length in enumerate([1, 2, 3, 4, 5, 50, 51, 52]):
        last = last_piece(model, words, prompt="中", seed=seed, length=length, temperature=1)
        written = text(model, words, prompt="中", seed=seed, length=length, temperature=1)
        assert "\ufffd" not in written
        assert normalization == "none" or normalize(written, "nfc") == written
        # U+FFFD would be the unknown symbol; every symbol that was drawn is one of the alphabet.
        form = normalize(written, normalization)
        if level == "byte":
            assert length <= last.symbols <= length + 3
            written.encode("utf-8")
        else:
            assert length <= last.symbols <= length + FINISHING
            assert {ord(c) for c in form} <= known or normalization != "nfd"


def test_byte_by_byte_a_character_that_would_be_cut_is_finished() -> None:
    words = vocabulary("가", "byte", "none")  # EA B0 80
    model = memoryless([1 / 3] * 3, words)
    last = last_piece(model, words, length=1)
    assert (last.symbols, last.finish_reason) == (3, "length")
    assert len(text(model, words, length=4)) == 2


def test_jamo_by_jamo_a_syllable_is_not_cut_after_its_consonant() -> None:
    words = vocabulary("가", normalization="nfd")
    model = memoryless([0.5, 0.5], words)
    for seed in range(20):
        written = text(model, words, length=1, seed=seed, temperature=1)
        assert written != "\u1100" or last_piece(model, words, length=1, seed=seed, temperature=1).symbols == 1 + FINISHING
    only_consonants = memoryless([1, 0], words)
    last = last_piece(only_consonants, words, length=3)
    assert (last.symbols, last.finish_reason) == (3 + FINISHING, "length")


# ── stop strings ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("level", "normalization"), KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_text_ends_before_the_first_stop_string(level: str, normalization: str, seed: int) -> None:
    words = vocabulary("가각a bé", level, normalization)
    model = memoryless(np.full(words.size, 1 / words.size).tolist(), words)
    whole = text(model, words, length=300, seed=seed, temperature=1)
    for stop in ("a", " ", "가", "é", "a b", "zzz"):
        pieces = list(generate(network_for(model), words, SamplingConfig(stop=(stop, "never there"), length=300, seed=seed, temperature=1)))
        written = "".join(piece.text for piece in pieces)
        if stop in whole:
            assert (written, pieces[-1].finish_reason) == (whole[: whole.index(stop)], "stop")
        else:
            assert (written, pieces[-1].finish_reason) == (whole, "length")


def test_a_stop_string_at_the_very_end_counts() -> None:
    words = vocabulary("ab")
    whole = text(wild(words), words, length=20, temperature=1)
    for cut in range(1, 20):
        last = last_piece(wild(words), words, length=20, temperature=1, stop=(whole[-cut:],))
        first = whole.index(whole[-cut:])
        assert (last.finish_reason, first <= 20 - cut) == ("stop", True)
    decomposed = vocabulary("e\u0301", normalization="nfd")
    model = wild(decomposed)
    for seed in range(10):
        whole = text(model, decomposed, length=9, seed=seed, temperature=1)
        last = last_piece(model, decomposed, length=9, seed=seed, temperature=1, stop=(whole,))
        assert (last.text, last.finish_reason) == ("", "stop")


def test_a_decomposed_stop_string_is_found_in_composed_text() -> None:
    words = vocabulary("é")
    assert last_piece(memoryless([1], words), words, stop=("e\u0301",)).finish_reason == "stop"
    words = vocabulary("e\u0301", normalization="none")
    assert last_piece(memoryless([0.5, 0.5], words), words, stop=("é",), length=30).finish_reason == "length"


def test_a_very_long_stop_string_is_prepared_once_for_all_texts() -> None:
    words = vocabulary("ab")
    config = SamplingConfig(stop=("ab" * 50_000 + "a",), n=200, length=1, seed=0)
    assert all(len(written) == 1 for written in texts(memoryless([0.5, 0.5], words), words, config))


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("level", ["char", "byte"])
def test_a_model_that_overflows_still_writes_valid_text(bad: float, level: str) -> None:
    words = vocabulary("ab가", level)
    model = memoryless(np.full(words.size, 1 / words.size).tolist(), words)
    model.parameters["by"][:] = bad
    assert "\ufffd" not in text(model, words, length=20)
    model.parameters["by"][:] = 0
    model.parameters["by"][1] = bad
    written = text(model, words, length=200)
    if bad == np.inf:
        assert written == "b" * 200
    else:
        assert "b" not in written
        assert "a" in written


def test_what_overflows_in_one_text_does_not_reach_another() -> None:
    """Finite weights whose sums are not: reading b is too much for the hidden state."""
    words = vocabulary("ab")
    model = LanguageModel.new(ModelConfig(cell="rnn", activation="identity", hidden_size=2), words.size)
    model.parameters["layers.0.Wx"][1] = 3e38
    model.parameters["layers.0.Wh"][:] = 3e38
    model.parameters["by"][:] = [0, -1e6]
    both = Sampler(network_for(model), words)
    sane, other = (
        both.add(SamplingConfig(prompt="a", seed=0, length=30)).request,
        both.add(SamplingConfig(prompt="bbb", seed=0, length=30)).request,
    )
    written = {sane: "", other: ""}
    while both.active:
        for piece in both.step():
            written[piece.request] += piece.text
    assert written[sane] == text(model, words, prompt="a", seed=0, length=30)
    assert len(written[other]) == 30


@pytest.mark.parametrize(("level", "normalization"), [("char", "nfd"), ("byte", "nfc")])
def test_memory_does_not_grow_with_the_length(level: str, normalization: str) -> None:
    words = vocabulary("e\u0301\u0323가 b", level, normalization)
    model = memoryless(np.full(words.size, 1 / words.size).tolist(), words)

    def most(length: int) -> int:
        config = SamplingConfig(length=length, seed=0, temperature=1, stop=("never",))
        tracemalloc.start()
        for _ in generate(network_for(model), words, config):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(100)
    assert most(3_000) < most(500) + 5_000
