"""Whole records of a model, on the command line and over HTTP: the same ones, as many as were asked for, new, different and valid."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

import cli
from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.language_model import LanguageModel
from model.record_sampling import FRUITLESS
from model.vocabulary import Vocabulary
from service.novelty import of_run
from service.store import Metric, Run, Store
from service.web.app import create_app
from service.web.service_config import ServiceConfig

AddModel = Callable[..., Run]
NAMES = ["a", "b", "c", "ab", "ba", "aa", "abc", "cab"]
SEED = {"seed": 4, "temperature": 1.0}


@pytest.fixture(autouse=True)
def names(store: Store, add_model: AddModel) -> Run:
    store.corpora.add("names", ["\n".join(NAMES) + "\n"], "names.txt")
    return add_model("names", corpus="names", text="abc", separator="\n")


@pytest.fixture
def client(path: Path, names: Run) -> Iterator[FlaskClient]:
    app = create_app(ServiceConfig(db=path, min_disk=0))
    yield app.test_client()
    app.extensions["charloom"].close()


@pytest.fixture
def charloom(path: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        found = CliRunner().invoke(cli.main, ["sample", *map(str, arguments), "--db", str(path)], prog_name="charloom")
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return found

    return run


@pytest.mark.parametrize("asked", [{}, {"unique": True}, {"new": True, "unique": True}, {"prompt": "ab"}], ids=str)
def test_the_command_line_and_both_routes_give_the_same_records(
    charloom: Callable[..., Result], client: FlaskClient, asked: dict[str, Any]
) -> None:
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in asked.items()]
    told = charloom("names", "--records", 30, *flags, "--seed", 4, "--temperature", 1)
    assert told.exit_code == 0
    records = told.stdout.splitlines()
    assert (len(records), told.stdout[-1:]) == (30, "\n")
    assert "30 records from " in told.stderr
    if asked.get("unique"):
        assert len(set(records)) == 30
    if asked.get("new"):
        assert not set(records) & set(NAMES)
        assert " stand" in told.stderr
    assert all(record.startswith(asked.get("prompt", "")) and record for record in records)
    body = client.post("/generate", json={"records": 30, **SEED, **asked}).get_json()
    assert (body["texts"], set(body["finish_reasons"])) == (records, {"stop"})
    facts = body["records"]
    assert (facts["asked"], facts["found"], facts["note"]) == (30, 30, None)
    assert facts["tried"] - sum(facts["left_out"].values()) == 30
    assert body["symbols"] >= sum(map(len, records)) + facts["tried"] - 30 * len(asked.get("prompt", ""))
    completed = client.post("/v1/completions", json={"model": "names", "records": 30, **SEED, **asked}).get_json()
    assert [choice["text"] for choice in completed["choices"]] == records
    assert [choice["index"] for choice in completed["choices"]] == list(range(30))
    assert completed["charloom"]["prompts"][0]["records"] == facts
    assert completed["usage"]["completion_tokens"] == body["symbols"]
    for route in ("/generate", "/v1/completions"):
        data = client.post(route, json={"records": 30, "stream": True, **SEED, **asked}).get_data(as_text=True)
        events = [json.loads(each[6:]) for each in data.split("\n\n")[:-2]]
        found: dict[int, str] = {}
        for event in events:
            for choice in event.get("choices", [event] if "index" in event else []):
                found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
        assert [found[index] for index in range(30)] == records
        last = events[-1]
        assert (last["charloom"]["prompts"][0]["records"] if "charloom" in last else last["records"]) == facts


def test_several_prompts_have_their_records_side_by_side(client: FlaskClient) -> None:
    body = {"prompt": ["a", "b\nc"], "records": 3, "logprobs": 1, **SEED}
    answer = client.post("/v1/completions", json=body).get_json()
    texts = [choice["text"] for choice in answer["choices"]]
    assert [text[0] for text in texts] == ["a"] * 3 + ["c"] * 3
    for choice in answer["choices"]:
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
        assert choice["logprobs"]["text_offset"] == list(range(len(choice["text"])))
    assert [prompt["records"]["found"] for prompt in answer["charloom"]["prompts"]] == [3, 3]


def test_what_is_known_is_told_once_for_all_records(charloom: Callable[..., Result], client: FlaskClient) -> None:
    told = charloom("names", "--records", 40, "--novelty", "--seed", 4, "--temperature", 1)
    records = told.stdout.splitlines()
    known = sum(record in NAMES for record in records)
    sentence = f"{known} of 40 records stand in corpus names; {len(set(records))} are different"
    assert told.stderr.count(sentence) == 1
    assert 0 < known < 40
    novelty = client.post("/generate", json={"records": 40, "novelty": True, **SEED}).get_json()["records"]["novelty"]
    new = [record not in NAMES for record in records]
    assert novelty == {"corpus": "names", "records": 40, "known": known, "different": len(set(records)), "new": new}
    lines = [
        json.loads(line)
        for line in charloom("names", "--records", 40, "--novelty", "--json", *"--seed 4 --temperature 1".split()).stdout.splitlines()
    ]
    assert [(line["text"], line["new"], line["record"]) for line in lines] == list(zip(records, new, range(40), strict=True))
    for line in lines[:5]:  # each can be written again alone
        again = charloom("names", "--records", 1, "--json", "--seed", line["seed"], "--temperature", 1)
        assert json.loads(again.stdout)["text"] == line["text"]
    chosen = charloom("names", *"--records 9 --json --new --unique --seed 4 --temperature 1".split()).stdout.splitlines()
    assert [json.loads(line)["seed"] for line in chosen] != list(range(4, 13)), "tries were left out"
    for line in map(json.loads, chosen):
        again = charloom("names", "--records", 1, "--json", "--seed", line["seed"], "--temperature", 1)
        assert json.loads(again.stdout)["text"] == line["text"]
    texts = charloom("names", "--length", 60, "--n", 3, "--novelty", "--seed", 4)
    assert texts.stderr.count("stand in corpus names") == 1
    assert texts.stderr.count("--- text ") == 3
    assert "--- text" not in texts.stdout


def test_if_there_are_no_more_the_next_step_is_told(charloom: Callable[..., Result], client: FlaskClient, add_model: AddModel) -> None:
    asked = ["--records", 9, "--unique", "--length", 1, "--seed", 4]
    told = charloom("names", *asked)
    assert told.exit_code == 1
    assert sorted(told.stdout.split()) == ["a", "b", "c"]
    assert f"only 3 of 9 records were found: the last {FRUITLESS:,} tries, the limit, gave none that fits" in told.stderr
    assert "raise length, which is 1 symbols" in told.stderr
    body = {"records": 9, "unique": True, "length": 1, "seed": 4}
    facts = client.post("/generate", json=body).get_json()
    assert facts["records"]["found"] == len(facts["texts"]) == 3
    assert facts["records"]["note"] in told.stderr.replace("\n", " ")
    data = client.post("/v1/completions", json={"records": 9, "unique": True, "max_tokens": 1, "seed": 4, "stream": True}).get_data(
        as_text=True
    )
    last = json.loads(data.split("\n\n")[-3][6:])
    assert (last["choices"], last["charloom"]["prompts"][0]["records"]["found"]) == ([], 3)


def test_the_next_step_fits_the_cause(charloom: Callable[..., Result], store: Store, add_model: AddModel) -> None:
    text = "".join(f"{number};{number}\n" for number in range(30))
    store.corpora.add("rows", [text], "rows", records=lambda: {"kind": "csv", "separator": "\n"})
    add_model("rows", corpus="rows", text="0123456789;", separator="\n")
    told = charloom("rows", "--records", 2, "--valid", "--prompt", "1;2;3;4", "--length", 300)
    assert "nothing that begins with the prompt has that form; take another" in told.stderr
    told = charloom("names", "--records", 2, "--prompt", "ab\\na", "--seed", 1)
    assert "note: the prompt has several records; only the last one counts" in told.stderr
    assert charloom("names", "--records", 2, "--prompt", "a", "--seed", 1).stdout == told.stdout


def test_blocks_of_a_text_are_compared_as_records(client: FlaskClient, path: Path, store: Store) -> None:
    form = {"kind": "blocks", "separator": "\n\n"}
    store.corpora.add("poems", ["a\nb\n\nc\na\n\nb\n"], "poems", records=lambda: form)
    store.runs.create("poems", corpus="poems", model_config={}, training_config={}, request={"records": form})
    run = store.runs.claim("poems")
    words = Vocabulary("char", "nfc", [*map(ord, "\nabc")], "\n\n")
    model = Checkpoint(LanguageModel.new(ModelConfig(hidden_size=2), words.size, 0, boundary=words.boundary), words, {"step": 1})
    store.checkpoints.save(run, Metric(step=1, epoch=1, loss=2.0, validation_loss=2.0, bits_per_char=2.9), model.to_bytes(), b"")
    store.runs.release(run, "succeeded")
    text = "\r\n\r\nb\r\n\r\n\r\nc\r\na\r\n\r\nd\r\n"
    body = {"model": "poems", "text": text, "prompt": "x\n\na"}
    found = client.post("/v1/novelty", json=body).get_json()
    assert [(each["text"], each["new"]) for each in found["records"]] == [("b", False), ("c\na", False), ("d", True)]
    assert [text[each["start"] : each["stop"]] for each in found["records"]] == ["b", "c\r\na", "d"]
    open_end = client.post("/v1/novelty", json={**body, "text": "\nb\n\nc", "ended": False}).get_json()
    assert [(each["text"], each["new"], each["start"]) for each in open_end["records"]] == [("a\nb", False, 0)]
    assert (found["kind"], open_end["kind"]) == ("blocks", "blocks")
    told = CliRunner().invoke(cli.main, ["novelty", "poems", "--text", "b\n\nd", "--db", str(path)])
    assert "1 of 2 records are new; in the corpus are b" in told.stdout


def test_a_completion_has_no_stop_strings_if_it_is_of_records(client: FlaskClient) -> None:
    plain = client.post("/v1/completions", json={"records": 5, **SEED}).get_json()["choices"]
    for nothing in (None, [], "", [""]):  # as clients send it that were given none
        answer = client.post("/v1/completions", json={"records": 5, "stop": nothing, **SEED})
        assert answer.get_json()["choices"] == plain
    for stop in ("a", ["a"]):
        answer = client.post("/v1/completions", json={"records": 5, "stop": stop, **SEED})
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "stop")
        assert answer.get_json()["error"]["message"].startswith("stop is ['a']; it must be left out if records is given")


def test_symbols_that_were_tried_count_for_the_caller(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[int] = []
    monkeypatch.setattr(client.application.extensions["charloom"].limits.symbols, "spend", lambda caller, count: spent.append(count))
    body = client.post("/generate", json={"records": 50, "new": True, "unique": True, **SEED}).get_json()
    assert body["symbols"] > sum(map(len, body["texts"]))
    [drawn] = spent  # with those of tries that were begun and not judged
    assert drawn >= body["symbols"] + body["prompt_symbols"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"records": 1001}, "records is 1001; it must be a whole number from 1 to 1,000 (the limit of this service)"),
        ({"new": True}, "new is True; it must be left out if records is not given (it is about whole records)"),
        ({"records": 2, "n": 2}, "n is 2; it must be left out or 1 if records is given"),
        ({"records": 2, "stop": ["a"]}, "stop is ['a']; it must be left out if records is given (a stop string would cut records short"),
        ({"records": 2, "valid": True}, "valid is True; it must be left out for records that are texts between"),
        ({"records": 2, "model": "prose"}, "records is 2; it must be left out for a model of prose"),
        ({"records": 2, "model": "orphan", "new": True}, "the corpus of model orphan is not stored here"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_with_its_reason(
    client: FlaskClient, charloom: Callable[..., Result], add_model: AddModel, body: dict[str, Any], message: str
) -> None:
    add_model("prose")
    add_model("orphan", text="abc", separator="\n")
    body = {"model": "names", **body}
    answer = client.post("/generate", json=body)
    assert answer.status_code in (404, 422, 400)
    assert message in answer.get_json()["error"]["message"]
    if body.get("records", 0) <= 1000:
        given = {name: value[0] if isinstance(value, list) else value for name, value in body.items() if name != "model"}
        flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
        told = charloom(body["model"], *flags)
        assert told.exit_code == 1
        assert message in told.stderr


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def records_of(store: Store, run: Run, kind: str, text: str, **form: object) -> Any:
    store.corpora.add("table", [text], "table", records=lambda: {"kind": kind, "separator": "\n", **form})
    store.runs.create("other", corpus="table", model_config={}, training_config={})
    return of_run(store, store.runs.get("other"), "\n")


def test_rows_are_valid_with_as_many_columns(store: Store, names: Run) -> None:
    rows = [f'{number};"Anna; {number}";"a\nb"' for number in range(150)]
    found = records_of(store, names, "csv", "\n".join(["id;name;text", *rows, "flawed"]) + "\n", header=True)
    for record in ("1;2;3", '"a;b";;', ";;", 'x;"two\nlines";3', "1;2", "1;2;3;4", "1,2,3", 'a;b;"c', "1;2;3\n4;5;6", ""):
        try:
            parsed = list(csv.reader(record.split("\n") if '"' not in record else [record], delimiter=";", strict=True))
            expected = len(parsed) == 1 and len(parsed[0]) == 3
        except csv.Error:
            expected = False
        assert found.is_valid(record) is expected, record
    assert found.has_record(rows[3])
    assert not found.has_record("id;name;text")  # the header is no record
    assert not found.has_record('"a')


def test_objects_are_valid_with_the_same_keys(store: Store, names: Run) -> None:
    lines = [json.dumps({"a": number, "b": None} | ({"c": 1} if number % 2 else {})) for number in range(150)] + ['{"odd": 1}']
    found = records_of(store, names, "jsonl", "\n".join(lines))
    good = ['{"a": 1, "b": 2}', '{"b": [], "a": {}}', '{"a": 1, "b": 2, "c": 3}']
    bad = ['{"a": 1}', '{"a": 1, "b": 2', "[1]", '{"odd": 1}', "nothing", "", '{"a": 1, "b": 2} x']
    assert [found.is_valid(each) for each in good + bad] == [True] * len(good) + [False] * len(bad)


def test_records_that_are_cut_from_blocks_are_found_without_their_blank_lines(store: Store, names: Run) -> None:
    found = records_of(store, names, "blocks", "\n\none\ntwo\n\n\n\nthree\n", separator="\n\n")
    for record, stands in {"one\ntwo": True, "\none\ntwo\n": True, "three": True, "one": False, "e\u0301": False}.items():
        assert found.has_record(record) is stands
    assert found.novelty(["three", "one", "one"]).words == "1 of 3 records stand in corpus table; 2 are different"


@pytest.mark.parametrize("separator", ["\n\n", "\n%\n", "\x1e", " <=> "])
def test_a_model_of_records_is_looked_into(path: Path, add_model: AddModel, separator: str) -> None:
    add_model("parted", text="abc", separator=separator)
    for text in ([], ["--text", f"ab{separator}c"]):
        found = CliRunner().invoke(cli.main, ["inspect", "parted", *text, "--db", str(path)], prog_name="charloom")
        assert found.exit_code == 0, found.output
