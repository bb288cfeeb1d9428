"""The benchmarks' networks: the published numbers of weights and products, and sane ranges."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from examples.workloads.__main__ import main
from examples.workloads.networks import TPU_V1, WORKLOADS, build, lstm_cell
from examples.workloads.writer import Writer
from hpu.runtime.source import import_graph

#: Weights in millions, and multiply-accumulates of one input in millions.
SIZES = {
    "mlp0": (5 * 2000**2 / 1e6, 20.0),
    "mlp1": (4 * 1118**2 / 1e6, 5.0),
    "lstm0": (24 * 2080 * 1040 / 1e6, 51.9),
    "lstm1": ((36 * 1360 * 680 + 680**2) / 1e6, 33.75),
    "cnn0": (8.106, 2926.3),
    "cnn1": (91.5, 4155.2),
    "resnet50": (25.5, 4089.2),
    "mobilenetv2": (3.47, 300.8),
}


def weights(model):
    return [numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) > 1]


def products(model):
    """Multiply-accumulates of one input, from the shapes that onnx infers."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += math.prod(sizes[node.output[0]]) * math.prod(sizes[node.input[1]][1:])
        elif node.op_type == "Gemm":
            total += math.prod(sizes[node.output[0]]) * sizes[node.input[0]][1]
    return total


def run(model, feeds, outputs=None):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(outputs, feeds)


def random_feeds(model, batch, seed=0):
    random = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.input:
        shape = [batch, *(size.dim_value for size in value.type.tensor_type.shape.dim[1:])]
        std = 0.25 if value.name[0] == "h" else 1
        feeds[value.name] = std * random.standard_normal(shape, np.float32)
    return feeds


@pytest.mark.parametrize("name", WORKLOADS)
def test_published_sizes(name):
    model = build(name)
    onnx.checker.check_model(model)
    found = sum(array.size for array in weights(model)) / 1e6
    assert (found, products(model) / 1e6) == pytest.approx(SIZES[name], rel=0.005)


def test_products_for_each_byte_of_weights_are_those_of_the_paper():
    found = sum(array.size for array in weights(build("cnn0")))
    assert 8 * products(build("cnn0")) / found == pytest.approx(2888, rel=1e-3)
    assert set(TPU_V1) < set(WORKLOADS)


@pytest.mark.parametrize("name", ["mlp1", "cnn0", "mobilenetv2"])
def test_no_tensor_saturates_or_is_flat(name):
    model = build(name)
    quantised = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    feeds = random_feeds(model, 1)
    for output in quantised:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    for output, found in zip(quantised, run(model, feeds, quantised), strict=True):
        assert (found == 255).mean() < 0.05, output
        assert found.std() > 10, output


def test_quantised_network_approximates_the_float_one():
    feeds = random_feeds(build("mlp1"), 16)
    (found,), (real,) = (run(build("mlp1", quantised=q), feeds) for q in (True, False))
    noise = ((found - real) ** 2).mean() / (real**2).mean()
    assert 10 * np.log10(1 / noise) > 25


def test_lstm_cell_is_the_textbooks():
    to = Writer(seed=3, quantised=False)
    x, before = (to.input(name, (5,), std=0.25) for name in ("x", "h0"))
    cell = to.input("c0", (5,))
    hidden, after = lstm_cell(to, x, before, cell)
    to.output(after, "c")
    to.output(hidden, "h")
    model = to.model("cell")
    feeds = random_feeds(model, 3)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    gemms = [n for n in model.graph.node if n.op_type == "Gemm"]
    both = np.concatenate([feeds["x"], feeds["h0"]], 1)
    i, f, o, g = (both @ values[n.input[1]] + values[n.input[2]] for n in gemms)

    def logistic(value):
        return 1 / (1 + np.exp(-value))

    c = logistic(f) * feeds["c0"] + logistic(i) * np.tanh(g)
    found = run(model, feeds)
    np.testing.assert_allclose(found[0], c, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], logistic(o) * np.tanh(c), rtol=1e-5, atol=1e-6)


def test_same_seed_same_model():
    assert build("mlp1") == build("mlp1")
    assert build("mlp1") != build("mlp1", seed=1)


def test_the_hpu_runs_resnet50s_graph():
    graph = import_graph(build("resnet50"), 2)
    assert graph.inputs[0].shape == (2, 3, 224, 224)
    assert graph.outputs[0].shape == (2, 1000)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"workload must be one of mlp0, .*, not 'vgg'"):
        build("vgg")


def test_concat_of_other_ranges_is_refused():
    to = Writer(seed=0)
    with pytest.raises(ValueError, match=r"b must have a's range \(-4.0, 4.0\), not \(-8.0, 8.0\)"):
        to.concat(to.input("a", (4,)), to.input("b", (4,), std=2))


def test_command_writes_a_model(tmp_path):
    result = CliRunner().invoke(main, ["mlp1", "-o", str(tmp_path / "m.onnx"), "--float"])
    assert "mlp1, four dense layers 1118→1118; measured at batch 168" in result.output
    assert onnx.load(tmp_path / "m.onnx") == build("mlp1", quantised=False)
