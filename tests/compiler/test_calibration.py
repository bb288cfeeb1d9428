"""Calibration data: what is read, how ranges are chosen, and what is said about bad data."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import hpu
from hpu.compiler.calibration import CalibrationSet, Samples
from hpu.compiler.errors import ModelError
from hpu.compiler.frontend import import_model
from hpu.compiler.quantise import quantise
from hpu.runtime.errors import HpuWarning


def model(*shapes, dtype=TensorProto.FLOAT, read=None):
    """Relu of each input (or of the first ``read``); inputs ``x0``, ``x1``, …"""
    names = [f"x{k}" for k in range(len(shapes))]
    nodes = [helper.make_node("Relu", [n], [f"y{n}"], name=f"relu {n}") for n in names[:read]]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, dtype, s) for n, s in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info(f"y{n}", dtype, None) for n in names[:read]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dense(weight, bias, batch="n"):
    """MatMul and Add over [batch, rows of ``weight``]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "b"], ["y"], name="bias"),
    ]
    rows, cols = weight.shape
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, cols])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def fed(network, data, **options):
    """The feeds of calibration data."""
    return list(Samples(network, CalibrationSet(data=data, **options)).feeds())


def remarks(network, data):
    samples = Samples(network, CalibrationSet(data=data))
    list(samples.feeds())
    return list(samples.remarks())


def input_scale(quantised):
    """Scale and zero point of the input ``x``."""
    constants = {t.name: numpy_helper.to_array(t) for t in quantised.graph.initializer}
    node = next(n for n in quantised.graph.node if n.input[0] == "x")
    return float(constants[node.input[1]]), int(constants[node.input[2]])


# What is read


def test_samples_are_fed_in_the_models_batch():
    data = np.arange(24, dtype=np.float32).reshape(8, 3)
    for batch, size in ((4, 4), ("n", 1)):
        feeds = fed(model([batch, 3]), {"x0": data})
        assert all(feed["x0"].shape == (size, 3) for feed in feeds)
        np.testing.assert_array_equal(np.concatenate([feed["x0"] for feed in feeds]), data)


def test_feeds_of_any_size_come_from_an_iterator_once():
    data = np.arange(30, dtype=np.float32).reshape(10, 3)
    seen = []

    def feeds():
        for start, stop in ((0, 1), (1, 7), (7, 10)):
            seen.append(start)
            yield {"x0": data[start:stop]}

    got = fed(model([5, 3]), feeds())
    assert [feed["x0"].shape for feed in got] == [(5, 3), (5, 3)] and seen == [0, 1, 7]
    np.testing.assert_array_equal(np.concatenate([feed["x0"] for feed in got]), data)


def test_an_iterator_quantises_as_its_arrays_do():
    rng = np.random.default_rng(1)
    network = dense(rng.normal(size=(4, 3)).astype(np.float32), np.zeros(3, np.float32))
    data = rng.normal(size=(40, 4)).astype(np.float32)
    whole = quantise(network, {"x": data})
    pieces = quantise(network, ({"x": data[k : k + 8]} for k in range(0, 40, 8)))
    assert whole.SerializeToString() == pieces.SerializeToString()


def test_a_folder_of_arrays(tmp_path):
    rng = np.random.default_rng(2)
    data = rng.normal(size=(6, 3)).astype(np.float32)
    (tmp_path / "b").mkdir()
    np.savez(tmp_path / "a.npz", x0=data[:3])
    np.save(tmp_path / "b" / "one.npy", data[3])  # a sample without a batch axis
    np.save(tmp_path / "b" / "rest.npy", data[4:])
    (tmp_path / "labels.txt").write_text("not read")
    feeds = fed(model([2, 3]), tmp_path)
    np.testing.assert_array_equal(np.concatenate([feed["x0"] for feed in feeds]), data)


@pytest.mark.parametrize(
    "shape,place",
    [
        ([1, 3, 2, 4], lambda rgb: rgb[None, :, None, None] * np.ones((1, 3, 2, 4))),
        ([1, 2, 4, 3], lambda rgb: rgb * np.ones((1, 2, 4, 3))),
    ],
)
def test_images_are_scaled_and_laid_out_as_the_input_is(tmp_path, shape, place):
    colours = [(255, 0, 51), (0, 102, 255)]
    for k, colour in enumerate(colours):
        Image.new("RGB", (9, 7), colour).save(tmp_path / f"{k}.png")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    feeds = fed(model(shape), tmp_path, image_mean=mean, image_std=std)
    assert len(feeds) == 2
    for feed, colour in zip(feeds, colours, strict=True):
        expected = (np.array(colour) / 255 - mean) / std
        assert feed["x0"].dtype == np.float32
        np.testing.assert_allclose(feed["x0"], place(expected), rtol=1e-6)


def test_an_image_is_resized_whole_and_keeps_its_orientation(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4, 4:] = 200  # upper right
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for shape in ([1, 1, 2, 2], [1, 2, 2, 1], [1, 2, 2]):
        with pytest.warns(HpuWarning, match=r"numbers from 0 to 1 \(pixel / 255\); give the mean"):
            (feed,) = fed(model(shape), tmp_path / "a.png")
        image = feed["x0"].reshape(2, 2) * 255
        assert image.argmax() == 1 and image[0, 1] > 140 and image[1, 0] < 10


