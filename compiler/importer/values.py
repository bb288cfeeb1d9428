"""What the importer knows of an ONNX value: a constant, a quantised constant, an activation or a
float result that still waits for its QuantizeLinear."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.layout import Digit, Layout, translate

if TYPE_CHECKING:
    from hpu.compiler.importer.chain import Chain

__all__ = ["Activation", "Base", "Constant", "OnnxQuant", "Pending", "QuantConstant", "Value"]


@dataclasses.dataclass(frozen=True)
class OnnxQuant:
    """Quantisation as ONNX spells it: ``zero`` is in ``dtype`` (int8 or uint8)."""

    scale: np.float32
    zero: int
    dtype: str

    @property
    def low(self) -> int:
        """Least value of the type."""
        return 0 if self.dtype == "uint8" else -128

    def device(self) -> ir.Quant:
        """The same for the device's int8 (a uint8 has its top bit flipped)."""
        return ir.Quant(self.scale, self.zero - 128 - self.low)

    def quantise(self, value: float) -> int:
        """Device byte of a real value: QuantizeLinear in float32, infinities included."""
        with np.errstate(over="ignore"):
            steps = np.rint(np.float32(value) / self.scale)
        byte = np.clip(steps + np.float32(self.zero), self.low, self.low + 255)
        return int(byte) - 128 - self.low


@dataclasses.dataclass
class Base:
    """A device tensor, or a graph input whose device axes are not decided yet.

    ``binding`` pairs every digit of the flat input with its device digit; ``quant`` may be None
    until the first DequantizeLinear of an integer input says it.
    """

    name: str
    dtype: str  # of the ONNX value: float32 (not quantised yet), int8 or uint8
    quant: OnnxQuant | None = None
    shape4: tuple[int, int, int, int] | None = None
    binding: tuple[tuple[Digit, Digit], ...] | None = None
    tensor: ir.Tensor | None = None
    shape: tuple[int, ...] = ()  # of the ONNX value, where it is an input


@dataclasses.dataclass(frozen=True)
class Activation:
    """A value that is a relabelled device tensor; ``real``: as DequantizeLinear gives it.

    ``raw``: a float input itself, which only QuantizeLinear and relabellings may read.
    """

    base: Base
    flat: Layout
    real: bool
    raw: bool = False

    @property
    def layout(self) -> Layout:
        """The walk over the device axes, or over the flat input while those are open."""
        if self.base.binding is not None:
            return translate(self.flat, self.base.binding)
        return self.flat

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX value."""
        return self.flat.shape

    def relabelled(self, layout: Layout) -> "Activation":
        """The same tensor under another layout."""
        return dataclasses.replace(self, flat=layout)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant of any type."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX value."""
        return self.array.shape


@dataclasses.dataclass(frozen=True)
class QuantConstant:
    """DequantizeLinear of an integer constant; ``scale`` and ``zero`` have its shape."""

    q: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX value."""
        return self.q.shape

    @property
    def real(self) -> np.ndarray:
        """The float32 values."""
        steps = self.q.astype(np.int64) - self.zero
        with np.errstate(over="ignore"):
            return (steps.astype(np.float32) * self.scale).astype(np.float32)

    def map(self, move: Callable[[np.ndarray], np.ndarray]) -> "QuantConstant":
        """The constant with a relabelling done to it."""
        return QuantConstant(move(self.q), move(self.scale), move(self.zero))


#: Makes the operation once the quantisation of its result is known; gives the result's tensor.
Finish = Callable[["Pending", str, OnnxQuant], ir.Op]


@dataclasses.dataclass(frozen=True)
class Pending:
    """A float result of an operator on dequantised inputs, before its QuantizeLinear.

    ``low`` and ``high`` are the clip of Relu and Clip, as real numbers. ``bias``, where the
    operator takes one, gives the same operator with a bias added per channel.
    """

    finish: Finish
    shape4: tuple[int, int, int, int]
    layout: Layout
    nodes: tuple[str, ...]
    op_type: str
    low: float = -np.inf
    high: float = np.inf
    bias: Callable[[np.ndarray | QuantConstant, str], "Pending"] | None = None
    #: With factors and offsets per channel: the same operator, its result times those plus these.
    affine: Callable[[np.ndarray, np.ndarray, str], "Pending"] | None = None
    #: The nodes of a table in the making, which takes further functions and no clip.
    chain: "Chain | None" = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX value."""
        return self.layout.shape

    def relabelled(self, layout: Layout) -> "Pending":
        """The same result under another layout."""
        return dataclasses.replace(self, layout=layout)


Value = Constant | QuantConstant | Activation | Pending
