"""Movements that cost nothing: a tensor that lies in the memory of another one.

What a Concat joins is written where it belongs in the result, and what a Slice or Split takes is
read where it is. Only in the unified buffer: of what is in DRAM a movement takes a copy anyway.
"""

import dataclasses
from collections import Counter

from hpu.compiler.ir import (
    Binary,
    Conv,
    Depthwise,
    Graph,
    Inset,
    Move,
    Op,
    Pool,
    Residual,
    Tensor,
    Unary,
)
from hpu.compiler.pieces import FILL, Piece
from hpu.hw.config import Config
from hpu.runtime.layout import block_channels, block_widths

__all__ = ["with_insets"]

_CHANNEL = 3
#: Operations that write and read their tensors through views alone.
_BY_VIEWS = (Conv, Depthwise, Pool, Binary, Unary)


def with_insets(graph: Graph, config: Config) -> Graph:
    """``graph`` with every tensor that can be inset in another; itself when there is none."""
    insets = _Insets(graph, config).find()
    if not insets:
        return graph
    tensors = {
        name: dataclasses.replace(tensor, inset=insets[name]) if name in insets else tensor
        for name, tensor in graph.tensors.items()
    }
    ops = [_replaced(op, tensors) for op in graph.ops]
    return Graph(ops, graph.inputs, graph.outputs, tensors)


def _replaced(op: Op, tensors: dict[str, Tensor]) -> Op:
    """``op`` on the new tensors; a movement without the pieces that are in place already."""
    changes: dict[str, object] = {}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = tensors[value.name]
        elif isinstance(value, Residual):
            changes[field.name] = dataclasses.replace(value, tensor=tensors[value.tensor.name])
        elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            changes[field.name] = tuple(tensors[one.name] for one in value)
    if isinstance(op, Move):
        inputs = [tensors[tensor.name] for tensor in op.inputs]
        moving = [p for p in op.pieces if p.source == FILL or not _placed(inputs[p.source], op)]
        changes["pieces"] = () if tensors[op.out.name].inset else tuple(moving)
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]


def _placed(tensor: Tensor, op: Move) -> bool:
    return tensor.inset is not None and tensor.inset.parent.name == op.out.name


class _Insets:
    def __init__(self, graph: Graph, config: Config) -> None:
        self._graph, self._config = graph, config
        self._hosts = {host.tensor for host in (*graph.inputs, *graph.outputs)}
        self._readers = Counter(t.name for op in graph.ops for t in op.inputs)
        self._maker = {op.out.name: op for op in graph.ops}
        tensors = graph.tensors.values()
        self._cut = {t.name for t in tensors if t.whole} | {
            t.whole.name for t in tensors if t.whole
        }
        self._found: dict[str, Inset] = {}
        self._parents: set[str] = set()

    def find(self) -> dict[str, Inset]:
        """The tensors that can be inset, by name."""
        for op in self._graph.ops:
            plain = op.table is None and (op.low, op.high) == (-128, 127)
            cut = any(tensor.name in self._cut for tensor in (*op.inputs, op.out))
            if isinstance(op, Move) and plain and not cut and not self._slice(op):
                self._join(op)
        return self._found

    def _add(self, tensor: Tensor, inset: Inset) -> None:
        self._found[tensor.name] = inset
        self._parents.add(inset.parent.name)

    def _free(self, tensor: Tensor) -> bool:
        """Whether a tensor may lie in another one."""
        return tensor.name not in self._hosts | self._parents | set(self._found)

    def _slice(self, op: Move) -> bool:
        """A result that is a box of its one source: read there."""
        piece = op.pieces[0]
        if len(op.pieces) != 1 or piece.source == FILL or not self._free(op.out):
            return False
        source = op.inputs[piece.source]
        steps = _steps(piece, taking=True)
        if steps is None or source.name in self._found or steps[2] != 1:
            return False
        readers = (other for other in self._graph.ops if op.out in other.inputs)
        if not all(isinstance(reader, (*_BY_VIEWS, Move)) for reader in readers):
            return False
        if not self._same_blocks(op.out, source, piece.origin[3]):
            return False
        self._add(op.out, Inset(source, piece.origin, steps))
        return True

    def _join(self, op: Move) -> None:
        """Sources that go into the result whole, once: written there."""
        if op.out.name in self._found:
            return
        uses = Counter(piece.source for piece in op.pieces)
        for piece in op.pieces:
            if piece.source == FILL or uses[piece.source] > 1:
                continue
            source, steps = op.inputs[piece.source], _steps(piece, taking=False)
            whole = piece.elements == _elements(source) and not any(piece.origin)
            if steps is None or not whole or not self._free(source):
                continue
            if not isinstance(self._maker.get(source.name), _BY_VIEWS):
                continue
            alone = self._readers[source.name] == 1
            same = self._whole_blocks(source, op.out, piece.dest[3])
            if same and (alone or steps[2] == 1):
                self._add(source, Inset(op.out, piece.dest, steps))
            elif alone and self._fits_lanes(source, op.out, piece.dest[3]):
                self._add(source, Inset(op.out, piece.dest, steps, lanes=True))

    def _same_blocks(self, child: Tensor, parent: Tensor, first: int) -> bool:
        """Whether the child's channel blocks are as wide as the parent's from ``first`` on."""
        full = block_channels(self._config)
        at, off = divmod(first, full)
        own = block_widths(child.shape[3], self._config)
        return not off and own == block_widths(parent.shape[3], self._config)[at : at + len(own)]

    def _whole_blocks(self, child: Tensor, parent: Tensor, first: int) -> bool:
        """Whether the child is all channels of blocks of the parent."""
        last = first + child.shape[3]
        ends = last == parent.shape[3] or last % block_channels(self._config) == 0
        return ends and self._same_blocks(child, parent, first)

    def _fits_lanes(self, child: Tensor, parent: Tensor, first: int) -> bool:
        """Whether the child is whole lane groups of one block of the parent that has no copies."""
        full, group = block_channels(self._config), self._config.group
        last = first + child.shape[3]
        width = block_widths(parent.shape[3], self._config)[first // full]
        alone = self._config.groups // width == 1 and first // full == (last - 1) // full
        return alone and first % group == 0 and (last % group == 0 or last == parent.shape[3])


def _elements(tensor: Tensor) -> int:
    n, y, x, c = tensor.shape
    return n * y * x * c


def _steps(piece: Piece, *, taking: bool) -> tuple[int, int, int] | None:
    """Steps along n, y, x of a piece that keeps every axis; ``None`` of any other.

    ``taking`` counts them in the source, with none in the result; else the other way round.
    """
    steps = [1, 1, 1, 1]
    for loop in piece.loops:
        along, still = loop.from_step, loop.to_step
        if not taking:
            along, still = still, along
        if loop.axis != loop.to or still != 1 or along < 1:
            return None
        steps[loop.to] = along
    if steps[_CHANNEL] != 1 or len({loop.to for loop in piece.loops}) != len(piece.loops):
        return None
    return steps[0], steps[1], steps[2]
