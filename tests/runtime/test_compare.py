"""Comparing a network layer by layer: what is compared with what, and what counts as wrong."""

import dataclasses
import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.importer.load import load_model
from hpu.compiler.quantise import quantise
from hpu.runtime import compare as module
from hpu.runtime.compare import compare
from hpu.runtime.compare_float import float_twin
from hpu.runtime.compare_layers import Layer, Noise
from hpu.runtime.compare_values import Tapped

CONFIG = "lab-16"


def run(model, feeds):
    """onnxruntime's outputs without optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, feeds)


def decibel(real, value):
    """The definition."""
    return 10 * math.log10((real**2).sum() / ((real - value) ** 2).sum())


def by_operation(found):
    return [layer.operation for layer in found.layers]


def changed(model, op_type, change):
    """A copy whose initializers behind the DequantizeLinear of the first ``op_type`` changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    node = next(node for node in copy.graph.node if node.op_type == op_type)
    name = next(n.input[0] for n in copy.graph.node if n.output[0] == node.input[1])
    tensor = next(t for t in copy.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    return copy


# What is compared with what


def test_a_float_model_against_its_quantised_form(float_model, calibration, inputs):
    found = compare(float_model, {"x": inputs}, config=CONFIG, calibration={"x": calibration})
    assert found.reference == "the float model" and found.samples == 5
    assert by_operation(found) == ["input", "Conv", "Pool", "Conv"]
    assert found.first_wrong is None
    (real,) = run(float_model, {"x": inputs})
    quantised = quantise(float_model, {"x": calibration})
    session = hpu.InferenceSession(quantised, config=CONFIG, force_hpu=True)
    (value,) = session.run(None, {"x": inputs})
    last = found.layers[-1]
    assert last.functional.sqnr == pytest.approx(decibel(real, value), abs=1e-4)
    assert last.onnxruntime.sqnr == pytest.approx(
        decibel(real, run(quantised, {"x": inputs})[0]), abs=1e-4
    )
    assert all(layer.lsb == 0 and layer.lsb_alone == 0 for layer in found.layers[1:])
    assert all(20 < layer.functional.sqnr < 60 for layer in found.layers)


def test_inner_layers_are_the_float_models(float_model, calibration, inputs):
    """The convolution's noise, from the float model's own Relu and the HPU's kept bytes."""
    found = compare(float_model, {"x": inputs}, config=CONFIG, calibration={"x": calibration})
    layer = found.layers[1]
    assert layer.nodes == ("conv",) and layer.elements == 5 * 5 * 6 * 6
    real = Tapped(load_model(float_model, 5), ["r"]).run({"x": inputs})["r"]
    assert layer.functional.signal == pytest.approx(float((real.astype(np.float64) ** 2).sum()))


def test_a_quantised_model_against_itself_without_rounding(quantised, inputs):
    found = compare(quantised, {"x": inputs}, config=CONFIG)
    assert found.reference == "the quantised model without rounding"
    assert found.first_wrong is None
    (real,) = run(float_twin(load_model(quantised, 5)), {"x": inputs})
    (value,) = run(quantised, {"x": inputs})
    assert found.layers[-1].onnxruntime.sqnr == pytest.approx(decibel(real, value), abs=1e-3)


def test_a_quantised_model_against_the_float_one_given(quantised, float_model, inputs):
    found = compare(quantised, {"x": inputs}, config=CONFIG, float_model=float_model)
    assert found.reference == "the float model"
    (real,) = run(float_model, {"x": inputs})
    (value,) = run(quantised, {"x": inputs})
    assert found.layers[-1].functional.sqnr == pytest.approx(decibel(real, value), abs=1e-4)


def test_samples_go_through_in_pieces(quantised, fixed, inputs, monkeypatch):
    whole = compare(quantised, {"x": inputs[:4]}, config=CONFIG)
    monkeypatch.setattr(module, "_AT_A_TIME", 3)
    pieces = compare(quantised, {"x": inputs[:4]}, config=CONFIG)
    pairs = compare(fixed, {"x": inputs[:4]}, config=CONFIG)
    for one, other, third in zip(whole.layers, pieces.layers, pairs.layers, strict=True):
        assert one.elements == other.elements == third.elements
        assert one.functional.noise == pytest.approx(other.functional.noise, rel=1e-5)
        assert one.functional.noise == pytest.approx(third.functional.noise, rel=1e-5)
    assert whole.samples == pieces.samples == pairs.samples == 4


def test_a_fixed_batch_is_changed(fixed, float_model, inputs):
    whole = compare(fixed, {"x": inputs[:4]}, config=CONFIG, float_model=float_model)
    other = compare(fixed, {"x": inputs[:4]}, config=CONFIG, float_model=float_model, batch=4)
    for one, two in zip(whole.layers, other.layers, strict=True):
        assert one.elements == two.elements
        assert one.functional.noise == pytest.approx(two.functional.noise, rel=1e-5)
    assert other.samples == 4


def test_results_of_the_host_are_layers(quantised, inputs):
    mixed = onnx.ModelProto()
    mixed.CopyFrom(quantised)
    mixed.graph.node.append(helper.make_node("Softmax", ["y"], ["z"], name="soft"))
    mixed.graph.output[0].name = "z"
    found = compare(mixed, {"x": inputs}, config=CONFIG)
    layer = found.layers[-1]
    assert (layer.name, layer.nodes, layer.operation) == ("z", ("soft",), "host")
    (real,) = run(float_twin(load_model(mixed, 5)), {"x": inputs})
    (value,) = run(mixed, {"x": inputs})
    assert layer.functional.sqnr == pytest.approx(decibel(real, value), abs=1e-3)


def test_rtl_is_compared_byte_by_byte(quantised, inputs):
    found = compare(quantised, {"x": inputs[:1]}, config=CONFIG, device="rtl")
    assert [layer.rtl_different for layer in found.layers] == [0, 0, 0, 0]
    for layer in found.layers:
        assert layer.rtl.noise == layer.functional.noise and layer.rtl.seen
    assert found.first_wrong is None


# What counts as wrong


def test_bytes_that_rtl_has_otherwise(quantised, inputs, monkeypatch):
    """The first layer is named, though the following ones are wrong too."""
    seen = []
    real = module.tensors

    def flawed(executor, program):
        found = real(executor, program)
        if executor in seen:  # the second executor to be read
            for port in program.kept[1:]:
                found[port.tensor] = found[port.tensor] ^ 1
        seen.append(executor)
        return found

    class Second(module.Executor):
        def __init__(self, config, device, progress):
            super().__init__(config, "functional", progress)
            if device == "rtl":
                seen.append(self)

    monkeypatch.setattr(module, "tensors", flawed)
    monkeypatch.setattr(module, "Executor", Second)
    found = compare(quantised, {"x": inputs}, config=CONFIG, device="rtl")
    layer, reason = found.first_wrong
    assert layer.nodes == ("pool",)
    assert reason == "225 of 225 bytes differ between RTL and functional"


def test_an_operation_unlike_onnxruntimes(quantised, inputs, monkeypatch):
    real = module.tensors

    def flawed(executor, program):
        found = real(executor, program)
        name = program.kept[-1].tensor
        found[name] = np.clip(found[name].astype(int) + 2, -128, 127).astype(np.int8)
        return found

    monkeypatch.setattr(module, "tensors", flawed)
    layer, reason = compare(quantised, {"x": inputs}, config=CONFIG).first_wrong
    assert layer.nodes[0] == "dense"
    assert "bytes are more than 0 LSB from onnxruntime's operator on the same inputs" in reason
    assert reason.endswith("up to 2")


def test_the_first_layer_of_little_sqnr(quantised, float_model, inputs):
    flawed = changed(quantised, "Gemm", lambda weights: np.roll(weights, 1, 0))
    found = compare(flawed, {"x": inputs}, config=CONFIG, float_model=float_model)
    layer, reason = found.first_wrong
    assert layer.nodes[0] == "dense"
    assert reason.startswith("its SQNR of ") and reason.endswith(" dB is below 10 dB")
    lenient = compare(flawed, {"x": inputs}, config=CONFIG, float_model=float_model, threshold=-99)
    assert lenient.first_wrong is None


def test_an_input_outside_the_range_it_was_calibrated_for(float_model, calibration, inputs):
    found = compare(float_model, {"x": inputs}, config=CONFIG, calibration={"x": calibration / 100})
    layer, reason = found.first_wrong
    assert (layer.name, layer.operation) == ("x", "input")
    limit = np.abs(calibration).max() / 100
    share = float((np.abs(inputs) > limit).mean())
    assert layer.outside / layer.elements == pytest.approx(share, abs=0.02)
    assert "of its numbers are outside the range that it is quantised to" in reason


def test_noise():
    noise = Noise()
    assert noise.sqnr is None
    noise.add(np.float32([3, 4]), np.float32([3, 4]))
    assert noise.sqnr == math.inf
    noise.add(np.float32([0, 0]), np.float32([0, 0.5]))
    assert noise.sqnr == pytest.approx(20)
    silent = Noise()
    silent.add(np.float32([0]), np.float32([1]))
    assert silent.sqnr == -math.inf and Layer("a", (), "Conv", functional=silent).wrong(10)
    assert Noise(math.nan, 1.0, True).sqnr is None


# The float twin


def qdq(value, scale, zero, name):
    ends = [f"{name}_s", f"{name}_z"]
    nodes = [
        helper.make_node("QuantizeLinear", [value, *ends], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", *ends], [name]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(scale), ends[0]),
        numpy_helper.from_array(np.array(zero), ends[1]),
    ]
    return nodes, constants


def network(nodes, constants, shape, output, dtype=TensorProto.FLOAT, custom=False):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        constants,
    )
    domains = [helper.make_opsetid("", 17)]
    domains += [helper.make_opsetid("com.microsoft", 1)] if custom else []
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def test_the_twin_clips_where_a_range_stands_for_relu():
    nodes, constants = qdq("x", 0.1, np.int8(-128), "y")
    (got,) = run(
        float_twin(network(nodes, constants, [4], "y")), {"x": np.float32([-3, 0.123, 5, 99])}
    )
    np.testing.assert_allclose(got, [0, 0.123, 5, 25.5], rtol=1e-6)


def test_the_twin_moves_and_pads_in_real_numbers():
    before, constants = qdq("x", 0.5, np.uint8(10), "a")
    constants += [
        numpy_helper.from_array(np.array([1, 0]), "pads"),
        numpy_helper.from_array(np.uint8(12), "fill"),
    ]
    pad = helper.make_node("Pad", ["a_q", "pads", "fill"], ["p_q"])
    after = helper.make_node("DequantizeLinear", ["p_q", "a_s", "a_z"], ["p"])
    model = network([before[0], pad, after], constants, [2], "p")
    (got,) = run(float_twin(model), {"x": np.float32([0.6, 1.1])})
    np.testing.assert_allclose(got, [1.0, 0.6, 1.1], rtol=1e-6)


@pytest.mark.parametrize("name", ["QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd"])
def test_the_twin_of_qlinear_operators_is_within_a_step(name):
    rng = np.random.default_rng(11)
    arrays = {
        "xs": np.float32(0.02),
        "xz": np.uint8(120),
        "ys": np.float32(0.05),
        "yz": np.uint8(128),
        "bz": np.int32([5, -9, 40]),
    }
    ends = ["x", "xs", "xz"]
    after, attributes, shape = ["ys", "yz"], {}, [2, 4]
    if name == "QLinearAdd":
        arrays |= {"w": rng.integers(0, 256, (2, 4)).astype(np.uint8)}
        arrays |= {"ws": np.float32(0.01), "wz": np.uint8(99)}
    else:
        sizes = {"QLinearConv": (3, 4, 1, 1), "QGemm": (3, 4)}.get(name, (4, 3))
        count = 3 if name != "QLinearMatMul" else ()
        arrays |= {"w": rng.integers(-127, 128, sizes).astype(np.int8)}
        arrays |= {"ws": rng.uniform(0.004, 0.01, count).astype(np.float32)}
        arrays |= {"wz": np.zeros(count, np.int8)}
    ends += ["w", "ws", "wz"]
    if name == "QLinearConv":
        ends, shape, after = [*ends, "ys", "yz", "bz"], [2, 4, 1, 1], []
    if name == "QGemm":
        ends, attributes = [*ends, "bz"], {"transB": 1}
    domain = "com.microsoft" if name in ("QGemm", "QLinearAdd") else ""
    node = helper.make_node(name, [*ends, *after], ["q"], domain=domain, **attributes)
    last = helper.make_node("DequantizeLinear", ["q", "ys", "yz"], ["y"])
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in arrays.items()]
    model = network([node, last], constants, shape, "y", TensorProto.UINT8, custom=True)
    feeds = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    (got,), (want,) = run(float_twin(model), feeds), run(model, feeds)
    assert np.abs(want - got).max() <= 0.5 * 0.05 * 1.01
    assert np.abs(want - got).max() > 0


