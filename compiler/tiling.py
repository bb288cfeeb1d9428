"""Regions of a tensor's positions: how results are cut into tiles and accumulator blocks."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from hpu.hw.config import Config

__all__ = [
    "AccBlock",
    "Accumulators",
    "Axis",
    "Region",
    "View",
    "acc_pieces",
    "growing",
    "largest_piece",
    "piece_words",
    "rising",
    "shrinking",
    "slow_part",
    "split",
    "tiles",
    "window",
]


@dataclasses.dataclass(frozen=True)
class Region:
    """Positions n0 … n1-1, y0 … y1-1, x0 … x1-1 of a tensor."""

    n0: int
    n1: int
    y0: int
    y1: int
    x0: int
    x1: int

    @classmethod
    def whole(cls, shape: Sequence[int]) -> "Region":
        """Every position of a tensor of shape (n, y, x, …)."""
        return cls(0, shape[0], 0, shape[1], 0, shape[2])

    @property
    def size(self) -> tuple[int, int, int]:
        """Positions along n, y and x."""
        return self.n1 - self.n0, self.y1 - self.y0, self.x1 - self.x0

    @property
    def words(self) -> int:
        """Positions."""
        n, y, x = self.size
        return n * y * x

    def times(self, step: tuple[int, int, int]) -> "Region":
        """The positions of these blocks of ``step`` positions."""
        n, y, x = step
        return Region(self.n0 * n, self.n1 * n, self.y0 * y, self.y1 * y, self.x0 * x, self.x1 * x)

    def outermost(self) -> tuple[str, int, int]:
        """The outermost axis longer than 1 (else x), its length, and the words per step."""
        n, y, x = self.size
        if n > 1:
            return "n", n, y * x
        return ("y", y, x) if y > 1 else ("x", x, 1)


@dataclasses.dataclass(frozen=True)
class View:
    """One channel block's ``region``, laid out [n][y][x] from unified-buffer word ``base`` on.

    ``gaps`` are the words per step of n, y and x where other words lie between them; ``group`` is
    the first lane group where the words are shared with other channels.
    """

    base: int
    region: Region
    gaps: tuple[int, int, int] | None = None
    group: int | None = None

    @property
    def strides(self) -> tuple[int, int, int]:
        """Words per step of n, y and x."""
        _, rows, cols = self.region.size
        return self.gaps or (rows * cols, cols, 1)

    def every(self, step: tuple[int, int, int], first: tuple[int, int, int]) -> "View":
        """Of every block of ``step`` words that one which is ``first`` words into the block."""
        r = self.region
        (n, y, x), (at_n, at_y, at_x) = step, first
        base = self.word(r.n0 + at_n, r.y0 + at_y, r.x0 + at_x)
        blocks = Region(r.n0 // n, r.n1 // n, r.y0 // y, r.y1 // y, r.x0 // x, r.x1 // x)
        step_n, step_y, step_x = self.strides
        return View(base, blocks, (step_n * n, step_y * y, step_x * x), self.group)

    def word(self, n: int, y: int, x: int) -> int:
        """Word of position (n, y, x), which may lie outside the region."""
        r = self.region
        step_n, step_y, step_x = self.strides
        return self.base + (n - r.n0) * step_n + (y - r.y0) * step_y + (x - r.x0) * step_x

    def extents(self, part: Region) -> Iterator[tuple[int, int]]:
        """Word ranges (low, high) that cover ``part``, cut to the region."""
        r = self.region
        y0, y1 = max(part.y0, r.y0), min(part.y1, r.y1)
        x0, x1 = max(part.x0, r.x0), min(part.x1, r.x1)
        if y0 >= y1 or x0 >= x1:
            return
        joined = (y0, y1) == (r.y0, r.y1) or part.n1 - part.n0 > _MANY
        firsts = [part.n0] if joined else range(part.n0, part.n1)
        for n in firsts:
            last = part.n1 - 1 if joined else n
            yield self.word(n, y0, x0), self.word(last, y1 - 1, x1 - 1) + 1


_MANY = 16  # extents beyond this are joined to one that covers them


@dataclasses.dataclass(frozen=True)
class Axis:
    """A sliding window along one image axis of ``size`` positions."""

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0

    def reach(self, low: int, high: int) -> tuple[int, int]:
        """Image positions that results ``low`` … ``high - 1`` use, at least one."""
        first = low * self.stride - self.pad
        last = (high - 1) * self.stride - self.pad + (self.kernel - 1) * self.dilation
        first = min(max(first, 0), self.size - 1)
        return first, max(min(last, self.size - 1), first) + 1

    def longest(self, count: int) -> int:
        """The most image positions that ``count`` neighbouring results use."""
        return min(self.size, (count - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)


def window(out: Region, y: Axis, x: Axis) -> Region:
    """The input region that the result region ``out`` uses."""
    return Region(out.n0, out.n1, *y.reach(out.y0, out.y1), *x.reach(out.x0, out.x1))


def shrinking(size: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Tile sizes from ``size`` down to (1, 1, 1): fewer images, then fewer rows, then columns."""
    n, y, x = size
    while n > 1:
        yield n, y, x
        n = -(-n // 2)
    while y > 1:
        yield 1, y, x
        y = y - 1 if y <= 16 else -(-y * 3 // 4)
    while x > 1:
        yield 1, 1, x
        x = -(-x // 2)
    yield 1, 1, 1


def tiles(region: Region, size: tuple[int, int, int]) -> Iterator[Region]:
    """``region`` cut into tiles of at most ``size``, in order."""
    for n0, n1 in _steps(region.n0, region.n1, size[0]):
        for y0, y1 in _steps(region.y0, region.y1, size[1]):
            for x0, x1 in _steps(region.x0, region.x1, size[2]):
                yield Region(n0, n1, y0, y1, x0, x1)


def _steps(low: int, high: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(low, high, size):
        yield start, min(start + size, high)


def split(region: Region, limit: int) -> list[Region]:
    """``region`` cut into pieces of at most ``limit`` positions and nearly equal size."""
    n, y, x = region.size
    if y * x <= limit:
        size = (_even(n, limit // (y * x)), y, x)
    elif x <= limit:
        size = (1, _even(y, limit // x), x)
    else:
        size = (1, 1, _even(x, limit))
    return list(tiles(region, size))


def growing(region: Region, images: int, most: int) -> Iterator[Region]:
    """``region`` in at most ``most`` pieces (but one for each ``images`` images), rows in order.

    What works through it from the start can begin with the first, which is the smallest.
    """
    groups = list(tiles(region, (images, *region.size[1:])))
    for index, group in enumerate(groups):
        rows, count = group.size[1], max(most // len(groups), 1)
        if index == 0:
            ends = list(itertools.accumulate(_growing_sizes(rows, count)))
        else:
            ends = [-(-rows * (k + 1) // count) for k in range(count)]
        for low, high in itertools.pairwise(sorted({0, *ends})):
            yield dataclasses.replace(group, y0=group.y0 + low, y1=group.y0 + high)


def _growing_sizes(total: int, count: int) -> list[int]:
    """At most ``count`` sizes that add up to ``total``, each about half as large again as the last.

    While one piece is worked through, the next is there in time if that takes two thirds as long.
    """
    sizes: list[int] = []
    for left in range(count, 0, -1):
        if total:
            sizes.append(-(-total * 3 ** (left - 1) // (3**left - 2**left)))
            total -= sizes[-1]
    return sizes[::-1]


def rising(region: Region, limit: int) -> list[Region]:
    """:func:`split`, but for shorter pieces at the start: of a quarter and half of ``limit``."""
    axis, units, inner = region.outermost()
    pieces: list[Region] = []
    for share in (4, 2):
        count = limit // share // inner
        if 0 < count < units:
            low = getattr(region, f"{axis}0")
            pieces.append(dataclasses.replace(region, **{f"{axis}1": low + count}))
            region = dataclasses.replace(region, **{f"{axis}0": low + count})
            units -= count
    return [*pieces, *split(region, limit)]


def _even(total: int, limit: int) -> int:
    return -(-total // -(-total // limit))


def slow_part(config: Config) -> int:
    """Words of the parts of a result of which every row takes several moves.

    Draining one takes longer than its last pass, so that the next must find room meanwhile.
    """
    return max(config.acc_depth // 2, 1)


def piece_words(words: int, config: Config) -> int:
    """Words of the pieces in which a result of ``words`` goes from unit to unit.

    Small, so that the next unit starts early and the last piece does not keep everything waiting;
    not so small that instructions dominate.
    """
    return min(max(-(-words // 8), _floor(config)), largest_piece(config))


def largest_piece(config: Config) -> int:
    """Words of the largest piece: a quarter of an accumulator half."""
    return max(config.acc_depth // 8, 1)


def _floor(config: Config) -> int:
    return max(16, config.rows // 2)


def acc_pieces(tile: Region, config: Config, most: int) -> Iterator[list[Region]]:
    """``tile`` in parts that share weight tiles, each cut into pieces of at most ``most`` words.

    Every part fits the accumulators, and all are about as large: one that were much smaller would
    be done before its next weight tile is there, and a full one wait for the drain of the last.
    """
    parts = [tile] if tile.words <= _one_part(config) else split(tile, config.acc_depth)
    for index, part in enumerate(parts):
        count = 8 if part.words > 8 * _floor(config) else 4
        limit = max(-(-part.words // count), _floor(config))
        if index > 0 and index == len(parts) - 1:  # in two, which takes fewer instructions
            limit = -(-part.words // 2)
        yield split(part, min(limit, most, config.acc_depth // 2))


def _one_part(config: Config) -> int:
    """Words that leave the accumulators room to begin the next part while they are drained."""
    return config.acc_depth * 7 // 8


@dataclasses.dataclass(frozen=True)
class AccBlock:
    """A region whose sums stand in the accumulators from word ``acc`` on."""

    region: Region
    acc: int


class Accumulators:
    """Hands out accumulator words, round and round.

    A group begins where the one before it ends. So its first words are free at once, and the others
    by the time they are needed: the vector unit drains the group before in the same order.
    """

    def __init__(self, config: Config) -> None:
        self._depth = config.acc_depth
        self._next = 0

    def groups(self, pieces: Sequence[Region], most: int | None = None) -> Iterator[list[AccBlock]]:
        """Groups of pieces that stand in the accumulators together, at most ``most`` a group."""
        group: list[AccBlock] = []
        used = 0
        for piece in pieces:
            wraps = self._next + piece.words > self._depth
            words = piece.words + (self._depth - self._next if wraps else 0)
            if group and (used + words > self._depth or len(group) == most):
                yield group
                group, used = [], 0
            if wraps:
                self._next = 0
            group.append(AccBlock(piece, self._next))
            self._next += piece.words
            used += words
        yield group
