"""A compiled network as the list of layers that a dispute is about, and its commitment.

Every operation of the compiler's graph is a layer: a description of fixed size (the struct
``Layer`` of ``contracts/elements.vy``, field by field), the weights, one record of 32 bytes for
every channel, count, place or source, and tables. The model's root is that of a tree with a leaf
for every description and, last, the list of the network's outputs.
"""

import dataclasses
import enum
import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from hpu.chain_integration.proofs.merkle import Tree, chunk_count, chunks
from hpu.compiler import ir
from hpu.compiler.lower_blend import blend_fields
from hpu.compiler.lower_pool import average_scale
from hpu.compiler.overflow import check_overflow
from hpu.compiler.pieces import source_map
from hpu.compiler.vector import addition, combination
from hpu.runtime.errors import HpuError
from hpu.sim.numerics import encode_scale

__all__ = [
    "INPUT",
    "MAX_DATA",
    "MAX_EDGE",
    "MAX_PATHS",
    "Kind",
    "Layer",
    "LayerData",
    "Model",
    "commit_model",
]

#: A tensor reference from here on is the number of an input of the network.
INPUT = 1 << 32
#: Limits of one call of the contract: bytes shown of a tensor, in at most as many spans as they
#: have leaves; hashes; taps along an edge.
MAX_DATA = 32_768
MAX_PATHS = 1024
MAX_EDGE = 64
_RECORD_BYTES = 32
_ENTRY_BYTES = 8


class Kind(enum.IntEnum):
    """What a layer computes before requantisation, second operand, clip and table."""

    DOT = 0
    MAXIMUM = 1
    AVERAGE = 2
    COPY = 3
    BLEND = 4
    MOVE = 5
    OUTPUT = 6


