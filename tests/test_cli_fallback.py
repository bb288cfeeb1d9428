"""The command line on networks of which the host runs a part."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from hpu.cli import cli

CONFIG = ["--config", "lab-16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quantised, float_model, inputs):
    """A folder with a network that ends in Softmax, a float one, one of symbolic sizes, inputs."""
    place = tmp_path_factory.mktemp("fallback")
    mixed = onnx.ModelProto()
    mixed.CopyFrom(quantised)
    mixed.graph.node.append(helper.make_node("Softmax", ["y"], ["z"], name="soft"))
    mixed.graph.output[0].name = "z"
    onnx.save(mixed, place / "m.onnx")
    onnx.save(float_model, place / "float.onnx")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "a", "b", "b"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    sizes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(sizes, place / "sizes.onnx")
    np.savez(place / "x.npz", x=inputs)
    return place


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def refuse(*arguments) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


REFUSAL = "Softmax node 'soft': the HPU does not run this operator"


def test_compile_run_profile_and_disassemble(folder, tmp_path, inputs):
    program = tmp_path / "m.hpu"
    report = tmp_path / "r.json"
    command = ["compile", folder / "m.onnx", "-o", program, "--batch", 5, "--report", report]
    text = succeed(*command, *CONFIG)
    assert "soft Softmax host the HPU does not run this operator" in text
    assert "1 part for the host" in text
    described = json.loads(report.read_text())
    assert len(described["programs"]) == 1
    assert any(entry["reason"] for entry in described["placements"])
    target = tmp_path / "y.npz"
    text = succeed("run", program, "--input", folder / "x.npz", "--output", target)
    assert "2 of 19 nodes run on the host" in text
    with np.load(target) as found:
        assert found["z"].shape == (5, 4)
        np.testing.assert_allclose(found["z"].sum(1), 1, rtol=1e-5)
    text = succeed("profile", program, "--json", tmp_path / "p.json", "--html", tmp_path / "p.html")
    assert "soft Softmax host" in text and "inferences per second" in text
    parts = json.loads((tmp_path / "p.json").read_text())["parts"]
    hosts = [part for part in parts if part["runs_on"] == "host"]
    assert ["Softmax" in part["operators"] for part in hosts] == [True] and hosts[0][
        "milliseconds"
    ] > 0
    assert "MATMUL" in succeed("disasm", program)


@pytest.mark.parametrize("verb", ["compile", "run", "profile", "check"])
def test_no_fallback_is_an_error(folder, tmp_path, verb):
    options = {
        "compile": ["-o", tmp_path / "m.hpu"],
        "run": ["--input", folder / "x.npz"],
    }.get(verb, [])
    assert REFUSAL in refuse(verb, folder / "m.onnx", *options, "--no-fallback", *CONFIG)
    assert not list(tmp_path.iterdir())


def test_a_float_model_without_calibration_runs_on_the_host(folder, tmp_path, inputs):
    target = tmp_path / "y.npz"
    command = ["run", folder / "float.onnx", "--input", folder / "x.npz", "--output", target]
    text = succeed(*command, *CONFIG)
    assert "5 of 5 nodes run on the host; nothing runs on the HPU" in text
    assert "give calibration data" in text
    session = onnxruntime.InferenceSession(folder / "float.onnx")
    with np.load(target) as found:
        np.testing.assert_array_equal(found["y"], session.run(None, {"x": inputs})[0])
    text = refuse("profile", folder / "float.onnx", *CONFIG)
    assert "nothing of the network runs on the HPU, so there is nothing to profile" in text


def test_symbolic_dimensions(folder, tmp_path):
    command = ["run", folder / "sizes.onnx", "--input", folder / "x.npz", *CONFIG]
    assert "'a' at place 1; give its size, as --dim a=NUMBER" in refuse(*command)
    assert "float32 [5, 3, 6, 6]" in succeed(*command, "--dim", "a=3", "--dim", "b=6")
    assert "no input has a symbolic dimension 'c'" in refuse(*command, "--dim", "c=3")
    for wrong in ("a", "a=", "=3", "a=0", "a=x"):
        assert "must be NAME=VALUE with a positive" in refuse(*command, "--dim", wrong)
