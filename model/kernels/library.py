"""Finds and loads the library of kernels that fits this processor.

`library()` returns it, or None if numpy must do everything: because the library was not built, because the processor has none of the
instruction sets that it is built for, or because the environment variable ``CHARLOOM_KERNELS`` says ``numpy``. The variable may also
name an instruction set (``avx2``, ``avx512``, ``neon``). `shortcoming()` says why there is none. Imports no numpy.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import KernelsUnusable
from model.kernels.record import flaw

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIABLE = "CHARLOOM_KERNELS"
NUMPY = "numpy"
MOST_THREADS = 256  # of threads.h
FEATURES = {  # instruction set -> what /proc/cpuinfo must list; the best first
    "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
}
ARM = ("aarch64", "arm64")
ALL = (*FEATURES, "neon")
BUILD = "python -m model.kernels.build"
FOLDER = Path(__file__).parent
SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"


def instruction_sets() -> list[str]:
    """Returns the instruction sets of this processor for which there can be a library, the best first."""
    if platform.machine() in ARM:
        return ["neon"]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    found = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return [name for name, needed in FEATURES.items() if needed <= found]


def path_of(name: str) -> Path:
    """Returns where the library for an instruction set lies, if it was built."""
    return FOLDER / f"charloom-{name}{SUFFIX}"


class Library:
    """The functions of the C library, which take arrays. `name` is the instruction set."""

    def __init__(self, path: Path, name: str) -> None:
        """Raises `OSError` if the library cannot be loaded."""
        self.name = name
        self._library = ctypes.CDLL(str(path))
        for function, (result, *arguments) in SIGNATURES.items():
            declared = getattr(self._library, function)
            declared.restype, declared.argtypes = result, arguments
            setattr(self, function, declared)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(name)  # the functions are attributes, which type checkers cannot see


class NetworkShape(ctypes.Structure):
    """The sizes of a network: `Shape` in network.h."""

    _fields_ = [(name, ctypes.c_int32) for name in ("cell", "activation", "layers", "V", "E", "H", "boundary")]


class KernelUpdate(ctypes.Structure):
    """An optimizer with the numbers of one update: `UpdateRule` in optimizer.h."""

    _fields_ = [
        ("rule", ctypes.c_int32),
        *((name, ctypes.c_float) for name in ("shrink", "clip_value", "beta1", "beta2", "momentum", "epsilon")),
        *((name, ctypes.c_float) for name in ("fresh1", "fresh2", "m_factor", "v_factor")),
    ]


class SamplingRow(ctypes.Structure):
    """One text with its settings: `Row` in sampling.h."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("top_p", "min_p")),
        *((name, ctypes.c_float) for name in ("inverse", "repetition", "presence", "frequency")),
        *((name, ctypes.c_int32) for name in ("top_k", "alternatives", "last", "utf8")),
        *((name, ctypes.c_void_p) for name in ("counts", "present", "bias", "forbidden")),
    ]


class LogprobArrays(ctypes.Structure):
    """Where log-probabilities are written: `Logprobs` in sampling.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("drawn", "alternatives", "their_logprobs")]


_void, _pointer, _i32, _size, _double = None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_ssize_t, ctypes.c_double
SIGNATURES: dict[str, tuple[Any, ...]] = {  # the result, then the arguments, as in the headers
    "network_new": (_pointer, ctypes.POINTER(NetworkShape), _i32),
    "network_free": (_void, _pointer),
    "network_pack": (_void, _pointer, _pointer, _i32),
    "network_read": (_i32, _pointer, _i32, _i32, _pointer, _pointer, _pointer, _pointer, _pointer, _double, _pointer, _i32),
    "network_logits": (_void, _pointer, _i32, _pointer, _pointer),
    "tape_new": (_pointer, _pointer, _i32, _i32, _i32),
    "tape_free": (_void, _pointer),
    "gradients_of": (_i32, _pointer, _pointer, _i32, _i32, *[_pointer] * 4, _double, _double, _pointer, _i32, ctypes.POINTER(_double)),
    "sample": (_i32, _pointer, _i32, _i32, *[_pointer] * 6, ctypes.POINTER(LogprobArrays), _i32),
    "log_softmax_of": (_void, _size, _size, _pointer, _pointer),
    "orthogonal": (_void, _size, _pointer),
    "gradient_norm": (_double, _pointer, _size, _i32),
    "update_weights": (_void, ctypes.POINTER(KernelUpdate), *[_pointer] * 4, _i32, *[_pointer] * 3, _i32),
    **dict.fromkeys(("exp_of", "tanh_of", "sigmoid_of", "log_of"), (_void, _size, _pointer, _pointer)),
}


@functools.cache
def library() -> Library | None:
    """Returns the library that fits this processor best, or the one that ``CHARLOOM_KERNELS`` names; None if numpy does everything.

    Raises `KernelsUnusable` if the variable names what there is not.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == NUMPY:
        return None
    here = instruction_sets()
    if wanted and wanted not in here:
        why = "which this processor does not have" if wanted in ALL else "which is no instruction set"
        raise KernelsUnusable(wanted, why, _usable(here))
    for name in [wanted] if wanted else here:
        found = _loaded(name)
        if isinstance(found, Library):
            return found
        if wanted:
            raise KernelsUnusable(wanted, f"but its library {found}; build it with: {BUILD}", _usable(here))
    return None


def _loaded(name: str) -> Library | str:
    """Returns the library for an instruction set, or why it cannot be used."""
    try:
        return flaw(path_of(name)) or Library(path_of(name), name)
    except OSError as error:  # of another system, or in a folder from which nothing may be run
        return f"cannot be loaded ({error})"


def _usable(here: list[str]) -> list[str]:
    return [*(name for name in here if isinstance(_loaded(name), Library)), NUMPY]


def shortcoming() -> str | None:
    """Returns a sentence about why numpy computes and not the library, if that is not what the user chose."""
    if library() is not None or os.environ.get(VARIABLE) == NUMPY:
        return None
    slower = "numpy computes, several times slower than the C library"
    here = instruction_sets()
    if not here:
        return f"{slower}, which has no version for this processor"
    return f"{slower}: {path_of(here[0]).name} {_loaded(here[0])}; build it with: {BUILD}"


def checked(array: NDArray[Any], shape: tuple[int, ...], kind: str = "float32", *, written: bool = False) -> NDArray[Any]:
    """Returns the array itself.

    Raises `ValueError` if the library cannot read it, or write it if it is `written`: another shape or type, not contiguous, read-only.
    """
    flags = array.flags
    if array.dtype != kind or array.shape != shape or not flags.c_contiguous or not flags.aligned or (written and not flags.writeable):
        raise ValueError(
            f"an array is {array.dtype} {array.shape}, contiguous: {flags.c_contiguous}, writable: {flags.writeable};"
            f" the kernels need {kind} {shape}"
        )
    return array


def checked_threads(threads: int) -> int:
    """Returns the number of threads that the library can use of this one. Raises `ValueError` if it is below 1."""
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be 1 or more")
    return min(threads, MOST_THREADS)
