"""The demo network: its accuracy, and that the demo finds no difference."""

import io

import onnx
import pytest
from rich.console import Console

from examples.digits import demo
from examples.digits.data import HELD_OUT, split
from examples.digits.network import MODEL, held_out
from hpu.runtime.agreement import Bytes, Operators
from hpu.runtime.progress import Progress


def test_the_split_is_fixed_and_complete():
    (training, _labels), (images, labels) = split()
    assert (len(training), len(images)) == (1437, HELD_OUT)
    assert images.shape == (HELD_OUT, 1, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert list(labels[:5]) == [7, 9, 4, 7, 0]


def test_the_model_is_small_and_has_a_symbolic_batch():
    model = onnx.load(MODEL)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert {"Conv", "MaxPool", "Add", "GlobalAveragePool", "Gemm"} <= {
        node.op_type for node in model.graph.node
    }
    assert MODEL.stat().st_size < 200_000


def test_accuracy_on_the_held_out_digits():
    result = demo.scores()
    assert result.images == HELD_OUT
    assert result.float_model >= 0.97
    assert abs(result.hpu - result.quantised) <= 1 / HELD_OUT
    assert result.same_class >= HELD_OUT - 1


def test_what_must_agree_decides_the_exit_status():
    score = demo.scores()
    good = demo.Agreement(Bytes(9, 9), Operators(()), 0)
    assert demo.sound(score, good)
    assert not demo.sound(score, demo.Agreement(Bytes(8, 9, "conv1"), Operators(()), 0))


@pytest.mark.slow
def test_the_demo_on_the_whole_machine_in_rtl(tmp_path):
    images = held_out()[0][:8]
    with Progress() as progress:
        agreed = demo.agreement(images, progress)
        measured = demo.measured(images, progress)
    assert demo.sound(demo.scores(), agreed), agreed
    assert agreed.devices.total > 30_000
    (part,) = measured.programs
    assert part.profile.attributed == 1
    assert sum(node.cycles or 0 for node in part.profile.nodes) == part.profile.cycles
    console = Console(file=io.StringIO(), width=120)
    demo.show_agreement(console, agreed, len(images))
    demo.show_profile(console, measured)
    demo.write_files(console, measured, tmp_path)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "RTL = functional: " in text and "operators equal to onnxruntime: " in text
    assert (tmp_path / "report.html").exists() and (tmp_path / "digits.perfetto-trace").exists()
    assert measured.outputs["logits"].shape == (8, 10)