@pytest.mark.parametrize(
    "shapes,reason",
    [
        ([[1, 640]], r"the model's input 'x0' has the shape \[1, 640\]"),
        ([[1, 3, "h", 4]], r"'x0' has the shape \[1, 3, h, 4\]"),
        ([[1, 5, 4, 4]], r"'x0' has the shape \[1, 5, 4, 4\]"),
        ([[1, 3, 4, 4], [1, 3]], "the model has 2 inputs"),
    ],
)
def test_images_for_an_input_that_takes_none(tmp_path, shapes, reason):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ModelError, match=reason + "; give .npz files instead"):
        fed(model(*shapes), tmp_path, image_std=(1,))


def test_bad_files(tmp_path):
    network = model([1, 3, 4, 4])
    with pytest.raises(ModelError, match=r"folder .* holds no calibration data; put .npz"):
        fed(network, tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ModelError, match=r"a.jpg is no image that can be read, or is damaged"):
        fed(network, tmp_path, image_std=(1,))
    with pytest.raises(hpu.HpuError, match=r"none.npz cannot be read: No such file"):
        fed(network, tmp_path / "none.npz")


@pytest.mark.parametrize(
    "options,text",
    [
        ({"method": "best"}, "must be one of minmax, entropy, percentile, not 'best'"),
        ({"percentile": 30}, "must be over 50 and at most 100, not 30"),
        ({"image_mean": (1, 2)}, r"images' mean must be one number or three, not \[1.0, 2.0\]"),
        ({"image_std": (0,)}, r"standard deviation must be positive, not \[0.0\]"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ModelError, match=text):
        CalibrationSet(data={}, **options)


@pytest.mark.parametrize(
    "data,text",
    [
        ({"y": np.zeros((2, 3))}, "no samples of the input 'x0'; it holds 'y'"),
        (iter(()), "there are no calibration samples"),
        ([{"x0": np.zeros((3, 3))}], "3 calibration samples of 'x0', fewer than the batch of 4"),
        ([np.zeros((4, 3))], "a calibration feed must hold arrays by input name, not be a ndarray"),
        ({"x0": np.full((4, 3), "a")}, "and the type <U1; the model takes"),
    ],
)
def test_bad_samples(data, text):
    with pytest.raises(ModelError, match=text):
        fed(model([4, 3]), data)


def test_inputs_with_different_numbers_of_samples():
    with pytest.raises(ModelError, match="as many calibration samples each, not 4 of 'x0', 2 of"):
        fed(model(["n", 3], ["n", 2]), {"x0": np.zeros((4, 3)), "x1": np.zeros((2, 2))})


def test_data_that_are_no_data():
    with pytest.raises(ModelError, match=r"must be a path, arrays by input name or .* not int"):
        quantise(model([1, 3]), 5)


def test_integer_inputs_keep_their_type():
    (feed, *_rest) = fed(model([1, 3], dtype=TensorProto.INT64), {"x0": np.ones((2, 3), np.int32)})
    assert feed["x0"].dtype == np.int64


# What is said about it


def test_good_samples_give_no_remarks():
    data = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    assert remarks(model([1, 3]), {"x0": data}) == []


@pytest.mark.parametrize(
    "data,text",
    [
        ({"x0": np.random.default_rng(0).random((5, 3))}, "only 5 calibration samples; give 16 or"),
        ({"x0": np.zeros((32, 3))}, "every number in the calibration samples of 'x0' is 0"),
        (
            {"x0": np.tile(np.float32([1, 2, 3]), (32, 1))},
            "all 32 calibration samples of 'x0' are the same",
        ),
        (
            {"x0": np.arange(96, dtype=np.uint8).reshape(32, 3)},
            "'x0' are uint8 from 0 to 95, and are taken as these numbers for an input of float32",
        ),
        (
            {"x0": np.random.default_rng(0).random((32, 3)), "labels": np.zeros(32)},
            "hold 'labels', which is no input of the model",
        ),
    ],
)
def test_remarks(data, text):
    (remark,) = remarks(model([1, 3]), data)
    assert text in remark


def test_remarks_on_unread_inputs_and_samples_left_over():
    rng = np.random.default_rng(0)
    found = remarks(
        model([4, 3], [4, 2], read=1), {"x0": rng.random((34, 3)), "x1": rng.random((34, 2))}
    )
    assert any("no node reads the input 'x1'" in text for text in found)
    assert any("the last 2 calibration samples of 'x0' are not used" in text for text in found)


def test_activations_that_never_change_are_reported():
    weight = np.zeros((4, 3), np.float32)
    data = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    with pytest.warns(HpuWarning, match=r"activations hold one number only .*'y'"):
        quantise(dense(weight, np.ones(3, np.float32)), {"x": data})


def test_activations_that_overflow_are_refused():
    weight = np.full((4, 3), 3e38, np.float32)
    data = np.full((20, 4), 3e38, np.float32) * np.linspace(0.1, 1, 20, dtype=np.float32)[:, None]
    with pytest.raises(ModelError, match=r"the activation .* becomes infinite or not a number"):
        quantise(dense(weight, np.ones(3, np.float32)), {"x": data})


def test_unused_calibration_data_are_reported():
    data = {"x": np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)}
    quantised = quantise(dense(np.eye(4, 3, dtype=np.float32), np.ones(3, np.float32)), data)
    with pytest.warns(HpuWarning, match="not used: the model is quantised already"):
        import_model(quantised, calibration=data)
    with pytest.warns(HpuWarning, match="not used: the model is quantised already"):
        hpu.InferenceSession(quantised, config="lab-16", calibration=data)
    with pytest.warns(HpuWarning, match="not used: the model is quantised already"):
        program = hpu.compile(quantised, config="lab-16", calibration=data, force_hpu=True)
    with pytest.warns(HpuWarning, match="not used: a program is quantised and compiled already"):
        hpu.InferenceSession(program, calibration=data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import_model(quantised)


# How ranges are chosen


def outliers(seed=0):
    """Samples from -1 to 1, but for one number of 100."""
    data = np.random.default_rng(seed).uniform(-1, 1, (64, 64)).astype(np.float32)
    data[5, 7] = 100
    return data


def test_minmax_takes_the_least_and_greatest_value():
    data = np.random.default_rng(4).uniform(-3, 5, (32, 4)).astype(np.float32)
    weight = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    scale, zero = input_scale(quantise(dense(weight, np.zeros(3, np.float32)), {"x": data}))
    assert scale == pytest.approx((data.max() - data.min()) / 255, rel=1e-5)
    assert zero == round(-128 - data.min() / scale)


@pytest.mark.parametrize("method,widest", [("minmax", 101), ("percentile", 3), ("entropy", 60)])
def test_methods_leave_outliers_out(method, widest):
    weight = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)
    given = CalibrationSet(data={"x": outliers()}, method=method, percentile=99.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scale, _zero = input_scale(quantise(dense(weight, np.zeros(3, np.float32)), given))
    width = 255 * scale
    assert 1.9 < width <= widest * 1.01, width
    assert method != "minmax" or width > 100


def test_the_percentile_is_the_users():
    weight = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)
    data = np.random.default_rng(6).normal(size=(64, 64)).astype(np.float32)
    for percentile in (90, 99):
        given = CalibrationSet(data={"x": data}, method="percentile", percentile=percentile)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is left out is what was asked for
            scale, _zero = input_scale(quantise(dense(weight, np.zeros(3, np.float32)), given))
        low, high = np.percentile(data, [(100 - percentile) / 2, (100 + percentile) / 2])
        assert 255 * scale == pytest.approx(high - low, rel=0.02)


def test_ranges_that_leave_much_out_are_reported():
    weight = np.random.default_rng(5).normal(size=(64, 3)).astype(np.float32)
    data = np.where(np.random.default_rng(6).random((64, 64)) < 0.02, 50, outliers() / 100)
    given = CalibrationSet(data={"x": data.astype(np.float32)}, method="entropy")
    with pytest.warns(HpuWarning, match=r"with the method entropy, .* values outside the range"):
        quantise(dense(weight, np.zeros(3, np.float32)), given)


def test_histograms_in_portions_give_the_same_range(monkeypatch):
    import hpu.compiler.calibration_ranges as ranges

    weight = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    data = np.random.default_rng(6).normal(size=(64, 4)).astype(np.float32)
    given = CalibrationSet(data={"x": data}, method="percentile", percentile=99)
    scales = []
    for held in (1 << 29, 1):
        monkeypatch.setattr(ranges, "_HELD_BYTES", held)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scales.append(input_scale(quantise(dense(weight, np.zeros(3, np.float32)), given))[0])
    assert scales[0] == pytest.approx(scales[1], rel=0.05)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1,), ()])
