"""Recurrent layers written out: the same numbers in float, near them quantised."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hpu.compiler.frontend import import_model
from hpu.compiler.recurrent import MOST_STEPS, unroll
from hpu.compiler.reference import compare
from hpu.runtime.compare import compare as compare_layers

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 6, 8


def layer(
    kind, rng, *, initial=False, bias=True, peepholes=False, opset=14, sizes=None, **attributes
):
    """A model of one recurrent node with all its outputs."""
    steps, batch = sizes or (STEPS, BATCH)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    turned = attributes.get("layout", 0)
    gates, constants, inputs = GATES[kind], {}, ["x"]

    def constant(name, *shape):
        constants[name] = rng.normal(0, 0.4, shape).astype(np.float32)
        return name

    values = [value("x", *((batch, steps) if turned else (steps, batch)), INPUTS)]
    inputs.append(constant("W", directions, gates * HIDDEN, INPUTS))
    inputs.append(constant("R", directions, gates * HIDDEN, HIDDEN))
    inputs.append(constant("B", directions, 2 * gates * HIDDEN) if bias else "")
    inputs.append("")
    if initial:
        first = (batch, directions) if turned else (directions, batch)
        for name in ("h0", "c0") if kind == "LSTM" else ("h0",):
            values.append(value(name, *first, HIDDEN))
            inputs.append(name)
    if peepholes:
        inputs += [""] * (7 - len(inputs))
        inputs.append(constant("P", directions, 3 * HIDDEN))
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(kind, inputs, outputs, name="layer", hidden_size=HIDDEN, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        values,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def feeds_of(model, rng):
    return {
        entry.name: rng.normal(
            0, 1, [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for entry in model.graph.input
    }


VARIANTS = [
    {},
    {"bias": False},
    {"initial": True},
    {"direction": "reverse"},
    {"direction": "bidirectional", "initial": True},
    {"clip": 0.3},
    {"opset": 7},
    {"sizes": (1, 2)},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("kind", GATES)
def test_the_same_numbers(kind, variant):
    same(kind, **variant)


@pytest.mark.parametrize(
    "kind,variant",
    [
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"peepholes": True, "initial": True, "direction": "bidirectional"}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Tanh"]}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"linear_before_reset": 1, "initial": True, "direction": "bidirectional"}),
        ("GRU", {"linear_before_reset": 1, "bias": False}),
        ("RNN", {"activations": ["Relu"]}),
    ],
)
def test_what_one_kind_alone_has(kind, variant):
    same(kind, **variant)


def same(kind, **variant):
    rng = np.random.default_rng(len(kind))
    model = layer(kind, rng, **variant)
    feeds = feeds_of(model, rng)
    want = run(model, feeds)
    assert unroll(model)
    assert kind not in {node.op_type for node in model.graph.node}
    for got, expected in zip(run(model, feeds), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind):
    """onnxruntime has no kernel for it: the twin has its dimensions in the other order."""
    rng = np.random.default_rng(1)
    model = layer(kind, rng, layout=1, direction="bidirectional", initial=True)
    twin = layer(kind, np.random.default_rng(1), direction="bidirectional", initial=True)
    feeds = feeds_of(model, rng)
    want = run(twin, {name: array.swapaxes(0, 1) for name, array in feeds.items()})
    assert unroll(model)
    orders = [(2, 0, 1, 3), (1, 0, 2), (1, 0, 2)]
    for got, expected, order in zip(run(model, feeds), want, orders, strict=False):
        np.testing.assert_allclose(got, expected.transpose(order), rtol=0, atol=2e-6)


def whole_sequences(model, lengths):
    model.graph.node[0].input[4] = "lengths"
    model.graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
    return model


def test_sequences_of_the_whole_length():
    model = layer("LSTM", np.random.default_rng(2))
    assert unroll(whole_sequences(model, [STEPS] * BATCH))


@pytest.mark.parametrize(
    "model",
    [
        whole_sequences(layer("LSTM", np.random.default_rng(2)), [STEPS, 2, STEPS]),
        layer("GRU", np.random.default_rng(2), sizes=(MOST_STEPS + 1, 1)),
        layer("GRU", np.random.default_rng(2), sizes=(None, 1)),
        layer("RNN", np.random.default_rng(2), activations=["ScaledTanh"]),
        layer("RNN", np.random.default_rng(2), activations=["Elu"], activation_alpha=[0.5]),
    ],
)
def test_what_is_left_as_it_is(model):
    before = model.SerializeToString(deterministic=True)
    assert not unroll(model)
    assert model.SerializeToString(deterministic=True) == before


def sqnr(got, want):
    return 10 * np.log10(np.sum(want**2) / np.sum((got - want) ** 2))


@pytest.mark.parametrize(
    "kind,variant,least",
    [
        ("LSTM", {"initial": True}, 28),
        ("LSTM", {"direction": "bidirectional"}, 28),
        ("GRU", {"linear_before_reset": 1}, 28),
        ("GRU", {"direction": "reverse"}, 28),
        ("RNN", {}, 28),
    ],
)
def test_quantised(models, naive, kind, variant, least):
    """Every operation gives onnxruntime's bytes, and the results are near the float model's."""
    rng = np.random.default_rng(3)
    model = layer(kind, rng, **variant)
    samples = [feeds_of(model, rng) for _ in range(32)]
    stacked = {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
    graph = import_model(model, calibration=stacked)
    feeds = samples[0]
    device = {h.tensor: models.to_device(h, feeds[h.name]) for h in graph.inputs}
    tensors = naive.interpret(graph, device)
    assert not [entry for entry in compare(graph, tensors) if entry.wrong]
    for host, want in zip(graph.outputs, run(model, feeds), strict=True):
        got = models.from_device(host, tensors[host.tensor])
        found = sqnr(got, want)

        assert found >= least, f"{host.name}: {found:.1f} dB"


def test_steps_are_compared_with_the_float_layer():
    model = layer("GRU", np.random.default_rng(4))
    samples = {"x": np.random.default_rng(5).normal(size=(80, 3, INPUTS)).astype(np.float32)}
    feeds = {"x": samples["x"][:STEPS]}
    found = compare_layers(model, feeds, config="lab-16", calibration=samples)
    assert found.reference == "the float model"
    steps = [each for each in found.layers if each.nodes and each.nodes[0].startswith("layer/Gemm")]
    assert len(steps) >= 3 * STEPS