_NOTHING = bytes(32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """The struct ``Layer`` of ``contracts/elements.vy``, whose comments say what each field is."""

    kind: int
    inputs: int
    x: int = 0
    y: int = 0
    x_shape: tuple[int, ...] = (0, 0, 0, 0)
    shape: tuple[int, ...] = (0, 0, 0, 0)
    kernel: tuple[int, ...] = (1, 1)
    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    dilations: tuple[int, ...] = (1, 1)
    groups: int = 1
    axis: int = 0
    counts_padding: int = 0
    x_zero: int = 0
    zero: int = 0
    operand: int = 0
    s_zero: int = 0
    b_zero: int = 0
    s_mult: int = 0
    b_mult: int = 0
    shift: int = 0
    out_zero: int = 0
    low: int = -128
    high: int = 127
    tables: int = 0
    records: int = 0
    weights: bytes = _NOTHING
    record_root: bytes = _NOTHING
    table_root: bytes = _NOTHING

    @property
    def size(self) -> int:
        """Bytes of the result."""
        return math.prod(self.shape)

    def values(self) -> tuple[Any, ...]:
        """The fields in order, as a contract takes them."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def encoded(self) -> bytes:
        """The fields as 32-byte words: the leaf of the layer in the model."""
        return b"".join(_words(self.values()))


def _words(values: Iterable[Any]) -> Iterable[bytes]:
    for entry in values:
        if isinstance(entry, tuple):
            yield from _words(entry)
        elif isinstance(entry, bytes):
            yield entry
        else:
            yield (int(entry) % (1 << 256)).to_bytes(32, "big")


@dataclasses.dataclass(frozen=True, eq=False)
class LayerData:
    """A layer and what its roots commit to.

    ``name`` is the tensor that it gives; ``weights`` are the bytes of the weights or of a move's
    map, ``records`` and ``tables`` those of the records and tables.
    """

    layer: Layer
    name: str
    weights: bytes = b""
    records: bytes = b""
    tables: bytes = b""

    @functools.cached_property
    def weight_tree(self) -> Tree:
        """Tree over the weights."""
        return Tree.of(chunks(self.weights))

    @functools.cached_property
    def record_tree(self) -> Tree:
        """Tree over the records."""
        return Tree.of(chunks(self.records))

    @functools.cached_property
    def table_tree(self) -> Tree:
        """Tree over the tables, one in each leaf."""
        return Tree.of(chunks(self.tables))

    def sealed(self) -> "LayerData":
        """With the roots in the layer."""
        changes: dict[str, Any] = {
            "weights": self.weight_tree.root if self.weights else _NOTHING,
            "record_root": self.record_tree.root if self.records else _NOTHING,
            "table_root": self.table_tree.root if self.tables else _NOTHING,
            "records": len(self.records) // _RECORD_BYTES,
            "tables": len(self.tables) // 256,
        }
        return dataclasses.replace(self, layer=dataclasses.replace(self.layer, **changes))


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network's layers in order, the last of them the list of its outputs.

    ``inputs`` and ``outputs`` name the device tensors of the network's inputs and outputs.
    """

    layers: tuple[LayerData, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @functools.cached_property
    def tree(self) -> Tree:
        """Tree over the descriptions."""
        return Tree.of(data.layer.encoded() for data in self.layers)

    @property
    def root(self) -> bytes:
        """What an order names as its model."""
        return self.tree.root

    @functools.cached_property
    def references(self) -> dict[str, int]:
        """Number of every tensor, by name."""
        made = {data.name: number for number, data in enumerate(self.layers[:-1])}
        return {name: INPUT + k for k, name in enumerate(self.inputs)} | made


def commit_model(graph: ir.Graph) -> Model:
    """The layers of a compiled network's graph.

    Raises
    ------
    UnsupportedError
        When a sum could leave int32.
    HpuError
        When a contract could not recompute some element of a layer, or an output is an input.
    """
    check_overflow(graph)
    inputs = tuple(dict.fromkeys(host.tensor for host in graph.inputs))
    outputs = tuple(host.tensor for host in graph.outputs)
    for name in outputs:
        if name in inputs:
            raise HpuError(f"output {name!r} must be computed; it is an input of the network.")
    numbers = {name: INPUT + k for k, name in enumerate(inputs)}
    numbers |= {op.out.name: number for number, op in enumerate(graph.ops)}
    layers = [_layer(op, len(inputs), numbers) for op in graph.ops]
    listed = b"".join(_word(numbers[name]) for name in outputs)
    last = LayerData(Layer(kind=Kind.OUTPUT, inputs=len(inputs)), "", records=listed)
    return Model((*layers, last.sealed()), inputs, outputs)


def _layer(op: ir.Op, inputs: int, numbers: dict[str, int]) -> LayerData:
    fields, contents = _core(op, numbers)
    fields |= {
        "inputs": inputs,
        "x": numbers[op.x.name],
        "x_shape": op.x.shape,
        "shape": op.out.shape,
        "low": op.low,
        "high": op.high,
    }
    data = LayerData(Layer(**fields), op.out.name, tables=_tables(op.table), **contents).sealed()
    _check_limits(op, data.layer)
    return data


_Found = tuple[dict[str, Any], dict[str, bytes]]


def _core(op: ir.Op, numbers: dict[str, int]) -> _Found:
    if isinstance(op, ir.Conv):
        return _conv(op, numbers)
    if isinstance(op, ir.Pool):
        return _pool(op)
    if isinstance(op, ir.Binary):
        fields = _combined(combination(op)) | {"kind": Kind.COPY, "y": numbers[op.y.name]}
        return fields, {}
    if isinstance(op, ir.Blend):
        return _blend(op)
    if isinstance(op, ir.Move):
        return _move(op, numbers)
    if isinstance(op, ir.Unary):
        return {"kind": Kind.COPY}, {}
    name = op.nodes[0] if op.nodes else op.out.name
    raise HpuError(f"{name!r}: a contract cannot decide a {type(op).__name__}.")


def _combined(fields: dict[str, int]) -> dict[str, Any]:
    """The fields of VECTOR's second operand."""
    names = ("operand", "s_zero", "b_zero", "s_mult", "b_mult", "shift", "out_zero")
    return {name: fields.get(name, 0) for name in names}


def _word(*parts: tuple[int, int] | int) -> bytes:
    """A record of (value, place of the lowest bit) parts; two's complement of 32 bits at most."""
    total = 0
    for part in parts:
        number, place = part if isinstance(part, tuple) else (part, 0)
        total |= number << place
    return total.to_bytes(_RECORD_BYTES, "big")


def _low(number: int, bits: int) -> int:
    return int(number) % (1 << bits)


def _conv(op: ir.Conv, numbers: dict[str, int]) -> _Found:
    wide = op.weight.reshape(len(op.weight), -1).astype(np.int64)
    small = (wide.min(axis=1) >= -128) & (wide.max(axis=1) <= 127)
    offsets = np.where(small, -128, wide.min(axis=1))
    moved = wide - offsets[:, None]
    if moved.max() > 255:
        raise HpuError(f"{op.nodes[0]!r}: weights of an output channel must be within 256 steps.")
    mantissa, shift = encode_scale(np.broadcast_to(op.scale, op.bias.shape))
    rows = zip(op.bias.tolist(), mantissa.tolist(), shift.tolist(), offsets.tolist(), strict=True)
    records = [_word(_low(b, 32), (m, 32), (s, 56), (_low(o, 16), 64)) for b, m, s, o in rows]
    fields: dict[str, Any] = {
        "kind": Kind.DOT,
        "kernel": op.weight.shape[1:3],
        "x_zero": op.x.quant.zero,
        "zero": op.result.zero,
        "groups": op.groups,
    }
    if op.residual is not None:
        own, other = op.residual.own, op.residual.tensor
        fields |= _combined(addition(own, other.quant, op.result))
        fields |= {"zero": own.zero, "y": numbers[other.name]}
    contents = {"weights": moved.astype(np.uint8).tobytes(), "records": b"".join(records)}
    return fields | _window(op), contents


def _window(op: ir.Conv | ir.Pool) -> dict[str, Any]:
    return {name: getattr(op, name) for name in ("strides", "pads", "dilations")}


def _pool(op: ir.Pool) -> _Found:
    fields = _window(op) | {"kernel": op.kernel}
    if op.kind == "max":
        return fields | {"kind": Kind.MAXIMUM}, {}
    scales = [average_scale(op, max(k, 1)) for k in range(op.kernel[0] * op.kernel[1] + 1)]
    mantissa, shift = encode_scale(np.array(scales))
    rows = zip(mantissa.tolist(), shift.tolist(), strict=True)
    fields |= {
        "kind": Kind.AVERAGE,
        "x_zero": op.x.quant.zero,
        "zero": op.result.zero,
        "counts_padding": int(op.count_include_pad),
    }
    return fields, {"records": b"".join(_word((m, 32), (s, 56)) for m, s in rows)}


def _blend(op: ir.Blend) -> _Found:
    records, found = [], {}
    for first, second, share in zip(op.first, op.second, op.share, strict=True):
        found = blend_fields(op, share)
        mults = (_low(found["s_mult"], 32), 64), (_low(found["b_mult"], 32), 96)
        records.append(_word(first, (second, 32), *mults, (found["shift"], 128)))
    fields = _combined(found) | {"s_mult": 0, "b_mult": 0, "shift": 0}
    return fields | {"kind": Kind.BLEND, "axis": op.axis}, {"records": b"".join(records)}


def _move(op: ir.Move, numbers: dict[str, int]) -> _Found:
    sizes = [math.prod(tensor.shape) for tensor in op.inputs]
    starts = np.cumsum([0, *sizes])
    flat = source_map(op.pieces, op.out.shape, [t.shape for t in op.inputs]).reshape(-1)
    source = np.searchsorted(starts, flat, side="right")
    entries = np.where(flat < 0, 0, (source << 40) | (flat - starts[source - 1]))
    records = [
        _word(numbers[tensor.name], (size, 64))
        for tensor, size in zip(op.inputs, sizes, strict=True)
    ]
    contents = {"weights": entries.astype(">u8").tobytes(), "records": b"".join(records)}
    return {"kind": Kind.MOVE, "zero": op.fill}, contents


def _tables(table: np.ndarray | None) -> bytes:
    """int8 [256] or [256, c] as one table behind another."""
    return b"" if table is None else np.ascontiguousarray(table.reshape(256, -1).T).tobytes()


def _check_limits(op: ir.Op, layer: Layer) -> None:
    """Refuse what does not fit one call of the contract."""

    def refuse(what: str, most: int, found: int) -> None:
        raise HpuError(
            f"{op.nodes[0]!r}: a dispute over it could not be decided in one transaction: {what} "
            f"must be at most {most:,}, not {found:,}."
        )

    if max(layer.kernel) > MAX_EDGE:
        refuse("the edge of its window", MAX_EDGE, max(layer.kernel))
    runs, length = _runs(layer)
    total = chunk_count(math.prod(layer.x_shape))
    leaves = min(runs * (chunk_count(length - 1) + 1), total)
    spans = min(runs, leaves)
    weights = chunk_count(math.prod(layer.kernel) * layer.x_shape[3] // layer.groups - 1) + 1
    if layer.kind != Kind.DOT:
        weights = 1
    shown = max(leaves, weights) * 256
    if shown > MAX_DATA:
        refuse("the bytes that it needs of one tensor", MAX_DATA, shown)
    height = total.bit_length()
    hashes = spans * height * (1 if length == 1 else 2) + 256
    if hashes > MAX_PATHS:
        refuse("the hashes that it needs", MAX_PATHS, hashes)


def _runs(layer: Layer) -> tuple[int, int]:
    """Runs of neighbouring bytes that an element needs of x, at most, and their length."""
    ky, kx = layer.kernel
    if layer.kind != Kind.DOT:
        return (2, 1) if layer.kind == Kind.BLEND else (ky * kx, 1)
    depth = layer.x_shape[3] // layer.groups
    if layer.groups == 1 and (layer.dilations[1] == 1 or kx == 1):
        return ky, kx * depth
    return ky * kx, depth
