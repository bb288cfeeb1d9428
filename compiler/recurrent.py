"""LSTM, GRU and RNN written out, step by step, in operators of the matrix and the vector unit.

The products with the inputs are one product for all steps; each step then has a product with the
state for every gate. Gates stay apart, so that each has its own range when the model is quantised.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["MOST_STEPS", "RECURRENT", "unroll"]

#: The gates in the order of their weights, and the activation functions that are not given.
RECURRENT = {
    "LSTM": (("i", "o", "f", "c"), ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (("z", "r", "h"), ("Sigmoid", "Tanh")),
    "RNN": (("h",), ("Tanh",)),
}
#: A longer sequence is left as it is.
MOST_STEPS = 100
#: Functions whose defaults are those of the operators of the same names.
_FUNCTIONS = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus")


def unroll(model: onnx.ModelProto) -> bool:
    """Replace the recurrent nodes of ``model`` that can be written out; whether there were any.

    A node stays as it is when its weights or sizes are not known, with lengths of their own for
    the sequences of a batch, activation functions with parameters, or more than ``MOST_STEPS``.
    """
    shapes = _shapes(model.graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    opset = max(e.version for e in model.opset_import if e.domain in ("", "ai.onnx"))
    nodes: list[onnx.NodeProto] = []
    done = False
    for node in model.graph.node:
        layer = _layer(node, shapes, constants)
        if layer is None:
            nodes.append(node)
            continue
        writer = _Writer(node.name or node.output[0], opset)
        _write(writer, layer)
        nodes += writer.nodes
        model.graph.initializer.extend(writer.constants)
        done = True
    if done:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)
    return done


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A recurrent node: its constants [directions, …], sizes, and the names of its values."""

    kind: str
    x: str
    weight: np.ndarray
    state_weight: np.ndarray
    bias: np.ndarray  # [directions, 2, gates, hidden]: of the inputs, of the state
    peepholes: np.ndarray | None  # [directions, 3, hidden], for i, o, f
    initial: tuple[str, str]  # of h and c; empty for zeros
    outputs: tuple[str, str, str]
    attributes: dict[str, Any]
    steps: int
    batch: int
    hidden: int

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gates, in the order of their weights."""
        return RECURRENT[self.kind][0]

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional node."""
        return len(self.weight)

    def functions(self, direction: int) -> list[str]:
        """The activation functions of one direction."""
        default = RECURRENT[self.kind][1]
        names = [name.decode() for name in self.attributes.get("activations", [])]
        given = {name.lower(): name for name in _FUNCTIONS}
        own = names[direction * len(default) :][: len(default)]
        return [given[name.lower()] for name in own] or list(default)


def _layer(
    node: onnx.NodeProto,
    shapes: dict[str, list[int]],
    constants: dict[str, onnx.TensorProto],
) -> _Layer | None:
    """What a node says, or None where it cannot be written out."""
    if node.op_type not in RECURRENT or node.domain not in ("", "ai.onnx"):
        return None
    names = [*node.input, *[""] * (8 - len(node.input))]
    shape = shapes.get(names[0], [])
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    steps, batch = (shape[::-1][1:] if attributes.get("layout") else shape[:2]) or (0, 0)
    known = len(shape) == 3 and min(shape) > 0 and steps <= MOST_STEPS
    given = [name for name in (*names[1:4], names[7]) if name]
    if not known or any(name not in constants for name in given) or not _plain(attributes):
        return None
    if names[4] and not _all_whole(constants.get(names[4]), steps):
        return None
    weight, state = (numpy_helper.to_array(constants[name]) for name in names[1:3])
    gates, hidden = len(RECURRENT[node.op_type][0]), state.shape[-1]
    bias = np.zeros((len(weight), 2, gates, hidden), np.float32)
    if names[3]:
        bias = numpy_helper.to_array(constants[names[3]]).reshape(bias.shape)
    peepholes = None
    if names[7]:
        peepholes = numpy_helper.to_array(constants[names[7]]).reshape(len(weight), 3, hidden)
    initial = [_unless_zero(name, constants) for name in names[5:7]]
    outputs = [*node.output, "", "", ""][:3]
    return _Layer(
        kind=node.op_type,
        x=names[0],
        weight=weight.reshape(len(weight), gates, hidden, -1),
        state_weight=state.reshape(len(weight), gates, hidden, hidden),
        bias=bias,
        peepholes=peepholes,
        initial=(initial[0], initial[1]),
        outputs=(outputs[0], outputs[1], outputs[2]),
        attributes=attributes,
        steps=steps,
        batch=batch,
        hidden=hidden,
    )


