"""Graph to program: places, instructions, tokens, memory map."""

import dataclasses
import itertools
from collections.abc import Mapping

import msgspec

from hpu.compiler.advance import advanced
from hpu.compiler.align import align_concats
from hpu.compiler.allocate import Planner, Scratch, Space, allocate, describe, home, refusal
from hpu.compiler.cells import with_cells
from hpu.compiler.choose import choose_cells
from hpu.compiler.context import Context, Place, load_pieces
from hpu.compiler.depthwise import with_depthwise
from hpu.compiler.early import fetch_early
from hpu.compiler.emit import Emitted, Emitter
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.insets import with_insets
from hpu.compiler.ir import (
    Binary,
    Blend,
    Conv,
    Depthwise,
    Fetch,
    Graph,
    HostTensor,
    Move,
    Op,
    Pool,
    Stage,
    Tensor,
    Unary,
)
from hpu.compiler.lower_blend import blend_axes, lower_blend
from hpu.compiler.lower_conv import lower_conv
from hpu.compiler.lower_depthwise import lower_depthwise
from hpu.compiler.lower_elementwise import elementwise_axes, lower_elementwise
from hpu.compiler.lower_move import lower_move
from hpu.compiler.lower_pool import lower_pool
from hpu.compiler.lower_stream import plan_stream
from hpu.compiler.overflow import check_overflow
from hpu.compiler.plan_conv import plan_conv
from hpu.compiler.plan_move import plan_move
from hpu.compiler.prefetch import hoist_constants, hoist_weights, spread
from hpu.compiler.residences import residences
from hpu.compiler.slices import Run, choose_runs, run_cycles, slice_graph, spill_cycles
from hpu.compiler.stage import stage_weights
from hpu.compiler.sync import insert_tokens
from hpu.compiler.turns import split_turns
from hpu.compiler.weight_tiles import lower_stage
from hpu.compiler.weights_image import Image
from hpu.compiler.windows import window_axes
from hpu.hw.config import Config
from hpu.runtime.cell import Cell
from hpu.runtime.layout import tensor_bytes
from hpu.runtime.program import NodeRange, Port, Program, Segment

__all__ = ["compile_graph", "lower_op", "macs", "memory_map", "planner"]

#: Instructions and tensors start at multiples of this many bytes.
_ALIGN = 4096


def compile_graph(
    graph: Graph,
    config: Config,
    *,
    keep: bool = False,
    cells: Mapping[str, Cell] | None = None,
) -> Program:
    """The program that runs ``graph`` on ``config``; the same bytes for the same graph.

    With ``keep`` every tensor that an operation gives is stored, and listed in ``Program.kept``.
    ``cells`` are those of the tensors that are not plain; chosen by cost when not given.

    Raises
    ------
    UnsupportedError
        When an operation does not fit the machine however it is cut up, or a sum could leave
        int32; names the node.
    """
    check_overflow(graph)
    kept = _kept(graph) if keep else []
    graph = with_depthwise(split_turns(_separate(graph), config), config)
    if not keep:
        graph = align_concats(graph, config)
    if cells is None:
        cells = choose_cells(graph, config)
    graph = with_cells(graph, cells, config)
    graph, bases, scratch = _place(graph, config, whole=keep)
    addresses, end = memory_map(graph, config, bases, kept)
    _check_extent(end, config)
    places = {
        name: Place(bases.get(name), None if tensor.inset else addresses.get(home(tensor).name))
        for name, tensor in graph.tensors.items()
    }
    context = Context(config, Emitter(config), Image(end, config), places)
    nodes, runs = _nodes(graph, _lower(graph, context, scratch))
    instructions = insert_tokens(context.emitter.instructions, config)
    address = _aligned(context.image.end)
    dram_bytes = address + len(instructions)
    _check_extent(dram_bytes, config)
    data = context.image.data()
    return Program(
        config_name=config.name,
        config_digest=config.digest(),
        instructions=instructions,
        program_address=address,
        image=(Segment(context.image.base, data),) if data else (),
        dram_bytes=dram_bytes,
        inputs=_ports(graph, graph.inputs, addresses),
        outputs=_ports(graph, graph.outputs, addresses),
        kept=_ports(graph, kept, addresses),
        nodes=nodes,
        memory=tuple(
            msgspec.structs.replace(held, first=runs[held.first][0], last=runs[held.last][1])
            for held in residences(graph, config, bases, scratch, addresses)
        ),
    )


#: A graph, the bases of its tensors and every operation's working memory.
Placed = tuple[Graph, dict[str, int], list[Scratch]]


