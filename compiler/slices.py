"""Runs of operations that take a few images of a batch at a time.

The early layers of a network have large images: of a whole batch they would not fit the unified
buffer, and every layer would fetch and store them. So neighbouring operations are joined to runs. A
run goes through all its operations with the first few images, then with the next few: what lives
inside it needs room for those only. Its weights come again for every slice, which costs nothing
while the array is the slower.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from hpu.compiler.allocate import home, tensor_words
from hpu.compiler.cells import mapping_of
from hpu.compiler.ir import (
    Binary,
    Conv,
    Depthwise,
    Fetch,
    Graph,
    Move,
    Op,
    Pool,
    Residual,
    Stage,
    Tensor,
    Unary,
)
from hpu.compiler.pieces import for_images, keeps_images
from hpu.compiler.windows import window_cycles
from hpu.hw.config import Config
from hpu.runtime.layout import tensor_bytes

__all__ = ["Run", "choose_runs", "run_cycles", "slice_graph", "spill_cycles", "with_tensors"]

#: Operations that make every image of their result from the same image of their inputs.
_PER_IMAGE = (Conv, Depthwise, Pool, Binary, Unary)
#: Longest run that is considered, in operations.
_LONGEST = 48
#: Cycles by which an operation of one slice holds up the next: the array's depth and a drain.
_OVERHEAD = 600
#: Most of the unified buffer for two slices of an input; others are streamed from DRAM.
_INPUT_SHARE = 0.5
#: Weights come this much later than at the full bandwidth, which they share.
_SPARE = 1.1
#: Words that any network fits.
_EVERYTHING = 1 << 62
#: How much dearer a cycle of moving spilled words is than one of computing.
_SPILL = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """Operations ``first`` … ``end - 1``, ``images`` images at a time."""

    first: int
    end: int
    images: int


def slice_graph(graph: Graph, runs: Sequence[Run], config: Config) -> Graph:
    """``graph`` with the operations of every run repeated, slice by slice.

    A tensor that only its run touches becomes one of ``images`` images for each slice; others are
    seen through tensors with :attr:`~hpu.compiler.ir.Tensor.whole` set. Small inputs of the graph
    come slice by slice too, each while the slice before is computed.
    """
    ops = [op for run in runs for op in _sliced(graph, run, config)]
    used = {tensor.name: tensor for op in ops for tensor in (*op.inputs, op.out)}
    wholes = {tensor.whole.name: tensor.whole for tensor in used.values() if tensor.whole}
    hosts = {host.tensor: graph.tensors[host.tensor] for host in (*graph.inputs, *graph.outputs)}
    return Graph(ops, graph.inputs, graph.outputs, hosts | wholes | used)


def _sliced(graph: Graph, run: Run, config: Config) -> list[Op]:
    part = graph.ops[run.first : run.end]
    batch = part[0].out.shape[0]
    if run.images >= batch:
        return part
    return _Slicing(graph, run, config).ops(batch)


class _Slicing:
    """The operations of one run, slice by slice."""

    def __init__(self, graph: Graph, run: Run, config: Config) -> None:
        self._ops = graph.ops[run.first : run.end]
        self._images = run.images
        self._inside = _private(graph, run)
        used = {tensor.name: tensor for op in self._ops for tensor in op.inputs}
        inputs = (used[host.tensor] for host in graph.inputs if host.tensor in used)
        self._inputs = [t for t in inputs if _is_small(tensor_words(t, config), run, t, config)]

    def ops(self, batch: int) -> list[Op]:
        """The operations for all ``batch`` images."""
        starts = [
            (first, min(self._images, batch - first)) for first in range(0, batch, self._images)
        ]
        fetches = [self._fetches(*start) for start in starts]
        result = fetches[0]
        for index, start in enumerate(starts):
            ahead = fetches[index + 1] if index + 1 < len(starts) else []
            result += _interleaved(ahead, self._slice(*start))
        return result

    def _fetches(self, first: int, count: int) -> list[Op]:
        """Loads of the inputs' images, as many of each as the run has operations."""
        parts = len(self._ops)
        return [
            Fetch(
                nodes=(f"load {tensor.name}",),
                x=_view(tensor, first, count),
                out=_part(tensor, first, count),
                part=part,
                parts=parts,
            )
            for part in range(parts)
            for tensor in self._inputs
        ]

    def _slice(self, first: int, count: int) -> list[Op]:
        """The operations for ``count`` images from ``first`` on."""
        inside = self._inside | {tensor.name for tensor in self._inputs}
        names: dict[str, Tensor] = {}
        for op in self._ops:
            for tensor in (*op.inputs, op.out):
                make = _part if tensor.name in inside else _view
                names.setdefault(tensor.name, make(tensor, first, count))
        return [with_tensors(op, names) for op in self._ops]


