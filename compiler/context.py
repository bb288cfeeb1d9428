"""What every lowering shares: places of tensors, transfers, parameter sets and tables."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler.allocate import home, words_before
from hpu.compiler.emit import Emitter, Memory, Span
from hpu.compiler.ir import Inset, Op, Tensor
from hpu.compiler.tiling import Accumulators, Region, View, split
from hpu.compiler.weights_image import Image, parameter_rows, row_bytes, table_rows
from hpu.hw.config import Config
from hpu.hw.isa import Space
from hpu.runtime.layout import Block, block_channels, blocks

__all__ = ["Context", "Place", "Slots", "counts", "load_pieces", "strides"]

_U16 = (1 << 16) - 1


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor is: in the unified buffer from ``base``, in DRAM from ``dram``, or both."""

    base: int | None
    dram: int | None


class Slots:
    """Buffers of ``words`` words, taken in turn."""

    def __init__(self, bases: Sequence[int], words: int) -> None:
        self._bases, self.words, self._next = tuple(bases), words, 0

    def take(self, region: Region) -> View:
        """The next buffer, holding ``region``."""
        assert region.words <= self.words
        base = self._bases[self._next % len(self._bases)]
        self._next += 1
        return View(base, region)


class _Rotation:
    """Places of a small memory that hold pieces of the image; the oldest goes first."""

    def __init__(self, size: int) -> None:
        self._size, self._next = size, 0
        self._held: dict[tuple[int, int], tuple[int, int]] = {}

    def request(self, key: tuple[int, int], places: int = 1) -> tuple[int, bool]:
        """The first of the neighbouring places of ``key``, and whether it must be loaded there."""
        if key in self._held:
            return self._held[key][0], False
        assert places <= self._size
        first = self._next if self._next + places <= self._size else 0
        self._next = first + places
        free = range(first, self._next)
        for other, (low, high) in list(self._held.items()):
            if low < free.stop and high > free.start:
                del self._held[other]
        self._held[key] = first, self._next
        return first, True


