"""Ends or disturbs the life of a database at any operation on its files, and shows that nothing is lost: see `tools.kill_test`.

A life (`LIFE`) does everything that the store promises to keep: keys, texts, jobs, checkpoints, imports, exports, backups, and the
removal of each. It is lived again and again in a child, in which `tools/faults.c` is loaded before the C library:

- *killed*: SIGKILL before the n-th operation, in the middle of a write,
- *power cut*: one life is recorded, and the disk is made again as it may be after the n-th operation: what was synced is there, and
  of the rest nothing, all names without their bytes, or a part drawn at random, with torn sectors (`Disk`),
- *I/O error*, *no memory*: the n-th operation, or SQLite's n-th allocation, fails once; the act is tried again,
- *disk full*: from the n-th operation on nothing can grow; later there is room again.

Then the database is opened. It must be sound, each hash must be right, and its state must be the one after the last act that was
answered, or after the one that was being carried out: nothing in between, nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.errors import CharloomError
from model.language_model import LanguageModel
from model.vocabulary import SymbolCounts, Vocabulary
from service.generation.model_cache import export, import_file
from service.novelty.index_builder import build
from service.store import Metric, Store, corpora
from service.training import event_log, jobs
from service.training.jobs import JobSpec
from tools.kill_test import ROOT, require, sound

SOURCE = Path(__file__).with_name("faults.c")
DATABASE, ACTS = "charloom.db", ".acts"  # the second gets a byte for each act that has ended
KINDS = ("killed", "power cut", "I/O error", "no memory", "disk full")
OFF, RECORD, KILL, FAIL, FULL, NO_MEMORY = range(6)  # as in faults.c
MODES = {"killed": KILL, "I/O error": FAIL, "no memory": NO_MEMORY, "disk full": FULL}
FAILED, COUNTED, UNFORESEEN = -1, -2, -3  # in place of the number of an act
SECTOR = 512  # bytes that a disk writes whole
CHUNK = 700  # characters of a text's chunk here, so that each text has several

# ── a life ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = {name: "".join(random.Random(name).choices("abcdefgh \n", k=1500)) for name in ("tale", "other")}


def checkpoint(step: int) -> bytes:
    """A small model, the same for each step of each life."""
    config = ModelConfig(cell="gru", hidden_size=24)
    vocabulary = Vocabulary.build(SymbolCounts(config.level, config.normalization).add([TEXTS["tale"]]))
    return Checkpoint(LanguageModel.new(config, vocabulary.size, step), vocabulary, {"step": step}).to_bytes()


def order(store: Store) -> None:
    spec = JobSpec(corpus="tale", name="job", model={"cell": "gru", "hidden_size": 24}, training={"steps": 50})
    jobs.submit(store, spec)


def claim(store: Store) -> None:
    store.queue.claim_next()


def save(step: int) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        metric = Metric(step=step, loss=2.0, validation_loss=2.0 - step / 100)
        store.checkpoints.save(store.runs.get("job"), metric, checkpoint(step), bytes(5000))

    return act


def beside(store: Store, name: str) -> Path:
    return store.path.with_name(name)


Act = Callable[[Store], Any]
LIFE: dict[str, Act] = {
    "open": lambda store: None,
    "add a key": lambda store: store.keys.add("a" * 64, "reader"),
    "add a text": lambda store: store.corpora.add("tale", [TEXTS["tale"]], "tale.txt"),
    "add another text": lambda store: store.corpora.add("other", [TEXTS["other"]], "other.txt"),
    "order a job": order,
    "pause it": lambda store: jobs.pause(store, "job"),
    "resume it": lambda store: jobs.resume(store, "job"),
    "claim it": claim,
    "save step 10": save(10),
    "save step 20": save(20),
    "save step 30": save(30),
    "cancel it": lambda store: jobs.cancel(store, "job"),
    "end it": lambda store: event_log.ended(store, store.runs.get("job"), "paused"),
    "pin a checkpoint": lambda store: store.checkpoints.pin(store.runs.get("job"), 10),
    "remove a checkpoint": lambda store: store.checkpoints.remove(store.runs.get("job"), 20),
    "export": lambda store: export(store, "job@10", beside(store, "model.safetensors")),
    "export once more": lambda store: export(store, "job@30", beside(store, "model.safetensors"), overwrite=True),
    "import": lambda store: import_file(store, beside(store, "model.safetensors"), "imported"),
    "make an index": lambda store: build(store, store.corpora.get("other")),
    "back up": lambda store: store.backup(beside(store, "backup.db")),
    "revoke the key": lambda store: store.keys.revoke("reader"),
    "remove the job": lambda store: store.runs.remove("job"),
    "remove a text": lambda store: store.corpora.remove("other"),
    "remove the import": lambda store: store.runs.remove("imported"),
}


def state(folder: Path) -> Any:
    """All that is promised to be kept in a folder, with hashes; None without a database. Raises `Lost` if it is damaged."""
    found: dict[str, Any] = {}
    for name in (DATABASE, "backup.db"):
        if (folder / name).exists():
            with Store(folder / name) as store:
                found[name] = contents(store)
    for file in folder.glob("*.safetensors"):
        Checkpoint.from_bytes(file.read_bytes())
        found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def contents(store: Store) -> Any:
    """What a database holds, without times. Raises `Lost` if it is damaged."""
    sound(store)
    texts = {corpus.name: "".join(store.corpora.pieces(corpus.name)) for corpus in store.corpora.list()}
    require(all(TEXTS[name] == text for name, text in texts.items()), "a text has changed")
    left = store.db.execute("SELECT count(*) FROM texts WHERE sha256 IS NULL").fetchone()[0]
    require(not left, "a half of a text is left")
    shas = {row["sha256"][:16] for row in store.db.query("SELECT sha256 FROM texts")}
    cached = [path.name for path in store.cache.folder.iterdir()] if store.cache.folder.exists() else []
    require(all(name[:16] in shas for name in cached), "what is cached of a text is left")
    runs = {}
    for run in store.runs.list():
        stored = store.checkpoints.list(run)
        for each in stored:
            store.checkpoints.load(run, each.step)
        facts = [(each.step, each.model_sha256, each.state_bytes, each.pinned) for each in stored]
        runs[run.name] = [run.state, run.wanted, run.corpus, run.step, facts, len(store.metrics.list(run))]
    return {"keys": {key.name: sha256 for sha256, key in store.keys.by_hash().items()}, "texts": sorted(texts), "runs": runs}


# ── a disk ───────────────────────────────────────────────────────────────────────────────────────────────────────────

HEAD = struct.Struct("<cIIQQ")  # operation, lengths of two names, offset, length of the data


class Operation(NamedTuple):
    """One operation on the files of a life."""

    kind: str
    path: str
    other: str
    offset: int
    data: bytes


def recorded(log: Path) -> Iterator[Operation]:
    """Yields the operations in the order in which they happened."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        kind, path, other, offset, size = HEAD.unpack_from(data, at)
        at += HEAD.size
        names = data[at : at + path + other].decode()
        at += path + other
        yield Operation(kind.decode(), names[:path], names[path:], offset, data[at : at + size])
        at += size


