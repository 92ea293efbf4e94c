"""Traces the two walks of docs/architecture.md: which functions a prompt passes, and which a text passes on its way to a checkpoint.

    python -m tools.walks prompt
    python -m tools.walks text

Prints the functions in the order of their first calls, how many modules they stand in, and which modules call each other.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("corpora", "model", "service")
WALKS = ("prompt", "text")


class Trace:
    """Notes every call of a function of the product, in all threads that begin after it was made."""

    def __init__(self) -> None:
        self.functions: dict[str, None] = {}  # module.function, in the order of their first calls
        self.calls: set[tuple[str, str]] = set()  # (calling module, called module)
        self.on = False
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def stop(self) -> None:
        """Note nothing more."""
        self.on = False
        sys.setprofile(None)
        threading.setprofile(None)

    @property
    def modules(self) -> list[str]:
        """The modules of the functions."""
        return list(dict.fromkeys(_module_of(name) for name in self.functions))

    @property
    def mutual(self) -> list[tuple[str, str]]:
        """Pairs of modules that call each other."""
        return sorted((one, other) for one, other in self.calls if one < other and (other, one) in self.calls)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or not self.on:
            return
        module = _module(frame)
        if module is None:
            return
        name = frame.f_code.co_qualname.replace(".<locals>", "")
        if "<" not in name and "__" not in name:
            self.functions.setdefault(f"{module}.{name}")
        caller = frame.f_back
        while caller is not None and (found := _module(caller)) is None:
            caller = caller.f_back
        if caller is not None and found is not None and found != module:
            self.calls.add((found, module))


def _module(frame: FrameType) -> str | None:
    name = str(frame.f_globals.get("__name__", ""))
    return name if name.split(".", maxsplit=1)[0] in PRODUCT else None


def _module_of(function: str) -> str:
    """``model.sampling`` of ``model.sampling.Sampler.step``."""
    parts = function.split(".")
    while len(parts) > 1 and ".".join(parts) not in sys.modules:
        parts.pop()
    return ".".join(parts)


def trace(walk: str) -> Trace:
    """Trains a tiny model on a made-up text; with ``prompt``, only a request for a text is noted, else all before it."""
    found = Trace()
    text = "".join(random.Random(1).choices("abcdefghij \n", k=6000))
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "charloom.db"
        try:
            _train(db, text, found, walk == "text")
            if walk == "prompt":
                _generate(db, found)
        finally:
            found.stop()
    return found


def _train(db: Path, text: str, found: Trace, on: bool) -> None:
    from service.store import Store
    from service.training import jobs, trainer
    from service.training.corpus_import import corpus_for

    file = db.with_name("text.txt")
    file.write_text(text, encoding="utf-8")
    with Store(db) as store:
        found.on = on
        corpus, _ = corpus_for(store, str(file))
        run = jobs.submit(store, jobs.JobSpec(corpus=corpus.name, model={"hidden_size": 16}, training={"steps": 30}))
        for _ in trainer.resume(store, run.name).events():
            pass
        found.on = False


def _generate(db: Path, found: Trace) -> None:
    from service.web.app import create_app

    app = create_app(db)
    client = app.test_client()
    for on in (False, True):  # the first request loads the model
        found.on = on
        client.post("/generate", json={"prompt": "abc", "length": 20}).get_data()
    found.on = False
    app.extensions["charloom"].close()


def main() -> None:
    """Prints one walk."""
    if len(sys.argv) != 2 or sys.argv[1] not in WALKS:
        sys.exit(f"usage: python -m tools.walks {'|'.join(WALKS)}")
    found = trace(sys.argv[1])
    print("\n".join(found.functions))
    print(f"\n{len(found.functions)} functions in {len(found.modules)} modules; {len(found.mutual)} pairs of modules call each other:")
    print("\n".join(" <-> ".join(pair) for pair in found.mutual))


if __name__ == "__main__":
    main()
