"""The networks that the benchmarks run: real shapes, random weights.

The first six have the shapes of the TPU v1 paper's workloads (Jouppi et al., "In-Datacenter
Performance Analysis of a Tensor Processing Unit", 2017, Table 1), as far as it tells them.
"""

import dataclasses
from collections.abc import Callable

import onnx

from examples.workloads.writer import Value, Writer

__all__ = ["TPU_V1", "WORKLOADS", "Workload", "build"]


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network by its name; ``batch`` is the one that it is measured with."""

    name: str
    batch: int
    text: str
    write: Callable[[Writer], None]


def _mlp(layers: int, units: int) -> Callable[[Writer], None]:
    def write(to: Writer) -> None:
        x = to.input("x", (units,))
        for _layer in range(layers):
            x = to.dense(x, units, clip="Relu")
        to.output(x, "y")

    return write


def _lstm(layers: int, hidden: int, dense: bool) -> Callable[[Writer], None]:
    """One time step of an LSTM; every layer's state comes in and goes out."""

    def write(to: Writer) -> None:
        x = to.input("x", (hidden,), std=0.25)
        for layer in range(layers):
            before = to.input(f"h{layer}", (hidden,), std=0.25)
            cell = to.input(f"c{layer}", (hidden,))
            x, cell = lstm_cell(to, x, before, cell)
            to.output(cell, f"next_c{layer}")
            to.output(x, f"next_h{layer}")
        if dense:
            to.output(to.dense(x, hidden), "y")

    return write


def lstm_cell(to: Writer, x: Value, before: Value, cell: Value) -> tuple[Value, Value]:
    """The next hidden and cell state; each gate has one matrix for input and hidden state."""
    both = to.concat(x, before)
    units = cell.channels
    take, forget, give = (to.sigmoid(to.dense(both, units)) for _gate in range(3))
    candidate = to.tanh(to.dense(both, units))
    cell = to.add(to.multiply(forget, cell), to.multiply(take, candidate))
    return to.multiply(give, to.tanh(cell)), cell


def _cnn0(to: Writer) -> None:
    x = to.input("x", (48, 19, 19))
    x = to.conv(x, 256, 5, clip="Relu")
    for _layer in range(13):
        x = to.conv(x, 256, 3, clip="Relu")
    for _layer in range(2):
        x = to.conv(x, 256, 1, clip="Relu")
    to.output(x, "y")


def _resnet50_trunk(to: Writer) -> Value:
    """All of ResNet-50 but its last layer; the stride stands in the 3×3 convolution."""
    x = to.input("image", (3, 224, 224))
    x = to.max_pool(to.conv(x, 64, 7, stride=2, clip="Relu"), 3, 2)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            x = _bottleneck(to, x, 64 << stage, stride)
    return to.global_average(x)


def _bottleneck(to: Writer, x: Value, width: int, stride: int) -> Value:
    short = x
    if x.channels != 4 * width:
        short = to.conv(x, 4 * width, 1, stride=stride)
    inner = to.conv(x, width, 1, clip="Relu")
    inner = to.conv(inner, width, 3, stride=stride, clip="Relu")
    return to.add(to.conv(inner, 4 * width, 1), short, clip="Relu")


def _resnet50(to: Writer) -> None:
    to.output(to.dense(_resnet50_trunk(to), 1000), "logits")


def _cnn1(to: Writer) -> None:
    x = _resnet50_trunk(to)
    for _layer in range(3):
        x = to.dense(x, 5120, clip="Relu")
    to.output(to.dense(x, 1000), "y")


#: Expansion, channels, blocks, first stride of every stage.
_MOBILENET = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _mobilenetv2(to: Writer) -> None:
    x = to.conv(to.input("image", (3, 224, 224)), 32, 3, stride=2, clip="Relu6")
    for expansion, channels, blocks, first in _MOBILENET:
        for block in range(blocks):
            x = _inverted(to, x, expansion, channels, 1 if block else first)
    x = to.global_average(to.conv(x, 1280, 1, clip="Relu6"))
    to.output(to.dense(x, 1000), "logits")


def _inverted(to: Writer, x: Value, expansion: int, channels: int, stride: int) -> Value:
    wide = expansion * x.channels
    inner = to.conv(x, wide, 1, clip="Relu6") if expansion > 1 else x
    inner = to.conv(inner, wide, 3, stride=stride, groups=wide, clip="Relu6")
    inner = to.conv(inner, channels, 1)
    return to.add(inner, x) if stride == 1 and channels == x.channels else inner


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("mlp0", 200, "five dense layers 2000→2000", _mlp(5, 2000)),
        Workload("mlp1", 168, "four dense layers 1118→1118", _mlp(4, 1118)),
        Workload("lstm0", 64, "a step of six LSTM layers, hidden 1040", _lstm(6, 1040, False)),
        Workload("lstm1", 96, "a step of nine LSTM layers, hidden 680", _lstm(9, 680, True)),
        Workload("cnn0", 8, "sixteen convolutions of 256 channels on 19×19", _cnn0),
        Workload("cnn1", 32, "ResNet-50's trunk and four dense layers", _cnn1),
        Workload("resnet50", 16, "ResNet-50 v1.5, 224×224", _resnet50),
        Workload("mobilenetv2", 8, "MobileNetV2 1.0, 224×224", _mobilenetv2),
    )
}

#: Names of the TPU v1 paper's workloads.
TPU_V1 = ("mlp0", "mlp1", "lstm0", "lstm1", "cnn0", "cnn1")


def build(name: str, *, quantised: bool = True, seed: int = 0) -> onnx.ModelProto:
    """The network ``name``, its batch symbolic.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    if name not in WORKLOADS:
        raise ValueError(f"workload must be one of {', '.join(WORKLOADS)}, not {name!r}")
    writer = Writer(seed=seed, quantised=quantised)
    WORKLOADS[name].write(writer)
    return writer.model(name)
