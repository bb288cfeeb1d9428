"""Figures of whole networks on the cycle model: the TPU v1 workloads, ResNet-50, MobileNetV2."""

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpu.hw.config import Config, by_name
from hpu.runtime.bench_figures import Found, Row, figure
from hpu.runtime.errors import HpuError
from hpu.runtime.program import Program

if TYPE_CHECKING:
    import onnx

__all__ = ["Prediction", "predicted", "roofline_cycles", "scaled"]

CONFIG = by_name("hai-v1")
#: Shares of the roofline in percent: what each workload must reach, and what TPU v1 reached.
_ROOFLINE = {
    "mlp0": (95, 90),
    "mlp1": (95, 85),
    "lstm0": (93, 85),
    "lstm1": (90, 43),
    "cnn0": (95, 93),
    "cnn1": (60, 15),
}
_GIB = 1 << 30


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A benchmark network's program on a machine, and its cycles by the cycle model."""

    program: Program
    config: Config
    batch: int
    cycles: int
    #: Bytes of weights as the network defines them.
    weights: int

    @property
    def useful(self) -> float:
        """The network's multiply-accumulates, in percent of what the array could have done."""
        return 100 * self.program.macs / (self.cycles * self.config.peak_macs)

    @property
    def milliseconds(self) -> float:
        """At the configuration's clock."""
        return 1e3 * self.cycles / self.config.clock_hz

    @property
    def per_image(self) -> float:
        """Cycles of one of the batch."""
        return self.cycles / self.batch


@functools.cache
def predicted(name: str, batch: int, config: Config = CONFIG) -> Prediction:
    """Compile a benchmark network whole for ``config`` and predict its cycles.

    Raises
    ------
    HpuError
        When the HPU does not run all of it.
    """
    from examples.workloads.networks import build
    from hpu.runtime.source import compile_model
    from hpu.sim.cycles import predict

    model = build(name)
    program = compile_model(model, config=config, batch=batch)
    times = predict(program.instructions, config, program_address=program.program_address)
    return Prediction(program, config, batch, times.cycles, _weights(model))


def _weights(model: "onnx.ModelProto") -> int:
    """Bytes of the matrices and kernels among a quantised model's constants."""
    return sum(
        int(np.prod(tensor.dims)) for tensor in model.graph.initializer if len(tensor.dims) > 1
    )


def roofline_cycles(found: Prediction) -> float:
    """Least cycles by the roofline: the array's peak, or the DRAM's bandwidth.

    The bytes are those of the weights and of the activations that no schedule avoids: the
    network's inputs and outputs. (Williams et al., "Roofline", 2009.)
    """
    program, config = found.program, found.config
    ends = sum(int(np.prod(port.shape)) for port in (*program.inputs, *program.outputs))
    transfer = (found.weights + ends) / config.dram_bytes_per_cycle
    return max(program.macs / config.peak_macs, transfer)


@figure(
    "roofline_share",
    unit="of 6 workloads",
    bar="all reach their share: " + ", ".join(f"{n} {bar} %" for n, (bar, _) in _ROOFLINE.items()),
    reached=lambda count: count == len(_ROOFLINE),
)
def roofline_share() -> Found:
    """TPU v1's workloads that reach their share of the roofline."""
    rows = [_roofline_row(name, bar, tpu) for name, (bar, tpu) in _ROOFLINE.items()]
    good = [row for row in rows if float(row["share"] or 0) >= float(row["bar"])]
    texts = [
        f"{row['workload']} {row['share']:.1f} % ({row['cycles']:,} cycles)"
        if row["cycles"]
        else f"{row['workload']} not measured: {row['why']}"
        for row in rows
    ]
    tpus = "/".join(str(tpu) for _bar, tpu in _ROOFLINE.values())
    peers = [f"{row['workload']} {row['float32_ms']:,.1f}/{row['int8_ms']:,.1f}" for row in rows]
    return Found(
        len(good),
        "; ".join(texts),
        f"TPU v1 had {tpus} %; onnxruntime float32/int8, ms: {', '.join(peers)}",
        rows,
    )


def _roofline_row(name: str, bar: int, tpu: int) -> Row:
    from examples.workloads.networks import WORKLOADS
    from hpu.runtime.bench_peers import onnxruntime_times

    batch = WORKLOADS[name].batch
    times = onnxruntime_times(name, batch)
    row: Row = {
        "workload": name,
        "batch": batch,
        "bar": bar,
        "tpu_v1": tpu,
        "float32_ms": times.float32,
        "int8_ms": times.int8,
    }
    try:
        found = predicted(name, batch)
    except HpuError as error:
        return row | {"share": 0.0, "cycles": 0, "why": str(error)}
    least = roofline_cycles(found)
    return row | {
        "share": 100 * least / found.cycles,
        "cycles": found.cycles,
        "roofline_cycles": round(least),
        "macs": found.program.macs,
        "weights": found.weights,
        "useful": found.useful,
        "hpu_ms": found.milliseconds,
    }


