"""Models cut in parts: which nodes go where, and that the parts together give the same answer."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import hpu
from hpu.compiler.cost import Cost
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.importer.load import load_model
from hpu.compiler.partition import HostPart, HpuPart, partition


@pytest.fixture
def maker(models):
    return models.Maker(np.random.default_rng(0))


def convolution(m, value, quant):
    """DequantizeLinear, Conv, QuantizeLinear on the quantised ``value`` of 3 channels."""
    weights = m.weights((3, 3, 3, 3), 0, "int8", False)
    pads = {"pads": [1, 1, 1, 1]}
    return m.q(m.node("Conv", m.dq(value, quant), m.dq(weights[0], weights[1:]), **pads), quant)


def cut(maker, **options):
    return partition(load_model(maker.model()), **options)


def sides(parts):
    return ["HPU" if isinstance(part, HpuPart) else "host" for part in parts]


def execute(models, parts, feeds):
    """Every part by onnxruntime, in order; the last value of every name."""
    known = dict(feeds)
    for part in parts:
        names = [value.name for value in part.model.graph.input]
        values = models.run(part.model, {name: known[name] for name in names})
        known |= dict(zip([v.name for v in part.model.graph.output], values, strict=True))
    return known


def reasons(result):
    return {entry.op_type: entry.reason for entry in result.placements if entry.reason}


def test_all_of_it_is_one_part(maker):
    m, quant = maker, maker.quant("int8")
    m.output(m.dq(convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant), quant))
    result = cut(m)
    assert sides(result.parts) == ["HPU"]
    assert not any(entry.on_host for entry in result.placements)


def test_an_operator_in_the_middle_goes_to_the_host(maker, models):
    m, quant = maker, maker.quant("int8")
    value = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.q(m.node("Softmax", m.dq(value, quant), axis=1), quant)
    m.output(m.dq(convolution(m, value, quant), quant))
    result = cut(m)
    assert sides(result.parts) == ["HPU", "host", "HPU"]
    host = result.parts[1].model.graph
    assert host.input[0].type.tensor_type.elem_type == TensorProto.INT8
    assert [node.op_type for node in host.node] == ["DequantizeLinear", "Softmax"]
    assert reasons(result)["Softmax"] == "the HPU does not run this operator"
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)}
    name = m.outputs[0].name
    want = models.run(m.model(), feeds)[0]
    np.testing.assert_array_equal(execute(models, result.parts, feeds)[name], want)


def test_branches_of_one_level_share_a_part(maker):
    """Two convolutions and a Softmax on each: one HPU part, then one host part."""
    m, quant = maker, maker.quant("int8")
    start = m.q(m.input([1, 3, 4, 4]), quant)
    for _ in range(2):
        value = convolution(m, start, quant)
        m.output(m.node("Softmax", m.dq(value, quant), axis=1))
    result = cut(m)
    assert sides(result.parts) == ["HPU", "host"]
    assert len(result.parts[0].graph.outputs) == 2


def test_parts_are_convex(maker):
    """The addition reads both sides of the host's branch, so it must be in a later part."""
    m, quant = maker, maker.quant("int8")
    start = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    soft = m.node("Softmax", m.dq(start, quant), axis=1)
    branch = m.q(soft, quant)
    total = m.q(m.node("Add", m.dq(start, quant), m.dq(branch, quant)), quant)
    m.output(m.dq(total, quant))
    result = cut(m)
    assert sides(result.parts) == ["HPU", "host", "HPU"]
    assert [value.name for value in result.parts[2].model.graph.input] == [soft, start]


@pytest.mark.parametrize("first", ["host", "HPU"])
def test_a_branch_that_only_a_later_part_reads_is_a_piece_of_it(maker, models, first):
    """A convolution beside host, HPU: both convolutions and the addition are one region."""
    m, quant = maker, maker.quant("int8")
    x = m.input([1, 3, 4, 4])
    beside = convolution(m, m.q(x, quant), quant)
    start = m.q(x, quant)
    begun = m.dq(start if first == "host" else convolution(m, start, quant), quant)
    soft = m.q(m.node("Softmax", begun, axis=1), quant)
    after = convolution(m, soft, quant)
    m.output(m.dq(m.q(m.node("Add", m.dq(beside, quant), m.dq(after, quant)), quant), quant))
    result = cut(m)
    assert sides(result.parts) == (["host", "HPU"] if first == "host" else ["HPU", "host", "HPU"])
    last = result.parts[-1]
    assert len([op for op in last.graph.ops if type(op).__name__ == "Conv"]) == 2
    assert [value.name for value in last.model.graph.output] == [m.outputs[0].name]
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)}
    want = models.run(m.model(), feeds)[0]
    known = execute(models, result.parts, feeds)
    np.testing.assert_array_equal(known[m.outputs[0].name], want)


def costs(*seconds):
    """The cost of each region in turn, in microseconds on the HPU and the host; and the calls."""
    called = []

    def cost(graph, compiled):
        called.append([name for op in graph.ops for name in op.nodes])
        hpu, host = seconds[len(called) - 1]
        return Cost(hpu * 1e-6, host * 1e-6)

    return cost, called


