"""A checkpoint gives the same bytes and the same bits back, is PyTorch's by name and layout, and damaged ones are refused."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from model.checkpoint import LARGEST_HEADER, RECORDS_FORMAT, Checkpoint, from_pytorch, pack_state, to_pytorch, unpack_state
from model.config import OPTIMIZERS, ModelConfig, TrainingConfig
from model.errors import CheckpointError, DamagedCheckpoint, UnsupportedCheckpoint
from model.language_model import LanguageModel
from model.optimizer import new_memory
from model.training import TrainingState
from model.vocabulary import SymbolCounts, Vocabulary, is_symbol

Tensors = dict[str, NDArray[Any]]

CONFIGS = [
    ModelConfig(cell="lstm", hidden_size=5, num_layers=2, dropout=0.25),
    ModelConfig(cell="lstm", hidden_size=4, embedding_size=3, level="byte", normalization="nfd"),
    ModelConfig(cell="gru", hidden_size=5, num_layers=3, embedding_size=6),
    ModelConfig(cell="gru", hidden_size=1),
    ModelConfig(cell="rnn", hidden_size=5, num_layers=2, activation="relu", normalization="none"),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.cell}-{c.num_layers}-{c.embedding_size}")


def checkpoint(config: ModelConfig = CONFIGS[0]) -> Checkpoint:
    words = Vocabulary.build(SymbolCounts(config.level, config.normalization).add(["héllo w가\n"]))
    model = LanguageModel.new(config, words.size)
    rng = np.random.default_rng(0)
    model.parameters.flat[:] = rng.standard_normal(model.parameters.flat.shape)
    for view in model.parameters.values():  # what arithmetic could change without anybody seeing it
        view.flat[0] = -0.0
        view.flat[-1] = 1e-45
    return Checkpoint(model, words, {"step": 12, "run": "é", "validation_loss": 1.5})


def state(rule: str = "adam") -> TrainingState:
    model = checkpoint().model
    rng = np.random.default_rng(1)
    memory = {
        name: rng.standard_normal(part.shape).astype(part.dtype)
        for name, part in new_memory(TrainingConfig(optimizer=rule), model.parameters.flat).items()
    }
    hidden = rng.standard_normal((2, 2, 3, 5)).astype(np.float32)
    return TrainingState(hidden, memory, 5, 1, 2, 3, 9, 0.1 + 0.2, 1 / 3, 4)


# ── there and back ────────────────────────────────────────────────────────────────────────────────────────────────────


@each_config
def test_every_bit_comes_back(config: ModelConfig) -> None:
    before = checkpoint(config)
    data = before.to_bytes()
    after = Checkpoint.from_bytes(data)
    assert after.model.parameters.flat.tobytes() == before.model.parameters.flat.tobytes()
    assert (after.model.config, after.vocabulary, after.facts) == (before.model.config, before.vocabulary, before.facts)
    assert after.to_bytes() == data == checkpoint(config).to_bytes()


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_every_bit_of_a_training_state_comes_back(rule: str) -> None:
    before = state(rule)
    after = unpack_state(pack_state(before))
    assert vars(after).keys() == vars(before).keys()
    for name, value in vars(before).items():
        if name == "hidden":
            assert (after.hidden.shape, after.hidden.tobytes()) == (value.shape, value.tobytes())
        elif name == "memory":
            assert {key: part.tobytes() for key, part in after.memory.items()} == {key: part.tobytes() for key, part in value.items()}
        else:
            assert (type(getattr(after, name)), getattr(after, name)) == (type(value), value)
    assert pack_state(after) == pack_state(before)
    after.hidden[:] = 0  # training writes to it
    after.memory[next(iter(after.memory))][:] = 0


def test_a_run_without_a_validation_so_far_has_an_infinite_best_loss() -> None:
    fresh = state()
    fresh.best_loss = math.inf
    assert unpack_state(pack_state(fresh)).best_loss == math.inf


def test_a_hidden_state_that_is_a_view_is_kept_in_its_order() -> None:
    strided = state()
    strided.hidden = np.asfortranarray(strided.hidden)[:, :, ::-1]
    assert unpack_state(pack_state(strided)).hidden.tolist() == strided.hidden.tolist()


# ── PyTorch's names and layout ────────────────────────────────────────────────────────────────────────────────────────


def sigmoid(a: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-a))


def as_documented(tensors: Tensors, config: ModelConfig, ids: list[int]) -> NDArray[Any]:
    """The logits of the last symbol, by the formulas of PyTorch's documentation of LSTM, GRU and RNN, with its names."""
    t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    L, H, V = config.num_layers, config.hidden_size, len(t["output.bias"])
    h, c = np.zeros((L, H)), np.zeros((L, H))
    for index in ids:
        x = t["embedding.weight"][index] if config.embedding_size else np.eye(V)[index]
        for k in range(L):
            input_part = t[f"rnn.weight_ih_l{k}"] @ x + t[f"rnn.bias_ih_l{k}"]
            hidden_part = t[f"rnn.weight_hh_l{k}"] @ h[k] + t[f"rnn.bias_hh_l{k}"]
            if config.cell == "lstm":  # weight_ih_l[k]: (W_ii|W_if|W_ig|W_io)
                i, f, g, o = np.split(input_part + hidden_part, 4)
                c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
                h[k] = sigmoid(o) * np.tanh(c[k])
            elif config.cell == "gru":  # (W_ir|W_iz|W_in)
                (ir, iz, in_), (hr, hz, hn) = np.split(input_part, 3), np.split(hidden_part, 3)
                z = sigmoid(iz + hz)
                h[k] = (1 - z) * np.tanh(in_ + sigmoid(ir + hr) * hn) + z * h[k]
            else:
                h[k] = np.maximum(input_part + hidden_part, 0) if config.activation == "relu" else np.tanh(input_part + hidden_part)
            x = h[k]
    return t["output.weight"] @ x + t["output.bias"]


