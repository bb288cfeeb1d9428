"""The command line: every verb, and every user's error in one sentence with exit status 2."""

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from hpu.cli import cli

CONFIG = ["--config", "lab-16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quantised, float_model, inputs, calibration):
    """A folder with models, inputs and a program."""
    place = tmp_path_factory.mktemp("cli")
    onnx.save(quantised, place / "m.onnx")
    onnx.save(float_model, place / "float.onnx")
    np.savez(place / "x.npz", x=inputs)
    np.save(place / "x.npy", inputs)
    np.savez(place / "samples.npz", x=calibration)
    succeed("compile", place / "m.onnx", "-o", place / "m.hpu", "--batch", 5, *CONFIG)
    return place


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*arguments) -> str:
    """The error's text: one sentence on stderr, nothing on stdout, status 2, no traceback."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_help_has_examples_and_every_verb():
    text = succeed("--help")
    for verb in (
        "check",
        "compile",
        "run",
        "quantise",
        "compare",
        "profile",
        "asm",
        "disasm",
        "rtl",
    ):
        assert f"  {verb} " in text
        assert "Example" in succeed(verb, "--help") or verb == "rtl"


def test_compile_run_and_the_exported_model_agree(folder, tmp_path, inputs):
    exported = tmp_path / "q.onnx"
    text = succeed(
        *("compile", folder / "m.onnx", "-o", tmp_path / "m.hpu", "--batch", 5, *CONFIG),
        *("--report", tmp_path / "r.json", "--export-qoperator", exported),
    )
    assert "conv" in text and "instructions" in text
    assert json.loads((tmp_path / "r.json").read_text())["macs"] > 0
    succeed("run", tmp_path / "m.hpu", "--input", folder / "x.npz", "--output", tmp_path / "y.npz")
    (expected,) = onnxruntime.InferenceSession(exported).run(None, {"x": inputs})
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], expected)


def test_run_compiles_a_model_and_takes_one_array(folder, tmp_path):
    for source in ("x.npz", "x.npy"):
        target = tmp_path / f"{source}.npz"
        succeed("run", folder / "m.onnx", "--input", folder / source, "--output", target, *CONFIG)
        assert np.load(target)["y"].shape == (5, 4)


def test_run_quantises_a_float_model(folder):
    text = succeed(
        *("run", folder / "float.onnx", "--input", folder / "x.npz"),
        *("--calibrate", folder / "samples.npz", *CONFIG),
    )
    assert "float32  [5, 4]" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("compile", "m.hpu", "-o", "o.hpu"),
            "m.hpu is a program already; give the ONNX model that",
        ),
        (("check", "m.hpu"), "m.hpu is a program; give the ONNX model that it was made of"),
        (
            ("run", "m.hpu", "--input", "x.npz", "--dim", "n=3"),
            "--dim has no meaning for a program",
        ),
        (("profile", "m.hpu", "--dim", "n=3"), "compile the model again with --dim."),
        (("profile", "m.hpu", "--force-hpu"), "--force-hpu has no meaning for a program, which is"),
    ],
)
def test_what_makes_no_sense_for_a_program(folder, tmp_path, monkeypatch, arguments, text):
    monkeypatch.chdir(folder)
    assert text in refuse(*arguments)
    assert not (folder / "o.hpu").exists()


def test_profile_writes_its_files(folder, tmp_path):
    text = succeed(
        *("profile", folder / "m.hpu", "--json", tmp_path / "p.json"),
        *("--html", tmp_path / "p.html", "--trace", tmp_path / "p.trace"),
    )
    assert "(predicted)" in text and "inferences per second" in text and "limited by" in text
    (found,) = json.loads((tmp_path / "p.json").read_text())["parts"]
    assert found["config"] == "lab-16" and found["predicted"] and found["cycles"] > 0
    assert (tmp_path / "p.trace").stat().st_size > 1000
    assert "<html" in (tmp_path / "p.html").read_text()


def test_assembler_and_disassembler_are_inverse(folder, tmp_path):
    text = succeed("disasm", folder / "m.hpu")
    (tmp_path / "p.s").write_text(text)
    succeed("asm", tmp_path / "p.s", "-o", tmp_path / "p.bin", *CONFIG)
    assert succeed("disasm", tmp_path / "p.bin") == text


def test_check_says_what_runs(folder, tmp_path, quantised):
    text = succeed("check", folder / "m.onnx", *CONFIG)
    assert "nodes run on lab-16" in text
    assert re.search(r"the HPU's region: at most .* µs against .* µs on the config", text)
    assert "all 5 nodes run" in " ".join(succeed("check", folder / "float.onnx", *CONFIG).split())
    strange = onnx.ModelProto()
    strange.CopyFrom(quantised)
    strange.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["z"], name="strange"))
    strange.graph.output[0].name = "z"
    onnx.save(strange, tmp_path / "m.onnx")
    text = " ".join(succeed("check", tmp_path / "m.onnx", *CONFIG).split())
    assert "strange Softmax host the HPU does not run this operator" in text
    assert "17 of 19 nodes run on lab-16, 2 on the host" in text
    result = invoke("check", tmp_path / "m.onnx", "--no-fallback", *CONFIG)
    assert result.exit_code == 2
    assert "Softmax node 'strange': the HPU does not run" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["compile", "none.onnx", "-o", "out"], "none.onnx does not exist"),
        (["compile", "x.npz", "-o", "out"], "is not an ONNX file, or is damaged"),
        (["compile", "float.onnx", "-o", "out"], "the model is not quantised; give calibration"),
        (["compile", "m.onnx", "-o", "out", "--config", "x"], "must be one of hai-v1, lab-16"),
        (["compile", "m.onnx", "-o", "out", "--batch", "0"], "0 is not in the range x>=1"),
        (["compile", "m.onnx", "-o", "none/out"], "none/out cannot be written: No such file"),
        (["run", "m.hpu", "--input", "none.npz"], "none.npz cannot be read: No such file"),
        (["run", "m.hpu", "--input", "m.onnx"], "is not an .npz or .npy file"),
        (["run", "m.hpu", "--input", "samples.npz"], "must have shape [5, 3, 6, 6], not [16, 3"),
        (["run", "m.hpu", "--input", "x.npz", "--config", "hai-v1"], "is for configuration"),
        (["run", "m.hpu", "--input", "x.npz", "--device", "gpu"], "'gpu' is not one of"),
        (["run", "none.hpu", "--input", "x.npz"], "none.hpu does not exist"),
        (["asm", "none.s", "-o", "out"], "none.s cannot be read: No such file"),
        (["asm", "m.hpu", "-o", "out"], "m.hpu is not text"),
        (["asm", "bad.s", "-o", "out"], "bad.s"),
        (["asm", "empty.s", "-o", "out"], "empty.s holds no instructions."),
        (["disasm", "none.bin"], "none.bin cannot be read: No such file"),
        (["disasm", "m.onnx"], "is neither a program file nor whole instructions"),
        (["disasm", "zero.bin"], "zero.bin"),
        (["run", "torn.hpu", "--input", "x.npz"], "torn.hpu is not an ONNX file, and no undamaged"),
        (["check", "x.npz"], "is not an ONNX file, or is damaged"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_users_errors_are_one_sentence(folder, monkeypatch, arguments, text):
    monkeypatch.chdir(folder)
    (folder / "bad.s").write_text("JUMP n_count=1\n")
    (folder / "empty.s").write_text("# nothing\n")
    (folder / "zero.bin").write_bytes(bytes(128))
    (folder / "torn.hpu").write_bytes(b"x" + (folder / "m.hpu").read_bytes()[1:])
    before = sorted(folder.iterdir())
    assert text in refuse(*arguments)
    assert sorted(folder.iterdir()) == before


def test_a_damaged_program_is_refused(folder, tmp_path):
    data = bytearray((folder / "m.hpu").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.hpu").write_bytes(data)
    text = refuse("run", tmp_path / "m.hpu", "--input", folder / "x.npz")
    assert "is damaged (its checksum does not agree); compile the model again." in text


def test_an_input_without_samples_is_refused(folder, tmp_path, inputs):
    np.savez(tmp_path / "x.npz", x=inputs[:0])
    text = refuse("run", folder / "m.hpu", "--input", tmp_path / "x.npz")
    assert "input 'x' must have shape [5, 3, 6, 6], not [0, 3, 6, 6]." in text


def test_lines_stay_whole_in_a_pipe(folder, tmp_path):
    deep = tmp_path / ("deep" * 12) / ("deeper" * 6)
    deep.mkdir(parents=True)
    text = succeed("compile", folder / "m.onnx", "-o", deep / "m.hpu", *CONFIG)
    last = text.splitlines()[-1]
    assert "m.hpu: " in last and last.endswith("for lab-16")


def test_a_wrong_name_lists_the_right_ones(folder, tmp_path, inputs):
    np.savez(tmp_path / "z.npz", z=inputs)
    text = refuse("run", folder / "m.hpu", "--input", tmp_path / "z.npz")
    assert "input 'z' is unknown; the inputs are: x." in text


def test_the_command_starts_quickly_and_shows_no_traceback(folder):
    """The installed module, in a process of its own."""
    command = [sys.executable, "-X", "importtime", "-m", "hpu", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "hpu, version" in result.stdout
    for heavy in ("numpy", "onnx", "amaranth", "rich"):
        assert f"| {heavy}\n" not in result.stderr
    command = [sys.executable, "-m", "hpu", "run", "none.hpu", "--input", "x"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
