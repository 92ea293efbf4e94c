"""What a user named becomes a stored corpus, or leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpora import open_source
from corpora.records import LONGEST
from model.errors import BinaryText, EmptyText, InvalidSetting, RecordTooLong, SourceNotFound, TextTooShort
from service.store import Store
from service.system.errors import InvalidName, NameTaken
from service.training import corpus_import


@pytest.fixture
def file(tmp_path: Path, tale: str) -> Path:
    file = tmp_path / "my tale.txt"
    file.write_text(tale)
    return file


def text_of(store: Store, name: str) -> str:
    return "".join(store.corpora.pieces(name))


def test_a_path_is_stored_once(store: Store, file: Path, tale: str) -> None:
    first, source = corpus_import.corpus_for(store, str(file))
    assert (first.name, text_of(store, "my-tale")) == ("my-tale", tale)
    assert source is not None
    assert source.report.files == 1
    again, source = corpus_import.corpus_for(store, str(file))
    assert again == first
    assert source is not None
    assert len(store.corpora.list()) == 1


def test_a_path_whose_text_changed_gets_another_name(store: Store, file: Path, tale: str) -> None:
    corpus_import.corpus_for(store, str(file))
    file.write_text(tale + "the end\n")
    assert corpus_import.corpus_for(store, str(file))[0].name == "my-tale-2"
    assert text_of(store, "my-tale") == tale


def test_a_stored_name_comes_before_a_path(store: Store, file: Path, tale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.corpora.add("notes", [tale], "test")
    monkeypatch.chdir(file.parent)
    Path("notes").write_text("something else " * 20)
    assert corpus_import.corpus_for(store, "notes") == (store.corpora.get("notes"), None)
    assert corpus_import.corpus_for(store, "./notes")[0].name == "notes-2"


def test_a_name_that_is_given_is_kept_or_refused(store: Store, file: Path) -> None:
    source = open_source(str(file))
    assert corpus_import.add(store, source, "tale").name == "tale"
    with pytest.raises(NameTaken):
        corpus_import.add(store, source, "tale")
    with pytest.raises(InvalidName):
        corpus_import.add(store, source, "")
    assert corpus_import.add(store, source, "twin").text_id == store.corpora.get("tale").text_id


def test_reading_is_watched(store: Store, file: Path, tale: str) -> None:
    seen: list[int] = []
    corpus_import.corpus_for(store, str(file), seen.append)
    assert seen[-1] == len(tale)


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"", EmptyText), (b"abcde", TextTooShort), (b"a" * 99, TextTooShort), (b"a\0\1" * 100, BinaryText)],
    ids=["empty", "five", "ninety-nine", "binary"],
)
def test_what_is_no_text_leaves_nothing(store: Store, tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(error):
        corpus_import.corpus_for(store, str(tmp_path / "x"))
    assert store.corpora.list() == ()
    assert store.db.execute("SELECT count(*) FROM texts").fetchone()[0] == 0


def test_what_is_nowhere_is_refused_with_what_there_is(store: Store, tale: str) -> None:
    store.corpora.add("mine", [tale], "test")
    for what in ("nosuch", "", "no/such/path"):
        with pytest.raises(SourceNotFound, match=r"stored are: mine.*built-in one \(python, shakespeare, linux\)"):
            corpus_import.corpus_for(store, what)


def test_how_to_read_counts_only_for_what_is_read(store: Store, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("é à ü\n".encode("latin-1") * 50)
    corpus, _ = corpus_import.corpus_for(store, str(tmp_path / "latin"), encoding="latin-1")
    assert text_of(store, corpus.name) == "é à ü\n" * 50
    with pytest.raises(InvalidSetting, match="encoding is 'latin-1'; it must be left out for latin"):
        corpus_import.corpus_for(store, "latin", encoding="latin-1")
    assert corpus_import.corpus_for(store, "latin", encoding=None, glob=())[0] == corpus


@pytest.mark.parametrize("end", ["", "\nAnna\n"])
def test_a_list_with_a_record_that_is_too_long_is_prose_or_refused(store: Store, tmp_path: Path, end: str) -> None:
    file = tmp_path / "names.txt"
    file.write_text("".join(f"Anna {number}\n" for number in range(30_000)) + "a" * (LONGEST + 1) + end)
    with pytest.raises(RecordTooLong):
        corpus_import.add(store, open_source(str(file)), records="lines")
    assert not store.corpora.list()
    assert corpus_import.add(store, open_source(str(file))).records is None


CHAT = "".join(
    f"12/03/2024, 10:{minute:02} - Ann: {'Do you really think that this was such a good idea? I had my doubts, ' * (minute % 3)}yes.\n"
    for minute in range(60)
)
FIELDS = "".join(
    json.dumps({"n": number, "text": f"It was said {number} times, and then. {'So on. ' * number}"}) + "\n" for number in range(30)
)


@pytest.mark.parametrize(
    ("name", "content", "how", "kind"),
    [
        ("chat.txt", CHAT, {}, "lines"),
        ("chat.txt", CHAT + "12/03/2024, 11:00 - Bob: one\n\ntwo\n", {}, "blocks"),
        ("chat.txt", CHAT, {"records": "none"}, None),
        ("chat.txt", CHAT, {"raw": True}, "lines"),
        ("table.jsonl", FIELDS, {"field": "text"}, "lines"),
        ("table.jsonl", FIELDS.replace("So on. ", "So\\non. "), {"field": "text"}, "blocks"),
        ("table.jsonl", FIELDS.replace("So on. ", "So\\n\\non. "), {"field": "text"}, None),
        ("people.csv", "name,city\n" + "Anna,New York\nBob,Rome\n" * 20, {"column": "city"}, "lines"),
    ],
)
def test_messages_and_values_are_records_without_being_detected(
    name: str, content: str, how: dict[str, Any], kind: str | None, store: Store, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    corpus, source = corpus_import.corpus_for(store, str(tmp_path / name), **how)
    assert (corpus.records or {}).get("kind") == kind
    if kind and source and source.report.converted:
        (converted,) = source.report.converted.values()
        assert corpus.records is not None
        assert corpus.records["count"] == converted.parts


def test_the_chats_of_a_folder_are_records_and_beside_prose_they_are_not(store: Store, tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(CHAT)
    corpus, _ = corpus_import.corpus_for(store, str(tmp_path))
    assert corpus.records is not None
    assert (corpus.records["kind"], corpus.records["count"]) == ("lines", 120)
    (tmp_path / "tale.txt").write_text("Once upon a time, there was a weaver.\n\nShe wove all day.\n" * 20)
    assert corpus_import.corpus_for(store, str(tmp_path))[0].records is None
