"""What a client asks for in OpenAI's words and vLLM's, and what that means in ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from model.config import SamplingConfig
from model.errors import InvalidSetting
from service.api.fields import REQUIRED, Field, route_fields
from service.api.schema import Body, fields_of
from service.serving import Prompt

# OpenAI's and vLLM's name -> ours; what has no other name there is called the same.
NAMES = {"max_tokens": "length", "min_tokens": "min_length"}
OURS_ALONE = ("prompt", "prompt_ids", "stop")  # asked for in another form


def _fields() -> dict[str, Field]:
    theirs = {ours: name for name, ours in NAMES.items()}
    found = {
        theirs.get(name, name): field._replace(optional=True)
        for name, field in fields_of(SamplingConfig, "model", "stream", "novelty", without=OURS_ALONE).items()
    }
    top_k = found["top_k"].setting
    found["top_k"] = found["top_k"]._replace(setting=replace(top_k, at_least=-1, meaning=f"{top_k.meaning}, and so does -1"))
    options = Body("StreamOptions", route_fields("stream_options"))
    found["stream_options"] = Field(options, True, None, replace(found["stream"].setting, meaning="what a stream tells besides"))
    return route_fields("completion", "prompt") | found | route_fields("completion")


COMPLETION = Body("CompletionRequest", _fields())
TEMPERATURE = fields_of(SamplingConfig)["temperature"]
CHANGE = Body(
    "CompletionChange", {"temperature": TEMPERATURE._replace(default=REQUIRED, setting=replace(TEMPERATURE.setting, varies=False))}
)


class Asked(NamedTuple):
    """A request in our words."""

    model: str
    prompts: list[Prompt]
    config: SamplingConfig  # of each prompt; its n is how many texts are written
    n: int  # how many of them are answered
    logprobs: int | None  # that are answered
    stream: bool
    include_usage: bool
    novelty: bool


def read(data: bytes) -> Asked:
    """What a body asks for. Raises as `Body.parse`, and `InvalidSetting` where two fields contradict each other."""
    values = {name: value for name, value in COMPLETION.parse(data).items() if value is not None}
    prompts = prompts_of(values.pop("prompt", ""))
    model, stream, novelty = values.pop("model", "latest"), values.pop("stream", False), values.pop("novelty", False)
    include_usage = bool(values.pop("stream_options", {}).get("include_usage"))
    n, best_of, logprobs = values.get("n", 1), values.pop("best_of", 0), values.get("logprobs")
    if best_of > 1 and best_of < n:
        raise InvalidSetting("best_of", best_of, f"0, or at least n, which is {n}")
    if best_of > n:
        if stream:
            raise InvalidSetting("best_of", best_of, "0 or n where stream is true", "which texts are best is known at the end")
        values |= {"n": best_of, "logprobs": logprobs or 0}
    stop = values.pop("stop", [])
    values["stop"] = [each for each in ([stop] if isinstance(stop, str) else stop) if each]
    values["top_k"] = max(0, values.get("top_k", 0))
    for name in ("suffix", "user"):
        values.pop(name, None)
    config = SamplingConfig.from_dict({NAMES.get(name, name): value for name, value in values.items()})
    return Asked(model, prompts, config, n, logprobs, stream, include_usage, novelty)


def prompts_of(given: str | list[Any]) -> list[Prompt]:
    """One prompt or several, each as text or as ids. Raises `InvalidSetting` where an id stands beside a prompt."""
    if isinstance(given, str):
        return [given]
    ids = sum(type(each) is int for each in given)
    if ids == len(given):  # also where there is nothing in it
        return [given]
    if ids:
        COMPLETION.refuse("prompt", given)
    return given


@contextmanager
def in_their_words(asked: Asked) -> Iterator[None]:
    """Whatever is refused inside is called by the client's names."""
    names = {**NAMES, "best_of": "n"} if asked.config.n != asked.n else NAMES
    try:
        yield
    except InvalidSetting as error:
        for theirs, ours in names.items():
            if error.param == ours:
                error.param, error.args = theirs, (str(error).replace(ours, theirs, 1),)
        raise
