"""Another batch for a model that was exported with a fixed one.

The batch is followed from the inputs through the graph. Every operator on its way must keep it as
the first axis and compute each of its items alone; constants that name it (of Reshape, Expand,
Resize) are written anew. Where an operator might not, the model is refused with the node's name.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.external import array_of, set_aside

__all__ = ["change_batch"]

#: Numbers of the longest constant that can be a shape, axes or the like.
_FEW = 64
_WAY_OUT = "export the model with a symbolic first dimension"


def change_batch(model: onnx.ModelProto, batch: int) -> None:
    """Give the inputs of ``model``, which is changed, the first size ``batch``.

    Raises
    ------
    ModelError
        When the inputs have no common first size, or a node is not known to treat every item of
        the batch alone; names it.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    old = _common(inputs, batch)
    if old == batch:
        return
    _Change(model, {value.name for value in inputs}, old, batch).walk()
    for value in inputs:
        value.type.tensor_type.shape.dim[0].dim_value = batch


def _common(inputs: Sequence[onnx.ValueInfoProto], batch: int) -> int:
    """The first size that all inputs have."""
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        first = inputs[0].type.tensor_type.shape.dim
        if not dims or dims[0].dim_value != first[0].dim_value:
            sizes = [dim.dim_value for dim in dims]
            raise ModelError(
                f"input {value.name!r} of shape {sizes} has no batch in common with the others, so "
                f"it cannot be {batch}; {_WAY_OUT}"
            )
    return inputs[0].type.tensor_type.shape.dim[0].dim_value if inputs else batch


