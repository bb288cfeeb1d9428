"""Networks in parts: run, saved, read back, refused."""

import hashlib

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.qoperator import export
from hpu.runtime import models as sources
from hpu.runtime import package as packages
from hpu.runtime.errors import HpuError, ProgramError
from hpu.runtime.package import Package, load_any
from hpu.runtime.source import import_graph

CONFIG = "lab-16"


@pytest.fixture(scope="module")
def mixed(quantised) -> onnx.ModelProto:
    """The small network with Softmax after it and a branch of integers beside it."""
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    model.graph.node.append(helper.make_node("Softmax", ["y"], ["z"], name="soft"))
    model.graph.node.append(helper.make_node("Neg", ["k"], ["minus"], name="neg"))
    model.graph.input.append(helper.make_tensor_value_info("k", TensorProto.INT64, [2]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
    model.graph.output.append(helper.make_tensor_value_info("minus", TensorProto.INT64, [2]))
    return model


@pytest.fixture(scope="module")
def package(mixed) -> Package:
    return hpu.compile(mixed, config=CONFIG, batch=5)


def expected(quantised, inputs) -> np.ndarray:
    exported = export(import_graph(quantised, len(inputs))).SerializeToString()
    logits = onnxruntime.InferenceSession(exported).run(None, {"x": inputs})[0]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


K = np.array([3, -4])


def test_a_mixed_network_runs_for_any_batch(mixed, quantised, inputs):
    session = hpu.InferenceSession(mixed, config=CONFIG)
    assert [(arg.name, arg.shape, arg.type) for arg in session.get_outputs()] == [
        ("z", ["batch", 4], "tensor(float)"),
        ("minus", [2], "tensor(int64)"),
    ]
    for count in (5, 2):
        z, minus = session.run(None, {"x": inputs[:count], "k": K})
        np.testing.assert_allclose(z, expected(quantised, inputs[:count]), atol=1e-6)
        np.testing.assert_array_equal(minus, -K)
    host = {entry.node for entry in session.placements if entry.on_host}
    assert {"soft", "neg"} <= host
    assert "conv" not in host


def test_a_batch_beyond_the_largest_is_not_cut_when_an_output_has_none(mixed, inputs, monkeypatch):
    monkeypatch.setattr("hpu.runtime.session.MAX_BATCH", 2)
    session = hpu.InferenceSession(mixed, config=CONFIG)
    z, minus = session.run(None, {"x": inputs, "k": K})
    assert z.shape == (5, 4) and minus.shape == (2,)


def test_a_saved_package_gives_the_same(package, mixed, inputs, tmp_path):
    package.save(tmp_path / "m.hpu")
    assert load_any(tmp_path / "m.hpu") == package
    session = hpu.InferenceSession(tmp_path / "m.hpu")
    assert session.config.name == CONFIG
    assert session.placements == package.placements
    feeds = {"x": inputs, "k": K}
    want = hpu.InferenceSession(mixed, config=CONFIG).run(None, feeds)
    for one, other in zip(session.run(None, feeds), want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_model_gives_the_same_bytes(package, mixed, tmp_path):
    for name in ("a", "b"):
        hpu.compile(mixed, config=CONFIG, batch=5).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_fallback_names_the_first_node_and_the_reason(mixed, package, quantised):
    text = "node 'soft': the HPU does not run this operator|node 'neg': the HPU does not run"
    with pytest.raises(hpu.UnsupportedError, match=text):
        hpu.InferenceSession(mixed, config=CONFIG, no_fallback=True)
    with pytest.raises(hpu.UnsupportedError, match=text):
        hpu.InferenceSession(package, no_fallback=True)
    hpu.InferenceSession(quantised, config=CONFIG, no_fallback=True)


def test_a_float_model_runs_on_the_host(float_model, inputs):
    session = hpu.InferenceSession(float_model, config=CONFIG)
    want = onnxruntime.InferenceSession(float_model.SerializeToString()).run(None, {"x": inputs})
    np.testing.assert_array_equal(session.run(None, {"x": inputs})[0], want[0])
    assert all("give calibration data" in entry.reason for entry in session.placements)


def test_a_package_for_another_configuration_is_refused(package, tmp_path):
    package.save(tmp_path / "m.hpu")
    with pytest.raises(ProgramError, match=r"is for configuration 'lab-16' .* not for 'hai-v1'"):
        hpu.InferenceSession(tmp_path / "m.hpu", config="hai-v1")
    with pytest.raises(hpu.HpuError, match="the program is for batch 5, not 3"):
        hpu.InferenceSession(package, batch=3)


def test_damaged_packages_are_refused(package, tmp_path):
    package.save(tmp_path / "m.hpu")
    data = (tmp_path / "m.hpu").read_bytes()
    generator = np.random.default_rng(0)
    for length in generator.integers(0, len(data), 50):
        (tmp_path / "d.hpu").write_bytes(data[:length])
        with pytest.raises(ProgramError, match=r"is truncated|not an HPU program"):
            load_any(tmp_path / "d.hpu")
    for place in generator.integers(0, len(data), 200):
        changed = bytearray(data)
        changed[place] ^= 4
        (tmp_path / "d.hpu").write_bytes(changed)
        with pytest.raises(ProgramError):
            load_any(tmp_path / "d.hpu")
    (tmp_path / "d.hpu").write_bytes(data + b"!")
    with pytest.raises(ProgramError, match="it has 1 bytes too many"):
        load_any(tmp_path / "d.hpu")


def changed(package: Package, **fields) -> Package:
    return msgspec.structs.replace(package, **fields)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: {"inputs": ()}, "nothing gives '(x|k)'"),
        (lambda p: {"parts": p.parts[:1]}, "nothing gives '(z|minus)'"),
        (lambda p: {"config_digest": bytes(32)}, "its parts are for different configurations"),
    ],
)
def test_nonsense_with_a_right_checksum_is_refused(package, tmp_path, change, reason):
    changed(package, **change(package)).save(tmp_path / "p.hpu")
    with pytest.raises(ProgramError, match=reason):
        load_any(tmp_path / "p.hpu")


