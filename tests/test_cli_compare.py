"""The command line's ``compare``, and the options with which float models are quantised."""

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from PIL import Image

from hpu.cli import cli

CONFIG = ["--config", "lab-16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quantised, float_model, inputs, calibration):
    """A folder with a quantised and a float network, inputs, and calibration data of all kinds."""
    place = tmp_path_factory.mktemp("compare")
    onnx.save(quantised, place / "m.onnx")
    onnx.save(float_model, place / "float.onnx")
    np.savez(place / "x.npz", x=inputs)
    np.savez(place / "samples.npz", x=calibration)
    np.savez(place / "narrow.npz", x=calibration / 100)
    (place / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(20):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{k}.png")
    return place


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def words(text) -> str:
    return " ".join(text.split())


def compare(folder, model, *options, status=0):
    """Stdout and stderr of a comparison."""
    command = ["compare", folder / model, "--input", folder / "x.npz", *CONFIG, *options]
    result = invoke(*command)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return words(result.stdout), words(result.stderr)


def test_every_layer_is_printed_and_written(folder, tmp_path):
    target = tmp_path / "c.json"
    text, _ = compare(folder, "m.onnx", "--json", target)
    assert "layer operation onnxruntime dB functional dB LSB LSB alone" in text
    assert "5 samples on lab-16; float: the quantised model without rounding" in text
    assert "no layer goes wrong: all agree, none below 10 dB" in text
    described = json.loads(target.read_text())
    assert [layer["operation"] for layer in described["layers"]] == [
        "input",
        "Conv",
        "Pool",
        "Conv",
    ]
    assert described["first_wrong"] is None and described["samples"] == 5
    for layer in described["layers"][1:]:
        assert layer["lsb"] == layer["lsb_alone"] == 0
        assert f"{layer['functional']['sqnr_db']:.1f}" in text


def test_a_wrong_layer_is_named_and_is_the_exit_status(folder):
    text, _ = compare(folder, "m.onnx", "--threshold", "99", status=1)
    assert "first layer that goes wrong: x: its SQNR of" in text
    text, _ = compare(folder, "float.onnx", "--calibrate", folder / "narrow.npz", status=1)
    assert "first layer that goes wrong: x: its SQNR of" in text
    assert "of its numbers are outside the range that it is quantised to" in text


def test_the_float_model_of_a_quantised_one(folder):
    text, _ = compare(folder, "m.onnx", "--float", folder / "float.onnx")
    assert "float: the float model" in text


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_calibration_methods(folder, method):
    options = ["--calibrate", folder / "samples.npz", "--calibration-method", method]
    text, errors = compare(folder, "float.onnx", *options)
    assert "float: the float model" in text and errors == ""


def test_calibration_with_images(folder):
    options = ["--calibrate", folder / "images", "--threshold", "-99"]
    _, errors = compare(folder, "float.onnx", *options)
    assert errors.count("Warning: ") == 1
    assert "Warning: the calibration images are read as numbers from 0 to 1" in errors
    scaled = ["--image-mean", "0.5,0.5,0.5", "--image-std", "0.1"]
    _, errors = compare(folder, "float.onnx", *options, *scaled)
    assert errors == ""


def test_calibration_data_are_never_ignored_in_silence(folder):
    _, errors = compare(folder, "m.onnx", "--calibrate", folder / "samples.npz")
    assert errors == (
        "Warning: the calibration data are not used: the model is quantised already, and keeps "
        "its scales"
    )


@pytest.mark.parametrize(
    "model,options,text",
    [
        ("float.onnx", [], "Error: the model is not quantised; give calibration data (samples of"),
        ("none.onnx", [], "none.onnx does not exist"),
        ("x.npz", [], "x.npz is not an ONNX file"),
        ("m.onnx", ["--float", "f.onnx"], "f.onnx does not exist"),
        ("float.onnx", ["--float", "M"], "the model is float itself; another float model cannot"),
        ("m.onnx", ["--image-mean", "1"], "--image-mean needs --calibrate"),
        ("m.onnx", ["--calibration-method", "entropy"], "--calibration-method needs --calibrate"),
        ("m.onnx", ["--image-std", "a"], "'a' must be numbers with commas between"),
        ("float.onnx", ["--calibrate", "none.npz"], "none.npz cannot be read: No such file"),
        (
            "float.onnx",
            ["--calibrate", "x.npz", "--percentile", "99"],
            "--percentile needs --calibration-method percentile",
        ),
    ],
)
def test_bad_input(folder, tmp_path, model, options, text):
    target = tmp_path / "c.json"
    options = [folder / "float.onnx" if option == "M" else option for option in options]
    _, errors = compare(folder, model, *options, "--json", target, status=2)
    assert text in errors
    assert not target.exists()


def test_a_program_is_refused(folder, tmp_path):
    program = tmp_path / "m.hpu"
    command = ["compile", folder / "m.onnx", "-o", program, "--force-hpu", *CONFIG]
    assert invoke(*command).exit_code == 0
    _, errors = compare(folder, program, status=2)
    assert "is a program; give the ONNX model that it was compiled from" in errors


def test_a_quantised_model_is_written_once_and_used_often(folder, tmp_path):
    target = tmp_path / "int8.onnx"
    options = ["--calibrate", folder / "samples.npz", "--calibration-method", "percentile"]
    result = invoke("quantise", folder / "float.onnx", "-o", target, *options)
    assert result.exit_code == 0, result.output
    assert "int8.onnx: quantised, ranges by percentile" in words(result.stdout)
    kept, _ = compare(folder, target, "--float", folder / "float.onnx")
    anew, _ = compare(folder, "float.onnx", *options)
    assert kept == anew
    result = invoke("quantise", target, "-o", tmp_path / "again.onnx", *options)
    assert result.exit_code == 2 and "int8.onnx is quantised already." in words(result.stderr)
    result = invoke("quantise", folder / "float.onnx", "-o", tmp_path / "none.onnx")
    assert result.exit_code == 2
    assert "give calibration data (samples of 'x') with --calibrate" in words(result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]


def test_a_look_at_a_float_model_says_nothing_of_its_random_sample(folder):
    result = invoke("check", folder / "float.onnx", "--force-hpu", *CONFIG)
    assert result.exit_code == 0 and result.stderr == ""
    assert "conv Conv HPU" in words(result.stdout)
