"""Writes and reads checkpoints: a model as safetensors bytes, and separately the state that training needs to continue.

The model part alone is enough to sample. Its tensors have PyTorch's names and layout, so that

    torch.nn.LSTM(...).load_state_dict({k.removeprefix("rnn."): v for k, v in tensors.items() if k.startswith("rnn.")})

works: weights are transposed to (G*H, D), the LSTM's gates are reordered from i f o g to i f g o, and the recurrent biases, which
our cells do not have (but for the GRU's n), are zero. One metadata entry, `charloom`, holds JSON with the format number, the
configuration, the alphabet and facts such as the step. No code runs when a checkpoint is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.cells import CELLS
from model.config import ModelConfig
from model.errors import CheckpointError, DamagedCheckpoint, InvalidSetting, UnsupportedCheckpoint, listed, shown
from model.language_model import LanguageModel
from model.parameters import Parameters, shapes_of
from model.training import TrainingState
from model.vocabulary import Vocabulary

Array = NDArray[Any]

# The format that is written is the oldest in which no release misreads the checkpoint: 2 if its alphabet has a boundary, else 1.
FORMAT, RECORDS_FORMAT = 1, 2
LARGEST_HEADER = 2**21  # bytes; that of 65,536 symbols has a million at most. What is parsed of it takes up to thirty times as much memory
LONGEST_FACT = 100  # characters; the names of runs and corpora have 64 at most
FACTS = {"run": str, "step": int, "corpus": str, "validation_loss": float, "bits_per_char": float}  # that any release has written
PYTORCH_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "a"}


@dataclass(frozen=True)
class Checkpoint:
    """A model with its alphabet, and facts about it for the reader: those of `FACTS` that are known."""

    model: LanguageModel
    vocabulary: Vocabulary
    facts: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Returns safetensors bytes; equal checkpoints give equal bytes."""
        about = {
            "format": FORMAT if self.vocabulary.boundary is None else RECORDS_FORMAT,
            "config": self.model.config.to_dict(),
            "vocabulary": self.vocabulary.to_dict(),
            "facts": self.facts,
        }
        return save(to_pytorch(self.model), {"charloom": json.dumps(about, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes, origin: str = "the checkpoint") -> Checkpoint:
        """Reads a checkpoint and checks every name, shape, type and number.

        Raises `DamagedCheckpoint` if something is wrong, and `UnsupportedCheckpoint` for a newer format or another program's file.
        """
        about, tensors = _read(data, origin, FORMAT, RECORDS_FORMAT)
        try:
            config = ModelConfig.from_dict(about["config"])
            vocabulary = Vocabulary.from_dict(about["vocabulary"], origin)
            facts = _known(about.get("facts", {}))
        except InvalidSetting as error:
            raise DamagedCheckpoint(origin, str(error)) from None
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError):
            raise DamagedCheckpoint(origin, "its description is incomplete") from None
        return cls(from_pytorch(config, vocabulary.size, tensors, origin, vocabulary.boundary), vocabulary, facts)


def _known(facts: Any) -> dict[str, Any]:
    """Returns the facts that Charloom writes, if they are of their type and short; whatever else a file holds is not kept."""
    given = dict(facts)
    found = {name: given[name] for name, kind in FACTS.items() if type(given.get(name)) is kind}
    return {name: value for name, value in found.items() if not isinstance(value, str) or len(value) <= LONGEST_FACT}


def to_pytorch(model: LanguageModel) -> dict[str, Array]:
    """Returns the parameters under PyTorch's names and in its layout: embedding, rnn (nn.RNN, GRU or LSTM) and output (nn.Linear)."""
    p, H = model.parameters, model.config.hidden_size
    order = _order(model.config, H)
    tensors = {"embedding.weight": p["embedding"]} if model.config.embedding_size else {}
    for index in range(model.config.num_layers):
        layer = p.layer(index)
        tensors[f"rnn.weight_ih_l{index}"] = layer["Wx"].T[order]
        tensors[f"rnn.weight_hh_l{index}"] = layer["Wh"].T[order]
        tensors[f"rnn.bias_ih_l{index}"] = layer["b"][order]
        recurrent = np.zeros_like(layer["b"])
        if "bn" in layer:
            recurrent[2 * H :] = layer["bn"]
        tensors[f"rnn.bias_hh_l{index}"] = recurrent
    tensors |= {"output.weight": p["Wy"].T, "output.bias": p["by"]}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def from_pytorch(
    config: ModelConfig, V: int, tensors: Mapping[str, Array], origin: str = "the checkpoint", boundary: int | None = None
) -> LanguageModel:
    """Reverses `to_pytorch`; recurrent biases of other programs are added to ours.

    Raises `DamagedCheckpoint` if a name, a shape, a type or a number is wrong.
    """
    shapes = shapes_of(config, V)
    expected = _pytorch_shapes(config, V)
    if missing := sorted(expected.keys() - tensors.keys()):
        raise DamagedCheckpoint(origin, f"tensors are missing: {listed(missing)}")
    if foreign := sorted(tensors.keys() - expected.keys()):
        raise DamagedCheckpoint(origin, f"tensors are not of this model: {listed(foreign)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise DamagedCheckpoint(origin, f"tensor {name} has shape {tensor.shape}, its configuration needs {expected[name]}")
        if tensor.dtype not in (np.float32, np.float64, np.float16):
            raise DamagedCheckpoint(origin, f"tensor {name} has type {tensor.dtype}; float32 is expected")
    p = Parameters(shapes, np.zeros(sum(math.prod(shape) for shape in shapes.values()), np.float32))
    with np.errstate(all="ignore"):
        _fill(p, config, tensors)
    for name, view in p.items():
        if not np.isfinite(view).all():
            raise DamagedCheckpoint(origin, f"{name} holds numbers that are not finite")
    return LanguageModel(config, V, p, boundary)


def _fill(p: Parameters, config: ModelConfig, tensors: Mapping[str, Array]) -> None:
    H, back = config.hidden_size, np.argsort(_order(config, config.hidden_size))
    if config.embedding_size:
        p["embedding"][...] = tensors["embedding.weight"]
    for index in range(config.num_layers):
        layer = p.layer(index)
        layer["Wx"][...] = tensors[f"rnn.weight_ih_l{index}"][back].T
        layer["Wh"][...] = tensors[f"rnn.weight_hh_l{index}"][back].T
        recurrent = tensors[f"rnn.bias_hh_l{index}"].copy()
        if "bn" in layer:
            layer["bn"][...] = recurrent[2 * H :]
            recurrent[2 * H :] = 0
        bias = tensors[f"rnn.bias_ih_l{index}"]
        layer["b"][...] = np.where(recurrent == 0, bias, bias + recurrent)[back]  # not -0 + 0, which is 0: the bits must stay
    p["Wy"][...] = tensors["output.weight"].T
    p["by"][...] = tensors["output.bias"]


def _order(config: ModelConfig, H: int) -> NDArray[np.intp]:
    """Returns the index of our column for each of PyTorch's gate rows."""
    gates = CELLS[config.cell].gates
    return np.concatenate([np.arange(H) + gates.index(gate) * H for gate in PYTORCH_GATES[config.cell]])


def _pytorch_shapes(config: ModelConfig, V: int) -> dict[str, tuple[int, ...]]:
    H, E = config.hidden_size, config.embedding_size
    rows = len(CELLS[config.cell].gates) * H
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (V, E)} if E else {}
    for index in range(config.num_layers):
        shapes[f"rnn.weight_ih_l{index}"] = (rows, H if index else E or V)
        shapes[f"rnn.weight_hh_l{index}"] = (rows, H)
        shapes[f"rnn.bias_ih_l{index}"] = shapes[f"rnn.bias_hh_l{index}"] = (rows,)
    return shapes | {"output.weight": (V, H), "output.bias": (V,)}


def pack_state(state: TrainingState) -> bytes:
    """Returns a training state as safetensors bytes."""
    numbers = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("hidden", "memory")}
    if not math.isfinite(state.best_loss):
        numbers["best_loss"] = None  # JSON has no infinity
    tensors = {"hidden": state.hidden} | {f"memory.{name}": vector for name, vector in state.memory.items()}
    return save(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        {"charloom": json.dumps({"format": FORMAT, "state": numbers}, sort_keys=True)},
    )


