"""Which device axis every dimension of a value takes, and data movements between arrangements.

A movement takes each of its results' dimensions independently: result index i along a dimension is
element ``indices[i]`` of the same dimension of a source. Slices, padding, repetition and
nearest-neighbour resizing are all of this kind, and so is the identity, which brings a relabelled
value into another arrangement.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hpu.compiler import ir
from hpu.compiler.importer.layout import Digit, Layout, LayoutError, merge
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Base, OnnxQuant
from hpu.compiler.pieces import FILL, Loop, Piece, Vector

if TYPE_CHECKING:
    from hpu.compiler.importer.build import Builder

__all__ = [
    "USUAL",
    "Part",
    "Places",
    "image_places",
    "move",
    "own_places",
    "settle",
    "usual_places",
]

#: For every dimension of a value its device axis, and the elements of that axis per step of it.
Places: TypeAlias = tuple[tuple[int, int], ...]

#: Device axes of the dimensions of a value, by their number, as ONNX's operators have them.
USUAL = {4: (0, 3, 1, 2), 3: (0, 2, 3), 2: (0, 3), 1: (3,), 0: ()}
#: More pieces than this are too many instructions.
_MOST_PIECES = 2048


@dataclasses.dataclass(frozen=True)
class Part:
    """A box of the result: dimension k from ``dest[k]`` on takes ``indices[k]`` of a source.

    Source ``FILL`` gives the fill byte, and its indices only their number.
    """

    source: int
    indices: tuple[np.ndarray, ...]
    dest: tuple[int, ...]


def usual_places(shape: Sequence[int]) -> Places:
    """Axes as ONNX's operators have them; of more than four dimensions the first share n."""
    if len(shape) in USUAL:
        return tuple((axis, 1) for axis in USUAL[len(shape)])
    outer = shape[: len(shape) - 3]
    strides = [math.prod(outer[k + 1 :]) for k in range(len(outer))]
    return (*((0, stride) for stride in strides), (1, 1), (2, 1), (3, 1))


def image_places(rank: int) -> Places:
    """Axes of an image (n, c, y, x), or a row (n, c, x)."""
    return ((0, 1), (3, 1), (2, 1)) if rank == 3 else ((0, 1), (3, 1), (1, 1), (2, 1))


def own_places(value: Activation) -> Places:
    """The axes that a value's dimensions have, where each has one for itself; else the usual.

    A dimension of 1 takes an axis that no other has.
    """
    usual = usual_places(value.shape)
    shape4 = value.base.shape4
    try:
        dims = value.layout.dims()
    except LayoutError:
        return usual
    if shape4 is None or len(dims) > 4:
        return usual
    axes = [digits[0].axis for digits in dims if digits]
    whole = all(
        len(digits) <= 1 and digits == merge([Digit(d.axis, 1, shape4[d.axis]) for d in digits])
        for digits in dims
    )
    if not whole or len(set(axes)) != len(axes):
        return usual
    wanted = [usual[k][0] for k in range(len(dims))]
    free = [axis for axis in (*wanted, 0, 1, 2, 3) if axis not in axes]
    taken: list[int] = []
    for k, digits in enumerate(dims):
        if digits:
            taken.append(digits[0].axis)
        else:
            axis = wanted[k] if wanted[k] in free else free[0]
            free = [other for other in free if other != axis]
            taken.append(axis)
    return tuple((axis, 1) for axis in taken)


def settle(builder: "Builder", node: Node, value: Activation, places: Places) -> Activation:
    """``value`` in the arrangement ``places``: itself where it is so, else moved."""
    builder.bind(node, value, [axis for axis, _ in places])
    try:
        here = value.layout.digits
    except LayoutError:
        node.refuse(
            "its input is a model input that two nodes read in shapes that do not go together"
        )
    if _arrangement(value.shape, places) == here:
        return value
    whole = tuple(np.arange(size) for size in value.shape)
    part = Part(0, whole, (0,) * len(whole))
    return move(builder, node, [value], value.shape, places, [part])


