"""The cell of every tensor: how many pixels share a word, for the least time of the whole network.

What a convolution costs depends on the cells of its input and of its result, so that neighbours
must agree. The costs of every combination come from the passes that it would take; a solver finds
the assignment with the least sum. It works alone, with a fixed seed and an effort that is counted,
not timed, so that the same network gets the same cells anywhere.
"""

import itertools
import math
from collections.abc import Iterator, Mapping

from ortools.sat.python import cp_model

from hpu.compiler.cells import SPATIAL, best_mapping, works_by_lane
from hpu.compiler.ir import Conv, Depthwise, Graph, Op, Pool, Tensor
from hpu.compiler.sweep import Geometry
from hpu.compiler.windows import window_cycles
from hpu.hw.config import Config
from hpu.runtime.cell import PLAIN, Cell, Shape
from hpu.runtime.layout import block_channels, block_widths, tensor_bytes

__all__ = ["candidates", "choose_cells"]

#: Cells that are considered for a tensor; those with the fewest words come first.
_MOST_CELLS = 10
#: The same for an input of the network, whose few channels leave room for copies, too.
_MOST_INPUT_CELLS = 40
#: Most images in a word: more would leave slices of a batch no choice.
_MOST_IMAGES = 8
#: Cycles that an operation takes beside its rows.
_OVERHEAD = 600
#: Cycles that a row of results costs though it is drained while the array goes on.
_DRAIN = 0.1
#: Cycles that a word of a result costs for the room that it takes.
_ROOM = 0.02
#: The solver's effort, in its own measure of time.
_EFFORT = 20.0

#: Cells of an operation's tensors by name, and the cycles that they cost.
_Row = tuple[dict[str, Cell], float]


def choose_cells(graph: Graph, config: Config) -> dict[str, Cell]:
    """The cells with the least estimated cycles; where the solver finds none, greedy ones."""
    problem = _Problem(graph, config)
    return problem.solved(_EFFORT) or problem.greedy()


def candidates(shape: Shape, config: Config, most: int = _MOST_CELLS) -> list[Cell]:
    """Cells that a tensor may stand in: plain, and those ``most`` that take the fewest words."""
    found = []
    images_range = range(1, min(shape[0], _MOST_IMAGES) + 1)
    for images in (n for n in images_range if shape[0] % n == 0):
        for rows, cols in SPATIAL:
            cell = Cell(images, rows, cols, config.group)
            fits = cell.lanes(shape[3]) <= block_channels(config)
            if cell.pixels > 1 and fits and cell.divides(shape):
                found.append(cell)
        found += _blocked(images, shape, config)
    found.sort(key=lambda c: (_words(c, shape, config), c.size))
    return [PLAIN, *found[:most]]


def _blocked(images: int, shape: Shape, config: Config) -> Iterator[Cell]:
    """The cell that holds some channels of so many images, where that leaves less room unused."""
    channels = block_channels(config) // images
    whole = channels * images == block_channels(config) and channels % config.group == 0
    if images > 1 and whole and channels < shape[3]:
        cell = Cell(images, group=config.group, block=channels)
        if _words(cell, shape, config) < _words(PLAIN, shape, config):
            yield cell


def _words(cell: Cell, shape: Shape, config: Config) -> int:
    n, y, x, lanes = cell.stored(shape)
    return n * y * x * len(block_widths(lanes, config))


