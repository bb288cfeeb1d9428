"""Data movements: the vector unit copies lane groups, the array gathers single channels.

Whole lane groups go from word to word through the vector unit. Channels that change their lane,
and positions that become channels, go through the array: a tile of zeros and ones takes every
column's byte from the row where it is, and the sums are the bytes themselves.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context, Slots
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Move
from hpu.compiler.lattice import Lattice
from hpu.compiler.pieces import FILL
from hpu.compiler.pipeline import Item, run
from hpu.compiler.plan_move import MovePlan, part_of, windows
from hpu.compiler.sheets import Sheet, Strand, sheets
from hpu.compiler.tiling import AccBlock, Region, View, piece_words, tiles
from hpu.compiler.weights_image import row_bytes
from hpu.hw.isa import Source, tap_fields
from hpu.runtime.layout import Block
from hpu.sim.numerics import encode_scale

__all__ = ["emit_walk", "lower_move"]

_FARTHEST = (1 << 15) - 1  # words from the first tap

_Key = tuple[int, int]  # source, channel block


def lower_move(context: Context, op: Move, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    _Lowering(context, op, scratch).run()


@dataclasses.dataclass(frozen=True)
class _Run:
    """Lane groups ``to`` … ``to + width - 1`` of a sheet, and where a copy takes them from."""

    to: int
    width: int
    strand: Strand | None = None
    block: int = 0
    group: int = 0


@dataclasses.dataclass(frozen=True)
class _Pass:
    """One pass over the array; ``taps`` are words, ascending, from the strand's own."""

    operand: int
    taps: list[int]
    width: int
    tile: np.ndarray


class _Lowering:
    def __init__(self, context: Context, op: Move, scratch: Scratch) -> None:
        assert isinstance(scratch.plan, MovePlan)
        self.context, self.op, self.plan = context, op, scratch.plan
        self.config = context.config
        self.bases = scratch.bases
        self.slots = Slots(scratch.bases[self.plan.buffers :], self.plan.slot)
        self.streamed = {
            k for k, tensor in enumerate(op.inputs) if context.places[tensor.name].base is None
        }
        self._present: int | None = None  # address of the tile in the array

    def run(self) -> None:
        items = []
        for tile in tiles(Region.whole(self.op.out.shape), self.plan.tile):
            for number, block in enumerate(self.context.blocks(self.op.out)):
                pieces = part_of(self.op, tile, block)
                needed = windows(pieces, self.op.inputs, self.streamed, self.config)
                found = sheets(pieces, block, self.config.group)
                load = functools.partial(self._load, needed)
                body = functools.partial(self._tile, tile, number, found, list(needed))
                items.append(Item(load, body))
        run(items, max(self.plan.buffers, 1))

    def _load(self, needed: dict[_Key, Region], buffer: int) -> dict[int, View]:
        """Fetch what is in DRAM; the views, numbered as in ``needed``."""
        views, base = {}, self.bases[buffer] if needed else 0
        for index, ((source, block), region) in enumerate(needed.items()):
            views[index] = View(base, region)
            self.context.load(self.op.inputs[source], block, views[index])
            base += region.words
        return views

    def _tile(
        self,
        tile: Region,
        number: int,
        found: Sequence[Sheet],
        loaded: Sequence[_Key],
        views: dict[int, View],
    ) -> None:
        self._views = {key: views[index] for index, key in enumerate(loaded)}
        view = self.context.view(self.op.out, number) or self.slots.take(tile)
        for sheet in found:
            _Sheet(self, sheet, number, view).run()
        self.context.store(self.op.out, number, view, tile)

    def view(self, source: int, block: int) -> View:
        """Where a channel block of a source is."""
        loaded = self._views.get((source, block))
        view = loaded or self.context.view(self.op.inputs[source], block)
        assert view is not None
        return view

    def fetch(self, rows: np.ndarray, block: Block) -> bool:
        """Fetch a tile unless the array holds it already; whether it did."""
        address = self.context.image.add(row_bytes(rows, block.width, self.config))
        if address == self._present:
            return False
        self._present = address
        self.context.emitter.emit("WEIGHTS", dram=address, rows=len(rows), width=block.width)
        return True


