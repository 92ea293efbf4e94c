"""Serves ``/v1/files``: the texts that models are trained on. A file's id is the name of its corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO, cast

from flask import Blueprint, Response, request
from msgspec import UNSET, convert
from werkzeug.exceptions import ClientDisconnected

from corpora import ReadReport, Source, open_stream
from model.errors import InvalidSetting, SourceError, TextError, TextTooLarge
from service.generation.request import CLIENT_CHECK
from service.store import Corpus
from service.system.errors import CorpusInUse, CorpusNotFound, NameTaken, NoRoomLeft, TooManyFiles, TooManyRequests
from service.system.formatting import counted
from service.training import corpus_import
from service.web.api.protocol import Deleted, File, FileFacts, FileRecords, Page
from service.web.api.request_body import Upload, client_left, expect_large, json_body
from service.web.api.responses import answer, attachment, cursor, page, seconds
from service.web.auth import caller
from service.web.errors import about
from service.web.openapi import operation
from service.web.rate_limits import place_for_work
from service.web.state import Service
from service.web.validation import Body, Query, listing, route_fields

UPLOADED = "uploaded "  # the origin of an uploaded corpus begins with it; the file's name follows
UPLOAD_BYTES = 2**24  # memory of one that is not packed; texts of rare characters take a little more
MOST_CHARACTERS = 1000  # of an alphabet that are listed
FORM = Query("Upload", route_fields("file"))
CHANGE = Body("ChangeFile", route_fields("change"))
LIST = Query("Files", {**listing(10_000, "after", "order"), **route_fields("file", "purpose")})


def routes(service: Service) -> Blueprint:
    """Return the blueprint of the routes."""
    blueprint = Blueprint("files", __name__)
    corpora = service.store.corpora

    @blueprint.post("/v1/files")
    @operation(
        "files",
        multipart=FORM,
        answer=File,
        makes="file",
        raises=(TextError, SourceError, TextTooLarge, NameTaken, TooManyFiles, NoRoomLeft),
    )
    def upload() -> Response:
        """Store a text to train on.

        A text, or an archive of texts (zip, tar, gzip, bzip2, xz), of any size up to the limit of the service; it is read and stored
        while it arrives. Fields must come before the file.
        """
        expect_large(request, service.config.max_upload)
        with service.upload_memory.share(caller()) as take, Upload(request, FORM, service.upload_places) as arriving:

            def take_memory(size: int) -> None:
                with arriving.waiting():
                    take(size)

            def rest(characters: int) -> None:
                with arriving.waiting():  # else an archive that has arrived would keep its place to its end
                    service.check_room()

            take_memory(UPLOAD_BYTES)
            service.check_room(request.content_length or 0)
            stored = len(corpora.list())
            if stored >= service.config.max_files:
                raise TooManyFiles(stored, service.config.max_files)
            given = arriving.begin()
            source = _source(service, arriving, given, take_memory)
            try:
                corpus = corpus_import.add(
                    service.store, source, given["name"], rest, anew=True, least=1, records=given["records"], unique=given["unique"]
                )
            except (TextError, SourceError) as error:
                error.param = error.param or "file"
                error.args = (in_words_of_the_form(str(error)),)
                raise
        told = map(in_words_of_the_form, source.report.warnings)
        return answer(described(service, corpus, [*told, *_notes(corpus, arriving)]))

    @blueprint.get("/v1/files")
    @operation("files", query=LIST, answer=Page[File])
    def files() -> Response:
        """List the files, the newest first. All are of the purpose `fine-tune`."""
        asked = LIST.read(request.args.to_dict(flat=False))
        stored = corpora.list() if asked["purpose"] == "fine-tune" else []
        return answer(
            page(
                stored,
                lambda corpus: corpus.name,
                _listed,
                asked["limit"],
                position_of=lambda corpus: corpus.id,
                after=cursor(asked["after"], lambda name: service.store.position("corpora", name)),
                ascending=asked["order"] == "asc",
            )
        )

    @blueprint.get("/v1/files/<file>")
    @operation("files", answer=File, raises=(CorpusNotFound,))
    def file(file: str) -> Response:
        """Describe a file."""
        with about("file"):
            return answer(described(service, corpora.get(file)))

    @blueprint.get("/v1/files/<file>/content")
    @operation("files", media="text/plain; charset=utf-8", raises=(CorpusNotFound,))
    def content(file: str) -> Response:
        """Download a file's text, in UTF-8 with LF line ends."""
        with about("file"):
            corpus = corpora.get(file)
        response = Response((piece.encode() for piece in corpora.pieces(corpus)), mimetype="text/plain")
        response.headers["Content-Length"] = str(corpus.bytes)
        response.headers["Content-Disposition"] = attachment(f"{corpus.name}.txt")
        return response

    @blueprint.patch("/v1/files/<file>")
    @operation(
        "files",
        body=CHANGE,
        answer=File,
        raises=(CorpusNotFound, InvalidSetting, TextError, NameTaken, TooManyRequests),
        example={"name": "tale-2"},
    )
    def change(file: str) -> Response:
        """Rename a file, or change how it is cut into records.

        The models that were trained on it go along with a new name. Jobs that were ordered before keep how they cut it.
        """
        given = CHANGE.parse(json_body(request))
        with about("file"):
            corpus = corpora.get(file)
        name, records = given.get("name"), given.get("records")
        if name is not None and records is None:
            return answer(described(service, corpus_import.rename(service.store, corpus.name, name)))
        if records is not None and name is None:
            return answer(described(service, _cut_anew(service, corpus, records, given.get("unique", False))))
        raise InvalidSetting("name", name, "given, or records", "one of the two is changed at a time")

    @blueprint.delete("/v1/files/<file>")
    @operation("files", answer=Deleted, raises=(CorpusNotFound, CorpusInUse))
    def delete(file: str) -> Response:
        """Remove a file, unless runs need it."""
        with about("file"):
            corpora.remove(file)
        service.comparer.forget_removed()
        return answer(Deleted(id=file, object="file"))

    return blueprint