def test_a_header_of_wrong_fields_is_refused(tmp_path):
    from hpu.runtime.program_file import prefix

    header = msgspec.msgpack.encode({"parts": 3})
    body = prefix(packages.FORMAT_VERSION, header) + header
    (tmp_path / "p.hpu").write_bytes(body + hashlib.sha256(body).digest())
    with pytest.raises(ProgramError, match="its header cannot be read"):
        load_any(tmp_path / "p.hpu")


def test_a_package_is_no_program(package, tmp_path):
    package.save(tmp_path / "p.hpu")
    with pytest.raises(ProgramError, match="a network of which the host runs a part"):
        hpu.load_program(tmp_path / "p.hpu")


def test_a_part_that_onnxruntime_cannot_run(package, inputs):
    parts = tuple(
        msgspec.structs.replace(part, model=b"nonsense") if hasattr(part, "model") else part
        for part in package.parts
    )
    session = hpu.InferenceSession(changed(package, parts=parts))
    with pytest.raises(HpuError, match="onnxruntime cannot run the host's part"):
        session.run(None, {"x": inputs, "k": K})


def external(folder, size: int = 8) -> onnx.ModelProto:
    """A float product whose weights lie in a file of their own."""
    weights = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", size])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(
        model,
        folder / "m.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return model


@pytest.mark.parametrize("largest", [sources.LARGEST, 100])
def test_external_data(tmp_path, monkeypatch, largest):
    """The second time the model counts as one too large to be read whole."""
    external(tmp_path)
    assert (tmp_path / "weights.bin").stat().st_size == 256
    monkeypatch.setattr(sources, "LARGEST", largest)
    x = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    session = hpu.InferenceSession(tmp_path / "m.onnx", config=CONFIG)
    want = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], want[0])
    if largest == 100:
        assert [entry.reason for entry in session.placements] == [sources.TOO_LARGE]
        with pytest.raises(hpu.UnsupportedError, match=r"product.*larger than 2 GiB"):
            hpu.InferenceSession(tmp_path / "m.onnx", no_fallback=True)


def test_external_data_with_calibration(tmp_path):
    external(tmp_path)
    x = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    session = hpu.InferenceSession(tmp_path / "m.onnx", config=CONFIG, calibration={"x": x})
    assert not any(entry.on_host for entry in session.placements)
    assert session.run(None, {"x": x})[0].shape == (3, 8)


def test_symbolic_dimensions_by_name(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "length"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(hpu.ModelError, match="'length' at place 1; give its size, as --dim"):
        hpu.InferenceSession(model)
    session = hpu.InferenceSession(model, dims={"length": 7})
    assert session.get_inputs()[0].shape == ["batch", 7]
    x = np.linspace(-1, 1, 14, dtype=np.float32).reshape(2, 7)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.maximum(x, 0))
    with pytest.raises(hpu.ModelError, match="no input has a symbolic dimension 'height'"):
        hpu.InferenceSession(model, dims={"height": 7})
