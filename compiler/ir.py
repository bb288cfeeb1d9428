"""The compiler's graph: quantised tensors in device form and the operations the machine has.

Every tensor is int8 with the logical axes (n, y, x, c). A uint8 ONNX tensor is held with its top
bit flipped, zero point included, so nothing below the importer knows uint8. Relabellings
(Flatten, Reshape, Transpose) exist only in :class:`HostTensor` and in the weights' order.
"""

import dataclasses

import numpy as np
import onnx

from hpu.compiler.pieces import Piece
from hpu.runtime.cell import PLAIN, Cell, Shape

__all__ = [
    "Add",
    "Binary",
    "Blend",
    "Conv",
    "Depthwise",
    "Fetch",
    "Graph",
    "HostTensor",
    "Inset",
    "Move",
    "Mul",
    "Op",
    "Pool",
    "Quant",
    "Residual",
    "Stage",
    "Staged",
    "Sub",
    "Tensor",
    "Unary",
]


@dataclasses.dataclass(frozen=True)
class Quant:
    """Per-tensor quantisation: real = (q - zero)·scale with int8 q."""

    scale: np.float32
    zero: int


@dataclasses.dataclass(frozen=True)
class Inset:
    """Where a tensor lies in the memory of ``parent``: from ``origin`` on, ``steps`` apart.

    ``origin`` is (n, y, x, c), ``steps`` are along n, y and x. With ``lanes`` it takes some lane
    groups of the parent's words, and has no copies beside it; else it takes whole words.
    """

    parent: "Tensor"
    origin: tuple[int, int, int, int]
    steps: tuple[int, int, int]
    lanes: bool = False


@dataclasses.dataclass(eq=False)
class Tensor:
    """An activation. ``name`` is the ONNX value it equals, or images of it."""

    name: str
    shape: tuple[int, int, int, int]
    quant: Quant
    #: The tensor whose images from ``first`` on these are, in the same memory.
    whole: "Tensor | None" = None
    first: int = 0
    #: The pixels that share a word.
    cell: Cell = PLAIN
    #: Its place in another tensor's memory, in the unified buffer.
    inset: Inset | None = None

    @property
    def stored(self) -> Shape:
        """The shape in words and lanes; ``shape`` where a word holds one pixel."""
        return self.cell.stored(self.shape)