def _is_small(words: float, run: Run, whole: Tensor, config: Config) -> bool:
    """Whether an input of ``words`` may stand in the unified buffer, twice a slice of it."""
    return 2 * words * run.images / whole.shape[0] <= config.ub_depth * _INPUT_SHARE


def _interleaved(fetches: Sequence[Op], ops: Sequence[Op]) -> Iterator[Op]:
    """``ops`` with the fetches spread evenly before them.

    In one piece they would keep the load unit from what ``ops`` themselves need of it.
    """
    step = len(fetches) // len(ops)
    for index, op in enumerate(ops):
        yield from fetches[index * step : (index + 1) * step]
        yield op


def _private(graph: Graph, run: Run) -> set[str]:
    """Names of the tensors that are made in the run and read nowhere else."""
    made = {op.out.name for op in graph.ops[run.first : run.end]}
    outside = [*graph.ops[: run.first], *graph.ops[run.end :]]
    read = {tensor.name for op in outside for tensor in op.inputs}
    return made - read - {host.tensor for host in graph.outputs}


def _part(tensor: Tensor, first: int, count: int) -> Tensor:
    """A tensor of its own for images of ``tensor``."""
    name = f"{tensor.name}, images {first}-{first + count - 1}"
    return dataclasses.replace(tensor, name=name, shape=(count, *tensor.shape[1:]))


def _view(tensor: Tensor, first: int, count: int) -> Tensor:
    """Images of ``tensor`` where they are."""
    part = _part(tensor, first, count)
    return dataclasses.replace(part, name=f"{part.name} in place", whole=tensor, first=first)