@each_config
def test_the_stored_tensors_are_what_pytorch_documents(config: ModelConfig) -> None:
    model = checkpoint(config).model
    tensors = load(checkpoint(config).to_bytes())
    V, H, E, rows = model.vocabulary_size, config.hidden_size, config.embedding_size, {"lstm": 4, "gru": 3, "rnn": 1}[config.cell]
    expected = {"output.weight": (V, H), "output.bias": (V,)} | ({"embedding.weight": (V, E)} if E else {})
    for k in range(config.num_layers):
        expected |= {f"rnn.weight_ih_l{k}": (rows * H, H if k else E or V), f"rnn.weight_hh_l{k}": (rows * H, H)}
        expected |= {f"rnn.bias_ih_l{k}": (rows * H,), f"rnn.bias_hh_l{k}": (rows * H,)}
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype("float32")}

    ids = [0, 2, 1, 3, 1]
    logits, _, _ = model.forward(np.array(ids)[:, None], model.zero_state(1))
    np.testing.assert_allclose(logits[-1, 0], as_documented(tensors, config, ids), rtol=0, atol=1e-5)


@each_config
def test_recurrent_biases_of_another_program_count(config: ModelConfig) -> None:
    tensors = to_pytorch(checkpoint(config).model)
    rng = np.random.default_rng(2)
    for name, tensor in tensors.items():
        tensors[name] = rng.standard_normal(tensor.shape).astype(np.float32)
    model = from_pytorch(config, len(tensors["output.bias"]), tensors)
    logits, _, _ = model.forward(np.array([[1], [0], [2]]), model.zero_state(1))
    np.testing.assert_allclose(logits[-1, 0], as_documented(tensors, config, [1, 0, 2]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_other_precisions_are_read(dtype: type) -> None:
    tensors = {name: tensor.astype(dtype) for name, tensor in to_pytorch(checkpoint().model).items()}
    model = from_pytorch(CONFIGS[0], 8, tensors)
    assert model.parameters.flat.dtype == np.float32
    np.testing.assert_allclose(model.parameters.flat, checkpoint().model.parameters.flat, rtol=1e-3, atol=1e-6)
    mixed = tensors | {"rnn.bias_hh_l0": tensors["rnn.bias_hh_l0"].astype(np.float64)}
    assert from_pytorch(CONFIGS[0], 8, mixed).parameters.flat.tobytes() == model.parameters.flat.tobytes()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed; its documented formulas were compared")
@each_config
def test_loads_into_pytorch_by_name(config: ModelConfig) -> None:
    import torch

    model = checkpoint(config).model
    tensors = {name: torch.from_numpy(tensor.copy()) for name, tensor in load(checkpoint(config).to_bytes()).items()}
    V, E = model.vocabulary_size, config.embedding_size
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[config.cell]
    more = {"nonlinearity": config.activation} if config.cell == "rnn" else {}
    rnn = kind(E or V, config.hidden_size, config.num_layers, **more)
    rnn.load_state_dict({name.removeprefix("rnn."): tensor for name, tensor in tensors.items() if name.startswith("rnn.")})
    ids = torch.tensor([0, 2, 1, 3, 1])
    x = tensors["embedding.weight"][ids] if E else torch.eye(V)[ids]
    expected = rnn(x)[0] @ tensors["output.weight"].T + tensors["output.bias"]
    logits, _, _ = model.forward(ids.numpy()[:, None], model.zero_state(1))
    np.testing.assert_allclose(logits[:, 0], expected.detach().numpy(), rtol=0, atol=1e-5)


# ── what is wrong is refused ──────────────────────────────────────────────────────────────────────────────────────────

GOOD = checkpoint().to_bytes()
GOOD_STATE = pack_state(state())


def taken_apart(data: bytes) -> tuple[dict[str, Any], Tensors]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["charloom"]), load(data)


def put_together(about: Any, tensors: Tensors) -> bytes:
    return save(tensors, {"charloom": about if isinstance(about, str) else json.dumps(about)})


def raw(header: str, numbers: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header.encode())) + header.encode() + numbers


