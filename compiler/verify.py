"""The verifier of the graph, run between passes: a wrong pass is caught where it was wrong."""

import math

import numpy as np

from hpu.compiler import ir
from hpu.compiler.pieces import FILL, Box

__all__ = ["GraphError", "output_shape", "verify"]


class GraphError(ValueError):
    """A graph that breaks a rule of :mod:`hpu.compiler.ir`: a pass's fault, not the user's."""


def verify(graph: ir.Graph) -> ir.Graph:
    """``graph`` itself when it is sound.

    Raises
    ------
    GraphError
        At the first broken rule; names the operation or tensor.
    """
    for name, tensor in graph.tensors.items():
        _require(tensor.name == name, name, f"is kept under its name, not {tensor.name!r}")
        _check_tensor(tensor)
    ready = {host.tensor for host in graph.inputs}
    _require(len(ready) == len(graph.inputs), "inputs", "are different tensors")
    for op in graph.ops:
        _check_order(graph, op, ready)
        _check_op(op)
        ready.add(op.out.name)
    for host in (*graph.inputs, *graph.outputs):
        _require(host.tensor in ready, host.name, f"has its tensor {host.tensor!r} in the graph")
        _check_host(host, graph.tensors[host.tensor])
    return graph


def _require(condition: bool, name: str, rule: str) -> None:
    if not condition:
        raise GraphError(f"{name}: must hold: {rule}")


def _check_tensor(tensor: ir.Tensor) -> None:
    shape, quant = tensor.shape, tensor.quant
    _require(
        len(shape) == 4 and min(shape) >= 1, tensor.name, f"shape is (n, y, x, c), not {shape}"
    )
    _check_quant(tensor.name, quant)


def _check_quant(name: str, quant: ir.Quant) -> None:
    _require(-128 <= quant.zero <= 127, name, f"zero point is int8, not {quant.zero}")
    sound = np.isfinite(quant.scale) and quant.scale > 0
    _require(bool(sound), name, f"scale is positive and finite, not {quant.scale}")


def _check_order(graph: ir.Graph, op: ir.Op, ready: set[str]) -> None:
    name = op.out.name
    for tensor in op.inputs:
        _require(tensor.name in ready, name, f"its input {tensor.name!r} is made before it")
    for tensor in (*op.inputs, op.out):
        same = graph.tensors.get(tensor.name) is tensor
        _require(same, name, f"{tensor.name!r} is the graph's tensor of that name")
    _require(name not in ready, name, "one operation makes it")


def _check_op(op: ir.Op) -> None:
    name = op.out.name
    _require(bool(op.nodes), name, "it names the ONNX nodes that it stands for")
    _require(-128 <= op.low <= op.high <= 127, name, f"-128 <= {op.low} <= {op.high} <= 127")
    _check_quant(name, op.result)
    if op.table is not None:
        shapes = ((256,), (256, op.out.shape[3]))
        fits = op.table.dtype == np.int8 and op.table.shape in shapes
        _require(fits, name, f"table is int8 of one of the shapes {shapes}")
    else:
        _require(op.inner is None, name, "inner stands only before a table")
    shape = output_shape(op)
    _require(op.out.shape == shape, name, f"result has the shape {shape}, not {op.out.shape}")
    if isinstance(op, ir.Conv):
        _check_conv(op)
    elif isinstance(op, ir.Pool):
        _check_pool(op)
    elif isinstance(op, ir.Binary):
        _require(op.x.shape == op.y.shape, name, "operands have one shape")
    elif isinstance(op, ir.Move):
        _check_move(op)
    elif isinstance(op, ir.Blend):
        _check_blend(op)
    elif isinstance(op, ir.Unary):
        before = op.inner if op.table is not None else op.out.quant
        _require(op.x.quant == before, name, "quantisation changes only by a table")


