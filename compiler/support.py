"""Which ONNX operators the HPU runs: one function for each.

A function's check decides (it refuses the node with a reason), its docstring is the operator's line
in ``docs/operators.md``, which ``python -m hpu.compiler.support`` writes and ``--check`` compares.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Activation, Pending
from hpu.compiler.recurrent import MOST_STEPS

__all__ = ["CHECKS", "FUNCTIONS", "check", "document", "main", "quantised_operators"]

Check = Callable[[Node], None]
CHECKS: dict[str, Check] = {}
#: Functions of one activation, alone or with constants.
# fmt: off
FUNCTIONS = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh",
    "Div", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log",
    "Max", "Min", "Mish", "Neg", "PRelu", "Pow", "Reciprocal", "Round", "Selu", "Shrink",
    "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh",
    "ThresholdedRelu",
)
# fmt: on
#: Operators that are gone, or are the quantisation, in a quantised model.
_NOT_QUANTISED = (
    *("DequantizeLinear", "Dropout", "Identity", "QuantizeLinear", "Shape"),
    *("GRU", "LSTM", "RNN"),
)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"


def check(node: Node) -> None:
    """Return when the HPU runs the node, as far as the node alone can say.

    Raises
    ------
    UnsupportedError
        With the reason.
    """
    if node.op_type not in CHECKS:
        node.refuse("the HPU does not run this operator")
    CHECKS[node.op_type](node)


def quantised_operators() -> list[str]:
    """The operators of a float model that read and give quantised activations on the HPU."""
    return sorted(
        op for op in CHECKS if op not in _NOT_QUANTISED and not op.startswith(("QLinear", "QGemm"))
    )


def _operator(*op_types: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS.update(dict.fromkeys(op_types, function))
        return function

    return register


def _constant_matrix(node: Node, k: int) -> None:
    value = node.given(k)
    if isinstance(value, Activation | Pending) or len(value.shape) != 2:
        node.refuse("its weights must be a constant matrix")


@_operator("Conv", "QLinearConv")
def conv(node: Node) -> None:
    """1-D and 2-D; any kernel, stride, padding, dilation, groups; constant weights."""
    weights = node.given(3 if node.op_type == "QLinearConv" else 1)
    if isinstance(weights, Activation | Pending):
        node.refuse("its weights must be constants")
    if len(weights.shape) not in (3, 4):
        node.refuse(f"it has {len(weights.shape) - 2} spatial dimensions; the HPU convolves 1 or 2")


@_operator("ConvTranspose")
def conv_transpose(node: Node) -> None:
    """1-D and 2-D; a convolution for each remainder by the strides, no zeros between pixels."""
    weights = node.given(1)
    if isinstance(weights, Activation | Pending):
        node.refuse("its weights must be constants")
    if len(weights.shape) not in (3, 4):
        node.refuse(f"it has {len(weights.shape) - 2} spatial dimensions; the HPU convolves 1 or 2")


@_operator("Gemm", "QGemm")
def gemm(node: Node) -> None:
    """Constant weights and bias, either transB; transA 0, alpha 1, beta 1."""
    _constant_matrix(node, 3 if node.op_type == "QGemm" else 1)
    if node.attribute("transA", 0):
        node.refuse("transA must be 0")
    for name in ("alpha", "beta"):
        if node.attribute(name, 1.0) != 1.0:
            node.refuse(f"{name} must be 1, not {node.attribute(name):g}")


@_operator("MatMul", "QLinearMatMul")
def matmul(node: Node) -> None:
    """An activation times constant weights, on either side, one matrix or one for each item."""
    sides = (0, 3) if node.op_type == "QLinearMatMul" else (0, 1)
    if all(isinstance(node.given(k), Activation | Pending) for k in sides):
        node.refuse("one of its operands must be constant weights")


@_operator("Add", "QLinearAdd", "Sub", "Mul", "QLinearMul")
def binary(node: Node) -> None:
    """Two activations of one shape; of one tensor and constants as the functions below."""


@_operator("Relu", "Clip")
def clip(node: Node) -> None:
    """With constant bounds; joins the operator before it."""


@_operator(*FUNCTIONS, "QLinearSigmoid", "QLinearLeakyRelu")
def function(node: Node) -> None:
    """Of one activation and constants per tensor or per channel: a table of the results."""


@_operator("Swish", "QuickGelu")
def swish(node: Node) -> None:
    """Any alpha; a table of the results."""


@_operator("BatchNormalization")
def batch_normalization(node: Node) -> None:
    """At inference, with constants; joins a convolution or product before it, else a table."""
    if node.attribute("training_mode", 0):
        node.refuse("training_mode must be 0")
    if not node.attribute("spatial", 1):
        node.refuse("spatial must be 1")


@_operator("MaxPool")
def max_pool(node: Node) -> None:
    """Any window, stride, padding, dilation and ceil_mode; without the indices of the maxima."""
    if len(node.proto.output) > 1 and node.proto.output[1]:
        node.refuse("the indices of the maxima are not given")


@_operator("AveragePool", "QLinearAveragePool")
def average_pool(node: Node) -> None:
    """Any window; with ceil_mode only when padding is not counted (count_include_pad 0)."""
    if node.attribute("count_include_pad", 0) and node.attribute("ceil_mode", 0):
        node.refuse("count_include_pad together with ceil_mode is not supported")
    _channels_first(node)


@_operator("GlobalAveragePool", "QLinearGlobalAveragePool")
def global_average_pool(node: Node) -> None:
    """Over the whole image."""
    _channels_first(node)


@_operator("GlobalMaxPool")
def global_max_pool(node: Node) -> None:
    """Over the whole image; of bytes too."""


@_operator("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(node: Node) -> None:
    """Over any dimensions: a pool over pixels, a product with ones over channels."""


def _channels_first(node: Node) -> None:
    if node.attribute("channels_last", 0):
        node.refuse("channels_last must be 0")


@_operator("LSTM", "GRU", "RNN")
def recurrent(node: Node) -> None:
    """In float models quantised here: written out as products and functions, up to 100 steps."""
    node.refuse(
        "it is written out only where a float model is quantised here, with constant weights, "
        f"known sizes, whole sequences and up to {MOST_STEPS} steps"
    )


@_operator("Concat", "QLinearConcat")
def concat(node: Node) -> None:
    """Activations along any axis; inputs with other scales are requantised by tables."""


@_operator("Split", "Slice", "Gather", "Tile", "Expand")
def choose(node: Node) -> None:
    """Along any axes, with constant bounds, steps, indices, repeats or shape."""


@_operator("Pad")
def pad(node: Node) -> None:
    """Modes constant, reflect, edge and wrap, with constant pads, also negative."""


@_operator("Resize")
def resize(node: Node) -> None:
    """Modes nearest (any dimensions) and linear (images), with constant sizes or scales."""
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear"):
        node.refuse(f"its mode is {mode!r}; the HPU resizes to the nearest or linearly")
    if node.attribute("antialias", 0):
        node.refuse("antialias must be 0")
    if node.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        node.refuse("its coordinate_transformation_mode must not be 'tf_crop_and_resize'")
    for k in range(1, len(node.inputs)):
        if isinstance(node.input(k), Activation | Pending):
            node.refuse("its sizes and scales must be constants")


@_operator(
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth"
)
def relabel(node: Node) -> None:
    """Any; data moves only where an operator reads the value in another arrangement than it has."""


@_operator("Identity", "Dropout", "Shape")
def nothing(node: Node) -> None:
    """Nothing to run."""


@_operator("QuantizeLinear", "DequantizeLinear")
def quantisation(node: Node) -> None:
    """int8 and uint8 activations per tensor; int8 and uint8 weights also per output channel."""
    if node.attribute("block_size", 0):
        node.refuse(f"its block_size must be 0, not {node.attribute('block_size')}")


_HEAD = """# Operators

Written by `python -m hpu.compiler.support` from the checks themselves. Operators work on quantised
activations: in QDQ form (DequantizeLinear before, QuantizeLinear after) or as the QLinear operator.
Nodes that read only constants are computed once, whatever their operator.

| operators | what is run |
|---|---|
"""


def document() -> str:
    """The text of the page."""
    lines: dict[str, list[str]] = {}
    for op_type, function_ in CHECKS.items():
        lines.setdefault((function_.__doc__ or "").strip(), []).append(op_type)
    return _HEAD + "".join(f"| {', '.join(ops)} | {text} |\n" for text, ops in lines.items())


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it; 1 when it is out of date."""
    if arguments == ["--check"]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != document():
            print(f"{PAGE.name} is out of date; run python -m hpu.compiler.support")
            return 1
        return 0
    PAGE.write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
