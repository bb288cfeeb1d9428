"""Weight tiles that come early, and wait in the unified buffer.

Where a layer's weights take longer to come than the array needs to use them, the array would wait;
while an earlier layer keeps it busy, the DRAM is idle. So some of the tiles are loaded then, into
words of the unified buffer that nothing else needs until their layer.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.compiler.allocate import home, lifetimes, tensor_words
from hpu.compiler.cells import mapping_of
from hpu.compiler.ir import Conv, Graph, Op, Quant, Stage, Staged, Tensor
from hpu.hw.config import Config
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.runtime.layout import tensor_bytes

__all__ = ["stage_weights"]

#: Weights come this much later than at the full bandwidth, which they share.
_SPARE = 1.05
#: Bytes of a tile for each byte of instruction, at least.
_WORTH = 32
#: The part of the unified buffer that may be full: the rest makes up for gaps.
_FULL = 0.95


def stage_weights(graph: Graph, config: Config) -> Graph:
    """``graph`` with loads of weight tiles ahead of the convolutions that they delay.

    Where tiles are small the instructions that load them would take the time that they save.
    """
    small = config.rows * config.cols < _WORTH * INSTRUCTION_BYTES
    plans = [] if small else _plan(graph, config)
    if not plans:
        return graph
    waiting: dict[int, list[Staged]] = {}
    loads: dict[int, list[tuple[int, Staged]]] = {}
    for number, plan in enumerate(plans):
        staged = _staged(graph, plan, number, config)
        waiting.setdefault(plan.user, []).append(staged)
        loads.setdefault(plan.loader, []).append((plan.user, staged))
    users = {
        user: dataclasses.replace(graph.ops[user], staged=tuple(staged))  # type: ignore[call-arg]
        for user, staged in waiting.items()
    }
    ops: list[Op] = []
    for index, op in enumerate(graph.ops):
        ops += [_stage(users[user], staged) for user, staged in loads.get(index, [])]
        ops.append(users.get(index, op))
    names = {s.tensor.name: s.tensor for staged in waiting.values() for s in staged}
    return Graph(ops, graph.inputs, graph.outputs, graph.tensors | names)


@dataclasses.dataclass
class _Plan:
    """While operation ``loader`` runs, ``tiles`` of operation ``user`` are loaded."""

    loader: int
    user: int
    tiles: tuple[int, ...]


def _staged(graph: Graph, plan: _Plan, number: int, config: Config) -> Staged:
    name = f"weights {number} of {'+'.join(graph.ops[plan.user].nodes)}"
    shape = (1, 1, len(plan.tiles) * config.rows, 1)
    return Staged(Tensor(name, shape, Quant(np.float32(1), 0)), plan.tiles)


def _stage(conv: Op, staged: Staged) -> Stage:
    assert isinstance(conv, Conv)
    out = staged.tensor
    return Stage(nodes=conv.nodes, x=out, out=out, conv=conv, tiles=staged.tiles)


def _plan(graph: Graph, config: Config) -> list[_Plan]:
    """What is loaded when, as late as there is time for it; from the last operation back."""
    free = [int(_FULL * config.ub_depth) - words for words in _live_words(graph, config)]
    tile_cycles = _SPARE * config.rows * config.cols / config.dram_bytes_per_cycle
    plans: list[_Plan] = []
    wanted: list[_Want] = []
    for index, load in reversed(list(enumerate(_loads(graph, config)))):
        wanted = _kept(wanted, max(free[index], 0) // config.rows)
        if load.late > 0:
            wanted.append(_Want(index, _chosen(load.tiles, load.late / load.fetch)))
        else:
            plans += _served(wanted, index, int(-load.late / tile_cycles))
    return plans


@dataclasses.dataclass(frozen=True)
class _Load:
    """A convolution's tiles, the cycles in which they come, and by how many they come late."""

    tiles: int
    fetch: float
    late: float


def _loads(graph: Graph, config: Config) -> Iterator[_Load]:
    """What every operation asks of the DRAM, behind what those before have not got yet."""
    outputs = {host.tensor for host in graph.outputs}
    waiting = 0.0
    for op in graph.ops:
        store = 0.0
        if home(op.out).name in outputs:
            store = tensor_bytes(op.out.stored, config) / config.dram_bytes_per_cycle
        if isinstance(op, Conv):
            cost = mapping_of(op, config)
            fetch = _SPARE * cost.fetch * cost.parts
            load = _Load(cost.passes, fetch, waiting + fetch + store - cost.busy)
        else:
            load = _Load(0, 1.0, min(waiting + store - tensor_words(op.out, config), 0.0))
        waiting = max(load.late - load.fetch, 0.0) if load.tiles else max(waiting + store, 0.0)
        yield load


@dataclasses.dataclass
class _Want:
    """Tiles of operation ``user`` that are to be loaded before it begins."""

    user: int
    tiles: tuple[int, ...]


def _chosen(count: int, share: float) -> tuple[int, ...]:
    """A share of ``count`` tiles, evenly spread: the others come from DRAM between them."""
    chosen = min(math.ceil(count * share), count)
    return tuple(sorted({(2 * k + 1) * count // (2 * chosen) for k in range(chosen)}))


def _kept(wanted: Sequence[_Want], tiles: int) -> list[_Want]:
    """As much of ``wanted`` as there is room for; what is used first stays."""
    kept = []
    for want in sorted(wanted, key=lambda want: want.user):
        part = want.tiles[:tiles]
        tiles -= len(part)
        if part:
            kept.append(_Want(want.user, part))
    return kept


def _served(wanted: list[_Want], loader: int, tiles: int) -> Iterator[_Plan]:
    """Take up to ``tiles`` tiles off ``wanted``, those used last first."""
    for want in sorted(wanted, key=lambda want: -want.user):
        count = min(tiles, len(want.tiles))
        if count:
            yield _Plan(loader, want.user, want.tiles[-count:])
            want.tiles = want.tiles[:-count]
            tiles -= count


def _live_words(graph: Graph, config: Config) -> list[int]:
    """Words of the tensors that are live at every operation."""
    words = [0] * len(graph.ops)
    for name, (first, last) in lifetimes(graph).items():
        for index in range(first, last + 1):
            words[index] += tensor_words(graph.tensors[name], config)
    return words
