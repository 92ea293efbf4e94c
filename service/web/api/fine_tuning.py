"""Serves ``/v1/fine_tuning/jobs``: orders, lists, changes and follows training jobs. A job's id is the name of its run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial

from flask import Blueprint, Response, request

from model.errors import CharloomError, InvalidSetting, TextTooShort
from service.store import Run
from service.store.runs import ENDED
from service.system.concurrency import Places
from service.system.errors import (
    Conflict,
    JobOfAnother,
    ModelTooLarge,
    NoRoomLeft,
    NotFound,
    RunNotFound,
    ServiceStopping,
    TooManyFollowers,
    TooManyJobs,
)
from service.system.processes import POLL
from service.training import jobs
from service.web.api.fine_tuning_adapter import (
    EVENT,
    JOB,
    checkpoint_id,
    checkpoint_shown,
    event_shown,
    has_metadata,
    job_of,
    limits_of,
    ordered,
    step_in,
)
from service.web.api.fine_tuning_protocol import Job, JobCheckpoint, JobEvent
from service.web.api.protocol import Error, Page
from service.web.api.request_body import client_left, json_body
from service.web.api.responses import DONE, KEEP_ALIVE, answer, cursor, event, page
from service.web.auth import caller, check_again, may_administer
from service.web.errors import about, body_of
from service.web.openapi import operation
from service.web.state import Service
from service.web.validation import Query, listing, route_fields

# ── streaming ────────────────────────────────────────────────────────────────────────────────────────────────────────

SILENCE = 15.0  # seconds after which a comment keeps the stream open; proxies may close a silent one after 30 or 60
PART = 100  # events that are read at once

log = logging.getLogger("charloom")


def follow(
    service: Service,
    name: str,
    after: int,
    gone: Callable[[], bool],
    stopping: Callable[[], bool],
    check_key: Callable[[], object] = lambda: None,
) -> Iterator[bytes]:
    """Yield server-sent events: those of a run after the event `after`, then each as it happens, and ``[DONE]`` once the run has ended.

    The stream ends when the client is `gone`. An error is its last event, also if the run is deleted, the service is `stopping`, or
    `check_key` raises.
    """
    try:
        sent = -SILENCE  # if there is no event yet, a comment is sent at once, so that the client gets the headers
        while not gone():
            if stopping():
                raise ServiceStopping
            check_key()
            ended = service.store.runs.get(name).state in ENDED  # before the events are read, so that its last are among them
            found = jobs.events(service.store, name, after=after, limit=PART)
            for each in found:
                yield event(shown := event_shown(each), shown.id)
                after, sent = each.id, time.monotonic()
            if found:
                continue
            if ended:
                yield DONE
                return
            if time.monotonic() - sent > SILENCE:
                yield KEEP_ALIVE
                sent = time.monotonic()
            time.sleep(POLL)
    except Exception as error:  # it is too late for a status
        if not isinstance(error, CharloomError):
            log.exception("a stream of events failed")
        yield event(body_of(error, service))


# ── routes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

ID = "fine_tuning_job_id"
LIST = Query("Jobs", listing(20, "after"))
EVENTS = Query("Events", {**route_fields("events"), **listing(20)})
CHECKPOINTS = Query("Checkpoints", listing(10, "after"))
EXAMPLE = {"model": "lstm", "training_file": "tale", "budget": 60}


def routes(service: Service) -> Blueprint:
    """Return the routes with their views."""
    blueprint = Blueprint("fine_tuning", __name__, url_prefix="/v1/fine_tuning/jobs")
    store = service.store
    followers = Places(service.config.max_followers)  # each client that follows a job holds a thread

    @blueprint.post("")
    @operation(
        "jobs",
        body=JOB,
        answer=Job,
        makes="job",
        example=EXAMPLE,
        raises=(InvalidSetting, ModelTooLarge, NotFound, TextTooShort, Conflict, TooManyJobs, NoRoomLeft),
    )
    def create() -> Response:
        """Train a model, as a job.

        It waits for a worker. `model` is a cell, or a model to continue from. Every setting of a model and of training may be given;
        those that are not are chosen from the text and the time, which is three minutes if no length is given.
        """
        return answer(job_of(ordered(service, JOB.parse(json_body(request)), caller())))

    @blueprint.get("")
    @operation("jobs", query=LIST, answer=Page[Job])
    def index() -> Response:
        """List the jobs, the newest first: every run that has a corpus, also those of the command line.

        `metadata[KEY]=VALUE`, which may be sent several times, selects those that were ordered with such metadata, and `metadata=null`
        those without any.
        """
        asked = LIST.read(request.args.to_dict(flat=False))
        wanted = {
            key[len("metadata[") : -1]: value for key, value in request.args.items() if re.fullmatch(r"metadata\[.*\]", key, re.DOTALL)
        }
        unmarked = request.args.get("metadata") == "null"
        found = [run for run in store.runs.list() if run.corpus and has_metadata(run, None if unmarked else wanted)]
        after = cursor(asked["after"], lambda name: store.position("runs", name))
        return answer(page(found, lambda run: run.name, job_of, asked["limit"], position_of=lambda run: run.id, after=after))

    @blueprint.get("/<job>")
    @operation("jobs", answer=Job, raises=(RunNotFound,))
    def job(job: str) -> Response:
        """Describe a job."""
        with about(ID):
            return answer(job_of(store.runs.get(job)))

    def changed(change: Callable[..., Run], name: str) -> Response:
        """Ask for a change, and wait until a running job has made it."""
        with about(ID):
            if store.runs.get(name).caller != caller() and not may_administer():
                raise JobOfAnother(name)
            return answer(job_of(jobs.settled(store, change(store, name))))

    @blueprint.post("/<job>/cancel")
    @operation("jobs", answer=Job, raises=(RunNotFound, Conflict))
    def cancel(job: str) -> Response:
        """Cancel a job. A running one keeps a checkpoint of where it is."""
        return changed(jobs.cancel, job)

    @blueprint.post("/<job>/pause")
    @operation("jobs", answer=Job, raises=(RunNotFound, Conflict))
    def pause(job: str) -> Response:
        """Pause a job. A running one keeps a checkpoint of where it is."""
        return changed(jobs.pause, job)

    @blueprint.post("/<job>/resume")
    @operation("jobs", answer=Job, raises=(RunNotFound, Conflict, TooManyJobs))
    def resume(job: str) -> Response:
        """Continue a paused, cancelled or failed job from its last checkpoint, as soon as a worker is free."""
        return changed(partial(jobs.resume, caller=caller(), limits=limits_of(service)), job)

    @blueprint.get("/<job>/events")
    @operation(
        "jobs",
        query=EVENTS,
        headers={"Last-Event-ID": "the last event that the client has of a stream that was broken off"},
        answer=Page[JobEvent],
        events=(JobEvent, Error),
        others={204: "the stream that was broken off had come to its end"},
        raises=(RunNotFound, TooManyFollowers),
    )
    def events(job: str) -> Response:
        """List or follow the events of a job.

        A list has the newest first. With `stream=true`, or if `Accept` is `text/event-stream`, they come as server-sent events in the
        order in which they happen, until the job ends: then `[DONE]`. `Last-Event-ID`, or `after`, continues an interrupted stream.
        """
        asked = EVENTS.read(request.args.to_dict(flat=False))
        with about(ID):
            run = store.runs.get(job)
        if asked["stream"] or request.accept_mimetypes.best == "text/event-stream":
            last = request.headers.get("Last-Event-ID")
            after = _number(last or asked["after"] or "0")
            if last and run.state in ENDED and not jobs.events(store, job, after=after, limit=1):
                return Response(status=204)  # else an EventSource would come back again and again
            return _stream(service, followers, run, after)
        before = _number(asked["after"]) if asked["after"] is not None else None
        found = jobs.events(store, job, before=before, limit=asked["limit"] + 1, newest_first=True)
        return answer(page(found, lambda event: f"{EVENT}{event.id}", event_shown, asked["limit"], position_of=lambda event: event.id))

    @blueprint.get("/<job>/checkpoints")
    @operation("jobs", query=CHECKPOINTS, answer=Page[JobCheckpoint], raises=(RunNotFound,))
    def checkpoints(job: str) -> Response:
        """List the checkpoints that a job has kept, the newest first; each is a model."""
        asked = CHECKPOINTS.read(request.args.to_dict(flat=False))
        with about(ID):
            found = store.checkpoints.list(store.runs.get(job))
        after = cursor(asked["after"], lambda name: step_in(job, name))
        return answer(page(found, checkpoint_id, checkpoint_shown, asked["limit"], position_of=lambda each: each.step, after=after))

    return blueprint


def _stream(service: Service, followers: Places, run: Run, after: int) -> Response:
    leave = followers.take(caller())
    if leave is None:
        raise TooManyFollowers(followers.limit, followers.each)
    stopping = request.environ.get("charloom.stopping", lambda: False)
    events = follow(service, run.name, after, client_left(request), stopping, check_again())
    response = Response(events, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    response.call_on_close(leave)
    return response


def _number(event: str) -> int:
    """Return the number in an event's id. Raises `InvalidSetting` for any other string."""
    number = event.removeprefix(EVENT)
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise InvalidSetting("after", event, f"the id of an event, such as {EVENT}12")
    return int(number)
