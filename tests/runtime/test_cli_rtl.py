import subprocess
import sys

from hpu.hw.config import CONFIGS, by_name
from hpu.sim import rtl


def hpu(*words):
    command = [sys.executable, "-m", "hpu", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_build_names_the_library_it_made_or_found():
    done = hpu("rtl", "build", "--config", "lab-16")
    assert done.returncode == 0, done.stderr
    assert str(rtl.build(by_name("lab-16")).library) in done.stdout


def test_unknown_configuration():
    done = hpu("rtl", "build", "--config", "nope")
    assert done.returncode == 2
    known = ", ".join(CONFIGS)
    assert f"configuration must be one of {known}, not 'nope'" in done.stderr
    assert "Traceback" not in done.stderr


def test_wave_of_a_file_that_does_not_exist(tmp_path):
    output = tmp_path / "out.fst"
    done = hpu("rtl", "wave", "no.onnx", "--input", "no.npz", "-o", str(output))
    assert done.returncode == 2
    assert "no.onnx" in done.stderr and "Traceback" not in done.stderr
    assert not output.exists()
