"""Fusion keeps every byte, and stops where it must; the verifier; the overflow proof."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.fuse import fuse, fuse_residuals, fuse_tables, look_up, prune
from hpu.compiler.overflow import check_overflow, sum_bounds
from hpu.compiler.verify import GraphError, verify

QUANT = ir.Quant(np.float32(0.1), 3)


class Net:
    """Graphs built by hand."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.graph = ir.Graph([], [], [], {})

    def tensor(self, name, shape=(1, 4, 4, 3), quant=QUANT):
        tensor = ir.Tensor(name, shape, quant)
        self.graph.tensors[name] = tensor
        return tensor

    def end(self, tensor, hosts):
        hosts.append(
            ir.HostTensor(
                name=tensor.name,
                dtype="int8",
                shape=tensor.shape,
                view=tensor.shape,
                perm=(0, 1, 2, 3),
                quantised="int8",
                scale=float(tensor.quant.scale),
                zero=tensor.quant.zero,
                tensor=tensor.name,
            )
        )
        return tensor

    def input(self, name="x"):
        return self.end(self.tensor(name), self.graph.inputs)

    def output(self, tensor):
        return self.end(tensor, self.graph.outputs)

    def op(self, made, name, x, **fields):
        out = self.tensor(name)
        self.graph.ops.append(made(nodes=(name,), x=x, out=out, **fields))
        return out

    def conv(self, name, x, **fields):
        weight = self.rng.integers(-128, 128, (3, 1, 1, 3)).astype(np.int16)
        bias = self.rng.integers(-99, 99, 3).astype(np.int32)
        scale = np.full(3, 0.01, np.float32)
        return self.op(ir.Conv, name, x, weight=weight, bias=bias, scale=scale, **fields)

    def table(self, name, x, columns=None):
        shape = (256,) if columns is None else (256, columns)
        table = self.rng.integers(-128, 128, shape).astype(np.int8)
        return self.op(ir.Unary, name, x, table=table, inner=QUANT)


def same_bytes(naive, graph, fused, seed=0):
    rng = np.random.default_rng(seed)
    values = {h.tensor: rng.integers(-128, 128, h.shape).astype(np.int8) for h in graph.inputs}
    before, after = naive.interpret(graph, values), naive.interpret(fused, values)
    for host in graph.outputs:
        np.testing.assert_array_equal(before[host.tensor], after[host.tensor])


@pytest.mark.parametrize("columns", [(None, None), (3, None), (None, 3), (3, 3)])
def test_tables_join_the_convolution(naive, columns):
    net = Net()
    value = net.conv("a", net.input())
    for k, count in enumerate(columns):
        value = net.table(f"t{k}", value, count)
    net.output(value)
    fused = fuse(net.graph)
    assert [op.nodes for op in fused.ops] == [("a", "t0", "t1")]
    assert sorted(fused.tensors) == ["t1", "x"]
    same_bytes(naive, net.graph, fused)


def test_clips_join(naive):
    net = Net()
    value = net.conv("a", net.input(), low=-100, high=90)
    net.output(net.op(ir.Unary, "b", value, low=-20, high=127))
    fused = fuse(net.graph)
    assert [(op.low, op.high) for op in fused.ops] == [(-20, 90)]
    same_bytes(naive, net.graph, fused)


def test_the_later_convolution_takes_the_residual(naive):
    net = Net()
    x = net.input()
    a = net.conv("a", x)
    b = net.conv("b", net.conv("c", x))
    net.output(net.op(ir.Add, "sum", b, y=a, low=3))
    fused = fuse(net.graph)
    assert [op.nodes for op in fused.ops] == [("a",), ("c",), ("b", "sum")]
    assert fused.ops[-1].residual.tensor.name == "a" and fused.ops[-1].low == 3
    same_bytes(naive, net.graph, fused)


@pytest.mark.parametrize("case", ["clipped", "shared", "output", "itself", "table"])
def test_residuals_that_must_not_be_fused(naive, case):
    net = Net()
    x = net.input()
    a = net.conv("a", x, low=0 if case == "clipped" else -128)
    if case == "table":
        net.graph.ops[-1].table = np.arange(256).astype(np.int8)
        net.graph.ops[-1].inner = QUANT
    total = net.op(ir.Add, "sum", a, y=a if case == "itself" else x)
    net.output(total)
    if case == "shared":
        net.output(net.conv("b", a))
    if case == "output":
        net.output(a)
    fused = fuse_residuals(net.graph)
    assert not any(getattr(op, "residual", None) for op in fused.ops)
    same_bytes(naive, net.graph, fused)


