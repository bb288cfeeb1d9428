"""What other tools make of the same networks: onnxruntime on this processor, SCALE-Sim."""

import csv
import dataclasses
import functools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hpu.compiler import ir
from hpu.hw.config import Config
from hpu.runtime.errors import HpuError

__all__ = ["Times", "onnxruntime_times", "scale_sim_cycles"]

#: SCALE-Sim needs an older numpy than this project, hence an environment of its own.
_SCALE_SIM = ("scalesim==3.0.0", "numpy<2")
_FOLDER = Path("build/scalesim")
_RUN = """import sys
from scalesim.scale_sim import scalesim
scalesim(True, False, "machine.cfg", "layers.csv", "layout.csv").run_scale(top_path=".")
"""


@dataclasses.dataclass(frozen=True)
class Times:
    """Milliseconds of one run in onnxruntime, medians; ``threads`` that it had."""

    float32: float
    int8: float
    threads: int

    def __str__(self) -> str:
        return (
            f"onnxruntime on this processor, {self.threads} threads: "
            f"float32 {self.float32:,.1f} ms, int8 {self.int8:,.1f} ms"
        )


@functools.cache
def onnxruntime_times(name: str, batch: int, repeats: int = 5) -> Times:
    """Times of a benchmark network in float32 and quantised, default settings but the threads."""
    from examples.workloads.networks import build

    threads = os.cpu_count() or 1
    found = [
        _median(build(name, quantised=quantised).SerializeToString(), batch, threads, repeats)
        for quantised in (False, True)
    ]
    return Times(found[0], found[1], threads)


def _median(model: bytes, batch: int, threads: int, repeats: int) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feeds = {
        value.name: random.standard_normal([batch, *value.shape[1:]], np.float32)
        for value in session.get_inputs()
    }
    times = []
    for _repeat in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - started)
    return 1e3 * statistics.median(times[1:])


def scale_sim_cycles(graph: ir.Graph, config: Config) -> int:
    """Cycles that SCALE-Sim 3.0.0 predicts for one image on a weight-stationary array.

    Every convolution and dense layer of ``graph`` with its shapes, padding included; an array of
    ``config``'s size, its unified buffer divided between inputs, weights and results, and no limit
    of bandwidth ("CALC").

    Raises
    ------
    HpuError
        When SCALE-Sim cannot be installed or does not run.
    """
    python = _scale_sim().absolute()
    run = _FOLDER / f"{config.rows}x{config.cols}"
    run.mkdir(parents=True, exist_ok=True)
    convs = [op for op in graph.ops if isinstance(op, ir.Conv)]
    (run / "machine.cfg").write_text(_machine(config))
    (run / "layers.csv").write_text(_table(_LAYER_HEAD, map(_layer, convs)))
    (run / "layout.csv").write_text(_table("Layer name,", ([1] * 20 for _conv in convs)))
    _call([python, "-c", _RUN], run)
    with (run / "hpu" / "COMPUTE_REPORT.csv").open() as file:
        return sum(int(row[" Total Cycles"]) for row in csv.DictReader(file))


def _scale_sim() -> Path:
    """The Python that has SCALE-Sim."""
    venv = _FOLDER / "venv"
    python = venv / "bin" / "python"
    ready = venv / ".ready"
    if not ready.exists():
        _call([sys.executable, "-m", "venv", venv.absolute()], Path())
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _call([python.absolute(), *install, *_SCALE_SIM], Path())
        ready.touch()
    return python


def _call(command: Sequence[str | Path], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise HpuError(f"{' '.join(map(str, command[:3]))} failed: {last}")


_LAYER_HEAD = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Strides,"
)


def _layer(op: ir.Conv) -> list[int]:
    _n, rows, cols, channels = op.x.shape
    units, kernel_rows, kernel_cols, _per_group = op.weight.shape
    top, left, bottom, right = op.pads
    padded = [rows + top + bottom, cols + left + right]
    return [*padded, kernel_rows, kernel_cols, channels, units, op.strides[0]]


def _table(head: str, rows: Iterable[Sequence[int]]) -> str:
    lines = [f"layer{k}, {', '.join(map(str, row))}," for k, row in enumerate(rows)]
    return "\n".join([head, *lines, ""])


def _machine(config: Config) -> str:
    third = config.ub_depth * config.lanes // 3 >> 10
    sections: dict[str, dict[str, object]] = {
        "general": {"run_name": "hpu"},
        "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": False},
        "architecture_presets": {
            "ArrayHeight": config.rows,
            "ArrayWidth": config.cols,
            "ifmapsramszkB": third,
            "filtersramszkB": third,
            "ofmapsramszkB": third,
            "IfmapOffset": 0,
            "FilterOffset": 10_000_000,
            "OfmapOffset": 20_000_000,
            "Dataflow": "ws",
            "ReadRequestBuffer": config.axi_bytes,
            "WriteRequestBuffer": config.axi_bytes,
        },
        "layout": {"IfmapCustomLayout": False, "FilterCustomLayout": False, **_BANKS},
        "sparsity": {"SparsitySupport": False},
    }
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for name, entries in sections.items()
    )


#: SCALE-Sim reads these in any case; without a custom layout they mean nothing.
_BANKS = {
    f"{which}SRAMBank{what}": value
    for which in ("Ifmap", "Filter")
    for what, value in (("Bandwidth", 10), ("Num", 10), ("Port", 2))
}