@pytest.mark.parametrize("turned", [0, 1])
def test_dense_layers_are_quantised_per_channel_whatever_their_bias(shape, turned):
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(3, 4) if turned else (4, 3)).astype(np.float32)
    weight *= np.float32([1, 10, 100])[:, None] if turned else np.float32([1, 10, 100])
    bias = rng.normal(size=shape).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense", transB=turned)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = rng.normal(size=(32, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantised = quantise(made, {"x": data})
    (op,) = import_model(quantised).ops
    channels = np.abs(weight).max(1 if turned else 0)
    np.testing.assert_allclose(op.weight_scale, channels / 127, rtol=0.01)


def test_weights_fall_back_to_one_scale_with_a_warning(monkeypatch):
    import hpu.compiler.quantise as module

    real = module.quantize_static

    def refusing(*args, per_channel, **options):
        if per_channel:
            raise ValueError("no channels today")
        return real(*args, per_channel=per_channel, **options)

    monkeypatch.setattr(module, "quantize_static", refusing)
    data = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    with pytest.warns(HpuWarning, match=r"per channel \(no channels today\); .* per tensor"):
        made = quantise(dense(np.eye(4, 3, dtype=np.float32), np.ones(3, np.float32)), {"x": data})
    assert isinstance(made, onnx.ModelProto)