class Content:
    """The bytes of a file: those that are on the disk for sure, and what was written since."""

    def __init__(self) -> None:
        self.synced = b""
        self.since: list[Operation] = []

    def after(self, chosen: Sequence[Operation]) -> bytes:
        """The bytes with some of the operations since the last sync."""
        data = bytearray(self.synced)
        for operation in chosen:
            if operation.kind == "t":
                del data[operation.offset :]
                data.extend(bytes(operation.offset - len(data)))
            else:
                data.extend(bytes(max(0, operation.offset - len(data))))
                data[operation.offset : operation.offset + len(operation.data)] = operation.data
        return bytes(data)


class Disk:
    """The files of a life, as far as they are certain after a power cut.

    A file's bytes are certain after an fsync of the file, its name after one of its folder. Names that are not certain come in their
    order: file systems keep a journal of them. Bytes come in any order, and a write may be torn between two sectors.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, Content] = {}
        self._certain: dict[str, Content] = {}
        self._pending: list[tuple[Operation, Content | None]] = []
        self.acts = 0

    def carry_out(self, operation: Operation) -> None:
        """Follows one operation."""
        kind, path = operation.kind, operation.path
        if kind in "wts" and Path(path).name == ACTS:
            self.acts += len(operation.data)
        elif kind in "wt":
            if path in self._names:  # else of a file without a name
                self._names[path].since.append(operation)
        elif kind == "s":
            if content := self._names.get(path):
                content.synced, content.since = content.after(content.since), []
        elif kind == "f":
            mine = [each for each in self._pending if str(Path(each[0].path).parent) == path]
            self._pending = [each for each in self._pending if each not in mine]
            for each in mine:
                self._name(self._certain, *each)
        else:
            content = Content() if kind == "c" else self._names.get(path)
            self._name(self._names, operation, content)
            self._pending.append((operation, content))

    def _name(self, names: dict[str, Content], operation: Operation, content: Content | None) -> None:
        kind, path = operation.kind, operation.path
        if kind in "ur":
            names.pop(path, None)
        if kind in "crl" and content is not None:
            names[operation.other or path] = content

    def write(self, folder: Path, draw: random.Random | None, *, names: bool) -> None:
        """Writes the disk after a power cut: what is certain, all `names` without bytes, or what `draw` chooses."""
        found = dict(self._certain)
        count = len(self._pending) if names else draw.randint(0, len(self._pending)) if draw else 0
        for each in self._pending[:count]:
            self._name(found, *each)
        for path, content in found.items():
            if path.endswith(("-shm", ACTS)):  # shared memory is no file after a power cut
                continue
            file = folder / Path(path).relative_to(self._folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.after([_torn(each, draw) for each in content.since if draw.random() < 0.5] if draw else []))


def _torn(operation: Operation, draw: random.Random) -> Operation:
    if operation.kind == "t" or draw.random() < 0.7:
        return operation
    return operation._replace(data=operation.data[: SECTOR * draw.randint(0, len(operation.data) // SECTOR)])


# ── the child ────────────────────────────────────────────────────────────────────────────────────────────────────────


def live(folder: Path, acts: int, told: Callable[[int, str], None], *, again: bool) -> None:
    """Lives the first `acts` of a life; `told` gets the number of each act that has ended, and the error that it met first.

    With `again` an act that fails is tried once more; else life ends with it, and `told` gets `FAILED`.
    """
    store: Store | None = None
    for number, act in enumerate(list(LIFE.values())[:acts]):
        fault = ""
        for _ in range(2 if again else 1):
            try:
                store = store or Store(folder / DATABASE)
                act(store)
            except (CharloomError, OSError, MemoryError) as error:
                fault = f"{type(error).__name__}: {error}"
                if "exists already" in fault or "there is no" in fault:  # the act was done all the same
                    break
                continue
            break
        else:
            told(FAILED, fault)
            return
        told(number + 1, fault)


def serve() -> None:
    """Forks a child for each request on standard input, so that nothing is imported twice: the process behind a `Sweep`."""
    import pydivsufsort  # noqa: F401  (or each child would import it)

    corpora.CHUNK = CHUNK
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _answer(json.loads(line), writing)
        os.close(writing)
        with open(reading) as stream:
            lines = stream.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), *map(json.loads, lines)]), flush=True)


def _answer(asked: dict[str, Any], writing: int) -> NoReturn:
    """Lives, or reads a state, writes lines of JSON about it, and ends this process."""
    folder, code = Path(asked["folder"]), 1

    def tell(value: Any) -> None:
        os.write(writing, json.dumps(value).encode() + b"\n")

    try:
        if asked["do"] == "live":
            log = os.fsencode(asked["log"]) if asked["log"] else None
            marks = os.open(folder / ACTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else None

            def told(number: int, fault: str) -> None:
                tell([number, fault])
                if marks is not None:
                    os.write(marks, b".")

            library = ctypes.CDLL(None)
            at, code_of_sqlite = ctypes.c_long(asked["at"]), map(ctypes.c_size_t, _code_of_sqlite())
            library.faults_arm(os.fsencode(folder), asked["mode"], at, log, *code_of_sqlite)
            live(folder, asked["acts"], told, again=asked["again"])
            tell([COUNTED, library.faults_counted()])
        else:
            tell(state(folder))
        code = 0
    except BaseException as error:
        tell([UNFORESEEN, f"{type(error).__name__}: {error}"])
    finally:
        os._exit(code)


def _code_of_sqlite() -> tuple[int, int]:
    places = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "sqlite3" in line and " r-xp " in line]
    low, _, high = (places[0][0] if places else "0-0").partition("-")
    return int(low, 16), int(high, 16)


# ── the sweep ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Tally:
    """What a kind of end did: the points that were tried, and the faults in words."""

    tried: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


@dataclass
class Sweep:
    """Lives that end at `points` moments of each of `kinds`. Needs Linux with glibc, and a C compiler."""

    folder: Path
    points: int
    seed: int = 0
    kinds: Sequence[str] = KINDS
    states: list[Any] = field(default_factory=list)  # after each number of acts

    def carry_out(self, tell: bool = True) -> dict[str, Tally]:
        """Sweeps; returns the tally of each kind. Raises `Lost` if anything was lost or damaged."""
        began = time.monotonic()
        found: dict[str, Tally] = {}
        with self._child():
            self._live_undisturbed()
            if tell:
                print(f"{'':12}{'points':>8}{'lost':>8}{'damaged':>9}")
            for kind in self.kinds:
                tally = found[kind] = self._sweep(kind)
                if tell:
                    print(f"{kind:12}{tally.tried:8,}{len(tally.lost):8,}{len(tally.damaged):9,}", flush=True)
                    for fault in (*tally.lost, *tally.damaged):
                        print(f"    {fault}")
        if tell:
            print(f"a life of {len(LIFE)} acts and {self.operations:,} operations; {time.monotonic() - began:.0f} s")
        faults = [fault for tally in found.values() for fault in (*tally.lost, *tally.damaged)]
        require(not faults, "; ".join(faults[:3]))
        return found

    @contextlib.contextmanager
    def _child(self) -> Iterator[None]:
        library = self.folder / "faults.so"
        compile_ = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run(compile_, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from tools.crash_points import serve; serve()"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as self._process:
            yield
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _ask(self, do: str, folder: Path, mode: int = OFF, at: int = 0, acts: int = len(LIFE), log: str = "", again: bool = False) -> Any:
        asked = {"do": do, "folder": str(folder), "mode": mode, "at": at, "acts": acts, "log": log, "again": again}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    @contextlib.contextmanager
    def _new(self) -> Iterator[Path]:
        folder = self.folder / "life"
        folder.mkdir()
        yield folder
        shutil.rmtree(folder)

    def _live_undisturbed(self) -> None:
        """Finds the state after each act, and how many operations and allocations there are."""
        for acts in range(len(LIFE) + 1):
            with self._new() as folder:
                answer = self._ask("live", folder, acts=acts)
                assert answer[0] == 0, answer
                self.states.append(self._ask("state", folder)[1])
        self.log = self.folder / "log"
        counts = []
        for mode in (RECORD, FAIL, NO_MEMORY):
            with self._new() as folder:
                answer = self._ask("live", folder, mode, at=10**9, log=str(self.log) if mode == RECORD else "")
                counts.append(int(answer[-1][1]))
        self.operations, self._calls, self._allocations = counts
        self._recorded = sum(1 for _ in recorded(self.log))

    def _sweep(self, kind: str) -> Tally:
        draw = random.Random(f"{self.seed} {kind}")
        counts = {"power cut": self._recorded, "I/O error": self._calls, "no memory": self._allocations}
        count = counts.get(kind, self.operations)
        chosen = sorted(draw.sample(range(count), min(self.points, count)))
        tally = Tally()
        if kind == "power cut":
            self._cut(chosen, draw, tally)
            return tally
        for at in chosen:
            with self._new() as folder:
                _, *told = self._ask("live", folder, MODES[kind], at, again=kind != "disk full")
                ended = [number for number, _ in told if number >= 0]
                place = f"{kind} at {at:,}"
                for number, fault in told:
                    if number == UNFORESEEN or (number == FAILED and kind != "disk full"):
                        tally.lost.append(f"{place}, at '{self._act(len(ended))}': {fault}")
                self.judge(folder, len(ended), place, tally)
        return tally

    def _cut(self, chosen: Sequence[int], draw: random.Random, tally: Tally) -> None:
        disk, waiting = Disk(str(self.folder / "life")), list(chosen)
        for number, operation in enumerate(recorded(self.log)):
            disk.carry_out(operation)
            if waiting and waiting[0] == number:
                del waiting[0]
                for what, names, luck in (("nothing else", False, None), ("all names", True, None), ("a part", False, draw)):
                    with self._new() as folder:
                        disk.write(folder, luck, names=names)
                        self.judge(folder, disk.acts, f"power cut after {number:,}, {what} kept", tally)

    def judge(self, folder: Path, acts: int, place: str, tally: Tally) -> None:
        """Notes in the tally what is wrong with a folder after a number of acts were answered."""
        tally.tried += 1
        status, found = self._ask("state", folder)
        if status:
            tally.damaged.append(f"{place}, after '{self._act(acts - 1)}': {found[1]}")
        elif found not in self.states[acts : acts + 2]:
            tally.lost.append(f"{place}, after '{self._act(acts - 1)}': {difference(self.states[acts], found)}")

    def _act(self, number: int) -> str:
        return [*LIFE, "the end"][number] if number >= 0 else "nothing"


def difference(expected: Any, found: Any) -> str:
    """The first place at which two states differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted({*expected, *found}):
            if expected.get(name) != found.get(name):
                return f"{name}: {difference(expected.get(name), found.get(name))}"
    return f"{expected} was expected, {found} is there"