class _Sheet:
    """One sheet of channel block ``number`` of the result, which is at ``view``."""

    def __init__(self, lowering: _Lowering, sheet: Sheet, number: int, view: View) -> None:
        self.lowering, self.sheet, self.view = lowering, sheet, view
        self.context, self.config, self.op = lowering.context, lowering.config, lowering.op
        self.block = self.context.blocks(self.op.out)[number]
        self.strands = [strand for strand in sheet.strands if strand.source != FILL]

    def run(self) -> None:
        if not self.strands:
            self._fill()
            return
        runs = self._copies()
        passes = self._passes()
        if runs is not None and self._copy_cycles(runs) <= self._gather_cycles(passes):
            for one in runs:
                self._copy(one)
        else:
            self._gather(passes)

    # Lanes of the result

    def _groups(self) -> list[_Run]:
        """The lane groups that the sheet writes, in runs."""
        touched = sorted({column // self.config.group for column in self.sheet.columns})
        runs: list[_Run] = []
        for group in touched:
            if runs and runs[-1].to + runs[-1].width == group:
                runs[-1] = _Run(runs[-1].to, runs[-1].width + 1)
            else:
                runs.append(_Run(group, 1))
        return runs

    def _targets(self, to: int, width: int, group: int) -> Iterator[dict[str, int]]:
        """The fields that write a run, from lane group ``group`` on, into every copy."""
        copies = self.config.groups // self.block.width
        if width == self.block.width:
            yield {"d_group": 0, "d_width": width, "d_copies": copies, "s_group": group}
            return
        for copy in range(copies):
            at = copy * self.block.width + to
            yield {"d_group": at, "d_width": width, "d_copies": 1, "s_group": group}

    # Copies by the vector unit

    def _copies(self) -> list[_Run] | None:
        """The sheet as copies of whole lane groups, or ``None`` where lanes change."""
        runs: list[_Run] = []
        for group_run in self._groups():
            for to in range(group_run.to, group_run.to + group_run.width):
                one = self._copied_group(to)
                if one is None:
                    return None
                last = runs[-1] if runs else None
                if last and _continues(last, one):
                    runs[-1] = dataclasses.replace(last, width=last.width + 1)
                else:
                    runs.append(one)
        if self.op.table is not None and self.op.table.ndim == 2:  # looked up before lanes move
            return runs if all(one.to == one.group for one in runs) else None
        return runs

    def _copied_group(self, to: int) -> _Run | None:
        size = self.config.group
        first = to * size
        last = min(first + size, self.block.channels)
        written = self.sheet.columns  # what is in the others does not matter
        for strand in self.strands:
            tap = strand.columns.get(first)
            if tap is None:
                continue
            number, block = self._source_block(strand, tap.channel)
            lane = tap.channel - block.first
            whole = all(
                (found := strand.columns.get(column)) is not None
                and found.offset == tap.offset
                and found.channel == tap.channel + column - first
                for column in range(first, last)
                if column in written
            )
            if not whole or lane % size or lane + last - first > block.channels:
                return None
            origin = tuple(a + b for a, b in zip(strand.origin, tap.offset, strict=True))
            moved = dataclasses.replace(strand, origin=(origin[0], origin[1], origin[2]))
            return _Run(to, 1, moved, number, lane // size)
        return None

    def _source_block(self, strand: Strand, channel: int) -> tuple[int, Block]:
        blocks = self.context.blocks(self.op.inputs[strand.source])
        number = channel // blocks[0].channels
        return number, blocks[number]

    def _copy_cycles(self, runs: Sequence[_Run]) -> int:
        targets = sum(len(list(self._targets(r.to, r.width, r.group))) for r in runs)
        return targets * self.sheet.positions

    def _copy(self, one: _Run) -> None:
        assert one.strand is not None
        view = self.lowering.view(one.strand.source, one.block)
        lattice = self._lattice([(one.strand, view)])
        for part in lattice.pieces():
            reads = [Span(Memory.UB, *part.extent(1))]
            fields = part.strides("a", 1) | {"source": int(Source.UB)}
            for target in self._targets(one.to, one.width, one.group):
                self._vector(part, reads, fields | self._tail() | target)

    def _fill(self) -> None:
        """The fill byte, clipped and looked up, in every lane."""
        lattice = self._lattice([])
        byte = np.clip(self.op.fill, self.op.low, self.op.high).astype(np.int8)
        columns = np.full(1, byte)
        if self.op.table is not None:
            columns = self.op.table.reshape(256, -1)[columns.view(np.uint8)[0]]
        if (columns == columns[0]).all():
            value = int(columns[0])
            fields = {"low": value, "high": value}
        else:
            fields = self._tail() | {"low": int(byte), "high": int(byte)}
        for part in lattice.pieces():
            # Any word will do: the clip leaves one value.
            reads = [Span(Memory.UB, *part.extent(0))]
            own = part.strides("a", 0) | {"source": int(Source.UB)} | fields
            for lanes in self._groups():
                for target in self._targets(lanes.to, lanes.width, lanes.to):
                    self._vector(part, reads, own | target)

    def _tail(self) -> dict[str, int]:
        return self.context.table(self.op, self.block)

    def _lattice(self, operands: Sequence[tuple[Strand, View]]) -> Lattice:
        """The sheet's positions in words: of the result, then of every strand's source."""
        views = [self.view, *(view for _, view in operands)]
        places = [self.sheet.dest, *(strand.origin for strand, _ in operands)]
        loops = []
        for index, (size, axis, step) in enumerate(self.sheet.loops):
            moves = [(axis, step), *(strand.steps[index] for strand, _ in operands)]
            words = (view.strides[a] * s for view, (a, s) in zip(views, moves, strict=True))
            loops.append((size, tuple(words)))
        bases = (view.word(*place) for view, place in zip(views, places, strict=True))
        return Lattice(tuple(bases), tuple(loops))

    def _vector(self, part: Lattice, reads: list[Span], fields: dict[str, int]) -> None:
        emit_walk(self.context, part, reads, fields)

    # Gathering by the array

    def _operands(self) -> list[tuple[Strand, int]]:
        """Every strand with every channel block that it takes from."""
        return [
            (strand, number)
            for strand in self.strands
            for number in sorted(
                {self._source_block(strand, tap.channel)[0] for tap in strand.columns.values()}
            )
        ]

    def _passes(self) -> list[_Pass]:
        return [
            one
            for operand, (strand, number) in enumerate(self._operands())
            for one in self._strand_passes(operand + 1, strand, number)
        ]

    def _strand_passes(self, operand: int, strand: Strand, number: int) -> Iterator[_Pass]:
        """Passes over one channel block of a source, as many taps side by side as fit."""
        block = self.context.blocks(self.op.inputs[strand.source])[number]
        strides = self.lowering.view(strand.source, number).strides
        rows: dict[int, list[tuple[int, int]]] = {}  # (row, column) by offset in words
        for column, tap in strand.columns.items():
            if self._source_block(strand, tap.channel)[0] == number:
                words = sum(a * b for a, b in zip(tap.offset, strides, strict=True))
                rows.setdefault(words, []).append((tap.channel - block.first, column))
        fit = self.config.row_groups // block.width
        for taps in _neighbours(sorted(rows), fit):
            height = block.width * self.config.group
            tile = np.zeros(
                ((len(taps) - 1) * height + block.channels, self.block.channels), np.int8
            )
            for index, words in enumerate(taps):
                for row, column in rows[words]:
                    tile[index * height + row, column] = 1
            yield _Pass(operand, taps, block.width, tile)

    def _gather_cycles(self, passes: Sequence[_Pass]) -> float:
        targets = sum(len(list(self._targets(r.to, r.width, r.to))) for r in self._groups())
        fetched = sum(one.tile.size for one in passes) / self.config.dram_bytes_per_cycle
        return max(targets, len(passes)) * self.sheet.positions + fetched

    def _gather(self, passes: Sequence[_Pass]) -> None:
        operands = [
            (strand, self.lowering.view(strand.source, number))
            for strand, number in self._operands()
        ]
        lattice = self._lattice(operands)
        limit = piece_words(lattice.words, self.config)
        parts = list(lattice.pieces(limit))
        regions = [Region(0, 1, 0, 1, 0, part.words) for part in parts]
        fields = self._sums()
        at = 0
        for group in self.context.accumulators.groups(regions):
            members = list(zip(parts[at : at + len(group)], group, strict=True))
            at += len(group)
            for index, one in enumerate(passes):
                fresh = self.lowering.fetch(one.tile, self.block)
                for number, (part, block) in enumerate(members):
                    new = fresh and number == 0
                    self._matmul(one, part, block, new=new, add=index > 0)
                    if index == len(passes) - 1:
                        self._drain(part, block, fields)

    def _matmul(self, one: _Pass, part: Lattice, block: AccBlock, *, new: bool, add: bool) -> None:
        low, high = part.extent(one.operand)
        fields = part.strides("a", one.operand)
        fields["a_base"] += one.taps[0]
        offsets = [words - one.taps[0] for words in one.taps]
        self.context.emitter.emit(
            "MATMUL",
            [Span(Memory.UB, low + one.taps[0], high + one.taps[-1])],
            [Span(Memory.ACC, block.acc, block.acc + part.words)],
            **part.counts(),
            **fields,
            image_rows=1,
            image_cols=offsets[-1] + 1,  # the taps are one row of words, all inside
            **tap_fields((0, offset) for offset in offsets),
            tap_groups=one.width,
            tap_x=1,
            new_weights=int(new),
            accumulate=int(add),
            acc=block.acc,
        )

    def _sums(self) -> dict[str, int]:
        """The fields that turn sums into bytes: as they are, the fill byte where there is none."""
        fields = self._tail() | {"source": int(Source.ACC)}
        filled = [c for s in self.sheet.strands if s.source == FILL for c in s.columns]
        if filled:
            bias = np.zeros(self.block.channels, np.int32)
            bias[filled] = self.op.fill
            mantissa, shift = encode_scale(np.ones(1, np.float32))
            fields |= {"requantise": 1, "params": self.context.parameters(bias, mantissa, shift)}
        return fields

    def _drain(self, part: Lattice, block: AccBlock, fields: dict[str, int]) -> None:
        sums = [Span(Memory.ACC, block.acc, block.acc + part.words)]
        for lanes in self._groups():
            for target in self._targets(lanes.to, lanes.width, lanes.to):
                self._vector(part, sums, fields | {"a_base": block.acc} | target)


def emit_walk(context: Context, walk: Lattice, reads: list[Span], fields: dict[str, int]) -> None:
    """Emit a VECTOR that writes operand 0 of ``walk``; ``reads`` are its operands in the buffer."""
    if fields.get("use_table"):
        reads = [*reads, Span(Memory.TABLE, fields["table"], fields["table"] + 1)]
    if fields.get("requantise"):
        reads = [*reads, Span(Memory.PARAM, fields["params"], fields["params"] + 1)]
    window = {"ky_count": 1, "kx_count": 1, "image_rows": 1, "image_cols": 1}
    values = window | walk.counts() | walk.strides("d", 0) | fields
    writes = [Span(Memory.UB, *walk.extent(0))]
    context.emitter.emit("VECTOR", reads, writes, **values)


def _continues(last: _Run, one: _Run) -> bool:
    """Whether a copied lane group is the next one of a run."""
    assert last.strand is not None and one.strand is not None
    alike = (last.strand.source, last.strand.origin, last.strand.steps, last.block) == (
        one.strand.source,
        one.strand.origin,
        one.strand.steps,
        one.block,
    )
    return alike and last.to + last.width == one.to and last.group + last.width == one.group


def _neighbours(words: Sequence[int], most: int) -> Iterator[list[int]]:
    """Ascending ``words`` in runs of at most ``most`` that one instruction can name."""
    run: list[int] = []
    for word in words:
        if run and (len(run) == most or word - run[0] > _FARTHEST):
            yield run
            run = []
        run.append(word)
    if run:
        yield run