def output_shape(op: ir.Op) -> tuple[int, int, int, int]:
    """Shape that an operation's result must have."""
    n, y, x, c = op.x.shape
    if isinstance(op, ir.Conv):
        kernel, c = op.weight.shape[1:3], op.weight.shape[0]
    elif isinstance(op, ir.Pool | ir.Depthwise):
        kernel = op.kernel
    else:
        return _free_shape(op)
    top, left, bottom, right = op.pads
    sizes = []
    for k, room in enumerate((y + top + bottom, x + left + right)):
        reach = op.dilations[k] * (kernel[k] - 1) + 1
        sizes.append((room - reach) // op.strides[k] + 1)
    return n, sizes[0], sizes[1], c


def _check_conv(op: ir.Conv) -> None:
    name = op.out.name
    weight = op.weight
    _require(
        weight.dtype == np.int16 and weight.ndim == 4, name, "weight is int16 [cout, kh, kw, cin]"
    )
    cout, _, _, cin = weight.shape
    fits = cin * op.groups == op.x.shape[3] and cout % op.groups == 0
    _require(fits, name, f"{op.groups} groups of {cin} channels are x's {op.x.shape[3]}")
    _require(int(np.abs(weight).max(initial=0)) <= 255, name, "weights are -255 to 255")
    sound = op.bias.dtype == np.int32 and op.bias.shape == (cout,)
    _require(sound, name, f"bias is int32 [{cout}]")
    sound = op.scale.dtype == np.float32 and op.scale.shape == (cout,)
    _require(sound, name, f"scale is float32 [{cout}]")
    _require(min(op.pads) >= 0, name, f"pads are not negative: {op.pads}")
    if op.residual:
        same = op.residual.tensor.shape == op.out.shape
        _require(same, name, "the residual has the result's shape")
        _check_quant(name, op.residual.own)


def _check_pool(op: ir.Pool) -> None:
    name = op.out.name
    _require(op.kind in ("max", "average"), name, f"kind is max or average, not {op.kind!r}")
    if op.kind == "max":
        _require(op.result == op.x.quant, name, "a maximum keeps x's quantisation")
    for k, pad in enumerate(op.pads):
        reach = op.dilations[k % 2] * (op.kernel[k % 2] - 1) + 1
        _require(0 <= pad < reach, name, f"padding {pad} is less than the window's {reach}")


def _free_shape(op: ir.Op) -> tuple[int, int, int, int]:
    if isinstance(op, ir.Blend):
        n, y, x, c = op.x.shape
        return (n, len(op.share), x, c) if op.axis == 1 else (n, y, len(op.share), c)
    return op.out.shape if isinstance(op, ir.Move) else op.x.shape


def _check_blend(op: ir.Blend) -> None:
    name, size = op.out.name, op.x.shape[op.axis]
    _require(op.axis in (1, 2), name, "it runs along y or x")
    _require(len(op.first) == len(op.second) == len(op.share), name, "every result has two places")
    inside = all(0 <= place < size for place in (*op.first, *op.second))
    _require(inside, name, "places lie in the image")
    _require(all(0 <= share <= 1 for share in op.share), name, "shares are from 0 to 1")


def _check_move(op: ir.Move) -> None:
    name = op.out.name
    for tensor in op.inputs:
        _require(tensor.quant == op.result, name, "what moves keeps its quantisation")
    for piece in op.pieces:
        _require(-1 <= piece.source < len(op.inputs), name, "a piece's source is an input")
        _require(_holds(op.out.shape, piece.hull), name, "pieces lie in the result")
        if piece.source != FILL:
            shape = op.inputs[piece.source].shape
            _require(_holds(shape, piece.source_hull), name, "pieces lie in their source")
    elements = sum(piece.elements for piece in op.pieces)
    _require(elements == math.prod(op.out.shape), name, "every element is written once")


def _holds(shape: tuple[int, ...], box: Box) -> bool:
    return all(0 <= low < high <= size for (low, high), size in zip(box, shape, strict=True))


def _check_host(host: ir.HostTensor, tensor: ir.Tensor) -> None:
    name = host.name
    fits = math.prod(host.view) == math.prod(host.shape) and sorted(host.perm) == [0, 1, 2, 3]
    _require(fits, name, "view has as many elements as shape, perm orders four axes")
    shape = tuple(host.view[k] for k in host.perm)
    _require(shape == tensor.shape, name, f"view and perm give {tensor.shape}, not {shape}")
    _require(
        host.dtype in ("float32", "int8", "uint8"), name, f"dtype is known, not {host.dtype!r}"
    )
    flip = 128 if host.quantised == "uint8" else 0
    same = host.zero - flip == tensor.quant.zero and np.float32(host.scale) == tensor.quant.scale
    _require(bool(same), name, "its quantisation is the tensor's")