def with_tensors(op: Op, names: dict[str, Tensor]) -> Op:
    """``op`` with every tensor replaced by the one of its name."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = names[value.name]
        elif isinstance(value, Residual):
            changes[field.name] = dataclasses.replace(value, tensor=names[value.tensor.name])
        elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            changes[field.name] = tuple(names[one.name] for one in value)
    if isinstance(op, Move):
        changes["pieces"] = for_images(op.pieces, names[op.out.name].shape[0])
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]


def choose_runs(graph: Graph, config: Config, words: int) -> list[Run]:
    """The runs with the least estimated time whose tensors fit ``words`` of the unified buffer.

    A shortest path over the operations: every run is a step from its first operation to its end.
    """
    best: list[tuple[float, Run | None]] = [(0.0, None)]
    costs = _Costs(graph, config, words)
    for end in range(1, len(graph.ops) + 1):
        steps = ((best[run.first][0] + costs.of(run), run) for run in _ending(graph, end))
        best.append(min(steps, key=lambda step: step[0]))
    return _path(best)


def run_cycles(graph: Graph, config: Config, runs: Sequence[Run]) -> float:
    """Estimated cycles of ``runs`` when everything finds room."""
    costs = _Costs(graph, config, _EVERYTHING)
    return sum(costs.of(run) for run in runs)


def spill_cycles(graph: Graph, config: Config, bases: Mapping[str, int]) -> float:
    """Cycles in which tensors that have no place in the buffer move out and in again."""
    hosts = {host.tensor for host in graph.inputs}
    weights = {op.out.name for op in graph.ops if isinstance(op, Stage)}
    moved = sum(
        tensor_words(tensor, config)
        for op in graph.ops
        for tensor in (*op.inputs, op.out)
        if tensor.name not in bases
        and tensor.name not in weights
        and home(tensor).name not in hosts
    )
    return moved * config.lanes / config.dram_bytes_per_cycle


def _path(best: Sequence[tuple[float, Run | None]]) -> list[Run]:
    runs: list[Run] = []
    run = best[-1][1]
    while run is not None:
        runs.append(run)
        run = best[run.first][1]
    return runs[::-1]


def _ending(graph: Graph, end: int) -> Iterator[Run]:
    """Runs that end before operation ``end``: it alone with all images, and longer ones sliced."""
    batch = graph.ops[end - 1].out.shape[0]
    yield Run(end - 1, end, batch)
    for first in range(end - 1, max(end - _LONGEST, 0) - 1, -1):
        if not _is_sliceable(graph.ops[first], batch):
            return
        together = _together(graph.ops[first:end])
        images = batch // 2
        while images:
            if images % together == 0:
                yield Run(first, end, images)
            images //= 2


def _together(ops: Sequence[Op]) -> int:
    """The least number of images that are whole words of every tensor."""
    tensors = (tensor for op in ops for tensor in (*op.inputs, op.out))
    return math.lcm(*(tensor.cell.images for tensor in tensors))


def _is_sliceable(op: Op, batch: int) -> bool:
    kind = keeps_images(op.pieces, batch) if isinstance(op, Move) else isinstance(op, _PER_IMAGE)
    return kind and all(tensor.shape[0] == batch for tensor in (*op.inputs, op.out))


class _Costs:
    """Estimated cycles of runs."""

    def __init__(self, graph: Graph, config: Config, words: int) -> None:
        self._graph, self._config, self._room = graph, config, words
        self._inputs = {host.tensor for host in graph.inputs}
        self._words = {t.name: tensor_words(t, config) for t in graph.tensors.values()}
        self._made = {op.out.name: index for index, op in enumerate(graph.ops)}
        self._last = {t.name: i for i, op in enumerate(graph.ops) for t in op.inputs}
        self._last |= {host.tensor: len(graph.ops) for host in graph.outputs}
        self._before = self._live_before()
        self._ops = [_OpCost.of(op, config) for op in graph.ops]
        out = tensor_bytes(graph.ops[-1].out.stored, config)
        self._store = out / config.dram_bytes_per_cycle

    def of(self, run: Run) -> float:
        """Cycles of a run, with those of moving what does not fit."""
        batch = self._graph.ops[run.first].out.shape[0]
        share = run.images / batch
        slices = -(-batch // run.images)
        peak = self._peak(run, share)
        missing = max(peak - self._room, 0)
        moved = missing * self._config.lanes * 2 / self._config.dram_bytes_per_cycle
        return self._time(run, share, slices, peak) + _SPILL * moved * slices

    def _time(self, run: Run, share: float, slices: int, peak: float) -> float:
        ops = self._ops[run.first : run.end]
        times = [max(share * cost.compute, cost.fetch) + _OVERHEAD for cost in ops]
        if run.end < len(self._ops):
            return slices * sum(times)
        weights = slices * sum(cost.fetch for cost in ops)
        words = weights * self._config.dram_bytes_per_cycle / self._config.lanes
        idle = all(cost.compute >= cost.fetch for cost in ops)
        if slices > 1 and idle and peak + words <= self._room:  # tiles may come before, and wait
            times, weights = [share * cost.compute + _OVERHEAD for cost in ops], 0.0
        before = sum(times[:-1])  # results leave from the end of the first slice on
        last = self._store / slices
        return before + max(slices * sum(times) - before + last, self._store + weights)

    def _peak(self, run: Run, share: float) -> float:
        """Most words that are live at an operation of the run."""
        whole = self._across(run)
        live: dict[str, float] = {}
        peak = 0.0
        for index in range(run.first, run.end):
            op = self._graph.ops[index]
            for tensor in (*op.inputs, op.out):
                if self._is_inside(tensor.name, run):
                    live[tensor.name] = self._words[tensor.name] * share
                elif tensor.name in self._inputs:
                    live[tensor.name] = self._input_words(tensor, run)
            peak = max(peak, whole + sum(live.values()))
            for name in [n for n in live if self._last.get(n, -1) <= index]:
                if name not in self._inputs or share == 1:
                    del live[name]
        return peak

    def _input_words(self, tensor: Tensor, run: Run) -> float:
        """An input's words: all, or two slices, as the next comes while one is computed."""
        words = self._words[tensor.name]
        if run.images >= tensor.shape[0]:
            return words
        small = _is_small(words, run, tensor, self._config)
        return 2 * words * run.images / tensor.shape[0] if small else 0

    def _is_inside(self, name: str, run: Run) -> bool:
        made = self._made.get(name, -1)
        return run.first <= made and self._last.get(name, made) < run.end

    def _across(self, run: Run) -> int:
        """Words of the tensors that live, whole, while the run does."""
        names = (self._graph.ops[index].out.name for index in range(run.first, run.end))
        after = (name for name in names if run.end <= self._last.get(name, -1))
        return self._before[run.first] + sum(self._words[name] for name in after)

    def _live_before(self) -> list[int]:
        """For every operation the words of what is made before it and read by it or later."""
        changes = [0] * (len(self._graph.ops) + 2)
        for name, made in self._made.items():
            changes[made + 1] += self._words[name]
            changes[max(self._last.get(name, made), made) + 1] -= self._words[name]
        return list(itertools.accumulate(changes))


@dataclasses.dataclass(frozen=True)
class _OpCost:
    """Cycles that an operation computes for the whole batch, and that its weights take."""

    compute: float
    fetch: float

    @classmethod
    def of(cls, op: Op, config: Config) -> "_OpCost":
        if isinstance(op, Pool | Depthwise):
            return cls(window_cycles(op, op.out.cell, config), 0)
        if not isinstance(op, Conv):
            return cls(tensor_words(op.out, config), 0)
        mapped = mapping_of(op, config)
        return cls(max(mapped.matrix, mapped.vector), _SPARE * mapped.fetch)