def _place(graph: Graph, config: Config, *, whole: bool) -> Placed:
    """The graph cut into slices of images, and the places of its tensors.

    Tensors lie in the buffer one behind another with gaps between them, so that some may find no
    room. Slices are chosen for the whole buffer and for less of it, and those that take the least
    time with what is spilled are kept. With ``whole`` nothing is sliced.
    """
    if whole:
        return graph, *allocate(graph, config, planner(config))
    tried: dict[tuple[Run, ...], tuple[float, Placed]] = {}
    for eighths in (8, 7, 6, 5, 4):
        runs = tuple(choose_runs(graph, config, config.ub_depth * eighths // 8))
        if runs not in tried:
            sliced = fetch_early(slice_graph(graph, runs, config), config)
            sliced = stage_weights(sliced, config)
            sliced, bases, scratch = _allocated(sliced, config)
            cycles = run_cycles(graph, config, runs) + spill_cycles(sliced, config, bases)
            tried[runs] = cycles, (sliced, bases, scratch)
    return min(tried.values(), key=lambda found: found[0])[1]


def _allocated(graph: Graph, config: Config) -> Placed:
    """The places of the tensors, some inset in others if those are in the unified buffer."""
    inset = with_insets(graph, config)
    if inset is not graph:
        bases, scratch = allocate(inset, config, planner(config))
        if all(tensor.name in bases for tensor in inset.tensors.values() if tensor.inset):
            return inset, bases, scratch
    return graph, *allocate(graph, config, planner(config))


def _check_extent(dram_bytes: int, config: Config) -> None:
    if dram_bytes > 1 << config.addr_bits:
        reason = (
            f"the network needs {dram_bytes} bytes of DRAM or more, and {config.addr_bits}-bit "
            "addresses do not reach that far; use a smaller batch"
        )
        raise UnsupportedError("", "", reason)


def _separate(graph: Graph) -> Graph:
    """``graph`` with a copying operation for every output that is an input itself."""
    inputs = {host.tensor for host in graph.inputs}
    ops, tensors, outputs = list(graph.ops), dict(graph.tensors), []
    for host in graph.outputs:
        if host.tensor in inputs:
            x = tensors[host.tensor]
            out = Tensor(f"{x.name}/copy/{host.name}", x.shape, x.quant)
            tensors[out.name] = out
            ops.append(Unary(nodes=(f"copy to {host.name}",), x=x, out=out))
            host = dataclasses.replace(host, tensor=out.name)
        outputs.append(host)
    return Graph(ops, graph.inputs, outputs, tensors)


def _kept(graph: Graph) -> list[HostTensor]:
    """Every operation's result as a host tensor in device form."""
    return [
        HostTensor(
            name=op.out.name,
            dtype="int8",
            shape=op.out.shape,
            view=op.out.shape,
            perm=(0, 1, 2, 3),
            quantised="int8",
            scale=float(op.out.quant.scale),
            zero=op.out.quant.zero,
            tensor=op.out.name,
        )
        for op in graph.ops
    ]


def memory_map(
    graph: Graph, config: Config, bases: dict[str, int], kept: list[HostTensor]
) -> tuple[dict[str, int], int]:
    """DRAM addresses of the tensors that have one, and the end of them all."""
    used = {home(tensor).name for op in graph.ops for tensor in (*op.inputs, op.out)}
    names = [host.tensor for host in (*graph.inputs, *graph.outputs, *kept)]
    names += [name for name in graph.tensors if name in used and name not in bases]
    addresses: dict[str, int] = {}
    end = 0
    for name in dict.fromkeys(names):
        addresses[name] = end
        end = _aligned(end + tensor_bytes(graph.tensors[name].stored, config))
    return addresses, end


def _aligned(address: int) -> int:
    return -(-address // _ALIGN) * _ALIGN


def _ports(graph: Graph, hosts: list[HostTensor], addresses: dict[str, int]) -> tuple[Port, ...]:
    tensors = ((host, graph.tensors[host.tensor]) for host in hosts)
    return tuple(Port.of(host, addresses[t.name], t.shape, t.cell) for host, t in tensors)


def planner(config: Config) -> Planner:
    """Chooses every operation's tiles and buffers."""

    def plan(op: Op, in_dram: set[str], space: Space) -> tuple[object, list[int]] | None:
        if isinstance(op, Fetch | Stage):
            return None, []
        if isinstance(op, Conv):
            return plan_conv(op, in_dram, space, config)
        if isinstance(op, Move):
            return plan_move(op, in_dram, space, config)
        axes = window_axes(op) if isinstance(op, Pool | Depthwise) else elementwise_axes(op)
        if isinstance(op, Blend):
            axes = blend_axes(op)
        return plan_stream(op, axes, in_dram, space, config)

    return plan


def _lower(graph: Graph, context: Context, scratch: list[Scratch]) -> list[int]:
    """Emit every operation; the number of the operation that each instruction belongs to."""
    waiting = {host.tensor for host in graph.inputs}
    emitted = context.emitter.instructions
    owners: list[int] = []
    product = 0  # first instruction from the last convolution on
    ahead: list[Emitted] = []
    for number, (op, memory) in enumerate(zip(graph.ops, scratch, strict=True)):
        first = len(emitted)
        if isinstance(op, Stage):
            lower_stage(context, op)
            ahead += emitted[first:]
            del emitted[first:]
            continue
        for tensor in map(home, op.inputs):
            if tensor.name in waiting:
                waiting.remove(tensor.name)
                _load_input(context, tensor)
        lower_op(context, op, memory)
        emitted[first:] = spread(ahead, emitted[first:])
        ahead.clear()
        owners += [number] * (len(emitted) - first)
        if isinstance(op, Conv):
            product = first
        elif not isinstance(op, Fetch):
            owned = list(zip(emitted[product:], owners[product:], strict=True))
            merged = advanced(owned[: first - product], owned[first - product :])
            emitted[product:] = [instruction for instruction, _ in merged]
            owners[product:] = [owner for _, owner in merged]
            product = len(emitted)
    return owners


def _nodes(graph: Graph, owners: list[int]) -> tuple[tuple[NodeRange, ...], list[tuple[int, int]]]:
    """Runs of instructions of an operation; the first and last run of every operation.

    The first run of an operation counts its products.
    """
    nodes: list[NodeRange] = []
    runs: dict[int, tuple[int, int]] = {}
    at = 0
    for number, group in itertools.groupby(owners):
        op, count = graph.ops[number], len(list(group))
        work = 0 if number in runs else macs(op)
        runs[number] = runs.get(number, (len(nodes), 0))[0], len(nodes)
        nodes.append(NodeRange(at, count, describe(op), type(op).__name__, work, op.mapping))
        at += count
    spans = [(0, 0)]
    for number in range(len(graph.ops)):  # one without instructions stands with the one before
        spans.append(runs.get(number, spans[-1]))
    return tuple(nodes), spans[1:]


def _load_input(context: Context, tensor: Tensor) -> None:
    """Fetch an input of the graph that has a place in the unified buffer."""
    pieces = max(context.config.queue_depth // 2 // len(context.blocks(tensor)), 1)
    for block, view in enumerate(context.views(tensor)):
        context.load_whole(tensor, block, view, pieces)


def _fetch(context: Context, op: Fetch) -> None:
    """Load one part of a copy."""
    for block, view in enumerate(context.views(op.out)):
        pieces = load_pieces(view.region, op.parts)
        share = -(-len(pieces) // op.parts)
        for piece in pieces[op.part * share : (op.part + 1) * share]:
            context.load(op.x, block, view, piece)


def lower_op(context: Context, op: Op, scratch: Scratch) -> None:
    """Emit one operation.

    Raises
    ------
    UnsupportedError
        When a number does not fit the machine.
    """
    first = len(context.emitter)
    try:
        if isinstance(op, Fetch):
            _fetch(context, op)
        elif isinstance(op, Conv):
            lower_conv(context, op, scratch)
        elif isinstance(op, Depthwise):
            lower_depthwise(context, op, scratch)
        elif isinstance(op, Pool):
            lower_pool(context, op, scratch)
        elif isinstance(op, Move):
            lower_move(context, op, scratch)
        elif isinstance(op, Blend):
            lower_blend(context, op, scratch)
        elif isinstance(op, Binary | Unary):
            lower_elementwise(context, op, scratch)
        else:
            raise TypeError(f"{type(op).__name__} has no lowering")
    except ValueError as error:
        raise refusal(op, str(error)) from error
    emitted = context.emitter.instructions
    emitted[first:] = hoist_weights(hoist_constants(emitted[first:]), context.config)


def macs(op: Op) -> int:
    """Multiply-accumulates that the operation's definition counts."""
    if not isinstance(op, Conv | Depthwise):
        return 0
    n, y, x, c = op.out.shape
    unused = c * op.weight[0, ..., 0].size * op.unused if isinstance(op, Conv) else 0
    return n * y * x * (op.weight.size - unused)
