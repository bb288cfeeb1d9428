"""A public MNIST network against onnxruntime with its default settings."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

import hpu
from examples.mnist.prepare import INPUT, main, network_input
from hpu.cli import cli

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "models" / "mnist_conv_qdq_int8.onnx"
DATA = SHARED / "data" / "mnist_t10k_first1000.npz"
#: Least step of the network's output.
LSB = 63.00735

pytestmark = pytest.mark.skipif(
    not (MODEL.exists() and DATA.exists()), reason=f"{MODEL} or {DATA} is not there"
)


def expected(images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(MODEL)
    return np.concatenate([session.run(None, {INPUT: image[None]})[0] for image in images])


def test_the_first_thousand_digits_by_the_command_line(tmp_path):
    source, target = tmp_path / "x.npz", tmp_path / "y.npz"
    assert CliRunner().invoke(main, [str(DATA), str(source)]).exit_code == 0
    arguments = ["run", str(MODEL), "--input", str(source), "--output", str(target)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    (found,) = np.load(target).values()
    wanted = expected(np.load(source)[INPUT])
    assert found.shape == (1000, 10)
    assert np.abs(found - wanted).max() <= 3 * LSB
    labels = np.load(DATA)["labels"]
    accuracy, reference = ((y.argmax(1) == labels).mean() for y in (found, wanted))
    assert abs(accuracy - reference) <= 0.002
    assert accuracy > 0.98


@pytest.mark.slow
def test_sixteen_digits_on_the_whole_machine_in_rtl():
    images = network_input(np.load(DATA)["images"][:16])
    results = [
        hpu.InferenceSession(MODEL, device=device).run_batches(None, {INPUT: images})[0]
        for device in ("rtl", "functional")
    ]
    np.testing.assert_array_equal(*results)
    assert np.abs(results[0] - expected(images)).max() <= 3 * LSB
