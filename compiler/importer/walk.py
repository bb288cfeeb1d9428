"""From a checked model to the graph: every node in order, what is known of each value."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import onnx
from onnx import TensorProto, helper

from hpu.compiler import ir, support
from hpu.compiler.errors import ModelError, UnsupportedError
from hpu.compiler.importer import (
    add,
    arrange,
    conv,
    conv_transpose,
    dense,
    matmul,
    moves,
    pool,
    qlinear,
    quantisation,
    reduce,
    relabel,
    resize,
    unary,
)
from hpu.compiler.importer.build import Builder
from hpu.compiler.importer.external import array_of
from hpu.compiler.importer.fold import fold
from hpu.compiler.importer.layout import Layout, LayoutError, host_view
from hpu.compiler.importer.load import first_line
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import (
    Activation,
    Base,
    Constant,
    Pending,
    QuantConstant,
    Value,
)

__all__ = ["OPERATORS", "import_graph"]

#: Gives what is known of the first output, or of every output in order.
Import = Callable[[Builder, Node], Value | tuple[Value, ...]]

#: Operators that relabel or read shapes: they take constants too.
ANY_VALUE: dict[str, Import] = {
    "Identity": relabel.identity,
    "Dropout": relabel.identity,
    "Shape": relabel.shape,
    "Transpose": relabel.transpose,
    "Reshape": relabel.reshape,
    "Flatten": relabel.reshape,
    "Squeeze": relabel.reshape,
    "Unsqueeze": relabel.reshape,
    "DepthToSpace": relabel.depth_to_space,
    "SpaceToDepth": relabel.space_to_depth,
    "QuantizeLinear": quantisation.quantize,
    "DequantizeLinear": quantisation.dequantize,
}

#: Operators on activations.
OPERATORS: dict[str, Import] = {
    "Conv": conv.conv,
    "ConvTranspose": conv_transpose.conv_transpose,
    "Gemm": dense.gemm,
    "MatMul": matmul.matmul,
    "Add": add.add,
    "Sub": add.binary,
    "Mul": add.binary,
    "Relu": unary.clip,
    "Clip": unary.clip,
    **dict.fromkeys(support.FUNCTIONS, unary.function),
    "Swish": unary.swish,
    "QuickGelu": unary.swish,
    "BatchNormalization": unary.batch_normalization,
    "Concat": moves.concat,
    "Split": moves.split,
    "Slice": moves.slice_,
    "Pad": moves.pad,
    "Gather": moves.gather,
    "Tile": moves.tile,
    "Expand": moves.expand,
    "Resize": resize.resize,
    "QLinearConcat": qlinear.qlinear_concat,
    "MaxPool": qlinear.max_pool,
    "AveragePool": pool.average_pool,
    "GlobalAveragePool": pool.global_average_pool,
    "GlobalMaxPool": reduce.global_max_pool,
    "ReduceMax": reduce.reduce_max,
    "ReduceMean": reduce.reduce,
    "ReduceSum": reduce.reduce,
    "QLinearConv": qlinear.qlinear_conv,
    "QLinearMatMul": qlinear.qlinear_matmul,
    "QGemm": qlinear.q_gemm,
    "QLinearAdd": qlinear.qlinear_binary,
    "QLinearMul": qlinear.qlinear_binary,
    "QLinearSigmoid": qlinear.qlinear_function,
    "QLinearLeakyRelu": qlinear.qlinear_function,
    "QLinearAveragePool": qlinear.qlinear_average_pool,
    "QLinearGlobalAveragePool": qlinear.qlinear_global_average_pool,
}


def import_graph(model: onnx.ModelProto, outputs: Sequence[str] | None = None) -> ir.Graph:
    """The graph of a model that :func:`~hpu.compiler.importer.load.load_model` gave.

    ``outputs`` are the values to end at, the model's outputs when not given; only the nodes that
    they need are looked at.

    Raises
    ------
    UnsupportedError
        At the first node that the HPU does not run, and for outputs that are not quantised.
    ModelError
        When the model contradicts itself.
    """
    builder = Builder()
    values: dict[str, Value] = {
        tensor.name: _constant(tensor) for tensor in model.graph.initializer
    }
    inputs = _inputs(model, values)
    opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=0)
    wanted = list(outputs or [value.name for value in model.graph.output])
    for rank, proto in _needed(model, wanted, values):
        node = _node(proto, values, rank, opset)
        values |= _import(builder, node, model)
    ends = [_output(builder, values[name], name) for name in wanted]
    return ir.Graph(
        ops=builder.ops,
        inputs=[_host_input(builder, base, flat) for base, flat in inputs],
        outputs=ends,
        tensors=builder.tensors,
    )


def _needed(
    model: onnx.ModelProto, wanted: Sequence[str], values: Mapping[str, Value]
) -> list[tuple[int, onnx.NodeProto]]:
    """The nodes that the wanted values depend on, with their places, in order."""
    made = {name for proto in model.graph.node for name in proto.output} | set(values)
    for name in wanted:
        if name not in made:
            raise ModelError(f"the model has no value {name!r} to end at")
    needed, kept = set(wanted), []
    for rank, proto in reversed(list(enumerate(model.graph.node))):
        if needed.intersection(proto.output):
            needed.update(proto.input)
            kept.append((rank, proto))
    return kept[::-1]


def _node(proto: onnx.NodeProto, values: Mapping[str, Value], rank: int, opset: int) -> Node:
    node = Node(proto, [values.get(name) for name in proto.input], rank, opset)
    for name in proto.input:
        if name and name not in values:
            node.refuse(f"its input {name!r} is a second output of a node, which is not given")
    return node


def _import(builder: Builder, node: Node, model: onnx.ModelProto) -> dict[str, Value]:
    try:
        return import_node(builder, node)
    except UnsupportedError as error:
        before = _quantised_before(node, model)
        if node.op_type in support.CHECKS or before is None:
            raise
        reason = f"{error.reason}; the model can be ended before it, at {before!r}"
        raise UnsupportedError(error.op_type, error.node, reason) from None


def _quantised_before(node: Node, model: onnx.ModelProto) -> str | None:
    """The value whose DequantizeLinear is the node's first input."""
    for proto in model.graph.node:
        if proto.op_type == "DequantizeLinear" and proto.output[0] in node.proto.input[:1]:
            return proto.input[0]
    return None