def assert_refused(data: bytes, message: str, kind: type[CheckpointError] = DamagedCheckpoint) -> None:
    with pytest.raises(kind) as refused:
        Checkpoint.from_bytes(data, "my file")
    assert str(refused.value).startswith("my file ")
    assert message in str(refused.value)


def test_taken_apart_and_put_together_it_is_sound() -> None:
    assert put_together(*taken_apart(GOOD)) != b""
    assert Checkpoint.from_bytes(put_together(*taken_apart(GOOD))).to_bytes() == GOOD
    assert pack_state(unpack_state(put_together(*taken_apart(GOOD_STATE)))) == GOOD_STATE


def with_tensor(name: str, tensor: NDArray[Any]) -> bytes:
    about, tensors = taken_apart(GOOD)
    return put_together(about, tensors | {name: tensor})


def changed(value: float, dtype: Any = np.float32) -> NDArray[Any]:
    tensor = taken_apart(GOOD)[1]["output.bias"].astype(dtype)
    tensor[3] = value
    return tensor


def test_wrong_tensors_are_named() -> None:
    about, tensors = taken_apart(GOOD)
    bias = tensors["output.bias"]
    assert_refused(put_together(about, {k: v for k, v in tensors.items() if k != "rnn.bias_ih_l1"}), "tensors are missing: rnn.bias_ih_l1")
    assert_refused(with_tensor("rnn.weight_ih_l2", bias), "tensors are not of this model: rnn.weight_ih_l2")
    assert_refused(with_tensor("output.bias", bias[:-1]), "tensor output.bias has shape (7,), its configuration needs (8,)")
    assert_refused(with_tensor("output.weight", tensors["output.weight"].T.copy()), "tensor output.weight has shape (5, 8)")
    assert_refused(with_tensor("output.bias", bias.astype(np.int32)), "tensor output.bias has type int32")
    assert_refused(with_tensor("output.bias", bias.astype(bool)), "tensor output.bias has type bool")
    for value in (np.nan, np.inf, -np.inf):
        assert_refused(with_tensor("output.bias", changed(value)), "by holds numbers that are not finite")
    assert_refused(with_tensor("output.bias", changed(1e300, np.float64)), "by holds numbers that are not finite")
    large = np.full(20, 3e38, np.float32)
    both = put_together(about, tensors | {"rnn.bias_ih_l0": large, "rnn.bias_hh_l0": large})
    assert_refused(both, "layers.0.b holds numbers that are not finite")


