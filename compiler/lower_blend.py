"""Interpolation along one image axis: the vector unit adds two weighted positions.

Results with the same weights whose positions step evenly are one instruction: of an enlargement by
a whole factor, one for each remainder.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Blend
from hpu.compiler.lattice import Lattice
from hpu.compiler.lower_move import emit_walk
from hpu.compiler.lower_stream import lower_stream
from hpu.compiler.tiling import Axis, Region, View
from hpu.hw.isa import Operand, Source
from hpu.sim.numerics import encode_add

__all__ = ["blend_axes", "blend_fields", "lower_blend"]

_NOTHING = 1e-30  # a weight that becomes 0


@dataclasses.dataclass(frozen=True)
class _Pairs(Axis):
    """An axis whose results each use a pair of positions."""

    pairs: tuple[tuple[int, int], ...] = ()

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """Positions that results ``low`` … ``high - 1`` use."""
        used = [position for pair in self.pairs[low:high] for position in pair]
        return min(used), max(used) + 1

    def longest(self, count: int) -> int:
        """The most positions that ``count`` neighbouring results use."""
        reaches = (self.reach(k, k + count) for k in range(max(len(self.pairs) - count, 0) + 1))
        return max(high - low for low, high in reaches)


def blend_axes(op: Blend) -> tuple[Axis, Axis]:
    """What the results use along y and x."""
    pairs = tuple(zip(op.first, op.second, strict=True))
    own = _Pairs(op.x.shape[op.axis], pairs=pairs)
    other = Axis(op.x.shape[3 - op.axis])
    return (own, other) if op.axis == 1 else (other, own)


def lower_blend(context: Context, op: Blend, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""

    def emit(block: int, part: Region, views: list[View], result: View) -> None:
        channels = context.blocks(op.out)[block]
        whole = {
            "d_width": channels.width,
            "d_copies": context.config.groups // channels.width,
            "source": int(Source.UB),
        }
        fields = context.table(op, channels) | whole
        for run in _runs(op, part):
            weighted = fields | blend_fields(op, op.share[run[0]])
            for walk in _walk(op, part, run, views[0], result).pieces():
                reads = [Span(Memory.UB, *walk.extent(k)) for k in (1, 2)]
                operands = walk.strides("a", 1) | walk.strides("b", 2)
                emit_walk(context, walk, reads, weighted | operands)

    lower_stream(context, op, blend_axes(op), scratch, emit)


def _runs(op: Blend, part: Region) -> Iterator[Sequence[int]]:
    """Results of ``part`` with one weight whose positions step evenly."""
    low, high = (part.y0, part.y1) if op.axis == 1 else (part.x0, part.x1)
    places: dict[float, list[int]] = {}
    for index in range(low, high):
        places.setdefault(op.share[index], []).append(index)
    for same in places.values():
        run = same[:1]
        for index in same[1:]:
            if len(run) > 1 and _step(op, run[-1], index) != _step(op, run[0], run[1]):
                yield run
                run = []
            run.append(index)
        yield run


def _step(op: Blend, a: int, b: int) -> tuple[int, int, int]:
    return b - a, op.first[b] - op.first[a], op.second[b] - op.second[a]


def _walk(op: Blend, part: Region, run: Sequence[int], view: View, result: View) -> Lattice:
    """The words of the results, and of the two positions of each."""
    n, y, x = part.size
    steps = _step(op, run[0], run[1]) if len(run) > 1 else (0, 0, 0)
    here, there = result.strides, view.strides
    sides = (here, there, there)
    along = tuple(s * strides[op.axis] for s, strides in zip(steps, sides, strict=True))
    other = 3 - op.axis
    across = (x if other == 2 else y, (here[other], there[other], there[other]))
    inner = [(len(run), along), across]
    loops = [(n, (here[0], there[0], there[0])), *(inner if other == 2 else inner[::-1])]
    places = (run[0], op.first[run[0]], op.second[run[0]])
    words = []
    for place, at in zip(places, (result, view, view), strict=True):
        position = [part.n0, part.y0, part.x0]
        position[op.axis] = place
        words.append(at.word(position[0], position[1], position[2]))
    return Lattice(tuple(words), tuple(loops))


def blend_fields(op: Blend, share: float) -> dict[str, int]:
    """The fields that add the two positions, ``share`` of the second."""
    scale, zero = float(op.x.quant.scale), op.x.quant.zero
    one, two = (max(scale * part, _NOTHING) for part in (1 - share, share))
    own, other, shift = encode_add(one, two, float(op.result.scale))
    return {
        "operand": int(Operand.ADD),
        "s_zero": zero,
        "b_zero": zero,
        "out_zero": op.result.zero,
        "s_mult": own,
        "b_mult": other,
        "shift": shift,
    }