def unpack_state(data: bytes, origin: str = "the training state") -> TrainingState:
    """Reverses `pack_state`. Raises `DamagedCheckpoint` or `UnsupportedCheckpoint`."""
    about, tensors = _read(data, origin, FORMAT)
    numbers = about.get("state")
    kinds = {f.name: type(f.default) for f in fields(TrainingState) if f.default is not MISSING}
    if isinstance(numbers, dict) and numbers:
        numbers = {"stale": 0} | numbers  # the first checkpoints do not have it
    if not isinstance(numbers, dict) or numbers.keys() != kinds.keys() or "hidden" not in tensors:
        raise DamagedCheckpoint(origin, "it is incomplete")
    if numbers["best_loss"] is None:
        numbers["best_loss"] = math.inf
    for name, value in numbers.items():
        if type(value) not in (int, kinds[name]) or not value >= 0:
            raise DamagedCheckpoint(origin, f"{name} is {shown(value)}")
    for name, tensor in tensors.items():
        if tensor.ndim != (4 if name == "hidden" else 1) or tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise DamagedCheckpoint(origin, f"{name} does not hold finite numbers in the right shape")
    hidden = tensors.pop("hidden")
    return TrainingState(hidden, {name.removeprefix("memory."): vector for name, vector in tensors.items()}, **numbers)


def _read(data: bytes, origin: str, *formats: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns the JSON under `charloom`, if it has one of the formats, and the tensors of safetensors bytes."""
    size = int.from_bytes(data[:8], "little")  # the layout of safetensors: a length, a JSON header, the numbers
    if LARGEST_HEADER < size <= len(data):
        raise DamagedCheckpoint(origin, f"its description has {size:,} bytes; one of Charloom has at most {LARGEST_HEADER:,}")
    try:
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    except KeyError as error:
        raise UnsupportedCheckpoint(origin, f"it holds numbers of a type that numpy lacks ({error.args[0]})") from None
    except (SafetensorError, ValueError) as error:
        raise DamagedCheckpoint(origin, f"it is not a safetensors file ({error})") from None
    if "charloom" not in metadata:
        raise UnsupportedCheckpoint(origin, "it is a safetensors file without Charloom's description of the model")
    try:
        about = json.loads(metadata["charloom"])
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise DamagedCheckpoint(origin, "its description is not JSON")
    if about.get("format") not in formats:
        found = shown(about.get("format"))
        known = f"format {' or '.join(map(str, formats))}"
        raise UnsupportedCheckpoint(origin, f"its format is {found}, this release reads {known}; update Charloom")
    return about, tensors