@dataclasses.dataclass(eq=False, kw_only=True)
class Op:
    """An operation; ``nodes`` are the names of the ONNX nodes that it stands for, in order."""

    nodes: tuple[str, ...]
    x: Tensor
    out: Tensor
    #: Clip of the int8 result, then a table: int8 [256], or [256, c] with one for every
    #: channel, indexed by the byte of the clipped result.
    low: int = -128
    high: int = 127
    table: np.ndarray | None = None
    #: Quantisation of the result before the table, where it is not ``out.quant``; see ``result``.
    inner: Quant | None = None
    #: The small ONNX models (int8 [256, 1 or c] to the same) that the table was made with, in
    #: order.
    sources: tuple[onnx.ModelProto, ...] = ()
    #: In words, how the operation was laid on the machine, and why.
    mapping: str = ""

    @property
    def result(self) -> Quant:
        """Quantisation of what the operation gives before its table (``out.quant`` is after it)."""
        return self.inner or self.out.quant

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read."""
        return (self.x,)


@dataclasses.dataclass(frozen=True)
class Residual:
    """A fused addition of ``tensor`` after requantisation to ``own``."""

    tensor: Tensor
    own: Quant


@dataclasses.dataclass(frozen=True)
class Staged:
    """Weight tiles, by their numbers in the order of use, in ``rows`` words of ``tensor`` each."""

    tensor: Tensor
    tiles: tuple[int, ...]


@dataclasses.dataclass(eq=False, kw_only=True)
class Conv(Op):
    """Convolution or dense layer (a dense layer over (c, h, w) has the kernel h by w).

    ``weight``: int16 [cout, kh, kw, cin // groups], zero point subtracted, -255 … 255. ``bias``:
    int32 [cout] as in ONNX (the zero point of x is not folded in). ``scale``: float32 [cout],
    ``x_scale·w_scale/y_scale`` in onnxruntime's order of operations. The zero point added is
    ``result.zero``. With a ``residual``, ``scale`` leads to ``residual.own`` and the sum is in
    ``result``.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    residual: Residual | None = None
    #: The results that share a row of accumulators, where not those of a word of ``out``.
    columns: Cell | None = None
    #: Input channels that stand for nothing, with zero weights.
    unused: int = 0
    #: Weight tiles that wait in the unified buffer.
    staged: tuple["Staged", ...] = ()
    #: float32 [cout], the weights' own scale, from which ``scale`` was made; only for export.
    weight_scale: np.ndarray | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read."""
        residual = (self.residual.tensor,) if self.residual else ()
        return (self.x, *residual, *(staged.tensor for staged in self.staged))


@dataclasses.dataclass(eq=False, kw_only=True)
class Depthwise(Op):
    """A convolution of every channel by itself, on the vector unit.

    ``weight``: int8 [kh, kw, c]. Everything else as in :class:`Conv`. ``array``: the cycles that
    the array would take.
    """

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    array: int = 0

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        ky, kx, _ = self.weight.shape
        return ky, kx


@dataclasses.dataclass(eq=False, kw_only=True)
class Pool(Op):
    """Max or average pooling; global average is a kernel of the whole image.

    ``x_scale / (count · result.scale)`` scales an average's sum; a maximum keeps x's quantisation.
    """

    kind: str  # "max" or "average"
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    count_include_pad: bool = False


@dataclasses.dataclass(eq=False, kw_only=True)
class Binary(Op):
    """Of ``x`` and ``y`` element by element, same shape; what it gives is in ``result``."""

    y: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read."""
        return (self.x, self.y)


class Add(Binary):
    """x + y."""


class Sub(Binary):
    """x - y."""


class Mul(Binary):
    """x · y."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Unary(Op):
    """Clip and table only: out = table[clip(x)]. Requantising copies are tables too."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Move(Op):
    """Elements of ``x`` (source 0) and ``others`` at other places; ``pieces`` write each once.

    Channels that no reader uses may be left unwritten. All have the quantisation ``result``.
    ``fill`` is the byte of pieces without a source.
    """

    pieces: tuple[Piece, ...]
    others: tuple[Tensor, ...] = ()
    fill: int = 0

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors read."""
        return (self.x, *self.others)


@dataclasses.dataclass(eq=False, kw_only=True)
class Blend(Op):
    """Interpolation along ``axis`` (1: y, 2: x); the sum is in ``result``.

    Result i is (1 - ``share[i]``) of position ``first[i]`` plus ``share[i]`` of ``second[i]``.
    """

    axis: int
    first: tuple[int, ...]
    second: tuple[int, ...]
    share: tuple[float, ...]


@dataclasses.dataclass(eq=False, kw_only=True)
class Fetch(Op):
    """Part ``part`` of ``parts`` of ``x``, which is in DRAM, into ``out``."""

    part: int
    parts: int


@dataclasses.dataclass(eq=False, kw_only=True)
class Stage(Op):
    """Load of ``tiles`` of a later convolution's weights into ``out``, which ``x`` is too."""

    conv: Conv
    tiles: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class HostTensor:
    """An input or output as the user sees it.

    The device tensor (n, y, x, c) is ``value.reshape(view).transpose(perm)``. ``dtype`` is
    float32 (the host quantises or dequantises with ``scale`` and ``zero``, in ``quantised``
    type), int8 or uint8.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    view: tuple[int, int, int, int]
    perm: tuple[int, int, int, int]
    quantised: str  # int8 or uint8
    scale: float
    zero: int  # in the quantised type
    tensor: str  # name of the device tensor


@dataclasses.dataclass
class Graph:
    """Operations in topological order, and the interface."""

    ops: list[Op]
    inputs: list[HostTensor]
    outputs: list[HostTensor]
    tensors: dict[str, Tensor]
