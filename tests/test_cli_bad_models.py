"""Models that cannot be compiled: one sentence that names the node and the cause, and status 2."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from hpu.cli import cli


def network(*, batch=1, height=6, kernel=3, cin=3, quantised=True):
    """QuantizeLinear, Conv, QuantizeLinear, with DequantizeLinear between; or the Conv alone."""
    weights = np.random.default_rng(0).integers(-9, 9, (4, cin, kernel, kernel)).astype(np.int8)
    constants = {"s": np.float32(0.1), "z": np.int8(0), "w": weights}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="quantise"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="x_real"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], name="w_real"),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="conv"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"], name="again"),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"], name="y_real"),
    ]
    if not quantised:
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
        constants = {"w": weights.astype(np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, cin, height, 60])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(model):
    return model.graph.node[3]


def weights(model):
    return model.graph.initializer[2]


def cycle(model):
    conv(model).input[0] = "y"


def newer(model):
    conv(model).op_type = "HardSwish"
    del conv(model).input[1:]
    model.opset_import[0].version = 13


def unknown(model):
    conv(model).op_type = "Convolve"


def twice(model):
    model.graph.node[4].output[0] = "xq"


def twice_constant(model):
    model.graph.initializer.append(weights(model))


def short(model):
    weights(model).raw_data = weights(model).raw_data[:-5]


def other_shape(model):
    weights(model).CopyFrom(numpy_helper.from_array(np.zeros((4, 7, 3, 3), np.int8), "w"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            cycle,
            "QuantizeLinear node 'again' depends on Conv node 'conv', which depends on it: the",
        ),
        (newer, "HardSwish node 'conv' is an operator of opset 14, and the model's opset is 13"),
        (unknown, "Convolve node 'conv' is no operator of ONNX up to opset"),
        (
            twice,
            "QuantizeLinear node 'again' gives 'xq', and so does QuantizeLinear node 'quantise'",
        ),
        (twice_constant, "two initializers of the model have the name 'w'; export the model again"),
        (
            short,
            "'w' of DequantizeLinear node 'w_real' has 103 bytes, and int8 [4, 3, 3, 3] takes 108",
        ),
        (
            other_shape,
            "Conv node 'conv': 1 groups of 7 input channels and 4 output channels do not",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("verb", ["compile", "run", "profile"])
def test_unsound_models(tmp_path, verb, change, text):
    model = network()
    change(model)
    message = refused(tmp_path, model, verb)
    if verb == "compile" or change is not other_shape:
        assert text in message


@pytest.mark.parametrize(
    ("options", "arguments", "text"),
    [
        (
            {"height": "height"},
            (),
            "input 'x' has the symbolic dimension 'height' at place 2; give its size, as --dim",
        ),
        ({"height": "height"}, ("--dim", "h=9"), "no input has a symbolic dimension 'h'; the"),
        ({"height": "height"}, ("--dim", "height=0"), "must be NAME=VALUE with a positive whole"),
        (
            {"height": "height"},
            ("--dim", f"height={10**20}"),
            "dimension 'height' must be a whole number from 1 to 2147483647, not 1",
        ),
        (
            {"height": "height"},
            ("--dim", f"height={2**31 - 1}"),
            "and a tensor has at most 2147483648; give a smaller size",
        ),
        ({"quantised": False}, (), "not quantised; give calibration data"),
        (
            {"height": 60, "kernel": 40, "cin": 16},
            (),
            "Conv node 'conv': it does not fit the unified buffer of 1024 words however",
        ),
    ],
)
def test_models_that_cannot_be_compiled(tmp_path, options, arguments, text):
    assert text in refused(tmp_path, network(**options), "compile", *arguments)


@pytest.mark.parametrize("batch", ["0", "-1", "2.5", "many", "65537"])
def test_batches_that_are_none(tmp_path, batch):
    assert "batch" in refused(tmp_path, network(batch="n"), "compile", "--batch", batch)


def refused(folder, model: onnx.ModelProto, verb: str, *arguments: str) -> str:
    """The sentence with which the verb refuses the model; nothing is written."""
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    np.savez(folder / "x.npz", x=np.zeros((1, 3, 6, 60), np.float32))
    own = {
        "compile": ["-o", folder / "m.hpu"],
        "run": ["--input", folder / "x.npz"],
        "profile": ["--json", folder / "p.json"],
    }[verb]
    command = [verb, path, "--config", "lab-16", *own, *arguments]
    result = CliRunner().invoke(cli, [str(word) for word in command])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert sorted(entry.name for entry in folder.iterdir()) == ["m.onnx", "x.npz"]
    return " ".join(result.stderr.split())
