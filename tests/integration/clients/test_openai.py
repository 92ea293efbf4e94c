"""The official client drives everything: it uploads, trains, follows, asks for text, and understands what is refused."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from service.store import Store, api_keys

Server = Any  # of ../conftest.py
TINY = {"hidden_size": 4, "batch_size": 2, "seq_length": 8}  # what OpenAI's API has no word for goes into extra_body


@pytest.fixture
def tale_id(client: OpenAI, tale: str) -> str:
    """An uploaded file."""
    return client.files.create(file=("tale.txt", io.BytesIO(tale.encode())), purpose="fine-tune").id


def state_of(job: FineTuningJob) -> str:
    """Its state in our words, which are more than the client's."""
    assert job.model_extra
    return str(job.model_extra["meta"]["state"])


def until(client: OpenAI, job: str, *states: str) -> FineTuningJob:
    """Wait for a job; the limit only keeps a broken service from hanging the tests."""
    deadline = time.monotonic() + 60
    while state_of(found := client.fine_tuning.jobs.retrieve(job)) not in states:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def streamed(client: OpenAI, job: str, **options: Any) -> openai.Stream[FineTuningJobEvent]:
    """The events of a job as they happen."""
    return client.get(
        f"/fine_tuning/jobs/{job}/events",
        cast_to=FineTuningJobEvent,
        stream=True,
        stream_cls=openai.Stream[FineTuningJobEvent],
        options={"params": {"stream": True}, **options},
    )


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files(client: OpenAI, tale: str) -> None:
    file = client.files.create(file=("a tale.txt", io.BytesIO(tale.encode())), purpose="fine-tune")
    assert (file.object, file.filename, file.bytes, file.status, file.purpose) == (
        "file",
        "a tale.txt",
        len(tale),
        "processed",
        "fine-tune",
    )
    assert client.files.retrieve(file.id).model_dump(exclude={"meta"}) == file.model_dump(exclude={"meta"})
    assert client.files.content(file.id).text == tale
    assert file.id in [each.id for each in client.files.list(limit=1)]  # it asks for part after part
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.delete(file.id).deleted


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_files_are_deleted_while_they_are_listed(client: OpenAI, tale: str, order: Any) -> None:
    for number in range(5):
        client.files.create(file=(f"{order}-{number}.txt", io.BytesIO(f"{number} {tale}".encode())), purpose="fine-tune")
    found = []
    for file in client.files.list(limit=2, order=order):  # it asks for the next part after the last file of the one before
        if file.id.startswith(order):
            found.append(file.id)
            assert client.files.delete(file.id).deleted
    assert found == sorted(found, reverse=order == "desc")
    assert len(found) == 5


def test_jobs_are_deleted_while_they_are_listed(client: OpenAI, tale_id: str) -> None:
    for number in range(5):
        client.fine_tuning.jobs.create(model="rnn", training_file=tale_id, extra_body={"name": f"deleted-{number}", "steps": 1, **TINY})
    for number in range(5):
        until(client, f"deleted-{number}", "succeeded")
    deleted = [job.id for job in client.fine_tuning.jobs.list(limit=2) if job.id.startswith("deleted") and client.models.delete(job.id)]
    assert deleted == [f"deleted-{number}" for number in reversed(range(5))]


def test_a_large_file_passes_through_in_pieces(client: OpenAI) -> None:
    text = "warp and weft\n" * 400_000  # 5.6 MB, five times the largest body of other requests
    file = client.files.create(file=("large.txt", io.BytesIO(text.encode())), purpose="fine-tune")
    assert file.bytes == len(text)
    assert client.files.delete(file.id).deleted


def test_a_file_that_is_refused_while_it_arrives(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="is binary: a zero byte stands at offset 0") as raised:
        client.files.create(file=("large.bin", io.BytesIO(bytes(8_000_000))), purpose="fine-tune")
    assert (raised.value.param, raised.value.code) == ("file", "binary_text")


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_train_follow_list_and_complete(client: OpenAI, tale_id: str, tale: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="gru",
        training_file=tale_id,
        seed=3,
        suffix="tiny",
        hyperparameters={"n_epochs": 1, "batch_size": 2},
        extra_body={"hidden_size": 4, "seq_length": 8, "validation_interval": 20},
    )
    assert (job.object, job.training_file, job.seed, job.user_provided_suffix) == ("fine_tuning.job", tale_id, 3, "tiny")
    assert job.status in ("queued", "running")
    with streamed(client, job.id) as stream:
        events = list(stream)
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.fine_tuned_model, done.error) == ("succeeded", job.id, None)
    assert done.finished_at is not None
    assert done.trained_tokens is not None
    assert 0.8 * len(tale) < done.trained_tokens < len(tale)  # once all that is not kept for validation
    assert [event.id for event in events] == [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=2)][::-1]
    assert {event.type for event in events} == {"message", "metrics"}
    with streamed(client, job.id, headers={"Last-Event-ID": events[-3].id}) as stream:
        assert [event.id for event in stream] == [event.id for event in events[-2:]]
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert len(checkpoints) > 1
    assert checkpoints[0].metrics.valid_loss is not None
    assert checkpoints[0].fine_tuned_model_checkpoint == f"{job.id}@{checkpoints[0].step_number}"
    for model in (done.fine_tuned_model, checkpoints[-1].fine_tuned_model_checkpoint):
        assert client.models.retrieve(model).id == model
        assert len(client.completions.create(model=model, prompt="the loom", max_tokens=10).choices[0].text) == 10
    assert job.id in [each.id for each in client.fine_tuning.jobs.list(limit=1)]
    assert job.id in [each.id for each in client.models.list()]
    again = client.fine_tuning.jobs.create(model=job.id, training_file=tale_id, extra_body={"steps": 1})
    assert until(client, again.id, "succeeded").model.startswith(f"{job.id}@")
    with pytest.raises(openai.ConflictError, match=f"corpus {tale_id} is needed by"):
        client.files.delete(tale_id)
    for run in (job.id, again.id):
        assert client.models.delete(run).deleted
    assert client.files.delete(tale_id).deleted