class Context:
    """State of one compilation below the graph."""

    def __init__(self, config: Config, emitter: Emitter, image: Image, places: dict[str, Place]):
        self.config, self.emitter, self.image, self.places = config, emitter, image, places
        self.accumulators = Accumulators(config)
        self._params = _Rotation(config.param_sets)
        self._tables = _Rotation(config.tables)
        self._blocks: dict[str, list[Block]] = {}

    def blocks(self, tensor: Tensor) -> list[Block]:
        """The tensor's channel blocks."""
        if tensor.name not in self._blocks:
            self._blocks[tensor.name] = list(self._cut(tensor))
        return self._blocks[tensor.name]

    def _cut(self, tensor: Tensor) -> Iterator[Block]:
        """The blocks of the whole of which ``tensor`` is images, each from the first of them on."""
        whole = tensor if tensor.inset else home(tensor)
        for block in blocks(whole.stored, self.config):
            ahead = words_before(tensor) * block.pitch
            yield dataclasses.replace(block, offset=block.offset + ahead)

    def view(self, tensor: Tensor, block: int) -> View | None:
        """A block of a tensor that is in the unified buffer; ``None`` of one that is not."""
        base = self.places[tensor.name].base
        if base is None:
            return None
        whole = Region.whole(home(tensor).stored)
        if tensor.inset:
            return self._inset(tensor, tensor.inset, base, block)
        return View(base + block * whole.words, Region.whole(tensor.stored))

    def _inset(self, tensor: Tensor, inset: Inset, base: int, block: int) -> View:
        """A block of a tensor that lies in the memory of another one, which begins at ``base``."""
        whole = Region.whole(inset.parent.stored)
        n, y, x, c = inset.origin
        first, lane = divmod(c, block_channels(self.config))
        around = View(base + (first + block) * whole.words, whole)
        gaps = tuple(a * b for a, b in zip(around.strides, inset.steps, strict=True))
        group = lane // self.config.group if inset.lanes else None
        region = Region.whole(tensor.stored)
        return View(around.word(n, y, x), region, (gaps[0], gaps[1], gaps[2]), group)

    def views(self, tensor: Tensor) -> list[View]:
        """Every block of a tensor that is in the unified buffer, in order; none of others."""
        views = (self.view(tensor, block) for block in range(len(self.blocks(tensor))))
        return [view for view in views if view is not None]

    def load(self, tensor: Tensor, block: int, view: View, part: Region | None = None) -> None:
        """Fetch ``part`` (else all) of a view of a block from DRAM, in copies side by side."""
        b = self.blocks(tensor)[block]
        copies = self.config.groups // b.width
        self._transfer("LOAD", tensor, b, view, part or view.region, copies=copies)

    def load_whole(self, tensor: Tensor, block: int, view: View, pieces: int) -> None:
        """:meth:`load` in about ``pieces`` pieces, so that what needs the first can start."""
        for part in load_pieces(view.region, pieces):
            self.load(tensor, block, view, part)

    def store(self, tensor: Tensor, block: int, view: View, part: Region) -> None:
        """Write ``part`` of a view to the tensor's place in DRAM, if it has one."""
        if self.places[tensor.name].dram is not None:
            self._transfer("STORE", tensor, self.blocks(tensor)[block], view, part)

    def _transfer(
        self, name: str, tensor: Tensor, block: Block, view: View, part: Region, copies: int = 0
    ) -> None:
        dram = self.places[tensor.name].dram
        assert dram is not None
        whole = View(0, Region.whole(tensor.stored))
        first = dram + block.offset
        values = _runs(part, whole, view)
        values["dram"] = first + whole.word(part.n0, part.y0, part.x0) * block.pitch
        values["dram_n"] *= block.pitch
        values["dram_y"] *= block.pitch
        local = [Span(Memory.UB, *extent) for extent in view.extents(part)]
        remote = [self._beats(first, block, extent) for extent in whole.extents(part)]
        side = "d" if name == "LOAD" else "a"
        values |= {f"{side}_{key}": values.pop(key) for key in ("base", "n", "y", "x")}
        reads, writes = (remote, local) if name == "LOAD" else (local, remote)
        if copies:
            values["copies"] = copies
        self.emitter.emit(name, reads, writes, width=block.width, **values)

    def _beats(self, first: int, block: Block, rows: tuple[int, int]) -> Span:
        low, high = (first + row * block.pitch for row in rows)
        beat = self.config.axi_bytes
        return Span(Memory.DRAM, low // beat, -(-high // beat))

    def parameters(
        self,
        bias: np.ndarray,
        mantissa: np.ndarray,
        shift: np.ndarray,
        weights: np.ndarray | None = None,
    ) -> int:
        """The parameter set with one bias, mantissa and shift per column, loaded where needed.

        ``weights``, int8 [taps, columns], begin with the next set.
        """
        rows = parameter_rows(bias, mantissa, shift)
        if weights is not None:
            rows = np.concatenate([rows, weights.view(np.uint8)])
        sets = -(-len(rows) // 8)
        address, width, copies = self._columns(rows)
        index, fresh = self._params.request((address, width), sets)
        if fresh:
            writes = [Span(Memory.PARAM, index, index + sets)]
            self._small(Space.PARAM, address, width, copies, len(rows), 8 * index, writes)
        return index

    def table(self, op: Op, block: Block) -> dict[str, int]:
        """The fields of VECTOR that apply the operation's clip and table to a channel block."""
        table = op.table
        if table is not None and table.ndim == 2:
            table = op.out.cell.spread(table)[:, block.first : block.first + block.channels]
        return self.clip(op, table)

    def clip(self, op: Op, table: np.ndarray | None) -> dict[str, int]:
        """The fields of VECTOR that apply the operation's clip and ``table``, [256, …] or none.

        A table is int8 [256], or [256, columns] with one for every column.
        """
        fields = {"low": op.low, "high": op.high}
        if table is None:
            return fields
        address, width, copies = self._columns(table_rows(table))
        index, fresh = self._tables.request((address, width))
        if fresh:
            writes = [Span(Memory.TABLE, index, index + 1)]
            self._small(Space.TABLE, address, width, copies, 256, 256 * index, writes)
        return fields | {"use_table": 1, "table": index}

    def _columns(self, rows: np.ndarray) -> tuple[int, int, int]:
        """Rows of bytes per column in the image: address, chunks per row, copies to load.

        Equal columns are stored as one chunk.
        """
        group = self.config.group
        if (rows == rows[:, :1]).all():
            chunk = np.repeat(rows[:, :1], group, axis=1)
            return self.image.add(row_bytes(chunk, 1, self.config)), 1, self.config.col_groups
        width = -(-rows.shape[1] // group)
        return self.image.add(row_bytes(rows, width, self.config)), width, 1

    def _small(
        self,
        space: Space,
        address: int,
        width: int,
        copies: int,
        rows: int,
        base: int,
        writes: list[Span],
    ) -> None:
        self.emitter.emit(
            "LOAD",
            (),
            writes,
            n_count=1,
            y_count=1,
            x_count=rows,
            dram=address,
            space=int(space),
            width=width,
            copies=copies,
            d_base=base,
            d_x=1,
        )


def load_pieces(region: Region, count: int) -> list[Region]:
    """``region`` in about ``count`` pieces of whole rows."""
    return split(region, max(-(-region.words // count), region.size[2]))


def counts(region: Region) -> dict[str, int]:
    """The loop counts over a region."""
    return dict(zip(("n_count", "y_count", "x_count"), region.size, strict=True))


def strides(side: str, view: View, part: Region) -> dict[str, int]:
    """Base and strides of operand ``side`` for a loop over ``part`` of a view."""
    n, y, x = view.strides
    base = view.word(part.n0, part.y0, part.x0)
    return {f"{side}_base": base, f"{side}_n": n, f"{side}_y": y, f"{side}_x": x}


def _runs(part: Region, whole: View, view: View) -> dict[str, int]:
    """Counts and steps of a transfer of ``part``, with neighbouring rows joined to long runs.

    ``dram_n`` and ``dram_y`` are in rows of the DRAM layout, the others in words.
    """
    n, y, x = part.size
    dram_n, dram_y, _ = whole.strides
    step_n, step_y, step_x = view.strides
    if dram_y == step_y == x and y * x <= _U16:
        x, y, dram_y, step_y = y * x, 1, 0, 0
        if dram_n == step_n == x and n * x <= _U16:
            x, n, dram_n, step_n = n * x, 1, 0, 0
    names = ("n_count", "y_count", "x_count", "dram_n", "dram_y", "base", "n", "y", "x")
    base = view.word(part.n0, part.y0, part.x0)
    return dict(zip(names, (n, y, x, dram_n, dram_y, base, step_n, step_y, step_x), strict=True))