@pytest.mark.parametrize("op_type", ["Cast", "BitShift"])
def test_the_twin_refuses_integers_as_such(op_type):
    before, constants = qdq("x", 0.5, np.uint8(10), "a")
    node = helper.make_node(op_type, ["a_q"] * (op_type == "BitShift") + ["a_q"], ["c"])
    with pytest.raises(UnsupportedError, match="it reads or gives integers as such"):
        float_twin(network([before[0], node], constants, [2], "c"))


def test_without_a_twin_there_are_no_float_values(quantised, inputs, monkeypatch):
    def refuse(model):
        raise UnsupportedError("Cast", "c", "no twin")

    monkeypatch.setattr(module, "float_twin", refuse)
    found = compare(quantised, {"x": inputs}, config=CONFIG)
    assert found.reference == "none: Cast node 'c': no twin"
    assert all(layer.functional.sqnr is None for layer in found.layers[1:])
    assert all(layer.lsb == 0 for layer in found.layers[1:])


# Bad input


def test_bad_input(quantised, float_model, inputs):
    with pytest.raises(hpu.HpuError, match=r"is not quantised; give calibration data"):
        compare(float_model, {"x": inputs}, config=CONFIG)
    with pytest.raises(hpu.InputError, match="input 'x' is missing"):
        compare(quantised, {}, config=CONFIG)
    with pytest.raises(hpu.InputError, match=r"must have shape \[n, 3, 6, 6\]"):
        compare(quantised, {"x": inputs[:, :2]}, config=CONFIG)
    with pytest.raises(hpu.InputError, match="device must be one of functional, rtl, not 'tpu'"):
        compare(quantised, {"x": inputs}, device="tpu")


def test_fixed_batches_must_be_whole(fixed, inputs):
    with pytest.raises(hpu.InputError, match=r"must have shape \[2, 3, 6, 6\], not \[5, 3, 6, 6\]"):
        compare(fixed, {"x": inputs}, config=CONFIG)


def test_nothing_on_the_hpu():
    node = helper.make_node("Softmax", ["x_d"], ["y"], name="soft")
    nodes, constants = qdq("x", 0.1, np.int8(0), "x_d")
    model = network([*nodes, node], constants, [1, 4], "y")
    with pytest.raises(hpu.HpuError, match="nothing of the model runs on the HPU, so there is"):
        compare(model, {"x": np.zeros((1, 4), np.float32)}, config=CONFIG)


def test_layers_are_plain_data(quantised, inputs):
    found = compare(quantised, {"x": inputs}, config=CONFIG)
    assert dataclasses.asdict(found.layers[0])["name"] == "x"