def _plain(attributes: dict[str, Any]) -> bool:
    functions = {name.decode().lower() for name in attributes.get("activations", [])}
    known = functions <= {name.lower() for name in _FUNCTIONS}
    return known and not ("activation_alpha" in attributes or "activation_beta" in attributes)


def _all_whole(lengths: onnx.TensorProto | None, steps: int) -> bool:
    return lengths is not None and bool((numpy_helper.to_array(lengths) == steps).all())


def _unless_zero(name: str, constants: dict[str, onnx.TensorProto]) -> str:
    zero = name in constants and not numpy_helper.to_array(constants[name]).any()
    return "" if zero else name


class _Writer:
    """Nodes and constants, their names under ``prefix``."""

    def __init__(self, prefix: str, opset: int) -> None:
        self._prefix, self.opset = prefix, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"{self._prefix}/constant {len(self.constants)}"
        array: np.ndarray = np.ascontiguousarray(np.asarray(value, dtype))
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: Sequence[str], out: str = "", **attributes: Any) -> str:
        name = f"{self._prefix}/{op} {len(self.nodes)}"
        out = out or f"{name}/out"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=name, **attributes))
        return out

    def reshape(self, value: str, shape: Sequence[int], out: str = "") -> str:
        return self.node("Reshape", [value, self.constant(shape, np.int64)], out)

    def parts(self, value: str, size: int, count: int, axis: int = 0) -> list[str]:
        """``value`` cut along an axis into parts of ``size``."""
        if count == 1:
            return [value]
        name = f"{self._prefix}/Split {len(self.nodes)}"
        sizes = [size] * count
        outs = [f"{name}/{k}" for k in range(count)]
        old = self.opset < 13
        inputs = [value] if old else [value, self.constant(sizes, np.int64)]
        attributes: dict[str, Any] = {"split": sizes} if old else {}
        self.nodes.append(
            helper.make_node("Split", inputs, outs, name=name, axis=axis, **attributes)
        )
        return outs

    def join(self, values: Sequence[str], axis: int = 0) -> str:
        return values[0] if len(values) == 1 else self.node("Concat", values, axis=axis)


def _write(writer: _Writer, layer: _Layer) -> None:
    """The nodes of a layer, giving those of its outputs that have names."""
    x = layer.x
    turned = bool(layer.attributes.get("layout"))
    if turned:
        x = writer.node("Transpose", [x], perm=[1, 0, 2])
    rows = writer.reshape(x, [layer.steps * layer.batch, layer.weight.shape[-1]])
    starts = [_starts(writer, layer, name) for name in layer.initial]
    all_states, last = [], []
    for direction in range(layer.directions):
        start = [each[direction] for each in starts]
        cell = _Cell(writer, layer, direction, rows)
        states = cell.run(*start)
        all_states.append(states)
        last.append((cell.h, cell.c))
    if layer.outputs[0]:
        _write_sequence(writer, layer, all_states, turned)
    for name, each in zip(layer.outputs[1:], zip(*last, strict=True), strict=True):
        if name:
            _write_last(writer, layer, each, name, turned)


def _starts(writer: _Writer, layer: _Layer, name: str) -> list[str]:
    """The initial state [batch, hidden] of every direction; empty for zeros."""
    if not name:
        return [""] * layer.directions
    if layer.attributes.get("layout"):
        name = writer.node("Transpose", [name], perm=[1, 0, 2])
    flat = writer.reshape(name, [layer.directions * layer.batch, layer.hidden])
    return writer.parts(flat, layer.batch, layer.directions)


def _write_sequence(
    writer: _Writer, layer: _Layer, states: Sequence[Sequence[str]], turned: bool
) -> None:
    """The states of all steps and directions."""
    whole = [writer.join(each) for each in states]
    value = writer.join(whole, axis=1)
    value = writer.reshape(value, [layer.steps, layer.batch, layer.directions, layer.hidden])
    writer.node(
        "Transpose", [value], layer.outputs[0], perm=[1, 0, 2, 3] if turned else [0, 2, 1, 3]
    )


def _write_last(
    writer: _Writer, layer: _Layer, states: Sequence[str], name: str, turned: bool
) -> None:
    value = writer.join(states, axis=1 if turned else 0)
    first = (layer.batch, layer.directions) if turned else (layer.directions, layer.batch)
    writer.reshape(value, [*first, layer.hidden], name)