class _Change:
    """One model: what is known of every value, and the rules of the operators."""

    def __init__(self, model: onnx.ModelProto, batched: set[str], old: int, new: int):
        self._model, self._batched, self._old, self._new = model, batched, old, new
        self._shapes = _shapes(model)
        small = (t for t in model.graph.initializer if math.prod(t.dims) <= _FEW)
        self._constants = {tensor.name: array_of(tensor) for tensor in small}

    def walk(self) -> None:
        """Look at every node; write constants anew."""
        for node in self._model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                array = numpy_helper.to_array(node.attribute[0].t)
                self._constants[node.output[0]] = array
            reads = [name in self._batched for name in node.input]
            if not any(reads) or node.op_type in ("Shape", "Size"):
                continue
            reason = self._reason(node, reads)
            if reason:
                raise ModelError(
                    f"{node.op_type} node {node.name!r} {reason}, so the batch stays {self._old}; "
                    f"{_WAY_OUT}"
                )
            self._batched.update(filter(None, node.output))
            rank = len(self._shape(node.input[reads.index(True)]))
            for name in node.output:  # of operators that onnx's inference does not know
                self._shapes.setdefault(name, (self._old, *[0] * (rank - 1)))

    def _reason(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        for names, rule in _RULES:
            if node.op_type in names:
                return rule(self, node, reads)
        return "is not known to treat every item of a batch alone"

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name, ())

    def _attribute(self, node: onnx.NodeProto, name: str, default: object) -> object:
        found = (entry for entry in node.attribute if entry.name == name)
        return next((helper.get_attribute_value(entry) for entry in found), default)

    def _value(self, node: onnx.NodeProto, place: int) -> np.ndarray | None:
        """The constant at an input, where it is one."""
        name = node.input[place] if place < len(node.input) else ""
        return self._constants.get(name)

    def elementwise(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        rank = max(len(self._shape(name)) for name in node.input)
        for name, batched in zip(node.input, reads, strict=True):
            shape = self._shape(name)
            if batched and len(shape) != rank:
                return f"moves the batch of {name!r} from the first axis"
            if not batched and len(shape) == rank and rank and shape[0] != 1:
                return f"reads {name!r}, which has a value for every item"
        return ""

    def first_input(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        """Operators that take the batch from their first operand, and none in the others."""
        return "reads a batch as a parameter" if any(reads[1:]) else ""

    def product(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        places = (0, 3) if node.op_type == "QLinearMatMul" else (0, 1)
        ranks = [len(self._shape(node.input[place])) for place in places]
        batched = [reads[place] for place in places]
        rows = batched == [True, False] and ranks[0] >= 2 and ranks[1] <= 2
        stack = batched == [True, True] and ranks[0] == ranks[1] >= 3
        return "" if rows or stack else "multiplies over the batch"

    def dense(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        added = self._shape(node.input[2]) if len(node.input) > 2 else ()
        whole = reads[0] and not any(reads[1:]) and not self._attribute(node, "transA", 0)
        rows = node.op_type == "Gemm" and len(added) == 2 and added[0] != 1
        return "" if whole and not rows else "multiplies over the batch"

    def along_axis(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        default = {"Flatten": 1, "Gather": 0, "Split": 0, "ArgMax": 0, "ArgMin": 0}
        axis = self._attribute(node, "axis", default.get(node.op_type, -1))
        assert isinstance(axis, int)
        joined = {"Concat": (0, 1), "QLinearConcat": (2, 3)}
        first, step = joined.get(node.op_type, (0, len(reads)))
        rank = len(self._shape(node.input[first]))
        if node.op_type == "Flatten" and axis % max(rank, 1) != 1:
            return "flattens the batch with other axes"
        if node.op_type == "Gather" and any(reads[1:]):
            return "reads a batch as indices"
        if axis % max(rank, 1) == 0 or not all(reads[first::step]):
            return "works along the batch"
        return ""

    def quantisation(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        axis = self._attribute(node, "axis", 1)
        return "works along the batch" if axis == 0 and self._shape(node.input[1]) else ""

    def transpose(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        perm = self._attribute(node, "perm", [-1])
        assert isinstance(perm, Sequence)
        return "" if perm[0] == 0 else "moves the batch from the first axis"

    def listed_axes(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        """Operators along axes that an attribute or a constant lists."""
        given = self._value(node, 3 if node.op_type == "Slice" else 1)
        axes = self._attribute(node, "axes", None if given is None else given.tolist())
        many = len(self._shape(node.input[0])) + (node.op_type == "Unsqueeze")
        if not isinstance(axes, Sequence) or not len(axes) or 0 in [axis % many for axis in axes]:
            return "works along the batch"
        return ""

    def pad(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        given = self._value(node, 1)
        pads = self._attribute(node, "pads", None if given is None else given.tolist())
        rank = len(self._shape(node.input[0]))
        if not isinstance(pads, Sequence) or len(pads) != 2 * rank or any(node.input[3:]):
            return "pads the batch"
        return "pads the batch" if pads[0] or pads[rank] else ""

    def resize(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        scales = self._value(node, 2 if len(node.input) > 2 else 1)  # 1 before opset 11
        sizes = self._value(node, 3)
        if self._attribute(node, "axes", None) is not None:
            return "resizes along listed axes"
        if sizes is not None and sizes.size and sizes[0] == self._old:
            self._write(node, 3, [self._new, *sizes[1:].tolist()])
            return ""
        return "" if scales is not None and scales.size and scales[0] == 1 else "resizes the batch"

    def reshape(self, node: onnx.NodeProto, reads: list[bool]) -> str:
        want, shape = self._value(node, 1), self._shape(node.output[0])
        if want is None or not want.size or any(reads[1:]):
            return "has a shape that is not constant"
        kept = shape[0] == self._old if shape else want[0] in (0, self._old)
        if not kept:
            return "mixes the batch with other axes"
        if node.op_type == "Reshape" and self._attribute(node, "allowzero", 0):
            return "may give an empty batch"
        if want[0] == self._old:
            self._write(node, 1, [self._new, *want[1:].tolist()])
        elif node.op_type == "Expand" and want[0] != 1:
            return "mixes the batch with other axes"
        return ""

    def _write(self, node: onnx.NodeProto, place: int, values: list[int]) -> None:
        """Give a node a constant of its own."""
        name = f"{node.input[place]}/batch {self._new}/{node.output[0]}"
        tensor = numpy_helper.from_array(np.asarray(values, np.int64), name)
        self._model.graph.initializer.append(tensor)
        node.input[place] = name


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the values with the batch that the model has."""
    with set_aside(model):
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*known.input, *known.value_info, *known.output)
    }
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in known.initializer}


_ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Dropout Elu Equal
    Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QLinearAdd QLinearLeakyRelu
    QLinearMul QLinearSigmoid Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign
    Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
"""
_ITEMS = """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace DynamicConv
    GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool
    MaxPool QLinearAveragePool QLinearConv QLinearGlobalAveragePool SpaceToDepth
"""
_AXIS = """
    ArgMax ArgMin Concat Flatten Gather Hardmax LayerNormalization LogSoftmax LpNormalization
    QLinearConcat QLinearSoftmax Softmax Split TopK
"""
_LISTED = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Slice Squeeze Unsqueeze
"""
_Rule = Callable[[_Change, onnx.NodeProto, list[bool]], str]
_RULES: tuple[tuple[frozenset[str], _Rule], ...] = tuple(
    (frozenset(names.split()), rule)
    for names, rule in (
        (_ELEMENTWISE, _Change.elementwise),
        (_ITEMS, _Change.first_input),
        (_AXIS, _Change.along_axis),
        (_LISTED, _Change.listed_axes),
        ("QuantizeLinear DequantizeLinear", _Change.quantisation),
        ("MatMul MatMulInteger QLinearMatMul", _Change.product),
        ("Gemm QGemm", _Change.dense),
        ("Transpose", _Change.transpose),
        ("Pad", _Change.pad),
        ("Resize", _Change.resize),
        ("Reshape Expand", _Change.reshape),
    )
)
