"""Inner loops of the functional machine in C++, compiled for this processor at the first use.

Without a C++ compiler there are none, and the machine computes the same with numpy.
"""

import ctypes
import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpu.sim import verilator

__all__ = [
    "Loop",
    "Matmul",
    "Move",
    "NativeTile",
    "Steps",
    "Tap",
    "Vector",
    "array",
    "call",
    "library",
]

_FOLDER = Path(__file__).parent
_HEADER = _FOLDER / "native.h"
_SOURCES = [_FOLDER / f"native_{unit}.cpp" for unit in ("matrix", "move", "vector")]
_FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-fwrapv",  # sums wrap around
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",  # every product is rounded
]
_int, _long, _address = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p


class Loop(ctypes.Structure):
    """Elements of an instruction's loop."""

    _fields_ = [(name, _int) for name in ("n", "y", "x")]


class Steps(ctypes.Structure):
    """Bytes between neighbours of a loop."""

    _fields_ = [(name, _long) for name in ("n", "y", "x")]


class Tap(ctypes.Structure):
    """``struct Tap`` of the header."""

    _fields_ = [
        ("data", _address),
        ("step", Steps),
        *((name, _int) for name in ("y0", "y1", "x0", "x1", "first", "width")),
        ("weights", _address),
    ]


class Matmul(ctypes.Structure):
    """``struct Matmul`` of the header."""

    _fields_ = [
        ("loop", Loop),
        *((name, _int) for name in ("taps", "accumulate", "pad", "used")),
        ("tap", ctypes.POINTER(Tap)),
        ("acc", _address),
        ("acc_step", _long),
        ("acc_width", _address),
    ]


class Vector(ctypes.Structure):
    """``struct Vector`` of the header."""

    _fields_ = [
        ("loop", Loop),
        *((name, _int) for name in ("lanes", "reduce", "taps", "a_zero", "requantise", "zero")),
        *((name, _int) for name in ("operand", "s_zero", "b_zero", "s_mult", "b_mult", "shift")),
        *((name, _int) for name in ("out_zero", "low", "high", "copies")),
        *((name, _long) for name in ("acc_step", "columns")),
        ("acc", _address),
        ("tap", ctypes.POINTER(Tap)),
        ("record", _address),
        ("other", ctypes.POINTER(Tap)),
        ("table", _address),
        ("target", _address),
        ("step", Steps),
    ]


class Move(ctypes.Structure):
    """``struct Move`` of the header."""

    _fields_ = [
        ("loop", Loop),
        *((name, _int) for name in ("width", "copies")),
        ("source", _address),
        ("source_step", Steps),
        ("target", _address),
        ("target_step", Steps),
    ]


class NativeTile:
    """A weight tile from int8 [rows, columns], kept by the library; its zeros cost nothing."""

    def __init__(self, weights: np.ndarray):
        native = library()
        assert native is not None
        self._free: Callable[[int], None] = native.hpu_free_tile
        rows, self.columns = weights.shape
        weights = np.ascontiguousarray(weights)
        self.address = native.hpu_tile(weights.ctypes.data, rows, self.columns, self.columns)

    def __del__(self) -> None:
        self._free(self.address)


def call(run: Callable[[Any], None], op: ctypes.Structure) -> Callable[[], None]:
    """A function that runs ``op``, which it keeps."""
    return functools.partial(run, ctypes.byref(op))


def array(taps: Sequence[Tap]) -> ctypes.Array[Tap]:
    """The taps side by side."""
    return (Tap * len(taps))(*taps)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or ``None`` when there is no compiler or ``HPU_NATIVE`` is 0."""
    if os.environ.get("HPU_NATIVE") == "0" or shutil.which("g++") is None:
        return None
    try:
        folder = verilator.cached("native", _key(), _build)
    except (OSError, subprocess.CalledProcessError):
        return None  # a compiler that cannot build here: numpy does
    native = ctypes.CDLL(str(folder / "libnative.so"))
    native.hpu_tile.argtypes = [_address, _int, _int, _long]
    native.hpu_tile.restype = _address
    native.hpu_free_tile.argtypes = [_address]
    native.hpu_free_tile.restype = None
    native.hpu_matmul.argtypes = [_address, _address]
    native.hpu_matmul.restype = None
    for run in (native.hpu_vector, native.hpu_move):
        run.argtypes = [_address]
        run.restype = None
    return native


def _key() -> str:
    """Also of the processor, for whose instructions the loops are compiled."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), platform.processor())
    texts = [path.read_bytes() for path in (_HEADER, *_SOURCES)]
    return verilator.key_of([*texts, " ".join(_FLAGS), flags])


def _build(folder: Path) -> None:
    command = ["g++", *_FLAGS, "-o", str(folder / "libnative.so"), *map(str, _SOURCES)]
    subprocess.run(command, check=True, capture_output=True)