class _Cell:
    """One direction of a layer: the nodes of its steps."""

    def __init__(self, writer: _Writer, layer: _Layer, direction: int, rows: str) -> None:
        self._writer, self._layer = writer, layer
        backwards = layer.attributes.get("direction", b"forward") == b"reverse"
        self._backwards = backwards or direction == 1
        self._functions = layer.functions(direction)
        self._bias = layer.bias[direction]
        self._peepholes = None if layer.peepholes is None else layer.peepholes[direction]
        self._state_weights = [writer.constant(w) for w in layer.state_weight[direction]]
        self._state_bias = writer.constant(self._bias[1, -1])
        self.h = self.c = ""
        self._inputs = [
            self._of_inputs(rows, layer.weight[direction][k], k) for k in range(len(layer.gates))
        ]

    def _of_inputs(self, rows: str, weight: np.ndarray, gate: int) -> list[str]:
        """The product with the inputs, for every step, its bias in it."""
        bias = self._bias[0, gate].copy()
        if not self._resets_product or gate < 2:
            bias += self._bias[1, gate]
        constants = [self._writer.constant(weight), self._writer.constant(bias)]
        value = self._writer.node("Gemm", [rows, *constants], transB=1)
        return self._writer.parts(value, self._layer.batch, self._layer.steps)

    @property
    def _resets_product(self) -> bool:
        own = self._layer.attributes.get("linear_before_reset", 0)
        return self._layer.kind == "GRU" and bool(own)

    def run(self, h: str, c: str) -> list[str]:
        """Write all steps from an initial state; the states h in the order of the inputs."""
        self.h, self.c = h, c
        step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self._layer.kind]
        order = range(self._layer.steps)
        states = {}
        for k in reversed(order) if self._backwards else order:
            step([each[k] for each in self._inputs])
            states[k] = self.h
        return [states[k] for k in order]

    # Gates

    def _sum(self, terms: Sequence[str]) -> str:
        """The sum of those that are not zero."""
        given = [term for term in terms if term]
        value = given[0] if given else ""
        for other in given[1:]:
            value = self._writer.node("Add", [value, other])
        return value

    def _times(self, a: str, b: str) -> str:
        return self._writer.node("Mul", [a, b]) if a and b else ""

    def _of_state(self, gate: int, h: str, bias: str = "") -> str:
        """The product with a state; zero for none."""
        if not h:
            return ""
        if not bias and self._writer.opset < 11:
            bias = self._writer.constant(np.zeros(self._layer.hidden))  # which it must have there
        inputs = [h, self._state_weights[gate], *([bias] if bias else [])]
        return self._writer.node("Gemm", inputs, transB=1)

    def _peep(self, gate: int, c: str) -> str:
        if self._peepholes is None or not c:
            return ""
        return self._times(c, self._writer.constant(self._peepholes[gate]))

    def _function(self, which: int, value: str) -> str:
        clip = self._layer.attributes.get("clip", 0.0)
        if clip and self._writer.opset < 11:
            value = self._writer.node("Clip", [value], min=-clip, max=clip)
        elif clip:
            bounds = [self._writer.constant(bound) for bound in (-clip, clip)]
            value = self._writer.node("Clip", [value, *bounds])
        return self._writer.node(self._functions[which], [value])

    def _less_than_one(self, value: str) -> str:
        return self._writer.node("Sub", [self._writer.constant(1), value])

    # Steps

    def _lstm(self, x: Sequence[str]) -> None:
        terms = [[x[k], self._of_state(k, self.h)] for k in range(4)]
        enter = self._function(0, self._sum([*terms[0], self._peep(0, self.c)]))
        new = self._function(1, self._sum(terms[3]))
        if self._layer.attributes.get("input_forget", 0):
            keep = self._less_than_one(enter)
        else:
            keep = self._function(0, self._sum([*terms[2], self._peep(2, self.c)]))
        self.c = self._sum([self._times(keep, self.c), self._times(enter, new)])
        leave = self._function(0, self._sum([*terms[1], self._peep(1, self.c)]))
        self.h = self._times(leave, self._writer.node(self._functions[2], [self.c]))

    def _gru(self, x: Sequence[str]) -> None:
        update, reset = (
            self._function(0, self._sum([x[k], self._of_state(k, self.h)])) for k in (0, 1)
        )
        if self._resets_product:
            product = self._of_state(2, self.h, self._state_bias) or self._state_bias
            hidden = self._times(reset, product)
        else:
            hidden = self._of_state(2, self._times(reset, self.h))
        new = self._function(1, self._sum([x[2], hidden]))
        fresh = self._times(self._less_than_one(update), new)
        self.h = self._sum([fresh, self._times(update, self.h)])

    def _rnn(self, x: Sequence[str]) -> None:
        self.h = self._function(0, self._sum([x[0], self._of_state(0, self.h)]))
