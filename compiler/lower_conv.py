"""Convolutions: add up passes over the array piece by piece, and drain each by the vector unit."""

import functools
from collections.abc import Callable, Sequence

from hpu.compiler.allocate import Scratch
from hpu.compiler.context import Context, Slots, counts
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Conv
from hpu.compiler.mapping import Pass, conv_passes, folded_bias, input_blocks, tap_places
from hpu.compiler.pipeline import Item, run
from hpu.compiler.plan_conv import ConvPlan, axes
from hpu.compiler.tiling import (
    AccBlock,
    Region,
    View,
    acc_pieces,
    piece_words,
    split,
    tiles,
    window,
)
from hpu.compiler.vector import addition, emit_vector, extents
from hpu.compiler.weights_image import row_bytes
from hpu.hw.isa import ADDRESS_MASK, Source, tap_fields
from hpu.sim.numerics import encode_scale

__all__ = ["lower_conv"]


def lower_conv(context: Context, op: Conv, scratch: Scratch) -> None:
    """Emit the instructions of ``op``."""
    _Lowering(context, op, scratch).run()


class _Lowering:
    def __init__(self, context: Context, op: Conv, scratch: Scratch) -> None:
        assert isinstance(scratch.plan, ConvPlan)
        self.context, self.op, self.plan = context, op, scratch.plan
        self.config, self.emitter = context.config, context.emitter
        self.in_blocks = context.blocks(op.x)
        self.out_blocks = context.blocks(op.out)
        self.bias = folded_bias(op)
        self.mantissa, self.shift = encode_scale(op.scale)
        first = self.plan.buffers
        last = first + self.plan.out_slots
        self.input_bases = scratch.bases[:first]
        self.out_slots = Slots(scratch.bases[first:last], self.plan.piece)
        self.residual_slots = Slots(scratch.bases[last:], self.plan.piece)
        self._passes: dict[int, list[tuple[Pass, int]]] = {}

    def run(self) -> None:
        plan, blocks = self.plan, len(self.in_blocks)
        whole = Region.whole(self.op.out.shape)
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
        region = window(tile, *axes(self.op))

        def load(buffer: int) -> dict[int, View]:
            base = self.input_bases[buffer]
            views = {b: View(base + i * region.words, region) for i, b in enumerate(blocks)}
            for block, view in views.items():
                self.context.load(self.op.x, block, view)
            return views

        return load

    def passes(self, out: int) -> list[tuple[Pass, int]]:
        """Passes of output block ``out``, each with the address of its weight tile."""
        if out not in self._passes:
            width = self.out_blocks[out].width
            self._passes[out] = [
                (one, self.context.image.add(row_bytes(weights, width, self.config)))
                for one, weights in conv_passes(
                    self.op, self.out_blocks[out], self.in_blocks, self.config
                )
            ]
        return self._passes[out]

    def _tile(self, tile: Region, views: dict[int, View]) -> None:
        """Every result of ``tile``, whose inputs are in ``views``."""
        outs = range(len(self.out_blocks))
        most = self.plan.residual_slots // 2 or None
        accumulators = self.context.accumulators
        if all(len(self.passes(out)) == 1 for out in outs):
            limit = min(piece_words(tile.words, self.config), self.plan.piece)
            for out in outs:  # nothing is added up: one tile serves every piece
                for index, group in enumerate(accumulators.groups(split(tile, limit), most)):
                    self._group(out, group, views, fetch=index == 0)
            return
        for pieces in acc_pieces(tile, self.config, self.plan.piece):
            for out in outs:
                for group in accumulators.groups(pieces, most):
                    self._group(out, group, views, fetch=True)

    def _group(self, out: int, group: list[AccBlock], views: dict[int, View], fetch: bool) -> None:
        """One output block of the pieces in ``group``; without ``fetch`` its weights are there."""
        passes = self.passes(out)
        for index, (one, dram) in enumerate(passes):
            if fetch:
                self._fetch(out, one, dram)
            if index == 0:
                fields = self._vector_fields(out)
                residuals = [self._residual(out, block.region) for block in group]
            for number, block in enumerate(group):
                new = fetch and number == 0
                self._matmul(one, views[one.block], block, new=new, add=index > 0)
                if index == len(passes) - 1:
                    self._drain(out, block, fields, residuals[number])

    def _chunked(self, tile: Region) -> list[Item]:
        """Items of a tile whose inputs come a few blocks at a time."""
        items = []
        for out in range(len(self.out_blocks)):
            (group,) = self.context.accumulators.groups([tile])
            needed = input_blocks(self.op, self.out_blocks[out], self.in_blocks)
            step = self.plan.chunk
            for at in range(0, len(needed), step):
                chunk = needed[at : at + step]
                body = functools.partial(
                    self._chunk, out, group[0], chunk, at + step >= len(needed)
                )
                items.append(Item(self._loader(tile, chunk), body))
        return items

    def _chunk(
        self,
        out: int,
        block: AccBlock,
        chunk: Sequence[int],
        last: bool,
        views: dict[int, View],
    ) -> None:
        for index, (one, dram) in enumerate(self.passes(out)):
            if one.block in chunk:
                self._fetch(out, one, dram)
                self._matmul(one, views[one.block], block, new=True, add=index > 0)
        if last:
            fields = self._vector_fields(out)
            self._drain(out, block, fields, self._residual(out, block.region))

    def _fetch(self, out: int, one: Pass, dram: int) -> None:
        """Fetch the weight tile of a pass."""
        width = self.out_blocks[out].width
        self.emitter.emit("WEIGHTS", dram=dram, rows=one.rows, width=width)

    def _matmul(self, one: Pass, view: View, block: AccBlock, *, new: bool, add: bool) -> None:
        op, part = self.op, block.region
        places = tap_places(op, one)
        dy, dx = places[0]
        y = part.y0 * op.strides[0] - op.pads[0] + dy
        x = part.x0 * op.strides[1] - op.pads[1] + dx
        image_words, row_words, _ = view.strides
        _, rows, cols = part.size
        step_y = op.strides[0] if rows > 1 else 0
        step_x = op.strides[1] if cols > 1 else 0
        reach = Region(
            part.n0,
            part.n1,
            max(y, view.region.y0),
            min(y + (rows - 1) * step_y + places[-1][0] - dy + 1, view.region.y1),
            view.region.x0,
            view.region.x1,
        )
        self.emitter.emit(
            "MATMUL",
            extents(view, reach),
            [Span(Memory.ACC, block.acc, block.acc + part.words)],
            **counts(part),
            a_base=view.word(part.n0, y, x) & ADDRESS_MASK,
            a_n=image_words,
            a_y=step_y * row_words,
            a_x=step_x,
            y0=y - view.region.y0,
            x0=x - view.region.x0,
            y_step=step_y,
            x_step=step_x,
            image_rows=view.region.size[1],
            image_cols=view.region.size[2],
            **tap_fields((other_y - dy, other_x - dx) for other_y, other_x in places),
            tap_groups=one.tap_groups,
            tap_y=row_words,
            tap_x=1,
            pad=op.x.quant.zero,
            new_weights=int(new),
            accumulate=int(add),
            acc=block.acc,
        )

    def _vector_fields(self, out: int) -> dict[str, int]:
        """Fields of the VECTOR instructions of an output block that do not depend on the piece."""
        op, block = self.op, self.out_blocks[out]
        part = slice(block.first, block.first + block.channels)
        fields = self.context.table(op, block)
        fields["source"] = int(Source.ACC)
        fields["requantise"] = 1
        fields["params"] = self.context.parameters(
            self.bias[part], self.mantissa[part], self.shift[part]
        )
        if op.residual is None:
            return fields | {"zero": op.result.zero}
        own = op.residual.own
        return fields | addition(own, op.residual.tensor.quant, op.result) | {"zero": own.zero}

    def _residual(self, out: int, part: Region) -> View | None:
        """The residual of a piece, fetched when it is in DRAM."""
        if self.op.residual is None:
            return None
        tensor = self.op.residual.tensor
        view = self.context.view(tensor, out)
        if view is None:
            view = self.residual_slots.take(part)
            self.context.load(tensor, out, view)
        return view

    def _drain(
        self, out: int, block: AccBlock, fields: dict[str, int], residual: View | None
    ) -> None:
        """Requantise a piece into the result, and store it where it has a place in DRAM."""
        part = block.region
        view = self.context.view(self.op.out, out) or self.out_slots.take(part)
        sums = Span(Memory.ACC, block.acc, block.acc + part.words)
        fields = fields | {"a_base": block.acc}
        emit_vector(self.context, self.out_blocks[out], view, part, [sums], fields, residual)
        self.context.store(self.op.out, out, view, part)
