"""Every real network through the command line, when the folder ``shared`` lies next to us."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from hpu.cli import cli

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
NAMES = [
    "mlperf_tiny_ad_fp32",
    "mlperf_tiny_ad_int8",
    "mlperf_tiny_ic_resnet8_int8",
    "mlperf_tiny_kws_fp32",
    "mlperf_tiny_kws_int8",
    "mlperf_tiny_vww_fp32",
    "mlperf_tiny_vww_int8",
    "mnist_conv_fp32",
    "mnist_conv_qdq_int8",
    "mobilenet_v1_025_128_uint8",
]

pytestmark = pytest.mark.skipif(
    not MODELS.is_dir(), reason="the folder ../shared with real models is not there"
)


def random_input(arg, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    shape = [size if isinstance(size, int) else 1 for size in arg.shape]
    if arg.type == "tensor(float)":
        return generator.uniform(0, 255, shape).astype(np.float32)
    dtype = np.dtype(arg.type[7:-1])
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_gives_onnxruntimes_answer(name, tmp_path):
    path = MODELS / f"{name}.onnx"
    session = onnxruntime.InferenceSession(path)
    (arg,) = session.get_inputs()
    x = random_input(arg, 0)
    np.savez(tmp_path / "x.npz", **{arg.name: x})
    command = ["run", path, "--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz"]
    result = CliRunner().invoke(cli, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "y.npz") as found:
        for end, want in zip(session.get_outputs(), session.run(None, {arg.name: x}), strict=True):
            steps = 3 if want.dtype != np.float32 else 0  # fused and unfused rounding differ
            tolerance = {"rtol": 1e-3, "atol": max(steps, 1e-3 * float(np.abs(want).max()))}
            difference = np.abs(found[end.name].astype(float) - want.astype(float))
            assert found[end.name].dtype == want.dtype
            np.testing.assert_allclose(difference, 0, **tolerance)
    if name.endswith("int8"):
        assert "nothing runs on the HPU" not in result.stdout
    else:
        assert ("give calibration data" in " ".join(result.stdout.split())) == ("fp32" in name)
