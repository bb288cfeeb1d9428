"""The ONNX backend: models and single nodes, with symbolic sizes, in part on the host."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hpu
import hpu.backend
from hpu.backend import HpuBackend

CONFIG = "lab-16"


def test_a_quantised_model_runs_on_the_hpu(quantised, inputs):
    prepared = HpuBackend.prepare(quantised, config=CONFIG)
    want = hpu.InferenceSession(quantised, config=CONFIG).run(None, {"x": inputs})[0]
    for feed in ([inputs], {"x": inputs}, inputs):
        np.testing.assert_array_equal(prepared.run(feed)[0], want)
    assert not any(entry.on_host for entry in prepared.placements)


def test_a_model_of_symbolic_sizes_takes_those_of_its_inputs():
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    prepared = hpu.backend.prepare(model)
    for shape in ((2, 3, 4), (1, 5, 2)):
        x = np.ones(shape, np.float32)
        np.testing.assert_array_equal(prepared.run([x])[0], -x)
    assert hpu.backend.run_model(model, [x])[0].shape == (1, 5, 2)


def test_a_node_alone():
    node = helper.make_node("Concat", ["a", "b"], ["y"], axis=0)
    a, b = np.array([1, 2], np.int64), np.array([3], np.int64)
    np.testing.assert_array_equal(hpu.backend.run_node(node, [a, b])[0], [1, 2, 3])
    info = [(np.int64, (3,))]
    found = hpu.backend.run_node(node, [a, b], outputs_info=info, opset_version=13)
    np.testing.assert_array_equal(found[0], [1, 2, 3])


def test_a_model_newer_than_onnxruntime_is_run_in_an_older_opset(float_model, inputs):
    """Its operators have not changed since."""
    model = onnx.ModelProto()
    model.CopyFrom(float_model)
    model.ir_version = onnx.IR_VERSION
    model.opset_import[0].version = onnx.defs.onnx_opset_version()
    want = HpuBackend.run_model(float_model, [inputs])[0]
    np.testing.assert_array_equal(HpuBackend.run_model(model, [inputs])[0], want)


def test_a_model_older_than_the_importer_runs_on_the_host(float_model, inputs):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    prepared = HpuBackend.prepare(model)
    np.testing.assert_array_equal(prepared.run([np.array([-1, 1], np.float32)])[0], [0, 1])
    assert prepared.placements[0].reason == "the model's opset is 6; convert it to opset 7 or later"


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_element_types_that_numpy_does_not_have(name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    x = np.array([0.5, -2, 3], np.float32)
    there = helper.make_node("Cast", ["x"], ["y"], to=helper.np_dtype_to_tensor_dtype(dtype))
    (small,) = hpu.backend.run_node(there, [x], opset_version=21)
    assert small.dtype == dtype
    np.testing.assert_array_equal(small.astype(np.float32), x)
    back = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    np.testing.assert_array_equal(hpu.backend.run_node(back, [small], opset_version=21)[0], x)


def test_devices_and_wrong_inputs(quantised, inputs):
    assert HpuBackend.supports_device("CPU") and HpuBackend.supports_device("CPU:0")
    assert not HpuBackend.supports_device("CUDA")
    assert HpuBackend.is_compatible(quantised)
    with pytest.raises(hpu.InputError, match="device must be 'CPU', not 'CUDA'"):
        HpuBackend.prepare(quantised, "CUDA")
    with pytest.raises(hpu.InputError, match="the model takes 1 inputs, not 2"):
        HpuBackend.run_model(quantised, [inputs, inputs], config=CONFIG)
