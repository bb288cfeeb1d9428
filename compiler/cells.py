"""Tensors of a graph put into cells, and what a convolution then costs."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping

from hpu.compiler.ir import Binary, Conv, Depthwise, Graph, Op, Pool, Residual, Tensor, Unary
from hpu.compiler.packing import passes_of
from hpu.compiler.sweep import Geometry, sweep_of
from hpu.compiler.tiling import slow_part
from hpu.compiler.windows import window_cycles
from hpu.hw.config import Config
from hpu.runtime.cell import PLAIN, Cell, Shape

__all__ = ["SPATIAL", "Mapped", "best_mapping", "mapping_of", "with_cells", "works_by_lane"]

#: Rows and columns of pixels that may share a word, or a row of results.
SPATIAL = ((1, 1), (1, 2), (2, 1), (2, 2), (1, 4), (1, 8))
#: The largest step of the instruction's loops.
_MOST_STEP = 255


@dataclasses.dataclass(frozen=True)
class Mapped:
    """What a convolution costs: passes per ``pixels`` results; cycles of three units.

    The weights come ``parts`` times, each time in ``fetch`` cycles.
    """

    passes: int
    pixels: int
    matrix: int
    vector: int
    fetch: float
    parts: int = 1
    columns: Cell | None = None

    @property
    def busy(self) -> float:
        """Cycles of the matrix and the vector unit, which overlap."""
        return max(self.matrix, self.vector * 1.05)

    @property
    def cycles(self) -> float:
        """Cycles when all units overlap."""
        return max(self.busy, self.fetch * self.parts)


def with_cells(graph: Graph, cells: Mapping[str, Cell], config: Config) -> Graph:
    """``graph`` with its tensors in the cells named, every other plain, and mappings in words.

    Raises
    ------
    ValueError
        When an operation cannot take its tensors in these cells; names its nodes.
    """
    tensors = {
        name: dataclasses.replace(tensor, cell=cells.get(name, PLAIN))
        for name, tensor in graph.tensors.items()
    }
    ops = [_explained(_checked(_with_tensors(op, tensors)), config) for op in graph.ops]
    return Graph(ops, graph.inputs, graph.outputs, tensors)


def works_by_lane(op: Op) -> bool:
    """Whether ``op`` treats every lane by itself, so that all its tensors share a cell.

    Windows are made of words: only images may share one.
    """
    return isinstance(op, (Binary, Unary, Pool, Depthwise))


def _checked(op: Op) -> Op:
    cells = {tensor.cell for tensor in (*op.inputs, op.out)}
    if isinstance(op, Conv):
        good = op.residual is None or op.residual.tensor.cell == op.out.cell
    elif works_by_lane(op):
        spatial = op.out.cell.rows * op.out.cell.cols > 1
        good = len(cells) == 1 and not (spatial and isinstance(op, (Pool, Depthwise)))
    else:
        good = cells == {PLAIN}
    if not good:
        found = ", ".join(sorted(map(str, cells)))
        raise ValueError(f"the cells of {'+'.join(op.nodes)} must go together, not be {found}")
    return op


def _with_tensors(op: Op, tensors: Mapping[str, Tensor]) -> Op:
    changes: dict[str, object] = {}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = tensors[value.name]
        elif isinstance(value, Residual):
            changes[field.name] = dataclasses.replace(value, tensor=tensors[value.tensor.name])
        elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            changes[field.name] = tuple(tensors[one.name] for one in value)
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]


def mapping_of(op: Conv, config: Config) -> Mapped:
    """What ``op`` costs between the cells of its tensors.

    Raises
    ------
    ValueError
        When it cannot go between them.
    """
    residual = op.residual is not None
    best = best_mapping(Geometry.of(op), op.x.cell, op.out.cell, config, residual=residual)
    if best is None:
        raise ValueError(
            f"the cells of {'+'.join(op.nodes)} must be ones that it can go between, "
            f"not {op.x.cell} and {op.out.cell}"
        )
    return best


def _explained(op: Op, config: Config) -> Op:
    """``op`` with its columns, and its mapping in words."""
    if isinstance(op, Depthwise):
        cycles = window_cycles(op, op.out.cell, config)
        text = f"{op.out.cell} in a word, windows of the vector unit: {cycles:,} cycles instead of "
        return dataclasses.replace(op, mapping=text + f"{op.array:,} of the array")
    if not isinstance(op, Conv):
        return op
    best = mapping_of(op, config)
    plain = _mapped(Geometry.of(op), PLAIN, PLAIN, config, PLAIN)
    assert plain is not None
    text = f"{best.passes} {'pass' if best.passes == 1 else 'passes'} for "
    text += "a pixel" if best.pixels == 1 else f"{best.pixels} pixels"
    if (op.x.cell, op.out.cell) != (PLAIN, PLAIN) or best.columns:
        sides = [f"{op.x.cell} in the rows"]
        sides.append(f"{best.columns or op.out.cell} in the columns")
        if best.columns:
            sides.append(f"{op.out.cell} in the result's words")
        text = f"{', '.join(sides)}; {text}: {best.matrix:,} cycles"
        text += f" instead of {plain.matrix:,}" if best.matrix != plain.matrix else ""
    return dataclasses.replace(op, columns=best.columns, mapping=text)


@functools.lru_cache(maxsize=65536)
def best_mapping(
    geometry: Geometry, cell_in: Cell, cell_out: Cell, config: Config, *, residual: bool
) -> Mapped | None:
    """The best columns between these cells, or ``None`` where the convolution cannot take them.

    With a residual, which stands under the results lane by lane, a row of results is a word.
    """
    sides: list[Cell | None] = [cell_out if residual else None]
    if not residual and geometry.out[3] % config.group == 0:
        sides += _columns(geometry.out, cell_in, cell_out, config)
    found = (_mapped(geometry, cell_in, cell_out, config, side) for side in sides)
    return min((one for one in found if one is not None), key=lambda one: one.cycles, default=None)


def _mapped(
    geometry: Geometry, cell_in: Cell, cell_out: Cell, config: Config, columns: Cell | None
) -> Mapped | None:
    sweep = sweep_of(geometry, cell_in, cell_out, config, columns)
    if sweep is None or (math.prod(sweep.unit) > 1 and max(sweep.step[1:]) > _MOST_STEP):
        return None
    passes = size = moves = 0
    for target in sweep.targets:
        pitch = config.pitch_chunks(-(-target.columns // config.group)) * config.group
        found = passes_of(sweep, target, config)
        passes += len(found)
        size += sum(one.rows for one in found) * pitch
        moves += len(target.moves)
    part = config.acc_depth if moves == len(sweep.targets) else slow_part(config)
    parts = -(-sweep.units // part) if passes > len(sweep.targets) else 1
    return Mapped(
        passes=passes,
        pixels=math.prod(sweep.unit),
        matrix=passes * sweep.units,
        vector=moves * sweep.units,
        fetch=size / config.dram_bytes_per_cycle,
        parts=parts,
        columns=columns,
    )


def _columns(shape: Shape, cell_in: Cell, cell_out: Cell, config: Config) -> Iterator[Cell]:
    """Cells that fill more than half of the columns, other than the result's own.

    They hold images that share a word of the result, or one of the input.
    """
    if cell_out.block:
        return
    most = max(cell_in.images, cell_out.images)
    images = [n for n in range(1, most + 1) if cell_in.images % n == 0 or cell_out.images % n == 0]
    for count in images:
        for rows, cols in SPATIAL:
            cell = Cell(count, rows, cols, config.group)
            full = config.cols // 2 < cell.lanes(shape[3]) <= config.cols
            if cell.pixels > 1 and cell != cell_out and full and cell.divides(shape):
                yield cell
