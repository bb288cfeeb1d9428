"""Float models: quantised, imported, and compared operator by operator."""

import numpy as np
import pytest
from onnx import numpy_helper

from hpu.compiler.errors import ModelError
from hpu.compiler.frontend import import_model
from hpu.compiler.qoperator import export
from hpu.compiler.quantise import quantise
from hpu.compiler.reference import compare


def small_cnn(models, rng, pool="GlobalAveragePool", batch="N", head="Gemm"):
    """Convolutions, max pooling, a residual addition, average pooling, a dense layer."""
    m = models.Maker(rng)

    def array(*shape):
        return m.constant(rng.normal(0, 0.3, shape).astype(np.float32))

    def conv(value, cin, cout, k=3):
        pads = [k // 2] * 4
        return m.node("Conv", value, array(cout, cin, k, k), array(cout), pads=pads)

    value = m.node("Relu", conv(m.input([batch, 1, 8, 8]), 1, 8))
    value = m.node("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    inner = m.node("Relu", conv(value, 8, 8))
    value = m.node("Relu", m.node("Add", value, conv(inner, 8, 8)))
    if pool == "GlobalAveragePool":
        value = m.node(pool, value)
        size = 8
    else:
        value = m.node(pool, value, kernel_shape=[2, 2], strides=[2, 2])
        size = 8 * 2 * 2
    value = m.node("Flatten", value)
    if head == "Gemm":
        value = m.node("Gemm", value, array(10, size), array(10), transB=1, out="logits")
    else:
        value = m.node("MatMul", value, array(size, 10))
        value = m.node("Add", value, array(10), out="logits")
    m.output(value)
    return m.model(17)


@pytest.mark.parametrize("pool", ["GlobalAveragePool", "AveragePool"])
@pytest.mark.parametrize("head", ["Gemm", "MatMul"])
def test_small_cnn(models, naive, pool, head):
    rng = np.random.default_rng(3)
    model = small_cnn(models, rng, pool, head=head)
    samples = rng.random((64, 1, 8, 8), dtype=np.float32)
    for fused in (False, True):
        graph = import_model(model, calibration={"x": samples}, batch=4, fused=fused)
        (host,), (end,) = graph.inputs, graph.outputs
        device = {host.tensor: models.to_device(host, samples[:4])}
        tensors = naive.interpret(graph, device)
        assert not [entry for entry in compare(graph, tensors) if entry.wrong]
        got = models.from_device(end, tensors[end.tensor])
        want = models.run(model, {"x": samples[:4]})[0]
        assert got.shape == want.shape == (4, 10)
        spread = want.max() - want.min()
        assert np.abs(got - want).max() < 0.1 * spread
    assert len(graph.ops) < 9


def test_exported_model_is_read_back(models, naive):
    """The QOperator model of the graph means the same bytes."""
    rng = np.random.default_rng(6)
    samples = rng.random((16, 1, 8, 8), dtype=np.float32)
    graph = import_model(small_cnn(models, rng), calibration={"x": samples})
    again = import_model(export(graph))
    (host,), (end,) = graph.inputs, graph.outputs
    assert (again.inputs[0].name, again.outputs[0].name) == (host.name, end.name)
    value = models.to_device(host, samples[:1])
    one = naive.interpret(graph, {host.tensor: value})[end.tensor]
    two = naive.interpret(again, {again.inputs[0].tensor: value})[again.outputs[0].tensor]
    np.testing.assert_array_equal(one, two)


def test_every_weight_channel_has_its_own_scale(models):
    rng = np.random.default_rng(4)
    graph = import_model(
        small_cnn(models, rng), calibration={"x": rng.random((8, 1, 8, 8), dtype=np.float32)}
    )
    convs = [op for op in graph.ops if hasattr(op, "weight") and op.weight.shape[1:3] == (3, 3)]
    assert all(len(set(op.weight_scale.tolist())) == op.weight.shape[0] for op in convs)


def test_float_model_wants_calibration(models):
    model = small_cnn(models, np.random.default_rng(0))
    with pytest.raises(ModelError, match=r"is not quantised; give calibration data .*'x'"):
        import_model(model)


@pytest.mark.parametrize(
    "samples,text",
    [
        ({"y": np.zeros((2, 1, 8, 8))}, "no samples of the input 'x'"),
        ({"x": np.zeros((2, 1, 9, 8))}, r"have the shape \[2, 1, 9, 8\]; the model takes"),
        ({"x": np.zeros((0, 1, 8, 8))}, r"have the shape \[0, 1, 8, 8\]"),
        ({"x": np.full((2, 1, 8, 8), np.nan)}, "hold NaN or infinity"),
    ],
)
def test_bad_calibration(models, samples, text):
    model = small_cnn(models, np.random.default_rng(0))
    with pytest.raises(ModelError, match=text):
        import_model(model, calibration=samples)


def test_bad_calibration_names_the_symbolic_batch(models):
    model = small_cnn(models, np.random.default_rng(0))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    with pytest.raises(ModelError, match=r"the model takes \[n, 1, 8, 8\], with samples"):
        quantise(model, {"x": np.zeros((2, 1, 9, 8))})


def test_weights_come_from_the_model(models):
    """The quantised weights are the float ones to within half a step."""
    rng = np.random.default_rng(8)
    model = small_cnn(models, rng)
    first = numpy_helper.to_array(model.graph.initializer[0])
    samples = rng.random((8, 1, 8, 8), dtype=np.float32)
    op = import_model(model, calibration={"x": samples}).ops[0]
    real = op.weight.transpose(0, 3, 1, 2) * op.weight_scale[:, None, None, None]
    assert np.abs(real - first).max() <= 0.51 * op.weight_scale.max()


def test_a_model_of_quantised_weights_alone_is_a_float_model(models):
    """Exporters store weights as integers and dequantise them; activations are float."""
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    weights = m.weights((4, 3, 3, 3), 0, "int8", False)
    m.output(m.node("Conv", m.input([1, 3, 6, 6]), m.dq(weights[0], weights[1:])))
    model = m.model(17)
    with pytest.raises(ModelError, match="is not quantised; give calibration data"):
        import_model(model)
    samples = {"x": rng.normal(size=(4, 3, 6, 6)).astype(np.float32)}
    assert [type(op).__name__ for op in import_model(model, calibration=samples).ops] == ["Conv"]