def two_regions(m):
    quant = m.quant("int8")
    value = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.q(m.node("Softmax", m.dq(value, quant), axis=1), quant)
    m.output(m.dq(convolution(m, value, quant), quant))


def test_a_region_that_does_not_pay_goes_to_the_host(maker):
    two_regions(maker)
    cost, called = costs((3, 2), (1.25, 2000))
    compiled = []
    result = cut(maker, compile=compiled.append, cost=cost)
    assert sides(result.parts) == ["host", "HPU"]
    assert reasons(result)["Conv"] == ("slower on the HPU than on the host (3.0 µs against 2.0 µs)")
    assert str(result.parts[1].cost) == "1.2 µs against 2,000 µs"
    assert len(compiled) == len(called) == 2, "every region is compiled once"
    assert not any(entry.note for entry in result.placements)


def test_a_region_that_does_not_pay_stays_where_it_is_forced(maker):
    two_regions(maker)
    cost, _ = costs((3, 2), (1, 2))
    result = cut(maker, cost=cost, force=True)
    assert sides(result.parts) == ["HPU", "host", "HPU"]
    notes = {entry.note for entry in result.placements if entry.node in result.parts[0].nodes}
    assert notes == {"slower than on the host (3.0 µs against 2.0 µs)"}
    assert not any(entry.note for entry in result.placements if entry.node in result.parts[2].nodes)


def test_a_float_result_takes_its_operator_to_the_host(maker):
    m, quant = maker, maker.quant("int8")
    weights = m.weights((3, 3, 1, 1), 0, "int8", False)
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:]))
    m.output(m.node("Softmax", value, axis=1))
    result = cut(m)
    assert sides(result.parts) == ["host"]
    assert "reads its result as float" in reasons(result)["Conv"]


def test_relabellings_alone_do_not_cross(maker):
    m, quant = maker, maker.quant("int8")
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    m.output(m.node("Softmax", m.node("Transpose", value, perm=[0, 2, 3, 1])))
    result = cut(m)
    assert sides(result.parts) == ["host"]
    assert "nothing next to it is computed" in reasons(result)["Transpose"]


def test_a_raw_float_beside_its_quantised_self(maker, models):
    """What reads the float input itself must not get the quantised one."""
    m, quant = maker, maker.quant("int8", 0.5)
    x = m.input([1, 3, 4, 4])
    value = m.dq(convolution(m, m.q(x, quant), quant), quant)
    m.output(m.node("Mul", value, m.node("Relu", x)))
    result = cut(m)
    assert sides(result.parts) == ["HPU", "host"]
    assert "is not quantised" in reasons(result)["Relu"]
    feeds = {"x": np.random.default_rng(1).normal(size=(1, 3, 4, 4)).astype(np.float32)}
    name = m.outputs[0].name
    want = models.run(m.model(), feeds)[0]
    np.testing.assert_array_equal(execute(models, result.parts, feeds)[name], want)


def test_every_refusal_is_collected(maker):
    m, quant = maker, maker.quant("int8")
    value = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    for op_type in ("Softmax", "LogSoftmax", "Hardmax"):
        value = m.q(m.node(op_type, m.dq(value, quant)), quant)
    m.output(value, "int8")
    assert {"Softmax", "LogSoftmax", "Hardmax"} <= reasons(cut(m)).keys()


def test_what_does_not_fit_goes_to_the_host(maker):
    m, quant = maker, maker.quant("int8")
    value = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    m.output(m.dq(m.q(m.node("MaxPool", m.dq(value, quant), kernel_shape=[2, 2]), quant), quant))

    def refuse_pools(graph):
        for op in graph.ops:
            if type(op).__name__ == "Pool":
                raise UnsupportedError("Pool", "+".join(op.nodes), "it does not fit")
        return len(graph.ops)

    result = cut(m, compile=refuse_pools)
    assert sides(result.parts) == ["HPU", "host"]
    assert result.parts[0].compiled == 1
    assert reasons(result)["MaxPool"] == "it does not fit"


def test_an_error_about_the_whole_part_sends_all_of_it_to_the_host(maker):
    m, quant = maker, maker.quant("int8")
    m.output(m.dq(convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant), quant))

    def refuse(graph):
        raise UnsupportedError("", "", "too much DRAM")

    result = cut(m, compile=refuse)
    assert sides(result.parts) == ["host"]
    assert reasons(result)["Conv"] == "too much DRAM"


def test_integers_of_other_types_stay_on_the_host(maker):
    m, quant = maker, maker.quant("int8")
    value = convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant)
    m.output(m.dq(value, quant))
    proto = m.model()
    proto.graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, [1]))
    proto.graph.node.append(helper.make_node("Neg", ["k"], ["minus"]))
    proto.graph.output.append(helper.make_tensor_value_info("minus", TensorProto.INT64, [1]))
    result = partition(load_model(proto))
    assert sorted(sides(result.parts)) == ["HPU", "host"]
    assert any(isinstance(part, HostPart) and len(part.nodes) == 1 for part in result.parts)