def move(
    builder: "Builder",
    node: Node,
    sources: Sequence[Activation],
    shape: Sequence[int],
    places: Places,
    parts: Sequence[Part],
    fill: int = 0,
    name: str = "",
) -> Activation:
    """A new tensor for a value of ``shape``, its ``parts`` taken from ``sources`` of one type.

    ``fill`` is the device byte of parts without a source; ``name`` the tensor's, made up when
    empty.

    Raises
    ------
    UnsupportedError
        When the parts fall into too many pieces.
    """
    tensors = list({value.base.name: builder.tensor(value.base) for value in sources}.values())
    names = [tensor.name for tensor in tensors]
    pieces: list[Piece] = []
    for part in parts:
        layout = None if part.source == FILL else sources[part.source].layout
        number = FILL if part.source == FILL else names.index(sources[part.source].base.name)
        pieces += itertools.islice(_pieces(part, number, layout, places), _MOST_PIECES + 1)
        if len(pieces) > _MOST_PIECES:
            node.refuse("it moves data in too many small pieces")
    quant = sources[0].base.quant
    assert quant is not None
    shape4 = _shape4(shape, places)
    out = ir.Tensor(name or builder.fresh(sources[0].base.name), shape4, quant.device())
    op = ir.Move(
        nodes=(node.name,),
        x=tensors[0],
        others=tuple(tensors[1:]),
        out=out,
        pieces=tuple(pieces),
        fill=fill,
    )
    return _made(builder, op, sources[0], quant, shape, places)


def _made(
    builder: "Builder",
    op: ir.Move,
    like: Activation,
    quant: OnnxQuant,
    shape: Sequence[int],
    places: Places,
) -> Activation:
    builder.ops.append(op)
    builder.tensors[op.out.name] = op.out
    base = Base(op.out.name, quant.dtype, quant, op.out.shape, tensor=op.out)
    layout = Layout(tuple(shape), _arrangement(shape, places))
    return Activation(base, layout, real=like.real)


def _arrangement(shape: Sequence[int], places: Places) -> tuple[Digit, ...]:
    pairs = zip(places, shape, strict=True)
    return merge([Digit(axis, stride, size) for (axis, stride), size in pairs])


def _shape4(shape: Sequence[int], places: Places) -> Vector:
    sizes = [1, 1, 1, 1]
    for (axis, _), size in zip(places, shape, strict=True):
        sizes[axis] *= size
    return sizes[0], sizes[1], sizes[2], sizes[3]


