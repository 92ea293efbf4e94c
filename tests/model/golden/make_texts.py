"""Made texts.json beside it: the sha256 of texts, with their log-probabilities, that the kernels write with each setting of sampling.

    python -m tests.model.golden.make_texts > tests/model/golden/texts.json

A change of these numbers means that the same checkpoint, prompt, settings and seed give another text than before: the CHANGELOG must
then say so.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from model.backend import network_for
from model.config import ModelConfig, SamplingConfig
from model.kernels.library import library, shortcoming
from model.language_model import LanguageModel
from model.sampling import Sampler
from model.vocabulary import SymbolCounts, Vocabulary

TEXT = "the rain in spain, é 가각, héllo\n中文 and then the rain again"
MODELS: dict[str, ModelConfig] = {
    "rnn, bytes": ModelConfig(cell="rnn", hidden_size=21, level="byte", normalization="none"),
    "gru, characters": ModelConfig(cell="gru", hidden_size=13, num_layers=2, embedding_size=5),
    "lstm, characters": ModelConfig(cell="lstm", hidden_size=37),
    "lstm, bytes": ModelConfig(cell="lstm", hidden_size=16, num_layers=2, level="byte", embedding_size=7),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 1.0},
    "temperature 0": {"temperature": 0.0},
    "temperature that changes": {"temperature": ((0, 0.3), (20, 1.7), (50, 0.0), (70, 1.0))},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.05},
    "all filters": {"top_k": 9, "top_p": 0.9, "min_p": 0.02, "temperature": 1.3},
    "repetition_penalty": {"repetition_penalty": 1.4},
    "presence and frequency": {"presence_penalty": 0.7, "frequency_penalty": 0.3},
    "logit_bias": {"logit_bias": {3: 2.5, 5: -4.0}},
    "max_copy": {"max_copy": 3},
    "stop": {"stop": ("th", "e"), "min_length": 20},
    "log-probabilities": {"logprobs": 4, "echo": True},
}


class OwnText:
    """The text that must not be copied."""

    def followers(self, text: str) -> frozenset[str]:
        return frozenset(TEXT[at + len(text)] for at in range(len(TEXT) - len(text)) if TEXT.startswith(text, at))

    def known_suffix(self, text: str) -> int:
        return next(length for length in range(len(text), -1, -1) if text[len(text) - length :] in TEXT)


def texts_of(model_name: str, threads: int, settings: list[str]) -> dict[str, str]:
    """The sha256 of the texts with some of the settings, which are written together, by what `network_for` chooses."""
    config = MODELS[model_name]
    words = Vocabulary.build(SymbolCounts(config.level, config.normalization).add([TEXT]))
    model = LanguageModel.new(config, words.size, seed=11)
    Wy = model.parameters["Wy"]
    Wy *= 6  # as sure as a trained model
    sampler = Sampler(network_for(model, threads), words)
    requests = {}
    for setting in settings:
        asked = SamplingConfig(**{"prompt": "the ", "length": 90, "n": 2, "seed": 8, "temperature": 0.9, **SETTINGS[setting]})
        requests[sampler.add(asked, OwnText()).request] = setting
    pieces = []
    while sampler.active:
        pieces += sampler.step()
    found = {}
    for request, setting in requests.items():
        mine = [[piece for piece in pieces if (piece.request, piece.choice) == (request, choice)] for choice in (0, 1)]
        texts = [
            ("".join(each.text for each in text), text[-1].finish_reason, [one for each in text for one in each.logprobs]) for text in mine
        ]
        found[f"{model_name}, {setting}"] = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    return found


def texts_together(threads: int) -> dict[str, str]:
    """All cases; those of a model in one batch."""
    return {name: text for model in MODELS for name, text in texts_of(model, threads, list(SETTINGS)).items()}


def texts_alone() -> dict[str, str]:
    """All cases, one request after the other."""
    return {name: text for model in MODELS for setting in SETTINGS for name, text in texts_of(model, 1, [setting]).items()}


if __name__ == "__main__":
    if library() is None:
        sys.exit(shortcoming() or "numpy is chosen, but this table is of the kernels")
    sys.stdout.write(json.dumps(texts_alone(), indent=1) + "\n")
