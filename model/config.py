"""Defines every setting of a model, of its training and of sampling: options, API and documentation are made from these tables.

Three frozen dataclasses, grouped as a user thinks. Each field carries its meaning, unit and range (`model.settings`); a value out of
range raises `InvalidSetting` when the object is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.errors import InvalidSetting
from model.settings import SchedulePairs, Settings, setting

CELLS = ("lstm", "gru", "rnn")
ACTIVATIONS = ("tanh", "relu", "identity")
LEVELS = ("char", "byte")
NORMALIZATIONS = ("nfc", "nfd", "none")
OPTIMIZERS = ("adam", "rmsprop", "adagrad", "sgd")
SCHEDULES = ("cosine", "constant", "exponential")
LENGTH, RECORD_LENGTH = 500, 10_000  # symbols that a text, or a record, has at most by default


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """The network and its alphabet: what a checkpoint needs to be read again."""

    # fmt: off
    cell: str = setting("lstm", "the recurrent cell", choices=CELLS)
    activation: str = setting("tanh", "the rnn cell's activation (gru and lstm have fixed ones)", choices=ACTIVATIONS)
    hidden_size: int = setting(256, "hidden units in each layer", unit="units", at_least=1, at_most=16_384)
    num_layers: int = setting(1, "recurrent layers, one on top of the other", unit="layers", at_least=1, at_most=64)
    embedding_size: int = setting(0, "size of the embedding of a symbol; 0 feeds symbols to the first layer directly",
                                  unit="units", at_least=0, at_most=16_384)
    dropout: float = setting(0.0, "share of units dropped between layers and before the output while training",
                             at_least=0, below=1, hint="0 drops nothing")
    level: str = setting("char", "what a symbol is: a Unicode code point or a byte of UTF-8", choices=LEVELS)
    normalization: str = setting("nfc", "Unicode normalisation; nfd takes Korean syllables and accents apart", choices=NORMALIZATIONS)
    min_count: int | None = setting(None, "rarer symbols are left out of the alphabet; by default once per million characters",
                                    unit="occurrences", at_least=1, at_most=1_000_000_000)
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation != "tanh" and self.cell != "rnn":
            raise InvalidSetting("activation", self.activation, f"tanh for the cell {self.cell}", "only rnn has a choice")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Settings):
    """How a model is trained. At most one of `epochs`, `steps` and `budget` is set."""

    # fmt: off
    epochs: float | None = setting(None, "how long to train, in passes over the training part", unit="epochs", above=0, at_most=1_000_000)
    steps: int | None = setting(None, "how long to train, in updates of the weights", unit="steps", at_least=1, at_most=1_000_000_000)
    budget: float | None = setting(None, "how long to train, in time (90s, 3m, 1h)", unit="seconds", above=0, at_most=31_536_000)
    max_epochs: float | None = setting(None, "passes over the training part after which a run with a budget ends, even if time is left", unit="epochs", above=0, at_most=1_000_000)
    batch_size: int = setting(32, "streams of text that are read in parallel", unit="streams", at_least=1, at_most=65_536)
    seq_length: int = setting(64, "symbols through which a gradient flows back before it is cut", unit="symbols", at_least=1, at_most=65_536)
    reset_rate: float = setting(0.02, "share of streams whose state is set to zero before a chunk, so that the model learns to begin",
                                at_least=0, at_most=1)
    optimizer: str = setting("adam", "the rule that updates the weights", choices=OPTIMIZERS)
    learning_rate: float = setting(0.01, "the step size at its highest", above=0, at_most=1000)
    input_rate: float = setting(3.0, "multiple of learning_rate for the embedding, or without one for layer 0's input weights",
                                unit="times learning_rate", at_least=0, at_most=1000, hint="0 leaves them as they are")
    output_rate: float = setting(2.0, "multiple of learning_rate for the output weights", unit="times learning_rate", at_least=0, at_most=1000,
                                 hint="0 leaves them as they are")
    schedule: str = setting("cosine", "how the learning rate falls over the run", choices=SCHEDULES)
    warmup: float = setting(0.02, "share of the run over which the learning rate rises, from a tenth of it", at_least=0, below=1)
    final_learning_rate: float = setting(0.01, "share of learning_rate that is left at the end of the schedule", above=0, at_most=1)
    beta1: float = setting(0.9, "adam: memory of the mean gradient", at_least=0, below=1)
    beta2: float = setting(0.99, "adam and rmsprop: memory of the squared gradient", at_least=0, below=1)
    momentum: float = setting(0.9, "sgd: memory of the last updates", at_least=0, below=1)
    epsilon: float = setting(1e-8, "adam, rmsprop and adagrad: added to the root of the squared gradient", at_least=1e-16, at_most=1)
    weight_decay: float = setting(0.0, "share of each matrix's weights taken off per step and unit of its learning rate (decoupled, as in AdamW)", at_least=0, at_most=100)
    clip_norm: float = setting(1.0, "a longer gradient is shortened to this global norm; 0 never", at_least=0, at_most=1e9)
    clip_value: float = setting(0.0, "each entry of the gradient is cut to this size; 0 never", at_least=0, at_most=1e9)
    validation_fraction: float = setting(0.1, "share at the end of the text that is kept for validation", above=0, at_most=0.5)
    validation_size: int = setting(200_000, "symbols of the validation part that are read at each validation; 0 reads all", unit="symbols", at_least=0, at_most=10**12)
    validation_interval: int = setting(0, "steps from one validation to the next; 0 chooses", unit="steps", at_least=0, at_most=10**12)
    patience: int = setting(0, "validations without a better loss after which the run ends early; 0 never", unit="validations", at_least=0, at_most=10**12)
    seed: int = setting(0, "seed of the initial weights, of dropout and of state resets", at_least=0, at_most=2**63 - 1)
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = [name for name in ("epochs", "steps", "budget") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise InvalidSetting(lengths[1], getattr(self, lengths[1]), f"left out if {lengths[0]} is given", "a run has one length")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How a text is sampled from a model. The order is: penalties, logit_bias, max_copy, temperature, top_k, top_p, min_p."""

    # fmt: off
    prompt: str = setting("", "text to continue; empty begins as after a line end")
    prompt_ids: tuple[int, ...] | None = setting(None, "the prompt as symbol ids, instead of prompt; ids outside the alphabet are read as the unknown symbol", option=False)
    length: int | None = setting(None, "symbols to write at most; by default 500, or 10,000 for each record", unit="symbols", at_least=0, at_most=1_000_000_000)
    min_length: int = setting(0, "symbols before which no stop string ends a text; shorter records are left out", unit="symbols", at_least=0, at_most=1_000_000_000)
    temperature: float | tuple[tuple[int, float], ...] = setting(0.8, "1 draws as the model learned, lower is safer, higher is wilder", at_least=0, at_most=100,
                                          hint="0 always takes the likeliest character", varies=True)
    top_k: int = setting(0, "draw only among the k likeliest symbols; 0 among all", at_least=0, at_most=2_000_000)
    top_p: float = setting(1.0, "draw only among the likeliest symbols that together reach this probability", at_least=0, at_most=1, hint="0 always takes the likeliest character")
    min_p: float = setting(0.0, "draw only among symbols at least this share as likely as the likeliest", at_least=0, at_most=1)
    repetition_penalty: float = setting(1.0, "above 1, symbols that the prompt or the text has already become less likely (CTRL's rule); 1 does nothing",
                                        above=0, at_most=100)
    presence_penalty: float = setting(0.0, "taken off the logit of each symbol that the text has already", at_least=-2, at_most=2)
    frequency_penalty: float = setting(0.0, "taken off the logit of a symbol for each time that the text has it", at_least=-2, at_most=2)
    logit_bias: Mapping[int, float] = setting({}, "added to the logits of symbols, by id; ids outside the alphabet do nothing",
                                              at_least=-100, at_most=100, option=False)
    stop: tuple[str, ...] = setting((), "end before any of these strings")
    max_copy: int | None = setting(None, "characters in a row that may be copied from the corpus, at most; if nothing else can follow, the text ends",
                                   unit="characters", at_least=1, at_most=1_000_000_000)
    logprobs: int | None = setting(None, "return the log-probability of each symbol, and this many of the likeliest symbols in its place",
                                   at_least=0, at_most=20, option=False)
    echo: bool = setting(False, "let the text begin with the prompt as it was read", option=False)
    seed: int | None = setting(None, "the same seed gives the same text; text i of n uses seed + i", at_least=0, at_most=2**63 - 1)
    n: int = setting(1, "texts to write", unit="texts", at_least=1, at_most=1024)
    records: int | None = setting(None, "whole records to write instead of a text, each of which begins with the prompt; the model must be one of records",
                                  unit="records", at_least=1, at_most=1_000_000)
    new: bool = setting(False, "leave out records that stand in the corpus")
    unique: bool = setting(False, "leave out records that were written before")
    valid: bool = setting(False, "leave out rows of CSV with another number of columns than in the corpus, and JSON lines with other keys")
    # fmt: on

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stop) > 16:
            raise InvalidSetting("stop", list(self.stop), "a list of at most 16 strings")
        if "" in self.stop:
            raise InvalidSetting("stop", list(self.stop), "made of strings that are not empty")
        for name in ("new", "unique", "valid"):
            if getattr(self, name) and self.records is None:
                raise InvalidSetting(name, True, "left out if records is not given", "it is about whole records")
        if self.records is not None and self.n > 1:
            raise InvalidSetting("n", self.n, "left out or 1 if records is given", "records is the number of texts")
        if self.records is not None and self.stop:
            raise InvalidSetting(
                "stop", list(self.stop), "left out if records is given", "a stop string would cut records short; each ends by itself"
            )
        if self.prompt and self.prompt_ids is not None:
            raise InvalidSetting("prompt_ids", list(self.prompt_ids), "left out if prompt is given", "a text continues one of them")

    @property
    def most_symbols(self) -> int:
        """`length`, or its default."""
        return self.length if self.length is not None else LENGTH if self.records is None else RECORD_LENGTH

    @property
    def texts(self) -> int:
        """How many texts are asked for, records or others."""
        return self.records or self.n

    @property
    def temperature_schedule(self) -> SchedulePairs:
        """The temperature as pairs, even if it is a single number."""
        return self.temperature if isinstance(self.temperature, tuple) else ((0, self.temperature),)
