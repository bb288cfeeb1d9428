"""Weight tiles: where they are in DRAM, and which wait in the unified buffer."""

import dataclasses
from collections.abc import Sequence

from hpu.compiler.context import Context
from hpu.compiler.emit import Memory, Span
from hpu.compiler.ir import Conv, Stage
from hpu.compiler.packing import Pass, tiles_of
from hpu.compiler.plan_conv import sweep_for
from hpu.compiler.weights_image import row_bytes
from hpu.hw.isa import Space, TileSource

__all__ = [
    "WeightTile",
    "emit_weights",
    "held_tiles",
    "load_tile",
    "lower_stage",
    "weight_tiles",
]


@dataclasses.dataclass(frozen=True)
class WeightTile:
    """``rows`` rows of ``width`` chunks at ``dram``; from ``word`` on in the buffer, if there."""

    rows: int
    width: int
    dram: int
    word: int | None = None


def weight_tiles(context: Context, op: Conv) -> list[list[tuple[Pass, WeightTile]]]:
    """For every target of the convolution's sweep its passes, each with its weight tile."""
    words = _staged_words(context, op)
    sweep, config = sweep_for(op, context.config), context.config
    found: list[list[tuple[Pass, WeightTile]]] = []
    position = 0
    for target in sweep.targets:
        width = -(-target.columns // config.group)
        passes = []
        for one, weights in tiles_of(op, sweep, target, config):
            dram = context.image.add(row_bytes(weights, width, config))
            passes.append((one, WeightTile(one.rows, width, dram, words.get(position))))
            position += 1
        found.append(passes)
    return found


def _staged_words(context: Context, op: Conv) -> dict[int, int]:
    """First words of the tiles that wait in the buffer, by their number."""
    words: dict[int, int] = {}
    for staged in op.staged:
        base = context.places[staged.tensor.name].base
        if base is not None:
            places = range(base, base + len(staged.tiles) * context.config.rows)
            words |= zip(staged.tiles, places[:: context.config.rows], strict=True)
    return words


def emit_weights(context: Context, tile: WeightTile) -> None:
    """Take a tile into the weight FIFO."""
    rows, width = tile.rows, tile.width
    if tile.word is None:
        context.emitter.emit("WEIGHTS", dram=tile.dram, rows=rows, width=width)
        return
    reads = [Span(Memory.UB, tile.word, tile.word + rows)]
    context.emitter.emit(
        "WEIGHTS", reads, source=int(TileSource.UB), a_base=tile.word, rows=rows, width=width
    )


def held_tiles(tiles: Sequence[WeightTile], base: int, words: int) -> dict[WeightTile, WeightTile]:
    """Those of ``tiles`` that find room in ``words`` words from ``base`` on, as they are there."""
    held: dict[WeightTile, WeightTile] = {}
    end = base + words
    for tile in tiles:
        if tile.word is None and tile not in held and base + tile.rows <= end:
            held[tile] = dataclasses.replace(tile, word=base)
            base += tile.rows
    return held


def lower_stage(context: Context, op: Stage) -> None:
    """Load the tiles of a later convolution that are to wait in the buffer, if there is room."""
    tiles = [tile for passes in weight_tiles(context, op.conv) for _, tile in passes]
    for number in op.tiles:
        load_tile(context, tiles[number])


def load_tile(context: Context, tile: WeightTile) -> None:
    """Load a tile to its place in the unified buffer, if it has one."""
    if tile.word is None:
        return
    context.emitter.emit(
        "LOAD",
        (),
        [Span(Memory.UB, tile.word, tile.word + tile.rows)],
        n_count=1,
        y_count=1,
        x_count=tile.rows,
        dram=tile.dram,
        space=int(Space.UB),
        width=tile.width,
        copies=1,
        d_base=tile.word,
        d_x=1,
    )
