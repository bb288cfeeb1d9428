"""One network through the whole machine: quantised, compiled, run on both devices, compared.

make demo
python -m examples.digits.demo --images 32 --output build/demo
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from rich.console import Console
from rich.panel import Panel

from examples.digits.network import INPUT, MODEL, accuracy, held_out, quantised
from hpu.compiler.qoperator import export
from hpu.hw.config import by_name
from hpu.runtime.agreement import Bytes, Operators, operators, same_bytes, tensors
from hpu.runtime.cli_tables import attribution_table, profile_table, summary_table, table
from hpu.runtime.execution import Executor
from hpu.runtime.measure import MeasuredNetwork, measure_network
from hpu.runtime.progress import Progress
from hpu.runtime.session import InferenceSession
from hpu.runtime.source import compile_model, import_graph

CONFIG = "hai-v1"
TITLE = "Digits through a small residual network"


@dataclasses.dataclass(frozen=True)
class Scores:
    """Accuracies on the held-out images, and in how many the class is the same."""

    images: int
    float_model: float
    quantised: float
    hpu: float
    same_class: int
    seconds: float


def scores() -> Scores:
    """Run every held-out image with onnxruntime and on the functional device."""
    images, labels = held_out()
    session = InferenceSession(quantised(), config=CONFIG)
    session.run(None, {INPUT: images})  # compiles
    started = time.perf_counter()
    (hpu,) = session.run(None, {INPUT: images})
    seconds = time.perf_counter() - started
    ours = run_onnx(quantised(), images)
    return Scores(
        images=len(images),
        float_model=accuracy(run_onnx(onnx.load(MODEL), images), labels),
        quantised=accuracy(ours, labels),
        hpu=accuracy(hpu, labels),
        same_class=int((hpu.argmax(1) == ours.argmax(1)).sum()),
        seconds=seconds,
    )


def run_onnx(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """onnxruntime's answer with its default settings."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {INPUT: images})[0]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The RTL against the functional device, and its operators and network against onnxruntime."""

    devices: Bytes
    operators: Operators
    network_differences: int


def agreement(images: np.ndarray, progress: Progress) -> Agreement:
    """Run ``images`` on both devices, every intermediate tensor kept, and compare."""
    config = by_name(CONFIG)
    graph = import_graph(quantised(), len(images))
    program = compile_model(quantised(), config=config, batch=len(images), keep=True)
    found, outputs = {}, {}
    for device in ("functional", "rtl"):
        executor = Executor(config, device, progress)
        outputs[device] = executor.run(program, {INPUT: images})
        found[device] = tensors(executor, program)
        executor.close()
    logits = outputs["rtl"][program.outputs[0].name]
    return Agreement(
        devices=same_bytes(found["rtl"], found["functional"]),
        operators=operators(graph, found["rtl"]),
        network_differences=int((run_onnx(export(graph), images) != logits).sum()),
    )


def measured(images: np.ndarray, progress: Progress) -> MeasuredNetwork:
    """Run ``images`` on the RTL and measure."""
    session = InferenceSession(quantised(), device="rtl", config=CONFIG, progress=progress)
    return measure_network(session, {INPUT: images})


def show_scores(console: Console, result: Scores) -> None:
    """Print the accuracies."""
    rows = table("accuracy on the held-out digits", "")
    rows.add_row("float, onnxruntime", f"{result.float_model:.2%}")
    rows.add_row("int8, onnxruntime", f"{result.quantised:.2%}")
    rows.add_row("int8, HPU", f"[bold]{result.hpu:.2%}[/]")
    console.print(rows)
    console.print(
        f"same class as onnxruntime: {result.same_class}/{result.images} images; "
        f"functional device: {1e3 * result.seconds:.0f} ms\n"
    )


def show_agreement(console: Console, result: Agreement, images: int) -> None:
    """Print what agrees with what."""
    compared = result.operators
    console.print(f"[bold]{images} digits on the 256×256 machine in RTL[/], every tensor compared")
    console.print(f"RTL = functional: {result.devices}")
    console.print(f"operators equal to onnxruntime: {compared.equal}/{len(compared.exact)}")
    console.print(
        f"largest difference where equality is not promised: {compared.largest} LSB "
        f"({', '.join('+'.join(entry.nodes) for entry in compared.others)})",
        soft_wrap=True,
    )
    console.print(
        f"logits that differ from onnxruntime's QLinear network: {result.network_differences}\n"
    )


def show_profile(console: Console, result: MeasuredNetwork) -> None:
    """Print cycles, what limits the layers, and what the network takes."""
    profile = result.profile(TITLE)
    (program,) = profile.programs
    for rows in (profile_table(program), attribution_table(program), summary_table(profile)):
        console.print(rows)
        console.print()


def main() -> None:
    """Run the demo; exit status 1 when something that must agree does not."""
    parser = argparse.ArgumentParser(description="The demo network on the 256×256 machine.")
    parser.add_argument("--images", type=int, default=32, help="digits to run in RTL")
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    arguments = parser.parse_args()
    console = Console(highlight=False)
    console.print(Panel("scikit-learn digits: ONNX → int8 → program → 256×256 HPU", expand=False))
    images = held_out()[0][: arguments.images]
    score = scores()
    show_scores(console, score)
    with Progress() as progress:
        agreed = agreement(images, progress)
        timed = measured(images, progress)
    show_agreement(console, agreed, len(images))
    show_profile(console, timed)
    write_files(console, timed, arguments.output)
    raise SystemExit(0 if sound(score, agreed) else 1)


def sound(score: Scores, agreed: Agreement) -> bool:
    """Whether everything that is promised holds."""
    compared = agreed.operators
    return (
        agreed.devices.equal == agreed.devices.total
        and compared.equal == len(compared.exact)
        and compared.largest <= 1
        and score.same_class >= score.images - 1
    )


def write_files(console: Console, result: MeasuredNetwork, folder: Path) -> None:
    """Write the report and the trace."""
    folder.mkdir(parents=True, exist_ok=True)
    report, trace = folder / "report.html", folder / "digits.perfetto-trace"
    result.write(TITLE, html_path=report, trace_path=trace)
    console.print(f"report: [bold]{report}[/]")
    console.print(f"trace:  [bold]{trace}[/] (open it at ui.perfetto.dev)")


if __name__ == "__main__":
    main()