def import_node(builder: Builder, node: Node) -> dict[str, Value]:
    """What is known of the outputs of ``node``, by name; some operators give the first alone."""
    values = _values(builder, node)
    several = values if isinstance(values, tuple) else (values,)
    return {name: value for name, value in zip(node.proto.output, several, strict=False) if name}


def _values(builder: Builder, node: Node) -> Value | tuple[Value, ...]:
    if node.op_type in ANY_VALUE:
        support.check(node)
        return ANY_VALUE[node.op_type](builder, node)
    if _is_constant(node):
        return fold(node)
    support.check(node)
    _check_real(node)
    return OPERATORS[node.op_type](builder, node)


#: Operators that mean the same on integers as such.
_BYTES_TOO = {
    *("MaxPool", "GlobalMaxPool", "ReduceMax", "Relu", "Clip", "Concat", "Split", "Slice", "Pad"),
    *("Gather", "Tile", "Expand", "Resize"),
}


def _check_real(node: Node) -> None:
    """Refuse operators of real values that read integers as such, or floats not yet quantised."""
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if isinstance(value, Activation) and value.raw:
            node.refuse(f"its input {name!r} is not quantised; put QuantizeLinear before it")
    if node.op_type in _BYTES_TOO or node.op_type.startswith(("QLinear", "QGemm")):
        return
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if isinstance(value, Activation) and not value.real:
            node.refuse(f"its input {name!r} are integers as such; put DequantizeLinear before it")


def _constant(tensor: onnx.TensorProto) -> Constant:
    try:
        return Constant(array_of(tensor))
    except (ValueError, TypeError, KeyError) as error:
        text = first_line(error)
        raise ModelError(f"the constant {tensor.name!r} is damaged: {text}") from None