def test_a_large_header_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    about, tensors = taken_apart(GOOD)
    large = json.dumps(about | {"facts": {"z": [[]] * (LARGEST_HEADER // 4)}})
    bombs = [put_together(large, tensors), save(tensors, {"charloom": json.dumps(about), "z": large})]
    bombs.append(save(tensors | {f"z{n:060}": np.zeros(0, np.float32) for n in range(20_000)}, {"charloom": json.dumps(about)}))
    monkeypatch.setattr("model.checkpoint.load", lambda data: pytest.fail("it is parsed"))
    monkeypatch.setattr("json.loads", lambda data: pytest.fail("it is parsed"))
    for bomb in bombs:
        assert_refused(bomb, "one of Charloom has at most 2,097,152")
    with pytest.raises(DamagedCheckpoint, match="its description has"):
        unpack_state(bombs[0])


@pytest.mark.parametrize("first", [0x20, 0x20000])
def test_the_largest_alphabet_of_a_text_fits(first: int) -> None:
    every = [code for code in range(first, 0x110000) if is_symbol(code, "char")][:65_536]
    words = Vocabulary("char", "nfc", every, "\U00020000" * 102)
    data = Checkpoint(LanguageModel.new(ModelConfig(cell="rnn", hidden_size=1), words.size), words, {"run": "\U00020000" * 64}).to_bytes()
    assert Checkpoint.from_bytes(data).vocabulary == words


def test_only_known_short_facts_are_kept() -> None:
    known = {"run": "r", "step": 7, "corpus": "tale", "validation_loss": 2.5, "bits_per_char": 3.5}
    about, tensors = taken_apart(GOOD)
    assert Checkpoint.from_bytes(put_together(about | {"facts": known | {"z": [[]], "note": "x"}}, tensors)).facts == known
    for wrong in ({"run": "r" * 101}, {"run": ["r"]}, {"step": True}, {"step": 1.0}, {"validation_loss": 1}):
        (name,) = wrong
        found = Checkpoint.from_bytes(put_together(about | {"facts": known | wrong}, tensors)).facts
        assert found == {key: value for key, value in known.items() if key != name}


@pytest.mark.parametrize("separator", ["", "x" * 103, "\ud800", "a\udfff", 7, ["\n"]])
def test_a_wrong_separator_is_refused(separator: Any) -> None:
    about, tensors = taken_apart(GOOD)
    words = about["vocabulary"] | {"separator": separator}
    assert_refused(
        put_together(about | {"format": 2, "vocabulary": words}, tensors), "the separator of its records is not a text of 1 to 102"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("config", None, "its description is incomplete"),
        ("config", [], "its description is incomplete"),
        ("config", [["cell", "lstm"]], "is not a known setting"),
        ("config", {"cell": "transformer"}, "cell is 'transformer'; it must be one of"),
        ("config", {"hidden_size": 10**4000}, "hidden_size is 1000"),
        ("config", {"hidden_size": 16_384, "num_layers": 64}, "tensors are missing: rnn.bias_hh_l10, "),
        ("config", {"window": 5}, "window is not a known setting"),
        ("vocabulary", None, "its alphabet is incomplete"),
        ("vocabulary", {"level": "char", "normalization": "nfc", "symbols": "ba"}, "its alphabet is not a list"),
        ("vocabulary", {"level": "char", "normalization": "nfc", "symbols": "ab"}, "tensor "),
        ("facts", 5, "its description is incomplete"),
        ("facts", "ab", "its description is incomplete"),
    ],
)
def test_a_wrong_description_is_refused(key: str, value: Any, message: str) -> None:
    about, tensors = taken_apart(GOOD)
    assert_refused(put_together(about | {key: value}, tensors), message)
    if key != "facts":
        del about[key]
        assert_refused(put_together(about, tensors), "its description is incomplete")


@pytest.mark.parametrize("about", ["", "{", "[]", "null", "5", "[" * 100_000, '{"a":' * 100_000])
def test_a_description_that_is_no_json_object_is_refused(about: str) -> None:
    assert_refused(put_together(about, taken_apart(GOOD)[1]), "its description is not JSON")


@pytest.mark.parametrize("number", [RECORDS_FORMAT + 1, 0, None, "1", [1], 10**5])
def test_another_format_is_not_guessed_at(number: Any) -> None:
    about, tensors = taken_apart(GOOD)
    data = put_together(about | {"format": number}, tensors)
    assert_refused(data, f"its format is {number!r}, this release reads format 1 or 2; update Charloom", UnsupportedCheckpoint)
    about, tensors = taken_apart(GOOD_STATE)
    with pytest.raises(UnsupportedCheckpoint):
        unpack_state(put_together(about | {"format": number}, tensors))


@pytest.mark.parametrize(
    "data", [save({"w": np.zeros(3)}), save({"w": np.zeros(3)}, {"format": "pt"}), raw('{"__metadata__":null}'), raw("{}")]
)
def test_a_file_of_another_program_is_told_from_a_damaged_one(data: bytes) -> None:
    assert_refused(data, "without Charloom's description of the model", UnsupportedCheckpoint)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F4"])
def test_numbers_that_numpy_lacks_are_refused(dtype: str) -> None:
    data = raw(
        f'{{"a":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,{ {"BF16": 8, "F4": 2}.get(dtype, 4) }]}}}}',
        b"\0" * {"BF16": 8, "F4": 2}.get(dtype, 4),
    )
    assert_refused(data, f"numbers of a type that numpy lacks ({dtype})", UnsupportedCheckpoint)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 7, b"\0" * 8, b"\xff" * 100, raw("[]"), raw("{"), b"PK\x03\x04" + b"\0" * 100, GOOD[:-1], GOOD + b"\0"]
)
def test_what_is_no_safetensors_file_is_refused(data: bytes) -> None:
    assert_refused(data, "it is not a safetensors file")


STATE_FACTS = taken_apart(GOOD_STATE)[0]["state"]
WRONG_STATES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *(({"state": value}, {}) for value in (None, 5, [], [1], [["step", 1]], "ab", {}, {"step": 1})),
    *(({"state": {k: v for k, v in STATE_FACTS.items() if k != name}}, {}) for name in STATE_FACTS if name != "stale"),
    ({"state": STATE_FACTS | {"momentum": 1}}, {}),
    ({"state": STATE_FACTS | {"hidden": 1}}, {}),
    *(({"state": STATE_FACTS | {"step": value}}, {}) for value in ("5", 5.0, -1, None, True, [5])),
    *(({"state": STATE_FACTS | {"best_loss": value}}, {}) for value in ("5", math.nan, -0.5, False, [])),
    ({}, {"hidden": None}),
    ({}, {"hidden": np.zeros(3, np.float32)}),
    ({}, {"hidden": np.zeros((1, 1, 2, 2), np.int64)}),
    ({}, {"hidden": np.full((1, 1, 2, 2), np.nan, np.float32)}),
    ({}, {"memory.m": np.zeros((2, 2), np.float32)}),
    ({}, {"memory.m": np.full(2, np.inf, np.float32)}),
]


