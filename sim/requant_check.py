"""The requantiser's RTL against numpy's float32, on random cases and on cases that sit on ties."""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw import emit
from hpu.hw.requantise import REQUANTISE_STAGES, Requantise
from hpu.sim import verilator

__all__ = ["RequantiseLanes", "cases", "requantise_rtl", "run"]

_LANES = 16
_LENGTH = 256
_BLOCKS = 256
_DRIVER = Path(__file__).with_suffix(".cpp")

Array = np.ndarray


class RequantiseLanes(wiring.Component):
    """``lanes`` requantisers side by side; ``record`` holds mantissa and shift of each, 32 bits."""

    def __init__(self, *, lanes: int):
        self._lanes = lanes
        super().__init__(
            {
                "valid": In(1),
                "a": In(32 * lanes),
                "record": In(32 * lanes),
                "zero": In(8),
                "o": Out(8 * lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        en = Signal(REQUANTISE_STAGES)
        m.d.comb += en[0].eq(self.valid)
        m.d.sync += en[1:].eq(en[:-1])
        lanes = [Requantise() for _ in range(self._lanes)]
        for index, lane in enumerate(lanes):
            record = self.record.word_select(index, 32)
            m.submodules[f"lane_{index}"] = lane
            m.d.comb += [
                lane.en.eq(en),
                lane.a.eq(self.a.word_select(index, 32)),
                lane.mantissa.eq(record[:24]),
                lane.shift.eq(record[24:30]),
                lane.zero.eq(self.zero),
            ]
        m.d.comb += self.o.eq(Cat(lane.o for lane in lanes))
        return m


@functools.cache
def _library() -> ctypes.CDLL:
    texts = emit.verilog(RequantiseLanes(lanes=_LANES))
    key = verilator.key_of([texts["top"], _DRIVER.read_bytes(), Path(__file__).read_bytes()])
    folder = verilator.cached("requantise", key, lambda place: _build(place, texts))
    return ctypes.CDLL(str(folder / "librequantise.so"))


def _build(folder: Path, texts: dict[str, str]) -> None:
    sources = verilator.write_sources(texts, folder)
    arguments = ["--cc", "--exe", "--build-jobs", "1", "--no-timing", "-Wno-fatal", "-Wno-lint"]
    arguments += ["-O3", "--top-module", "top", "--prefix", "Vtop", "-Mdir", str(folder / "obj")]
    arguments += ["-o", str(folder / "librequantise.so"), "-CFLAGS", "-fPIC -O2 -std=gnu++17"]
    arguments += ["-LDFLAGS", "-shared", _DRIVER.as_posix()]
    verilator.run_verilator([*arguments, *sources], cwd=folder)
    verilator.run_make("Vtop.mk", cwd=folder / "obj", jobs=2)


def requantise_rtl(acc: Array, mantissa: Array, shift: Array, zero: Array) -> Array:
    """What the RTL makes of ``acc``.

    Parameters
    ----------
    acc
        int32 [blocks, length, 16 lanes].
    mantissa, shift
        [blocks, 16]: the parameters of a block's lanes.
    zero
        [blocks].

    Returns
    -------
    numpy.ndarray
        int8 of the shape of ``acc``.
    """
    blocks, length, lanes = acc.shape
    if lanes != _LANES:
        raise ValueError(f"acc must have {_LANES} lanes, not {lanes!r}")
    out = np.empty(acc.shape, np.int8)
    arrays = (acc, mantissa, shift, zero, out)
    types = (np.int32, np.uint32, np.uint8, np.int8, np.int8)
    held = [np.ascontiguousarray(a, t) for a, t in zip(arrays, types, strict=True)]
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in held]
    sizes = [ctypes.c_int64(n) for n in (blocks, length, lanes, REQUANTISE_STAGES)]
    _library().requantise(*sizes, *pointers)
    return held[-1]


def cases(rng: np.random.Generator, blocks: int) -> tuple[Array, Array, Array, Array]:
    """``acc``, ``mantissa``, ``shift`` and ``zero`` for :func:`requantise_rtl`, 256 per lane.

    A quarter of the accumulators are random; the others lie on or next to a tie of the first
    rounding, of the product's rounding, or of the last one.
    """
    mantissa = _mantissas(rng, (blocks, _LANES))
    shift = rng.choice([rng.integers(20, 50), rng.integers(0, 64)], (blocks, _LANES))
    shift = np.where(rng.random((blocks, _LANES)) < 0.8, rng.integers(22, 48, shift.shape), shift)
    kinds = (_random, _tie_of_accumulator, _tie_of_product, _tie_of_result)
    parts = [_part(rng, kind, mantissa, shift) for kind in kinds]
    acc = np.concatenate(parts, axis=1)
    nudge = rng.choice([0, 0, 0, 0, -1, 1], acc.shape)
    acc = np.clip(acc + nudge, -(2**31), 2**31 - 1).astype(np.int32)
    return acc, mantissa, shift, rng.integers(-128, 128, blocks)


def _part(rng: np.random.Generator, kind: Callable, mantissa: Array, shift: Array) -> Array:
    shape = (mantissa.shape[0], _LENGTH // 4, _LANES)
    values = kind(rng, shape, mantissa[:, None], shift[:, None])
    return np.where(rng.random(shape) < 0.5, values, -values)


def _mantissas(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random ones, and ones with many trailing zeros, whose products meet ties."""
    free = rng.integers(1 << 23, 1 << 24, shape)
    zeros = rng.integers(0, 24, shape)
    return np.where(rng.random(shape) < 0.3, free, (free >> zeros << zeros) | (1 << 23))


def _random(
    rng: np.random.Generator, shape: tuple[int, ...], mantissa: Array, shift: Array
) -> Array:
    return rng.integers(0, 1 << 31, shape) >> rng.integers(0, 31, shape)


def _tie_of_accumulator(
    rng: np.random.Generator, shape: tuple[int, ...], mantissa: Array, shift: Array
) -> Array:
    """25 to 31 significant bits of which those after the 24th are a one and zeros."""
    extra = rng.integers(1, 8, shape)
    kept = rng.integers(1 << 23, 1 << 24, shape)
    return (2 * kept + 1) << (extra - 1)


def _tie_of_product(
    rng: np.random.Generator, shape: tuple[int, ...], mantissa: Array, shift: Array
) -> Array:
    """Accumulators whose product with the mantissa has a one and then zeros after its 24th bit.

    The product's bits from ``below`` down must be 1, 0, 0 …: that fixes the accumulator's low bits
    through the inverse of the mantissa's odd part.
    """
    zeros = _trailing_zeros(np.broadcast_to(mantissa, shape))
    odd = np.broadcast_to(mantissa, shape) >> zeros
    below = np.maximum(rng.integers(22, 24, shape) - zeros, 0)
    low = (_inverse(odd) << below) & ((2 << below) - 1)
    high = rng.integers(0, 1 << 24, shape) >> rng.integers(0, 4, shape)
    return np.where(below < 23, (high & ~((2 << below) - 1)) | low, low)


def _tie_of_result(
    rng: np.random.Generator, shape: tuple[int, ...], mantissa: Array, shift: Array
) -> Array:
    """The accumulators nearest to a result that ends in one half."""
    wanted = rng.integers(0, 300, shape) + 0.5
    exact = wanted * np.exp2(shift.astype(np.float64)) / mantissa
    return np.clip(np.rint(exact), 0, 2**31 - 1).astype(np.int64)


def _trailing_zeros(values: Array) -> Array:
    return np.log2((values & -values).astype(np.float64)).astype(np.int64)


def _inverse(odd: Array) -> Array:
    """The inverse of odd numbers modulo 2³²: each step doubles the right bits."""
    inverse = odd.copy()
    for _ in range(4):
        inverse = (inverse * (2 - odd * inverse)) & 0xFFFFFFFF
    return inverse


def _expected(acc: Array, mantissa: Array, shift: Array, zero: Array) -> Array:
    """float32 arithmetic as numpy does it, and nothing of this project's own."""
    scale = np.ldexp(mantissa.astype(np.float32), -shift.astype(np.int32))[:, None, :]
    zero = zero[:, None, None]
    scaled = np.rint(acc.astype(np.float32) * scale)
    return (np.clip(scaled, -128 - zero, 127 - zero) + zero).astype(np.int8)


def run(cases_wanted: int, seed: int) -> tuple[int, int]:
    """Cases run in RTL (at least ``cases_wanted``) and how many differ from numpy's float32."""
    rng = np.random.default_rng(seed)
    total = wrong = 0
    while total < cases_wanted:
        blocks = min(_BLOCKS, -(-(cases_wanted - total) // (_LENGTH * _LANES)))
        chosen = cases(rng, blocks)
        wrong += int(np.count_nonzero(requantise_rtl(*chosen) != _expected(*chosen)))
        total += chosen[0].size
    return total, wrong
