"""Seeded random graphs of every operation, built by hand."""

import dataclasses

import numpy as np

from hpu.compiler.ir import (
    Add,
    Conv,
    Graph,
    HostTensor,
    Move,
    Mul,
    Op,
    Pool,
    Quant,
    Residual,
    Sub,
    Tensor,
    Unary,
)
from hpu.compiler.pieces import FILL, Loop, Piece, box


class Builder:
    """A graph under construction; every method adds one operation and gives its result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self.inputs: list[HostTensor] = []

    def quant(self) -> Quant:
        return Quant(np.float32(self.rng.uniform(0.01, 0.2)), int(self.rng.integers(-128, 128)))

    def tensor(self, shape: tuple[int, int, int, int], quant: Quant | None = None) -> Tensor:
        tensor = Tensor(f"t{len(self.tensors)}", shape, quant or self.quant())
        self.tensors[tensor.name] = tensor
        return tensor

    def input(self, *shape: int) -> Tensor:
        tensor = self.tensor(shape)
        self.inputs.append(host(tensor))
        return tensor

    def _add(self, op: Op) -> Tensor:
        self.ops.append(op)
        return op.out

    def _tail(self, channels: int) -> dict:
        kind = self.rng.integers(0, 4)
        if kind == 0:
            return {"low": -100, "high": 90}
        if kind == 1:
            return {"table": self.rng.integers(-128, 128, 256).astype(np.int8)}
        if kind == 2:
            table = self.rng.integers(-128, 128, (256, channels)).astype(np.int8)
            return {"table": table, "inner": self.quant(), "low": -120}
        return {}

    def conv(
        self,
        x: Tensor,
        cout: int,
        kernel: tuple[int, int],
        *,
        strides=(1, 1),
        pads=(0, 0, 0, 0),
        dilations=(1, 1),
        groups: int = 1,
        wide: bool = False,
        residual: Tensor | None = None,
    ) -> Tensor:
        n, height, width, cin = x.shape
        size = (
            (height + pads[0] + pads[2] - (kernel[0] - 1) * dilations[0] - 1) // strides[0] + 1,
            (width + pads[1] + pads[3] - (kernel[1] - 1) * dilations[1] - 1) // strides[1] + 1,
        )
        limit = 256 if wide else 128
        shape = (cout, *kernel, cin // groups)
        weight = self.rng.integers(-limit + 1, limit, shape).astype(np.int16)
        spread = 128 * 128 * np.sqrt(np.prod(shape[1:]))
        return self._add(
            Conv(
                nodes=(f"conv{len(self.ops)}",),
                x=x,
                out=self.tensor((n, *size, cout)),
                weight=weight,
                bias=self.rng.integers(-5000, 5000, cout).astype(np.int32),
                scale=(self.rng.uniform(50, 200, cout) / spread).astype(np.float32),
                strides=strides,
                pads=pads,
                dilations=dilations,
                groups=groups,
                residual=Residual(residual, self.quant()) if residual else None,
                **self._tail(cout),
            )
        )

    def pool(self, x: Tensor, kind: str, kernel, *, strides=(1, 1), pads=(0, 0, 0, 0), **more):
        n, height, width, c = x.shape
        shape = (
            n,
            (height + pads[0] + pads[2] - kernel[0]) // strides[0] + 1,
            (width + pads[1] + pads[3] - kernel[1]) // strides[1] + 1,
            c,
        )
        out = self.tensor(shape, x.quant if kind == "max" else None)
        fields = dict(kind=kind, kernel=kernel, strides=strides, pads=pads, **more)
        return self._add(Pool(nodes=(f"pool{len(self.ops)}",), x=x, out=out, **fields))

    def binary(self, x: Tensor, y: Tensor) -> Tensor:
        tail = self._tail(x.shape[3])
        out = self.tensor(x.shape)
        kind = (Add, Sub, Mul)[self.rng.integers(0, 3)]
        return self._add(kind(nodes=(f"binary{len(self.ops)}",), x=x, y=y, out=out, **tail))

    def unary(self, x: Tensor) -> Tensor:
        tail = self._tail(x.shape[3])
        out = self.tensor(x.shape)
        return self._add(Unary(nodes=(f"unary{len(self.ops)}",), x=x, out=out, **tail))

    def move(self, shape, pieces, *sources: Tensor, fill: int = 0, tail: bool = True) -> Tensor:
        more = self._tail(shape[3]) if tail else {}
        out = self.tensor(shape, None if more else sources[0].quant)
        if "table" in more:
            more["inner"] = sources[0].quant
        else:
            out.quant = sources[0].quant
        op = Move(
            nodes=(f"move{len(self.ops)}",),
            x=sources[0],
            others=sources[1:],
            out=out,
            pieces=tuple(pieces),
            fill=fill,
            **more,
        )
        return self._add(op)

    def graph(self, *outputs: Tensor) -> Graph:
        return Graph(self.ops, self.inputs, [host(t) for t in outputs], self.tensors)


def host(tensor: Tensor) -> HostTensor:
    return HostTensor(
        name=f"host_{tensor.name}",
        dtype="int8",
        shape=tensor.shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=float(tensor.quant.scale),
        zero=tensor.quant.zero,
        tensor=tensor.name,
    )


def random_graph(seed: int, *, size: int, channels: int, length: int, batch: int) -> Graph:
    """A chain with branches of ``length`` random operations on images of about ``size``."""
    b = Builder(seed)
    rng = b.rng
    edge = [int(rng.integers(max(size // 2, 1), size + 1)) for _ in range(2)]
    tensors = [b.input(int(rng.integers(1, batch + 1)), *edge, int(rng.integers(1, channels + 1)))]
    for _ in range(length):
        x = tensors[int(rng.integers(max(len(tensors) - 2, 0), len(tensors)))]
        tensors.append(random_op(b, x, tensors, channels))
    return b.graph(tensors[-1], tensors[len(tensors) // 2])


def random_op(b: Builder, x: Tensor, tensors: list[Tensor], channels: int) -> Tensor:
    rng = b.rng
    kernel = [int(rng.integers(1, min(4, edge) + 1)) for edge in x.shape[1:3]]
    strides = tuple(int(rng.integers(1, 3)) for _ in range(2))
    pads = tuple(int(rng.integers(0, k)) for k in kernel * 2)
    kind = rng.choice(
        ["conv", "conv", "residual", "depthwise", "max", "average", "binary", "unary"]
    )
    same = [t for t in tensors if t.shape == x.shape]
    if kind == "conv":
        cout = int(rng.integers(1, channels + 1))
        wide = bool(rng.integers(0, 4) == 0)
        return b.conv(x, cout, kernel, strides=strides, pads=pads, wide=wide)
    if kind == "residual":
        other = same[int(rng.integers(0, len(same)))]
        return b.conv(x, x.shape[3], (3, 3), pads=(1, 1, 1, 1), residual=other)
    if kind == "depthwise":
        return b.conv(x, x.shape[3], kernel, pads=pads, groups=x.shape[3])
    if kind in ("max", "average"):
        more = {"count_include_pad": bool(rng.integers(0, 2))} if kind == "average" else {}
        return b.pool(x, str(kind), tuple(kernel), strides=strides, pads=pads, **more)
    if kind == "binary":
        return b.binary(x, same[int(rng.integers(0, len(same)))])
    return b.unary(x)


def cut(rng, low, high, depth):
    """The box from ``low`` to ``high`` in random smaller ones."""
    axis = int(rng.integers(4))
    if depth == 0 or high[axis] - low[axis] < 2:
        yield low, high
        return
    at = int(rng.integers(low[axis] + 1, high[axis]))
    middle = [at if k == axis else v for k, v in enumerate(high)]
    yield from cut(rng, low, middle, depth - 1)
    start = [at if k == axis else v for k, v in enumerate(low)]
    yield from cut(rng, start, high, depth - 1)


def random_piece(rng, low, high, shapes):
    """A piece that writes the box, its axes shuffled, reversed, repeated or spread at random."""
    size = [b - a for a, b in zip(low, high, strict=True)]
    source = int(rng.integers(-1, len(shapes)))
    if source == FILL:
        return box(FILL, size, dest=low)
    axes = list(rng.permutation(4)) if rng.integers(3) == 0 else list(range(4))
    origin, loops = [0, 0, 0, 0], []
    for to in range(4):
        axis = int(axes[to])
        room = shapes[source][axis]
        most = (room - 1) // max(size[to] - 1, 1)
        step = int(rng.integers(0, most + 1)) if most else 0
        step = min(step, 1) if rng.integers(2) else step
        span = step * (size[to] - 1)
        first = int(rng.integers(0, room - span))
        if rng.integers(4) == 0:
            first, step = first + span, -step
        origin[axis] = first
        if size[to] > 1:
            loops.append(Loop(size[to], axis, step, to, 1))
    return Piece(source, tuple(origin), tuple(low), tuple(loops))


def random_move(b, channels, edge):
    rng = b.rng
    shapes = [
        (*(int(v) for v in rng.integers(1, edge + 1, 3)), int(rng.integers(1, channels + 1)))
        for _ in range(2)
    ]
    quant = b.quant()
    sources = [b.input(*shape) for shape in shapes]
    for tensor in sources:
        tensor.quant = quant
    for host, tensor in zip(b.inputs, sources, strict=True):
        b.inputs[b.inputs.index(host)] = dataclasses.replace(
            host, scale=float(tensor.quant.scale), zero=tensor.quant.zero
        )
    out = (*(int(v) for v in rng.integers(1, edge + 1, 3)), int(rng.integers(1, channels + 1)))
    parts = cut(rng, [0, 0, 0, 0], list(out), int(rng.integers(0, 4)))
    pieces = [random_piece(rng, low, high, shapes) for low, high in parts]
    return b.move(out, pieces, *sources, fill=int(rng.integers(-128, 128)))
