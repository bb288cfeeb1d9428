"""Sessions: like onnxruntime's, on the functional device."""

import numpy as np
import onnxruntime
import pytest

import hpu
from hpu.compiler.qoperator import export
from hpu.runtime import session as sessions
from hpu.runtime.source import import_graph

CONFIG = "lab-16"


def reference(model, batch: int, x: np.ndarray) -> np.ndarray:
    """onnxruntime on the QLinear operators that the model spells."""
    exported = export(import_graph(model, batch)).SerializeToString()
    return onnxruntime.InferenceSession(exported).run(None, {"x": x})[0]


def test_the_same_as_onnxruntime_for_any_batch(quantised, inputs):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    for count in (1, 5, 2):
        x = inputs[:count]
        (found,) = session.run(None, {"x": x})
        np.testing.assert_array_equal(found, reference(quantised, count, x))


def test_describes_inputs_and_outputs(quantised):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.shape, x.type) == ("x", ["batch", 3, 6, 6], "tensor(float)")
    assert (y.name, y.shape, y.type) == ("y", ["batch", 4], "tensor(float)")
    bound = hpu.InferenceSession(quantised, config=CONFIG, batch=3).get_inputs()[0]
    assert bound.shape == [3, 3, 6, 6]


def test_a_program_is_compiled_once_for_a_batch(quantised, inputs, monkeypatch):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    session.run(None, {"x": inputs})
    monkeypatch.setattr("hpu.runtime.source.compile_model", None)
    session.run(["y"], {"x": inputs})


def test_large_batches_are_run_in_parts(quantised, inputs, monkeypatch):
    whole = hpu.InferenceSession(quantised, config=CONFIG).run(None, {"x": inputs})[0]
    monkeypatch.setattr(sessions, "MAX_BATCH", 2)
    parts = hpu.InferenceSession(quantised, config=CONFIG).run(None, {"x": inputs})[0]
    np.testing.assert_array_equal(parts, whole)


def test_a_fixed_batch_is_run_batch_after_batch(fixed, inputs):
    session = hpu.InferenceSession(fixed, config=CONFIG)
    steps = []
    session = hpu.InferenceSession(fixed, config=CONFIG, progress=lambda *step: steps.append(step))
    (found,) = session.run_batches(None, {"x": inputs[:4]})
    one, two = (session.run(None, {"x": part})[0] for part in (inputs[:2], inputs[2:4]))
    np.testing.assert_array_equal(found, np.concatenate([one, two]))
    assert steps == [("running", 1, 2), ("running", 2, 2)]
    with pytest.raises(hpu.InputError, match=r"must have shape \[2, 3, 6, 6\], not \[5, 3, 6, 6\]"):
        session.run_batches(None, {"x": inputs})


def test_a_saved_program_gives_the_same(quantised, inputs, tmp_path):
    program = hpu.compile(quantised, config=CONFIG, batch=5)
    program.save(tmp_path / "small.hpu")
    session = hpu.InferenceSession(tmp_path / "small.hpu")
    (found,) = session.run(None, {"x": inputs})
    np.testing.assert_array_equal(found, reference(quantised, 5, inputs))
    assert session.config.name == CONFIG


def test_the_host_is_timed_beside(quantised, inputs, tmp_path):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    assert 0 < session.host_milliseconds({"x": inputs}) < 1000
    hpu.compile(quantised, config=CONFIG, batch=5).save(tmp_path / "small.hpu")
    program = hpu.InferenceSession(tmp_path / "small.hpu")
    assert program.host_milliseconds({"x": inputs}) is None


def test_a_float_model_is_quantised(float_model, quantised, inputs, calibration):
    session = hpu.InferenceSession(float_model, config=CONFIG, calibration={"x": calibration})
    (found,) = session.run(None, {"x": inputs})
    np.testing.assert_array_equal(found, reference(quantised, 5, inputs))


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({}, r"input 'x' is missing; it is float32 of shape \[batch, 3, 6, 6\]"),
        ({"z": np.zeros(1)}, "input 'z' is unknown; the inputs are: x"),
        ({"x": np.zeros((1, 3, 6, 6))}, "input 'x' must be float32, not float64"),
        ({"x": np.zeros((1, 3, 6), np.float32)}, r"must have shape .* not \[1, 3, 6\]"),
        ({"x": np.zeros((1, 3, 6, 7), np.float32)}, r"must have shape .* not \[1, 3, 6, 7\]"),
        ({"x": np.zeros((0, 3, 6, 6), np.float32)}, r"must have shape .* not \[0, 3, 6, 6\]"),
        ({"x": [[1], [1, 2]]}, "input 'x' must be an array; its rows differ"),
        ([1], "feeds must be a dictionary of arrays, not list"),
    ],
)
def test_wrong_feeds_are_refused(quantised, feeds, text):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    with pytest.raises(hpu.InputError, match=text):
        session.run(None, feeds)


def test_wrong_names_are_refused(quantised, inputs):
    session = hpu.InferenceSession(quantised, config=CONFIG)
    with pytest.raises(hpu.InputError, match="output 'z' is unknown; the outputs are: y"):
        session.run(["z"], {"x": inputs})
    with pytest.raises(hpu.InputError, match="one of functional, rtl, fpga, not 'gpu'"):
        hpu.InferenceSession(quantised, device="gpu")
    with pytest.raises(hpu.HpuError, match=r"configuration must be one of hai-v1, .*, not 'x'"):
        hpu.InferenceSession(quantised, config="x")
    with pytest.raises(hpu.HpuError, match="batch must be a whole number from 1 to 65536, not 0"):
        hpu.InferenceSession(quantised, batch=0)


def test_a_program_for_another_batch_or_configuration_is_refused(quantised):
    program = hpu.compile(quantised, config=CONFIG, batch=5)
    with pytest.raises(hpu.HpuError, match="the program is for batch 5, not 3"):
        hpu.InferenceSession(program, batch=3)
    with pytest.raises(hpu.ProgramError, match="not for 'hai-v1'"):
        hpu.InferenceSession(program, config="hai-v1")


def test_missing_and_damaged_models(tmp_path, float_model):
    with pytest.raises(hpu.ModelError, match=r"none\.onnx does not exist"):
        hpu.InferenceSession(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08garbage")
    with pytest.raises(hpu.ModelError, match="is not an ONNX file, or is damaged"):
        hpu.InferenceSession(tmp_path / "bad.onnx")
    text = "the model is not quantised; give calibration data"
    with pytest.raises(hpu.ModelError, match=text):
        hpu.InferenceSession(float_model, no_fallback=True)
    with pytest.raises(hpu.HpuError, match=f"nothing of the model runs on the HPU .{text}"):
        hpu.compile(float_model)