# A part as pieces


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Along one dimension, from result index ``at`` on: where it starts and its loops.

    A loop is (size, source axis, source step, steps of the result's index).
    """

    at: int
    start: tuple[tuple[int, int], ...]  # (axis, elements)
    loops: tuple[tuple[int, int, int, int], ...]


def _pieces(part: Part, source: int, layout: Layout | None, places: Places) -> Iterator[Piece]:
    if layout is None:
        options = [[_Steps(0, (), ((len(each), 0, 0, 1),))] for each in part.indices]
        yield from _combined(options, source, part.dest, places)
        return
    try:
        dims = layout.dims()
    except LayoutError:
        yield from _row_by_row(part, source, layout, places)
        return
    options = [list(_steps(digits, each)) for digits, each in zip(dims, part.indices, strict=True)]
    yield from _combined(options, source, part.dest, places)


def _combined(
    options: Sequence[Sequence[_Steps]], source: int, dest: Sequence[int], places: Places
) -> Iterator[Piece]:
    """Every choice of one run along each dimension is a piece."""
    for choice in itertools.product(*options):
        origin, to, loops = [0, 0, 0, 0], [0, 0, 0, 0], []
        for steps, first, (axis, stride) in zip(choice, dest, places, strict=True):
            to[axis] += (first + steps.at) * stride
            for source_axis, elements in steps.start:
                origin[source_axis] += elements
            for size, source_axis, step, index_step in steps.loops:
                if size > 1:
                    loops.append(Loop(size, source_axis, step, axis, index_step * stride))
        yield Piece(source, _vector(origin), _vector(to), tuple(loops))


def _vector(values: Sequence[int]) -> Vector:
    n, y, x, c = values
    return n, y, x, c


def _row_by_row(part: Part, source: int, layout: Layout, places: Places) -> Iterator[Piece]:
    """Of a value that was reshaped across its axes: every row along the last dimension by itself.

    A row is a stretch of the walk over the device tensor.
    """
    *outer, last = (each.tolist() for each in part.indices)
    strides = [math.prod(layout.shape[k + 1 :]) for k in range(len(layout.shape))]
    for index in itertools.product(*(range(len(each)) for each in outer)):
        row = sum(each[i] * s for each, i, s in zip(outer, index, strides, strict=False))
        flat = row + np.array(last)
        dest = tuple(d + i for d, i in zip(part.dest, index, strict=False))
        options = [[_Steps(0, (), ())] for _ in index]
        yield from _combined(
            [*options, list(_steps(layout.digits, flat))], source, (*dest, part.dest[-1]), places
        )


def _steps(digits: tuple[Digit, ...], indices: np.ndarray) -> Iterator[_Steps]:
    """``indices`` along a dimension that walks ``digits``, in runs of even steps."""
    for at, spacing, run in _progressions(indices):
        step = int(run[1] - run[0]) if len(run) > 1 else 1
        first = int(run[0])
        if len(digits) <= 1 or step == 0:
            start, walk = _place(digits, first), digits[0] if digits else Digit(0, 0, 1)
            yield _Steps(at, start, ((len(run), walk.axis, walk.stride * step, spacing),))
        elif step == 1:
            for part in _stretch(digits, first, first + len(run)):
                loops = tuple((s, a, b, i * spacing) for s, a, b, i in part.loops)
                yield _Steps(at + part.at * spacing, part.start, loops)
        else:
            for k, index in enumerate(run.tolist()):
                yield _Steps(at + k * spacing, _place(digits, index), ())


def _place(digits: tuple[Digit, ...], index: int) -> tuple[tuple[int, int], ...]:
    """Elements along the device axes to element ``index`` of a dimension."""
    place = []
    for digit in reversed(digits):
        index, step = divmod(index, digit.size)
        place.append((digit.axis, step * digit.stride))
    return tuple(place)


def _stretch(digits: tuple[Digit, ...], low: int, high: int) -> Iterator[_Steps]:
    """Neighbouring elements ``low`` … ``high - 1`` of a dimension of several digits."""
    outer, rest = digits[0], digits[1:]
    if not rest:
        start = ((outer.axis, low * outer.stride),)
        yield _Steps(0, start, ((high - low, outer.axis, outer.stride, 1),))
        return
    inner = math.prod(digit.size for digit in rest)
    first, last = -(-low // inner), high // inner
    if low // inner == (high - 1) // inner and high - low < inner:
        yield from _under(outer, rest, low // inner, low % inner, (high - 1) % inner + 1, 0)
        return
    if low % inner:
        yield from _under(outer, rest, low // inner, low % inner, inner, 0)
    if last > first:
        sizes = [digit.size for digit in rest]
        loops = tuple(
            (digit.size, digit.axis, digit.stride, math.prod(sizes[k + 1 :]))
            for k, digit in enumerate(rest)
        )
        start = ((outer.axis, first * outer.stride),)
        whole = (last - first, outer.axis, outer.stride, inner)
        yield _Steps(first * inner - low, start, (whole, *loops))
    if high % inner:
        yield from _under(outer, rest, last, 0, high % inner, last * inner - low)


def _under(
    outer: Digit, rest: tuple[Digit, ...], step: int, low: int, high: int, at: int
) -> Iterator[_Steps]:
    """A stretch inside one step of the outer digit."""
    for part in _stretch(rest, low, high):
        start = ((outer.axis, step * outer.stride), *part.start)
        yield _Steps(at + part.at, start, part.loops)


def _progressions(indices: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """``indices`` as (first place, spacing of places, evenly stepping elements) without a rest.

    A periodic sequence, as of a repetition, gives a run for each place of the period.
    """
    period = _period(indices)
    if period:
        for phase in range(period):
            yield phase, period, indices[phase::period]
        return
    steps = np.diff(indices)
    at = 0
    while at < len(indices):
        end = at + 1
        while end < len(indices) and steps[end - 1] == steps[at]:
            end += 1
        yield at, 1, indices[at:end]
        at = end


def _period(indices: np.ndarray) -> int:
    """The least period after which all of ``indices`` goes on by one step; 0 without a short one.

    A progression has period 1.
    """
    for period in range(1, min(len(indices) // 2, 16) + 1):
        if _even_steps(indices, period):
            return period
    return 1 if len(indices) <= 2 else 0


def _even_steps(indices: np.ndarray, period: int) -> bool:
    return len(np.unique(indices[period:] - indices[:-period])) <= 1