@figure(
    "resnet50_b16",
    unit="%",
    bar="at least 60 % of the array's MACs are useful: 105,000 cycles per image or fewer",
    reached=lambda share: share >= 60,
)
def resnet50_b16() -> Found:
    """Useful share of the array's multiply-accumulates on ResNet-50, batch 16."""
    from examples.workloads.networks import build
    from hpu.runtime.bench_peers import onnxruntime_times, scale_sim_cycles
    from hpu.runtime.source import import_graph

    found = predicted("resnet50", 16)
    scale_sim = scale_sim_cycles(import_graph(build("resnet50"), 1), CONFIG)
    times = onnxruntime_times("resnet50", 16)
    return Found(
        found.useful,
        f"{found.per_image:,.0f} cycles per image, {_batch_text(found)}",
        f"SCALE-Sim 3.0.0, same array, weight-stationary: {scale_sim:,} cycles per image; {times}",
        [_row("resnet50", found), {"network": "resnet50", "scale_sim_cycles": scale_sim}],
    )


@figure(
    "mobilenetv2_b8",
    unit="cycles per image",
    bar="at most 60,000",
    reached=lambda cycles: cycles <= 60_000,
)
def mobilenetv2_b8() -> Found:
    """Cycles per image of MobileNetV2, batch 8."""
    from hpu.runtime.bench_peers import onnxruntime_times

    found = predicted("mobilenetv2", 8)
    return Found(
        found.per_image,
        f"{found.useful:.1f} % of the array's MACs useful, {_batch_text(found)}",
        str(onnxruntime_times("mobilenetv2", 8)),
        [_row("mobilenetv2", found)],
    )


def _batch_text(found: Prediction) -> str:
    return (
        f"{found.cycles:,} cycles and {found.milliseconds:.2f} ms for the batch of {found.batch}, "
        f"{found.batch / found.milliseconds * 1e3:,.0f} images a second"
    )


def _row(name: str, found: Prediction) -> Row:
    return {
        "network": name,
        "config": found.config.name,
        "batch": found.batch,
        "cycles": found.cycles,
        "macs": found.program.macs,
        "useful": found.useful,
        "roofline_cycles": round(roofline_cycles(found)),
    }


def scaled(edge: int) -> Config:
    """``hai-v1`` with an array of ``edge`` rows and columns.

    DRAM bandwidth and the port's width scale with the edge, and so do the bytes of every memory,
    a word having as many lanes as the array. Numbers of words, queues and latencies stay.
    """
    share = CONFIG.rows // edge
    return dataclasses.replace(
        CONFIG,
        name=f"hai-v1 at {edge}×{edge}",
        rows=edge,
        cols=edge,
        tile=min(CONFIG.tile, edge),
        group=max(1, CONFIG.group // share),
        axi_bytes=max(4, CONFIG.axi_bytes // share),
        dram_bandwidth=CONFIG.dram_bandwidth // share,
    )


@figure(
    "array_scaling",
    unit="times",
    bar="at least 120 of 256, from 16×16 to 256×256",
    reached=lambda ratio: ratio >= 120,
)
def array_scaling() -> Found:
    """Speed-up of ResNet-50, batch 16, on 256×256 over a 16×16 array that never idles.

    No program is faster on 16×16 than its peak, so this is the least that the speed-up is. What
    both really do is predicted for one image.
    """
    large = predicted("resnet50", 16)
    small = large.program.macs / scaled(16).peak_macs
    runs = [predicted("resnet50", 1, scaled(edge)) for edge in (16, 64)]
    runs.append(predicted("resnet50", 1))
    sizes = [
        f"{found.config.rows}×{found.config.cols} {found.cycles:,} cycles ({found.useful:.1f} % "
        f"useful, {runs[0].cycles / found.cycles:.1f} times)"
        for found in runs
    ]
    return Found(
        small / large.cycles,
        f"at least: 16×16 taken at its peak, {small:,.0f} cycles for the batch of 16, 256×256 as "
        f"predicted, {large.cycles:,}; one image, predicted on each: {', '.join(sizes)}; bandwidth "
        "and bytes of memory scale with the edge",
        "Gemmini's 64×64 runs ResNet-50 3 times as fast as its 16×16; "
        f"here {runs[0].cycles / runs[1].cycles:.1f} times",
        [{**_row("resnet50", found), "edge": found.config.rows} for found in runs],
    )


@figure(
    "compile_time",
    unit="s",
    bar="at most 60 s and 4 GiB",
    reached=lambda seconds: seconds <= 60,
)
def compile_time() -> Found:
    """Seconds of ``hpu compile`` for ResNet-50, batch 16, in a process of its own."""
    import onnx

    from examples.workloads.networks import build

    with tempfile.TemporaryDirectory() as folder:
        model, program = Path(folder, "resnet50.onnx"), Path(folder, "resnet50.hpu")
        onnx.save(build("resnet50"), model)
        words = ["hpu", "compile", str(model), "-o", str(program), "--batch", "16"]
        seconds, memory = _timed([sys.executable, "-m", *words])
        size = program.stat().st_size
    assert memory <= 4 * _GIB, f"it took {memory / _GIB:.2f} GiB, more than 4 GiB"
    return Found(
        seconds,
        f"ResNet-50, batch 16, the whole command: at most {memory / _GIB:.2f} GiB, "
        f"a program of {size / 1e6:.1f} MB",
    )


def _timed(command: list[str]) -> tuple[float, int]:
    """Seconds that a command takes, and the most bytes that it has.

    Raises
    ------
    HpuError
        When it fails.
    """
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise HpuError(f"{' '.join(command[1:4])} ended with status {child.returncode}")
    return time.monotonic() - started, usage.ru_maxrss << 10