@pytest.mark.parametrize("kind", ["average", "max"])
def test_tables_join_only_exact_operations(kind):
    net = Net()
    value = net.op(ir.Pool, "p", net.input(), kind=kind, kernel=(1, 1))
    net.output(net.table("t", value))
    assert len(fuse_tables(net.graph).ops) == (2 if kind == "average" else 1)


def test_shared_value_keeps_its_maker():
    net = Net()
    value = net.conv("a", net.input())
    net.output(net.table("t", value))
    net.output(net.table("u", value))
    assert len(fuse(net.graph).ops) == 3


def test_prune_drops_what_nobody_reads():
    net = Net()
    x = net.input()
    net.conv("unused", x)
    net.output(net.conv("used", x))
    assert [op.nodes for op in prune(net.graph).ops] == [("used",)]


def test_look_up_of_values_per_channel():
    table = np.arange(512).reshape(256, 2).astype(np.int8)
    values = np.array([[[[0, 0]], [[-1, 5]]]], np.int8)
    want = [[[[table[0, 0], table[0, 1]]], [[table[255, 0], table[5, 1]]]]]
    np.testing.assert_array_equal(look_up(table, values), want)


def broken(change):
    net = Net()
    value = net.conv("a", net.input())
    net.output(net.op(ir.Pool, "p", value, kind="max", kernel=(1, 1)))
    change(net.graph)
    return net.graph


@pytest.mark.parametrize(
    "change,text",
    [
        (lambda g: g.ops.reverse(), "its input 'a' is made before it"),
        (lambda g: setattr(g.ops[0], "low", 128), "-128 <= 128 <= 127"),
        (lambda g: setattr(g.ops[0], "nodes", ()), "names the ONNX nodes"),
        (lambda g: setattr(g.ops[0], "bias", g.ops[0].bias[:2]), r"bias is int32 \[3\]"),
        (lambda g: setattr(g.ops[0], "weight", g.ops[0].weight * 3), "weights are -255 to 255"),
        (lambda g: setattr(g.ops[0], "pads", (0, 0, 0, 1)), r"shape \(1, 4, 5, 3\)"),
        (lambda g: setattr(g.ops[0], "groups", 3), "3 groups of 3 channels are x's 3"),
        (lambda g: setattr(g.ops[0], "table", np.zeros(9, np.int8)), "table is int8"),
        (lambda g: setattr(g.ops[1], "kind", "min"), "kind is max or average"),
        (lambda g: setattr(g.ops[1], "kernel", (2, 2)), r"shape \(1, 3, 3, 3\)"),
        (lambda g: setattr(g.tensors["a"], "quant", ir.Quant(np.float32(0.2), 3)), "keeps x's"),
        (lambda g: setattr(g.tensors["a"], "quant", ir.Quant(np.float32(np.nan), 3)), "positive"),
        (lambda g: setattr(g.tensors["a"], "name", "b"), "kept under its name"),
        (lambda g: g.tensors.pop("p"), "the graph's tensor of that name"),
        (lambda g: g.outputs.append(dataclasses.replace(g.outputs[0], tensor="z")), "in the graph"),
        (lambda g: g.outputs.append(dataclasses.replace(g.outputs[0], zero=9)), "quantisation is"),
        (lambda g: g.outputs.append(dataclasses.replace(g.outputs[0], perm=(0, 2, 3, 1))), "view"),
    ],
)
def test_verifier_names_the_broken_rule(change, text):
    with pytest.raises(GraphError, match=text):
        verify(broken(change))


def test_verifier_takes_a_sound_graph():
    graph = broken(lambda graph: None)
    assert verify(graph) is graph


def test_sum_bounds_are_reached():
    """The bounds are the sums of the worst inputs, exactly."""
    net = Net(3)
    net.output(net.conv("a", net.input()))
    (op,) = net.graph.ops
    low, high = sum_bounds(op)
    weight = op.weight.reshape(3, 3).astype(int)
    for channel in range(3):
        worst = np.where(weight[channel] < 0, 127, -128) - QUANT.zero
        best = np.where(weight[channel] < 0, -128, 127) - QUANT.zero
        assert low[channel] == weight[channel] @ worst + op.bias[channel]
        assert high[channel] == weight[channel] @ best + op.bias[channel]


def test_overflow_is_refused_at_the_first_step_too_far():
    net = Net()
    net.output(net.conv("a", net.input()))
    (op,) = net.graph.ops
    _, high = sum_bounds(op)
    op.bias[1] += 2**31 - 1 - high[1]
    assert check_overflow(net.graph) is net.graph
    op.bias[1] += 1
    text = "node 'a': the sum of output channel 1 could leave int32"
    with pytest.raises(UnsupportedError, match=text):
        check_overflow(net.graph)