def test_inner_graphs_read_values_of_the_outer_one(maker, models):
    m, quant = maker, maker.quant("int8")
    value = m.dq(convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant), quant)
    m.output(value)
    proto = m.model()
    name = proto.graph.output[0].name
    shape = [1, 3, 4, 4]
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, shape)
    branches = {
        f"{side}_branch": helper.make_graph([helper.make_node(op, [name], ["r"])], side, [], [out])
        for side, op in (("then", "Neg"), ("else", "Abs"))
    }
    proto.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    proto.graph.node.append(helper.make_node("If", ["flag"], ["chosen"], **branches))
    proto.graph.output.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, shape))
    result = partition(load_model(proto))
    assert sides(result.parts) == ["HPU", "host"]
    feeds = {
        "x": np.random.default_rng(2).normal(size=shape).astype(np.float32),
        "flag": np.asarray(True),
    }
    known = execute(models, result.parts, feeds)
    want = models.run(proto, feeds)
    np.testing.assert_array_equal(known[name], want[0])
    np.testing.assert_array_equal(known["chosen"], want[1])


@pytest.mark.parametrize("reason", ["the model is not quantised"])
def test_everything_can_be_held_on_the_host(maker, reason):
    m, quant = maker, maker.quant("int8")
    m.output(m.dq(convolution(m, m.q(m.input([1, 3, 4, 4]), quant), quant), quant))
    result = cut(m, held=reason)
    assert sides(result.parts) == ["host"]
    assert {entry.reason for entry in result.placements} == {reason}


def random_model(m):
    """Twelve operators on earlier values, of the HPU and not, some results left as float."""
    rng, shape = m.rng, [1, 4, 5, 5]
    quant = m.quant("int8", 0.05)
    values = [m.dq(m.q(m.input(shape), quant), quant)]

    def conv(value):
        weights = m.weights((4, 4, 3, 3), 0, "int8", bool(rng.integers(2)))
        return m.node("Conv", value, m.dq(weights[0], weights[1:], axis=0), pads=[1, 1, 1, 1])

    operators = [
        conv,
        lambda value: m.node("Relu", value),
        lambda value: m.node("Sigmoid", value),
        lambda value: m.node("Softmax", value, axis=1),
        lambda value: m.node("Transpose", value, perm=[0, 1, 3, 2]),
        lambda value: m.node("Add", value, values[rng.integers(len(values))]),
        lambda value: m.node("Mul", value, values[rng.integers(len(values))]),
        lambda value: m.node(
            "MaxPool", value, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]
        ),
    ]
    for _ in range(12):
        value = operators[rng.integers(len(operators))](values[rng.integers(len(values))])
        if rng.random() < 0.8:
            quant = m.quant(["int8", "uint8"][rng.integers(2)], 0.05)
            value = m.dq(m.q(value, quant), quant)
        values.append(value)
    m.output(values[-1])
    if rng.integers(2):
        m.output(values[int(rng.integers(1, len(values) - 1))])
    return m.model()


@pytest.mark.parametrize("seed", range(25))
def test_random_models_in_random_parts(models, seed):
    """Whatever the HPU takes or not, the parts give the bytes of the whole model."""
    m = models.Maker(np.random.default_rng(seed))
    model = random_model(m)
    bad: dict[str, bool] = {}

    def refuse_some(graph):
        for name in (name for op in graph.ops for name in op.nodes):
            if bad.setdefault(name, m.rng.random() < 0.2):
                raise UnsupportedError("operator", name, "it is refused at random")

    result = partition(load_model(model), compile=refuse_some)
    feeds = {"x": np.random.default_rng(seed).normal(size=(1, 4, 5, 5)).astype(np.float32)}
    known = execute(models, result.parts, feeds)
    for output, want in zip(model.graph.output, models.run(model, feeds), strict=True):
        np.testing.assert_array_equal(known[output.name], want, err_msg=f"seed {seed}")
    names = {name for part in result.parts for name in part.nodes}
    assert {name for name, refused in bad.items() if refused} <= {
        entry.node for entry in result.placements if entry.on_host
    }
    assert names <= {entry.node for entry in result.placements}


@pytest.mark.parametrize("seed", [0, 4, 7, 14, 17, 18, 23])
def test_random_models_on_the_device(models, seed):
    """Parts on the HPU and the host; an addition may differ by one step of 0.05.

    Number 4 is a model that onnxruntime runs only without its optimiser.
    """
    model = random_model(models.Maker(np.random.default_rng(seed)))
    feeds = {"x": np.random.default_rng(seed).normal(size=(1, 4, 5, 5)).astype(np.float32)}
    found = hpu.InferenceSession(model, config="lab-16").run(None, feeds)
    for value, want in zip(found, models.run(model, feeds), strict=True):
        np.testing.assert_allclose(value, want, rtol=0, atol=0.051, err_msg=f"seed {seed}")