def test_newer_clients_say_how(client: OpenAI, tale_id: str) -> None:
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "learning_rate_multiplier": 0.5}}}
    job = client.fine_tuning.jobs.create(
        model="rnn", training_file=tale_id, method=method, metadata={"who": "a test"}, extra_body={"budget": 0.5, **TINY}
    )
    assert job.metadata == {"who": "a test"}
    assert job.hyperparameters.learning_rate_multiplier == 0.5
    assert until(client, job.id, "succeeded").fine_tuned_model == job.id


def test_cancel_pause_and_resume(client: OpenAI, tale_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="lstm", training_file=tale_id, extra_body={"steps": 10**8, **TINY})
    until(client, job.id, "running")
    client.fine_tuning.jobs.pause(job.id)
    paused = until(client, job.id, "paused")
    assert (paused.fine_tuned_model, paused.status) == (job.id, "queued"), "in a word that the client knows"
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")
    until(client, job.id, "running")
    client.fine_tuning.jobs.cancel(job.id)
    assert until(client, job.id, "cancelled").fine_tuned_model == job.id
    with pytest.raises(openai.ConflictError, match="it is cancelled"):
        client.fine_tuning.jobs.pause(job.id)


def test_a_job_that_is_followed_while_the_service_stops(launch: Callable[..., Server], store: Store, tale: str) -> None:
    store.corpora.add("tale", [tale], "tale.txt")
    server = launch()
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        job = client.fine_tuning.jobs.create(model="lstm", training_file="tale", extra_body={"steps": 1})
        with streamed(client, job.id) as stream:
            assert next(stream).message.startswith("queued")
            server.process.terminate()
            with pytest.raises(openai.APIError, match="the service is stopping"):
                next(stream)
    assert server.stop() == (0, "")


# ── texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text(client: OpenAI) -> None:
    answer = client.completions.create(model="latest", prompt="ab", max_tokens=20, seed=1, temperature=0.9, top_p=0.95, user="me")
    [choice] = answer.choices
    assert (answer.object, len(choice.text), choice.finish_reason, choice.index) == ("text_completion", 20, "length", 0)
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 20, 22)
    assert answer.system_fingerprint
    again = client.completions.create(model="latest", prompt="ab", max_tokens=20, seed=1, temperature=0.9, top_p=0.95)
    assert again.choices[0].text == choice.text


def test_a_stream(client: OpenAI) -> None:
    asked: Any = {"model": "first", "prompt": ["ab", "c"], "max_tokens": 30, "seed": 5, "n": 2}
    whole = client.completions.create(**asked)
    parts = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = [""] * 4
    for part in parts:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert parts[-1].usage == whole.usage
    assert [choice.finish_reason for part in parts for choice in part.choices if choice.finish_reason] == ["length"] * 4
    assert {part.system_fingerprint for part in parts} == {whole.system_fingerprint}


def test_several_texts_stops_and_biases(client: OpenAI) -> None:
    answer = client.completions.create(model="first", prompt="a", n=3, best_of=3, max_tokens=60, seed=2)
    assert len({choice.text for choice in answer.choices}) == 3
    text = answer.choices[0].text
    stopped = client.completions.create(model="first", prompt="a", max_tokens=60, seed=2, stop=["never", text[20:24]]).choices[0]
    assert (stopped.finish_reason, stopped.text) == ("stop", text[: text.index(text[20:24])])
    biased = client.completions.create(model="first", prompt="a", max_tokens=20, seed=2, logit_bias={"999": 5, "1": -100, "2": 100})
    assert len(set(biased.choices[0].text)) == 1