class _Problem:
    """The operations' rows: cells that go together, with their costs."""

    def __init__(self, graph: Graph, config: Config) -> None:
        self.config = config
        self._inputs = {host.tensor for host in graph.inputs}
        self._choices = self._all_choices(graph)
        self.rows = [list(self._rows(op)) for op in graph.ops]

    def _all_choices(self, graph: Graph) -> dict[str, list[Cell]]:
        """The cells of every tensor; plain where an operation knows of no others."""
        choices = {n: candidates(t.shape, self.config) for n, t in graph.tensors.items()}
        for name in self._inputs:
            shape = graph.tensors[name].shape
            choices[name] = candidates(shape, self.config, _MOST_INPUT_CELLS)
        for op in graph.ops:
            if not (isinstance(op, Conv) or works_by_lane(op)):
                choices |= {tensor.name: [PLAIN] for tensor in (*op.inputs, op.out)}
        return choices

    def solved(self, effort: float) -> dict[str, Cell] | None:
        """The cells with the least cost, or ``None`` when the effort does not find any."""
        model = cp_model.CpModel()
        chosen = {
            name: {cell: model.new_bool_var("") for cell in cells}
            for name, cells in self._choices.items()
        }
        for places in chosen.values():
            model.add_exactly_one(places.values())
        total = []
        for rows in self.rows:
            picks = [model.new_bool_var("") for _ in rows]
            for name in rows[0][0]:
                for cell, place in chosen[name].items():
                    own = [
                        p for p, (cells, _) in zip(picks, rows, strict=True) if cells[name] == cell
                    ]
                    model.add(sum(own) == place)
            total += [math.ceil(cost) * p for p, (_, cost) in zip(picks, rows, strict=True)]
        model.minimize(sum(total))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.max_deterministic_time = effort
        if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None
        return {
            name: next(cell for cell, place in places.items() if solver.boolean_value(place))
            for name, places in chosen.items()
        }

    def greedy(self) -> dict[str, Cell]:
        """Cells operation by operation, each the cheapest that leaves every other one possible."""
        chosen = dict.fromkeys(self._choices, PLAIN)
        for name, cells in self._choices.items():
            chosen[name] = min(cells, key=lambda cell: self._cost(chosen | {name: cell}))
        return chosen

    def _cost(self, cells: Mapping[str, Cell]) -> float:
        """The sum over all operations; infinite where one cannot take the cells."""
        return sum(
            next((cost for own, cost in rows if own.items() <= cells.items()), math.inf)
            for rows in self.rows
        )

    def _rows(self, op: Op) -> Iterator[_Row]:
        if isinstance(op, Conv):
            yield from self._conv_rows(op)
        elif works_by_lane(op):
            yield from self._vector_rows(op)
        else:
            yield {tensor.name: PLAIN for tensor in (*op.inputs, op.out)}, 0.0

    def _conv_rows(self, op: Conv) -> Iterator[_Row]:
        geometry, residual = Geometry.of(op), op.residual is not None
        for cell_in, cell_out in itertools.product(
            self._choices[op.x.name], self._choices[op.out.name]
        ):
            others = [op.residual.tensor] if op.residual else []
            cells = self._agreed((op.x, cell_in), *((t, cell_out) for t in (*others, op.out)))
            mapped = best_mapping(geometry, cell_in, cell_out, self.config, residual=residual)
            if cells and mapped:
                cost = max(mapped.cycles, mapped.fetch * mapped.parts + self._load(op.x, cell_in))
                cost += _OVERHEAD + _DRAIN * mapped.vector
                yield cells, cost + _ROOM * self._words(op.out, cell_out)

    def _vector_rows(self, op: Op) -> Iterator[_Row]:
        """Rows of an operation that works lane by lane: the same cell on all sides."""
        for cell in self._choices[op.out.name]:
            cells = self._agreed(*((tensor, cell) for tensor in (*op.inputs, op.out)))
            if cells and (cell.rows * cell.cols == 1 or not isinstance(op, Pool | Depthwise)):
                yield cells, self._vector_cycles(op, cell) + _OVERHEAD

    def _vector_cycles(self, op: Op, cell: Cell) -> float:
        words = self._words(op.out, cell)
        if isinstance(op, Pool | Depthwise):
            return window_cycles(op, cell, self.config) + _ROOM * words
        return (1 + _ROOM) * words

    def _agreed(self, *sides: tuple[Tensor, Cell]) -> dict[str, Cell] | None:
        """Cells by name; ``None`` when a tensor may not stand in its cell, or would need two."""
        cells: dict[str, Cell] = {}
        for tensor, cell in sides:
            if cell not in self._choices[tensor.name] or cells.get(tensor.name, cell) != cell:
                return None
            cells[tensor.name] = cell
        return cells

    def _load(self, tensor: Tensor, cell: Cell) -> float:
        """Cycles in which an input of the network comes from DRAM."""
        if tensor.name not in self._inputs:
            return 0.0
        size = tensor_bytes(cell.stored(tensor.shape), self.config)
        return max(size / self.config.dram_bytes_per_cycle, self._words(tensor, cell))

    def _words(self, tensor: Tensor, cell: Cell) -> int:
        return _words(cell, tensor.shape, self.config)