def test_a_state_of_the_first_checkpoints_is_read() -> None:
    """They did not count how long there was no better loss."""
    about, tensors = taken_apart(GOOD_STATE)
    about["state"] = {name: value for name, value in about["state"].items() if name != "stale"}
    assert unpack_state(put_together(about, tensors)).stale == 0


@pytest.mark.parametrize(("facts", "tensors"), WRONG_STATES)
def test_a_wrong_training_state_is_refused(facts: dict[str, Any], tensors: dict[str, Any]) -> None:
    about, stored = taken_apart(GOOD_STATE)
    stored = {name: tensor for name, tensor in (stored | tensors).items() if tensor is not None}
    with pytest.raises(DamagedCheckpoint, match=r"^the state of run r is not a sound checkpoint: "):
        unpack_state(put_together(about | facts, stored), "the state of run r")


def test_a_model_is_no_training_state_and_the_other_way_round() -> None:
    with pytest.raises(DamagedCheckpoint):
        unpack_state(GOOD)
    with pytest.raises(DamagedCheckpoint):
        Checkpoint.from_bytes(GOOD_STATE)


def read_both(data: bytes) -> None:
    """Whatever the bytes are: read, or refused as a checkpoint, and no warning."""
    for read in (Checkpoint.from_bytes, unpack_state):
        with contextlib.suppress(CheckpointError):
            read(data)


HEADER = {GOOD: 8 + int.from_bytes(GOOD[:8], "little"), GOOD_STATE: 8 + int.from_bytes(GOOD_STATE[:8], "little")}


@given(st.sampled_from([GOOD, GOOD_STATE]), st.data())
def test_changed_or_shortened_bytes_are_read_or_refused(data: bytes, draw: st.DataObject) -> None:
    """Most changes are made to the header, where they matter."""
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 4))):
        place = draw.draw(st.one_of(st.integers(0, HEADER[data] - 1), st.integers(0, len(data) - 1)))
        damaged[place] = draw.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'"{}[],:0919.-en \\u')))
    if draw.draw(st.booleans()):
        del damaged[draw.draw(st.integers(0, len(data) - 1)) :]
    read_both(bytes(damaged))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    read_both(data)
    read_both(struct.pack("<Q", len(data)) + data)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


@given(st.sampled_from([GOOD, GOOD_STATE]), st.data())
def test_any_description_is_read_or_refused(data: bytes, draw: st.DataObject) -> None:
    """Valid JSON in which anything may stand anywhere."""
    about, tensors = taken_apart(data)
    inside = about
    for _ in range(draw.draw(st.integers(0, 1))):
        inside = inside[draw.draw(st.sampled_from([key for key, value in inside.items() if isinstance(value, dict)]))]
    inside[draw.draw(st.sampled_from(sorted(inside)))] = draw.draw(json_values)
    read_both(put_together(about, tensors))


def test_only_a_checkpoint_of_records_has_a_format_that_older_releases_refuse() -> None:
    words = Vocabulary.build(SymbolCounts("char", "nfc").add(["héllo w가\n"]), separator="\n\n")
    model = LanguageModel.new(CONFIGS[0], words.size)
    records = Checkpoint(model, words).to_bytes()
    assert taken_apart(records)[0]["format"] == 2
    assert taken_apart(checkpoint().to_bytes())[0]["format"] == 1
    after = Checkpoint.from_bytes(records)
    assert after.vocabulary == words
    assert after.model.vocabulary_size == after.vocabulary.boundary + 1  # type: ignore[operator]
    assert after.to_bytes() == records