def test_logprobs_and_echo(client: OpenAI) -> None:
    [choice] = client.completions.create(model="first", prompt="abc", max_tokens=4, logprobs=2, echo=True, seed=1).choices
    found = choice.logprobs
    assert found is not None
    assert choice.text.startswith("abc")
    assert found.tokens is not None
    assert "".join(found.tokens) == choice.text
    assert found.token_logprobs is not None
    assert found.token_logprobs[0] is None
    assert found.top_logprobs is not None
    for likeliest, value in zip(found.top_logprobs[1:], found.token_logprobs[1:], strict=True):
        assert len(likeliest) in (2, 3)  # the drawn one stands beside the likeliest two
        assert 0 >= max(likeliest.values()) >= value
    assert found.text_offset == [*range(7)]


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"model": "gpt-4o", "prompt": "a"}, openai.NotFoundError, "model"),
        ({"model": "first", "prompt": "a", "temperature": -1}, openai.BadRequestError, "temperature"),
        ({"model": "first", "prompt": "a", "max_tokens": 10**8}, openai.BadRequestError, "max_tokens"),
        ({"model": "first", "prompt": "a", "stop": list("abcdefghijklmnopq")}, openai.BadRequestError, "stop"),
    ],
)
def test_errors_of_texts_name_their_parameter(client: OpenAI, asked: Any, error: type[openai.APIStatusError], param: str) -> None:
    with pytest.raises(error) as raised:
        client.completions.create(**asked)
    assert (raised.value.param, bool(raised.value.message)) == (param, True)


def test_a_chat_client_is_told_what_to_do_instead(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"only continue a text.*/v1/completions"):
        client.chat.completions.create(model="first", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.NotFoundError, match=r"only continue a text.*/v1/completions"):
        client.responses.create(model="first", input="Hello")


@pytest.mark.parametrize("name", ["a/b", "a:b", "a%2Fb", "a b", "한국", "a?b#c", "...", "a@b@c", "ft:gpt-4o-mini:acemeco:suffix:abc123"])
def test_ids_are_escaped_by_clients_and_read_here_as_they_were_meant(client: OpenAI, tale_id: str, name: str) -> None:
    for ask in (client.models.retrieve, client.models.delete, client.files.retrieve, client.files.delete, client.fine_tuning.jobs.cancel):
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as raised:
            ask(name)
        assert raised.value.type, "an error of ours in JSON"
    if name != "한국":  # a name may be in any script
        with pytest.raises(openai.BadRequestError, match="cannot be used; a name has 1 to 64 letters") as refused:
            client.fine_tuning.jobs.create(model="rnn", training_file=tale_id, extra_body={"name": name, "steps": 1})
        assert refused.value.param == "name"
    job = client.fine_tuning.jobs.create(model="rnn", training_file=tale_id, suffix=name, extra_body={"steps": 1, **TINY})
    until(client, job.id, "succeeded")
    assert client.models.retrieve(f"{job.id}@1").id == f"{job.id}@1"
    assert client.completions.create(model=job.id, max_tokens=5, prompt="a").model == job.id
    assert client.models.delete(job.id).deleted


def test_errors_of_jobs_name_their_parameter_and_nothing_is_queued(client: OpenAI, tale_id: str) -> None:
    before = [each.id for each in client.fine_tuning.jobs.list()]
    with pytest.raises(openai.BadRequestError, match=r"hyperparameters\.n_epochs is 0") as raised:
        client.fine_tuning.jobs.create(model="gru", training_file=tale_id, hyperparameters={"n_epochs": 0})
    assert (raised.value.param, raised.value.type) == ("hyperparameters.n_epochs", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="left out if steps is given"):
        client.fine_tuning.jobs.create(model="gru", training_file=tale_id, hyperparameters={"n_epochs": 1}, extra_body={"steps": 5})
    with pytest.raises(openai.NotFoundError, match="there is no corpus"):
        client.fine_tuning.jobs.create(model="gru", training_file="file-abc123")
    with pytest.raises(openai.NotFoundError, match="there is no run"):
        client.fine_tuning.jobs.retrieve("ftjob-abc123")
    assert [each.id for each in client.fine_tuning.jobs.list()] == before


def test_a_conflict_is_not_tried_again(base_url: str, tale_id: str) -> None:
    asked: list[httpx.Request] = []
    with (
        httpx.Client(event_hooks={"request": [asked.append]}) as transport,
        OpenAI(base_url=base_url, api_key="none", http_client=transport) as client,
    ):
        client.fine_tuning.jobs.create(model="gru", training_file=tale_id, extra_body={"name": "conflict", "steps": 1})
        asked.clear()
        with pytest.raises(openai.ConflictError, match="a run named 'conflict' exists already"):
            client.fine_tuning.jobs.create(model="gru", training_file=tale_id, extra_body={"name": "conflict", "steps": 1})
    assert len(asked) == 1


def test_a_key(launch: Callable[..., Server], path: Path, add_model: Callable[..., Any]) -> None:
    add_model()
    key = api_keys.new()
    with Store(path) as store:
        store.keys.add(api_keys.hashed(key))
    with OpenAI(base_url=f"{launch().url}/v1", api_key=key, max_retries=0) as client:
        assert client.models.list().data[0].id == "first"
        with pytest.raises(openai.AuthenticationError) as raised:
            client.with_options(api_key="wrong").models.list()
    assert raised.value.code == "invalid_api_key"
