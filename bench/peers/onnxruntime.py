"""onnxruntime: one step of the network as an ONNX graph; the next symbol is chosen with numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.measuring import Run
from bench.networks import VOCABULARY, Network

Array = NDArray[Any]

OPSET = 17
OPERATORS: dict[str, tuple[str, str, dict[str, int]]] = {  # gates of PyTorch's tensors, those of the graph, its attributes
    "lstm": ("ifgo", "iofg", {}),
    "gru": ("rzn", "zrn", {"linear_before_reset": 1}),
}
KINDS = {"lstm": "hc", "gru": "h"}  # of state


def graph(network: Network, tensors: Mapping[str, Array]) -> bytes:
    """One step of an LSTM, ``ids (1, B), h0, c0, ... (1, B, H) -> logits (B, V), h0', c0', ...``, or of a GRU, without c."""
    H, L = network.hidden_size, network.num_layers
    theirs, order, attributes = OPERATORS[network.cell]
    kinds = KINDS[network.cell]

    def reordered(tensor: Array) -> Array:
        gates = dict(zip(theirs, np.split(tensor, len(theirs)), strict=True))
        return np.concatenate([gates[gate] for gate in order])

    constants = {"embedding": tensors["embedding.weight"], "Wy": tensors["output.weight"].T, "by": tensors["output.bias"]}
    constants["first"] = np.array([0])
    nodes = [helper.make_node("Gather", ["embedding", "ids"], ["x0"])]  # (1, B, H)
    for index in range(L):
        W, R, b, bR = (reordered(tensors[f"rnn.{name}_l{index}"]) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        constants |= {f"W{index}": W[None], f"R{index}": R[None], f"B{index}": np.concatenate([b, bR])[None]}
        given = [f"x{index}", f"W{index}", f"R{index}", f"B{index}", "", *(f"{kind}{index}" for kind in kinds)]
        written = ["", f"x{index + 1}", *(f"{kind}{index}'" for kind in kinds[1:])]
        nodes.append(helper.make_node(network.cell.upper(), given, written, hidden_size=H, **attributes))
        nodes.append(helper.make_node("Identity", [f"x{index + 1}"], [f"h{index}'"]))
    nodes += [
        helper.make_node("Squeeze", [f"x{L}", "first"], ["h"]),
        helper.make_node("MatMul", ["h", "Wy"], ["products"]),
        helper.make_node("Add", ["products", "by"], ["logits"]),
    ]
    states = [f"{state}{index}" for index in range(L) for state in kinds]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "B"])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "B", H]) for name in states]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", VOCABULARY])]
    outputs += [helper.make_tensor_value_info(f"{name}'", TensorProto.FLOAT, [1, "B", H]) for name in states]
    initial = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    made = helper.make_graph(nodes, str(network), inputs, outputs, initial)
    found: bytes = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8).SerializeToString()
    return found


class Session:
    """The graph in one thread, and the state of some texts."""

    def __init__(self, network: Network, tensors: Mapping[str, Array]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph(network, tensors), options, providers=["CPUExecutionProvider"])
        self._network = network
        self._names = [each.name for each in self._session.get_inputs()][1:]

    def zero_state(self, texts: int) -> list[Array]:
        """Before any text: the state (1, B, H), h and of the LSTM c, of each layer."""
        return [np.zeros((1, texts, self._network.hidden_size), np.float32) for _ in self._names]

    def step(self, ids: NDArray[np.int64], state: list[Array]) -> tuple[Array, list[Array]]:
        """Logits (B, V) after ids (1, B), and the new state."""
        found, *state = self._session.run(None, {"ids": ids, **dict(zip(self._names, state, strict=True))})
        return found, state


def logits(session: Session) -> Callable[[NDArray[np.int64]], Array]:
    """The logits (T, B, V) for ids (T, B), from a state of zeros."""

    def of(ids: NDArray[np.int64]) -> Array:
        state, rows = session.zero_state(ids.shape[1]), []
        for row in ids:
            each, state = session.step(row[None], state)
            rows.append(each)
        return np.stack(rows)

    return of


def sampling(session: Session, texts: int, temperature: float) -> Run:
    """Texts written side by side, one character of each a step."""
    rng = np.random.default_rng(0)

    def run(count: int) -> None:
        ids, state = np.zeros((1, texts), np.int64), session.zero_state(texts)
        for _ in range(count):
            scores, state = session.step(ids, state)
            scores /= temperature
            scores -= scores.max(axis=1, keepdims=True)
            sums = np.exp(scores, out=scores).cumsum(axis=1)
            draws = rng.random((texts, 1), np.float32) * sums[:, -1:]
            ids = (sums[:, :-1] <= draws).sum(axis=1)[None]

    return run
