"""Models in and out of the store: as a loaded network, and as safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from model.checkpoint import Checkpoint
from model.errors import DamagedCheckpoint, UnreadableSource
from service.files import write_whole
from service.store import Checkpoint as Stored
from service.store import Metric, Run, Store

LARGEST_FILE = 2_000_000_000  # bytes of an imported file; the largest model here has far fewer


class Loaded(NamedTuple):
    """A model out of the store."""

    run: Run
    stored: Stored
    checkpoint: Checkpoint


def load(store: Store, name: str | None = None) -> Loaded:
    """The model that ``RUN``, ``RUN@STEP``, ``RUN@best``, ``RUN@last``, ``latest`` or None means.

    Raises `RunNotFound`, `CheckpointNotFound`, `NoModelYet` and `CheckpointError`.
    """
    run, which = store.runs.resolve(name)
    stored, data = store.checkpoints.load(run, which)
    return Loaded(run, stored, Checkpoint.from_bytes(data, f"checkpoint {run.name}@{stored.step}"))


def export(store: Store, name: str, file: Path, *, overwrite: bool = False) -> Stored:
    """Write the model part of a checkpoint to a safetensors file, which appears when it is whole.

    Raises `FileTaken`, `FileUnwritable`, and as `load`.
    """
    run, which = store.runs.resolve(name)
    stored, data = store.checkpoints.load(run, which)
    write_whole(file, data, overwrite=overwrite)
    return stored


def import_file(store: Store, file: Path, name: str, *, exact: bool = True) -> Run:
    """Store a safetensors file that `export` wrote as a finished run. Every name, shape and number of it is checked before.

    A `name` that need not be `exact` is made free by a number.

    Raises `UnreadableSource`, `CheckpointError`, `NameTaken`, `InvalidName`.
    """
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise DamagedCheckpoint(str(file), f"it is larger than {LARGEST_FILE:,} bytes, the limit")
        data = file.read_bytes()
    except OSError as error:
        raise UnreadableSource(str(file), error.strerror or str(error)) from None
    checkpoint = Checkpoint.from_bytes(data, str(file))
    facts = checkpoint.facts
    step, loss, bits = (facts.get(key) for key in ("step", "validation_loss", "bits_per_char"))
    run = store.runs.create(
        name,
        corpus=None,
        model_config=checkpoint.model.config.to_dict(),
        training_config={},
        exact=exact,
    )
    run = store.runs.claim(run.name)
    metric = Metric(
        step=step if type(step) is int and 0 <= step < 2**62 else 0,
        validation_loss=loss if type(loss) is float else None,
        bits_per_char=bits if type(bits) is float else None,
    )
    store.checkpoints.save(run, metric, checkpoint.to_bytes(), None)
    return store.runs.release(run, "succeeded", f"imported from {file.name}")