def _is_constant(node: Node) -> bool:
    """Whether the node gives the same at every run: it reads constants, and nothing of chance."""
    inner = any(entry.type == onnx.AttributeProto.GRAPH for entry in node.proto.attribute)
    chance = node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))
    constants = all(isinstance(v, Constant | QuantConstant) for v in node.inputs if v is not None)
    return constants and not inner and not chance


def _inputs(model: onnx.ModelProto, values: dict[str, Value]) -> list[tuple[Base, Layout]]:
    inputs = []
    for entry in model.graph.input:
        if entry.name in values:
            continue  # an initializer listed as an input, as old exporters do
        tensor = entry.type.tensor_type
        dtype = _INPUT_TYPES.get(tensor.elem_type)
        if dtype is None:
            kind = TensorProto.DataType.Name(tensor.elem_type).lower()
            raise UnsupportedError(
                "", "", f"input {entry.name!r} must be float32, int8 or uint8, not {kind}"
            )
        if any(dim.dim_value == 0 for dim in tensor.shape.dim):
            raise UnsupportedError("", "", f"input {entry.name!r} is empty", entry.name)
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        base, layout = Base(entry.name, dtype, shape=shape), Layout.flat(shape)
        real = dtype == "float32"
        values[entry.name] = Activation(base, layout, real=real, raw=real)
        inputs.append((base, layout))
    return inputs


_INPUT_TYPES = {TensorProto.FLOAT: "float32", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}


def _host_input(builder: Builder, base: Base, flat: Layout) -> ir.HostTensor:
    node = _End("input", base.name)
    value = Activation(base, flat, real=False)
    if base.quant is None:
        node.refuse("no operator reads it quantised; put QuantizeLinear after it")
    builder.bind_usual(node, value)
    builder.tensor(base)
    return _host(node, base.dtype, value)


def _output(builder: Builder, value: Value, name: str) -> ir.HostTensor:
    node = _End("output", name)
    if isinstance(value, Constant | QuantConstant):
        node.refuse("it is a constant")
    if isinstance(value, Pending):
        node.refuse(f"it is the float result of {value.op_type}; put QuantizeLinear before it")
    if value.raw or value.base.quant is None:
        node.refuse("it is not quantised; put QuantizeLinear and DequantizeLinear before it")
    if value.base.tensor is None:
        builder.bind_usual(node, value)
    value = _for_host(builder, node, value)
    assert value.base.quant is not None
    dtype = "float32" if value.real else value.base.quant.dtype
    builder.tensor(value.base)
    return _host(node, dtype, value)


def _for_host(builder: Builder, node: Node, value: Activation) -> Activation:
    """An output in an order that the host understands."""
    assert value.base.shape4 is not None
    try:
        host_view(value.layout, value.base.shape4)
        return value
    except LayoutError:
        return arrange.settle(builder, node, value, arrange.usual_places(value.shape))


class _End(Node):
    """An input or output of the model, in the place of a node that reads it."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(helper.make_node(kind, [], [name], name=name), [], 0, 0)

    def refuse(self, reason: str) -> NoReturn:
        """Raise the UnsupportedError of this end."""
        raise UnsupportedError("", "", f"{self.op_type} {self.name!r}: {reason}", self.name)


def _host(node: Node, dtype: str, value: Activation) -> ir.HostTensor:
    quant, shape4 = value.base.quant, value.base.shape4
    assert quant is not None and shape4 is not None
    try:
        view, perm = host_view(value.layout, shape4)
    except LayoutError:
        node.refuse("a Reshape next to it cuts its channels or pixels in pieces; remove that")
    return ir.HostTensor(
        name=node.name,
        dtype=dtype,
        shape=value.shape,
        view=view,
        perm=perm,
        quantised=quant.dtype,
        scale=float(quant.scale),
        zero=quant.zero,
        tensor=value.base.name,
    )
