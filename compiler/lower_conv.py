"""Convolutions: add up passes over the array piece by piece, and drain each by the vector unit."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context, Slots, counts
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Conv, Tensor
from hpu.compiler.packing import Pass, folded_bias
from hpu.compiler.pipeline import Item, run
from hpu.compiler.plan_conv import ConvPlan, input_window, sweep_for
from hpu.compiler.sweep import Move, Target
from hpu.compiler.tiling import (
    AccBlock,
    Region,
    View,
    acc_pieces,
    growing,
    piece_words,
    rising,
    slow_part,
    split,
    tiles,
)
from hpu.compiler.vector import addition, emit_vector, extents
from hpu.compiler.weight_tiles import (
    WeightTile,
    emit_weights,
    held_tiles,
    load_tile,
    weight_tiles,
)
from hpu.hw.isa import ADDRESS_MASK, Source, tap_fields
from hpu.sim.numerics import encode_scale

__all__ = ["lower_conv"]


def lower_conv(context: Context, op: Conv, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    _Lowering(context, op, scratch).run()


class _Pieces:
    """Views of the pieces of a tensor: in its place, or in slots for as long as they are used.

    ``uses`` says how often a piece of each channel block is used.
    """

    def __init__(self, context: Context, tensor: Tensor, slots: Slots, uses: Mapping[int, int]):
        self.context, self.tensor, self.slots, self.uses = context, tensor, slots, uses
        self._slots: dict[tuple[int, Region], View] = {}
        self._used: Counter[tuple[int, Region]] = Counter()

    def view(self, block: int, part: Region, *, load: bool = False) -> View:
        """Where a piece is; with ``load`` it is fetched when it comes into a slot."""
        own = self.context.view(self.tensor, block)
        if own is not None:
            return own
        if (block, part) not in self._slots:
            self._slots[block, part] = self.slots.take(part)
            if load:
                self.context.load(self.tensor, block, self._slots[block, part])
        return self._slots[block, part]

    def used(self, block: int, part: Region) -> bool:
        """Count a use of a piece; after the last its slot is free, and the answer ``True``."""
        self._used[block, part] += 1
        if self._used[block, part] < self.uses[block]:
            return False
        del self._used[block, part]
        self._slots.pop((block, part), None)
        return True


class _Lowering:
    def __init__(self, context: Context, op: Conv, scratch: Scratch) -> None:
        assert isinstance(scratch.plan, ConvPlan)
        self.context, self.op, self.plan = context, op, scratch.plan
        self.config, self.emitter = context.config, context.emitter
        self.sweep = sweep_for(op, self.config)
        self.bias = folded_bias(op)
        self.mantissa, self.shift = encode_scale(op.scale)
        first = self.plan.buffers
        last = first + self.plan.out_slots
        self.input_bases = scratch.bases[:first]
        uses = Counter(move.block for target in self.sweep.targets for move in target.moves)
        words = self.plan.slot_words
        self.results = _Pieces(context, op.out, Slots(scratch.bases[first:last], words), uses)
        slots = scratch.bases[last : last + self.plan.residual_slots]
        self.residuals = op.residual and _Pieces(
            context, op.residual.tensor, Slots(slots, words), uses
        )
        self.weights = weight_tiles(context, op)
        self._hold(scratch)

    def _hold(self, scratch: Scratch) -> None:
        """Give the weight tiles that are held their places; they are still to be loaded."""
        self._waiting: list[WeightTile] = []
        if self.plan.held_words:
            tiles = [tile for passes in self.weights for _, tile in passes]
            held = held_tiles(tiles, scratch.bases[-1], self.plan.held_words)
            self.weights = [
                [(one, held.get(tile, tile)) for one, tile in passes] for passes in self.weights
            ]
            self._waiting = list(held.values())

    def run(self) -> None:
        plan, blocks = self.plan, len(self.sweep.in_blocks)
        whole = Region.whole(self.sweep.size)
        if not plan.buffers:
            self._tile(whole, dict(enumerate(self.context.views(self.op.x))))
            return
        items: list[Item] = []
        for tile in tiles(whole, plan.tile):
            if plan.chunk >= blocks:
                load = self._loader(tile, range(blocks))
                items.append(Item(load, functools.partial(self._tile, tile)))
            else:
                items.extend(self._chunked(tile))
        run(items, plan.buffers)

    def _loader(self, tile: Region, blocks: Sequence[int]) -> Callable[[int], dict[int, View]]:
        """Loads of the windows that ``tile`` needs of ``blocks``."""
        region = input_window(self.sweep, tile)

        def load(buffer: int) -> dict[int, View]:
            base = self.input_bases[buffer]
            views = {b: View(base + i * region.words, region) for i, b in enumerate(blocks)}
            pieces = max(self.config.queue_depth // 2 // len(blocks), 1)
            for part in growing(region, self.sweep.step[0], pieces):
                for tile in self._waiting[:1]:  # in turn with the input: both are wanted at once
                    load_tile(self.context, tile)
                del self._waiting[:1]
                for block, view in views.items():
                    self.context.load(self.op.x, block, view, part)
            for tile in self._waiting:
                load_tile(self.context, tile)
            self._waiting.clear()
            return views

        return load

    def passes(self, number: int) -> list[tuple[Pass, WeightTile]]:
        """Passes of a target, each with its weight tile."""
        return self.weights[number]

    def _tile(self, tile: Region, views: dict[int, View]) -> None:
        """Every result of ``tile``, whose inputs are in ``views``."""
        numbers = range(len(self.sweep.targets))
        most = self.plan.residual_slots // 2 or None
        groups = self.context.accumulators.groups
        if self._gathers():
            for piece in split(tile, min(self.plan.piece, self.config.acc_depth // 2)):
                for number in numbers:  # those of a word share its slot
                    self._group(number, next(groups([piece])), views, fetch=True)
        elif all(len(self.passes(number)) == 1 for number in numbers):
            for number in numbers:  # nothing is added up: one tile serves every piece
                for index, group in enumerate(groups(split(tile, self._piece(tile)), most)):
                    self._group(number, group, views, fetch=index == 0)
        else:
            for pieces in self._parts(tile):
                for number in numbers:
                    for group in groups(pieces, most):
                        self._group(number, group, views, fetch=True)

    def _parts(self, tile: Region) -> Iterable[list[Region]]:
        """``tile`` in parts that share weight tiles, each in pieces.

        Where a row of results takes several moves, draining a part takes longer than its last pass,
        and so some of the accumulators are left to the next.
        """
        if all(len(target.moves) == 1 for target in self.sweep.targets):
            return acc_pieces(tile, self.config, self.plan.piece)
        cut = rising if self.plan.held_words and self._starts(tile) else split
        return [split(part, self._piece(tile)) for part in cut(tile, slow_part(self.config))]

    def _starts(self, tile: Region) -> bool:
        """Whether ``tile`` is the first, which begins with the first rows of its input."""
        return tile.n0 == tile.y0 == tile.x0 == 0

    def _piece(self, tile: Region) -> int:
        """Units of the pieces that go from unit to unit; few where each takes several moves."""
        several = any(len(target.moves) > 1 for target in self.sweep.targets)
        words = self.config.acc_depth // 4 if several else piece_words(tile.words, self.config)
        return min(words, self.plan.piece)

    def _gathers(self) -> bool:
        """Whether several drains make a piece that passes through a slot."""
        slots = self.plan.out_slots + self.plan.residual_slots
        return slots > 0 and any(uses > 1 for uses in self.results.uses.values())

    def _group(
        self, number: int, group: list[AccBlock], views: dict[int, View], fetch: bool
    ) -> None:
        """One target of the pieces in ``group``; without ``fetch`` its weights are there."""
        target, passes = self.sweep.targets[number], self.passes(number)
        for index, (one, weights) in enumerate(passes):
            if fetch:
                emit_weights(self.context, weights)
            if index == 0:
                fields = self._vector_fields(target)
                for block in group:
                    self._fetch_residual(target, block.region)
            for place, block in enumerate(group):
                new = fetch and place == 0
                self._matmul(one, views[one.block], block, new=new, add=index > 0)
                if index == len(passes) - 1:
                    self._drain(target, block, fields)

    def _chunked(self, tile: Region) -> list[Item]:
        """Items of a tile whose inputs come a few blocks at a time."""
        items = []
        for number in range(len(self.sweep.targets)):
            (group,) = self.context.accumulators.groups([tile])
            needed = sorted({one.block for one, _ in self.passes(number)})
            step = self.plan.chunk
            for at in range(0, len(needed), step):
                chunk = needed[at : at + step]
                body = functools.partial(
                    self._chunk, number, group[0], chunk, at + step >= len(needed)
                )
                items.append(Item(self._loader(tile, chunk), body))
        return items

    def _chunk(
        self,
        number: int,
        block: AccBlock,
        chunk: Sequence[int],
        last: bool,
        views: dict[int, View],
    ) -> None:
        target = self.sweep.targets[number]
        for index, (one, weights) in enumerate(self.passes(number)):
            if one.block in chunk:
                emit_weights(self.context, weights)
                self._matmul(one, views[one.block], block, new=True, add=index > 0)
        if last:
            fields = self._vector_fields(target)
            self._fetch_residual(target, block.region)
            self._drain(target, block, fields)

    def _matmul(self, one: Pass, view: View, block: AccBlock, *, new: bool, add: bool) -> None:
        part, taps = block.region, one.taps
        step_n, step_y, step_x = self.sweep.step
        _, rows, cols = part.size
        n = part.n0 * step_n + one.image
        y, x = part.y0 * step_y + taps[0][0], part.x0 * step_x + taps[0][1]
        image_words, row_words, _ = view.strides
        self.emitter.emit(
            "MATMUL",
            extents(view, self._reach(one, view, part)),
            [Span(Memory.ACC, block.acc, block.acc + part.words)],
            **counts(part),
            a_base=view.word(n, y, x) & ADDRESS_MASK,
            a_n=step_n * image_words,
            a_y=step_y * row_words if rows > 1 else 0,
            a_x=step_x if cols > 1 else 0,
            y0=y - view.region.y0,
            x0=x - view.region.x0,
            y_step=step_y if rows > 1 else 0,
            x_step=step_x if cols > 1 else 0,
            image_rows=view.region.size[1],
            image_cols=view.region.size[2],
            **tap_fields((dy - taps[0][0], dx - taps[0][1]) for dy, dx in taps),
            tap_groups=one.tap_groups,
            tap_y=row_words,
            tap_x=1,
            pad=self.op.x.quant.zero,
            new_weights=int(new),
            accumulate=int(add),
            acc=block.acc,
        )

    def _reach(self, one: Pass, view: View, part: Region) -> Region:
        """Words of the input that a pass over ``part`` may read."""
        step_n, step_y, _ = self.sweep.step
        low, high = min(dy for dy, _ in one.taps), max(dy for dy, _ in one.taps)
        return Region(
            part.n0 * step_n + one.image,
            (part.n1 - 1) * step_n + one.image + 1,
            max(part.y0 * step_y + low, view.region.y0),
            min((part.y1 - 1) * step_y + high + 1, view.region.y1),
            view.region.x0,
            view.region.x1,
        )

    def _vector_fields(self, target: Target) -> dict[str, int]:
        """Fields of the VECTOR instructions of a target that do not depend on the piece."""
        op = self.op
        table = op.table
        if table is not None and table.ndim == 2:
            table = target.spread(table)
        fields = self.context.clip(op, table)
        fields["source"] = int(Source.ACC)
        fields["requantise"] = 1
        values = (self.bias, self.mantissa, self.shift)
        fields["params"] = self.context.parameters(*map(target.spread, values))
        if op.residual is None:
            return fields | {"zero": op.result.zero}
        own = op.residual.own
        return fields | addition(own, op.residual.tensor.quant, op.result) | {"zero": own.zero}

    def _fetch_residual(self, target: Target, part: Region) -> None:
        """Fetch the residual of a piece where it is in DRAM."""
        if self.residuals:
            for move in target.moves:
                self.residuals.view(move.block, part.times(self.sweep.spread), load=True)

    def _drain(self, target: Target, block: AccBlock, fields: dict[str, int]) -> None:
        """Requantise a piece into the result, and store it where it has a place in DRAM."""
        for move in target.moves:
            self._move(move, block, fields)

    def _move(self, move: Move, block: AccBlock, fields: dict[str, int]) -> None:
        spread, part = self.sweep.spread, block.region
        words = part.times(spread)
        view, second = self.results.view(move.block, words), None
        if self.residuals:
            second = self.residuals.view(move.block, words).every(spread, move.word)
            self.residuals.used(move.block, words)
        emit_vector(
            self.context,
            self.sweep.out_blocks[move.block],
            view.every(spread, move.word),
            part,
            [Span(Memory.ACC, block.acc, block.acc + part.words)],
            fields
            | {"a_base": block.acc, "s_group": move.s_group, "d_group": move.d_group}
            | {"d_width": move.width, "d_copies": move.copies},
            second,
        )
        if self.results.used(move.block, words):
            self.context.store(self.op.out, move.block, view, words)
