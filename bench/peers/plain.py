"""A service as it is first written: Flask, PyTorch, and each request by itself. ``gunicorn bench.peers.plain:app``"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import torch
from flask import Flask, Response, request

from bench.networks import VOCABULARY, Network
from bench.peers import pytorch

FIRST = 32  # code point of the alphabet's first symbol
NETWORK = Network("lstm", 2, 256)

app = Flask(__name__)
_, tensors = NETWORK.weights()
parts = pytorch.module(NETWORK, tensors)
if "TORCH_THREADS" in os.environ:
    torch.set_num_threads(int(os.environ["TORCH_THREADS"]))


@app.post("/generate")
def generate() -> Response:
    """Text, an event for each character."""
    asked = request.get_json()
    return Response(events(asked["length"], asked["temperature"]), mimetype="text/event-stream")


def events(length: int, temperature: float) -> Iterator[str]:
    """A character is read, the next one drawn."""
    embedding, recurrent, output = parts["embedding"], parts["rnn"], parts["output"]
    ids, state = torch.tensor([[VOCABULARY - 1]]), None
    with torch.inference_mode():
        for _ in range(length):
            h, state = recurrent(embedding(ids), state)
            p = torch.softmax(output(h[0]) / temperature, dim=-1)
            ids = torch.multinomial(p, 1)
            yield f"data: {json.dumps({'text': chr(FIRST + int(ids))})}\n\n"
    yield "data: [DONE]\n\n"
