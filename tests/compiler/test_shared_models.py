"""Real networks, when the folder ``shared`` lies next to the repository."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.compiler.qoperator import export
from hpu.compiler.reference import compare

SHARED = Path(__file__).resolve().parents[3] / "shared"
LOGITS = {
    "mlperf_tiny_ic_resnet8_int8": "Softmax",
    "mlperf_tiny_kws_int8": "Softmax",
    "mlperf_tiny_vww_int8": "Softmax",
    "mobilenet_v1_025_128_uint8": "Softmax",
    "mlperf_tiny_ad_int8": None,
    "mnist_conv_qdq_int8": None,
}

pytestmark = pytest.mark.skipif(
    not (SHARED / "models").is_dir(), reason="the folder ../shared with real models is not there"
)


def before(model, op_type):
    """The quantised value that the only node of ``op_type`` reads dequantised."""
    node = next(node for node in model.graph.node if node.op_type == op_type)
    return next(n.input[0] for n in model.graph.node if n.output[0] == node.input[0])


@pytest.mark.parametrize("name,tail", LOGITS.items())
def test_every_operator_is_onnxruntimes(models, naive, name, tail):
    path = SHARED / "models" / f"{name}.onnx"
    model = onnx.load(path)
    outputs = [before(model, tail)] if tail else None
    rng = np.random.default_rng(0)
    for fused in (False, True):
        graph = import_model(path, outputs=outputs, fused=fused)
        (host,) = graph.inputs
        value = models.random_input(host, rng)
        tensors = naive.interpret(graph, {host.tensor: models.to_device(host, value)})
        compared = compare(graph, tensors)
        assert len(compared) == len(graph.ops)
        assert not [entry for entry in compared if entry.wrong]
        if all(entry.different == 0 for entry in compared):
            (end,) = graph.outputs
            want = models.run(export(graph), {host.name: value})[0]
            np.testing.assert_array_equal(models.from_device(end, tensors[end.tensor]), want)


@pytest.mark.parametrize("name", [name for name, tail in LOGITS.items() if tail])
def test_softmax_at_the_end_is_refused_and_the_way_round_it_named(name):
    path = SHARED / "models" / f"{name}.onnx"
    with pytest.raises(
        UnsupportedError, match=r"Softmax node .* does not run this operator"
    ) as error:
        import_model(path)
    assert before(onnx.load(path), "Softmax") in str(error.value)


def test_mnist_predictions(models, naive):
    data = np.load(SHARED / "data" / "mnist_t10k_first1000.npz")
    path = SHARED / "models" / "mnist_conv_qdq_int8.onnx"
    graph = import_model(path)
    (host,), (end,) = graph.inputs, graph.outputs
    right = 0
    for image, label in zip(data["images"][:50], data["labels"], strict=False):
        value = image.astype(np.float32)[None, None]  # this file wants 0 ... 255
        device = {host.tensor: models.to_device(host, value)}
        got = models.from_device(end, naive.interpret(graph, device)[end.tensor])
        want = models.run(onnx.load(path), {host.name: value}, optimised=True)[0]
        assert got.argmax() == want.argmax() or np.abs(got - want).max() <= 3 * end.scale
        right += got.argmax() == label
    assert right >= 48