def _cut_anew(service: Service, corpus: Corpus, records: str, unique: bool) -> Corpus:
    """Cut a stored text with a place and a share of the memory, as an upload has them, until the client has left."""
    left = client_left(request)

    def go_on() -> None:
        if left():
            raise ClientDisconnected

    with place_for_work(), service.upload_memory.share(caller()) as take:
        take(UPLOAD_BYTES)
        while not service.upload_places.acquire(timeout=CLIENT_CHECK):
            go_on()
        try:
            return corpus_import.cut_anew(service.store, corpus.id, records, unique, go_on)
        finally:
            service.upload_places.release()


def _notes(corpus: Corpus, arriving: Upload) -> Iterator[str]:
    """Yield what a client should know of a file that was taken."""
    if corpus.characters < corpus_import.LEAST_TEXT:
        yield f"it has {counted(corpus.characters, 'character')}; no model can be trained on fewer than {corpus_import.LEAST_TEXT}"
    if arriving.expires:
        yield "expires_after is not kept: the file stays until it is deleted"


def in_words_of_the_form(message: str) -> str:
    """Return an error message with the fields of the form instead of the options of the command line."""
    for option, field in (
        ("raise it with --max-size or give a part of it", "send a part of it"),
        ("--glob", "glob"),
        ("--encoding", "encoding"),
        ("--errors", "errors"),
        ("--column NAME", "column"),
        ("--column", "column"),
        ("--field", "field"),
        ("leave out --raw", "leave out raw"),
    ):
        message = message.replace(option, field)
    return message


def _source(service: Service, arriving: Upload, given: dict[str, Any], take: Callable[[int], None]) -> Source:
    """Return the text of an upload, whose reading ends with the rest of the form, or once the client has left."""

    def wait(answers: Callable[[float], bool]) -> None:
        left = client_left(request)
        with arriving.waiting():  # another process works meanwhile
            while not answers(CLIENT_CHECK):
                if left():
                    raise ClientDisconnected

    source = open_stream(
        cast(BinaryIO, arriving),
        arriving.file_name,
        glob=given["glob"],
        encoding=given["encoding"],
        errors=given["errors"],
        column=given["column"],
        field=given["field"],
        raw=given["raw"],
        apart=given["records"] == "files",
        max_size=service.config.max_upload,
        scratch=str(service.store.path.absolute().parent),
        take=take,
        wait=wait,
        room=service.check_room,
    )

    def read(report: ReadReport) -> Iterator[str]:
        yield from source.read(report)
        arriving.finish()

    return replace(source, origin=UPLOADED + source.origin, read=read)


def described(service: Service, corpus: Corpus, warnings: list[str] | None = None) -> File:
    """Return a corpus in the form of OpenAI's files."""
    file = _listed(corpus)
    counts = service.store.corpora.alphabet(corpus)
    file.meta.alphabet = "".join(sorted(counts, key=lambda character: -counts[character])[:MOST_CHARACTERS])
    file.meta.sample = list(service.store.corpora.first_lines(corpus))
    file.meta.warnings = UNSET if warnings is None else warnings
    return file


def _listed(corpus: Corpus) -> File:
    uploaded = corpus.origin.startswith(UPLOADED)
    return File(
        id=corpus.name,
        bytes=corpus.bytes,
        created_at=seconds(corpus.created_at),
        filename=corpus.origin.removeprefix(UPLOADED) if uploaded else f"{corpus.name}.txt",
        meta=FileFacts(
            characters=corpus.characters,
            lines=corpus.lines,
            alphabet_size=corpus.alphabet_size,
            sha256=corpus.sha256,
            records=None if corpus.records is None else convert(corpus.records, FileRecords),
        ),
    )
