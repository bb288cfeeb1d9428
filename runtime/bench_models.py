"""Figures of the real models in ``../shared/models``: answers, and the functional device's time."""

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hpu.hw.config import by_name
from hpu.runtime.bench_figures import Found, Row, figure
from hpu.runtime.bench_inputs import MODELS, digits, model_inputs, read, rebatched
from hpu.runtime.package import HostModel, Package
from hpu.runtime.session import InferenceSession

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__: list[str] = []

CONFIG = by_name("hai-v1")
_BATCH = 32
#: Runs of which the fastest counts.
_REPEATS = 24
#: Inputs whose answers are compared: all digits, or so many.
_INPUTS = 8 * _BATCH
#: Of them calibrate a float model.
_CALIBRATION = 128
#: Least share of equal answers in percent, least share of MACs, least accuracy on the digits.
_SAME, _MACS, _MNIST = 99.5, 99.0, 98.8


@functools.cache
def _quantised(name: str) -> "onnx.ModelProto":
    """The model, for a batch of 1; a float one quantised."""
    from hpu.runtime.source import read_quantised

    model = read(name)
    data = {model.graph.input[0].name: model_inputs(name, _CALIBRATION)}
    return read_quantised(model, data if name.endswith("fp32") else None)


@functools.cache
def _session(name: str) -> InferenceSession:
    return InferenceSession(rebatched(_quantised(name), _BATCH), config=CONFIG, force_hpu=True)


@functools.cache
def _onnxruntime(name: str, *, quantised: bool = True) -> "onnxruntime.InferenceSession":
    import onnxruntime

    model = rebatched(_quantised(name) if quantised else read(name), _BATCH)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@figure(
    "models_run",
    unit="%",
    bar=f"all: at least {_MACS:g} % of the MACs on the HPU, the same answer as onnxruntime on "
    f"{_SAME:g} % of inputs, MNIST int8 {_MNIST:g} %",
    reached=lambda share: share == 100,
)
def models_run() -> Found:
    """Real models that run on the HPU with onnxruntime's answers."""
    rows = [_model_row(name) for name in MODELS]
    good = [row for row in rows if _is_good(row)]
    return Found(100 * len(good) / len(rows), "; ".join(map(_model_text, rows)), rows=rows)


def _model_row(name: str) -> Row:
    x, arg = _batches(name)
    ours = _answers(_session(name), arg, x)
    theirs = _answers(_onnxruntime(name), arg, x)
    real = _answers(_onnxruntime(name, quantised=False), arg, x)
    row: Row = {
        "model": name,
        "inputs": len(x),
        "macs_on_hpu": _macs_share(_session(name)._source.package(_BATCH)),
        "same": 100 * _same(name, ours, theirs),
        "same_as_float": 100 * _same(name, ours, real),
    }
    if MODELS[name] == "digits":
        labels = digits()[1]
        for key, answers in (("accuracy", ours), ("accuracy_of_file", real)):
            row[key] = 100 * float((answers[: len(labels)].argmax(1) == labels).mean())
    return row


def _batches(name: str) -> tuple[np.ndarray, str]:
    """Inputs, a whole number of batches, and the name of the network's input."""
    x = model_inputs(name, 1000 if MODELS[name] == "digits" else _INPUTS)
    return np.concatenate([x, x[: -len(x) % _BATCH]]), read(name).graph.input[0].name


def _answers(session: Any, name: str, x: np.ndarray) -> np.ndarray:
    parts = [session.run(None, {name: part})[0] for part in np.split(x, len(x) // _BATCH)]
    return np.concatenate(parts).astype(np.float64)


def _same(name: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of inputs with the same class as onnxruntime says.

    Where onnxruntime's largest score stands at several classes, each of them is the same. An
    autoencoder has no classes: its answers are the same when they differ by 1 % of their range.
    """
    if "_ad_" in name:
        difference = np.sqrt(((ours - theirs) ** 2).mean(1))
        return float((difference <= 0.01 * np.ptp(theirs, axis=1)).mean())
    chosen = np.take_along_axis(theirs, ours.argmax(1)[:, None], 1)[:, 0]
    return float((chosen == theirs.max(1)).mean())


def _macs_share(package: Package) -> float:
    """Percent of a network's multiply-accumulates that the HPU does."""
    hpu = sum(program.macs for program in package.programs)
    host = sum(_host_macs(part) for part in package.parts if isinstance(part, HostModel))
    return 100 * hpu / (hpu + host)


def _host_macs(part: HostModel) -> int:
    """Multiply-accumulates of the convolutions and products in a part of the host."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(part.model)).graph
    sizes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    sizes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += math.prod(sizes[node.output[0]]) * math.prod(sizes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += math.prod(sizes[node.output[0]]) * sizes[node.input[0]][-1]
    return total


def _is_good(row: Row) -> bool:
    """Whether a model has what it needs."""
    good = float(row["macs_on_hpu"]) >= _MACS and float(row["same"]) >= _SAME
    return good and float(row.get("accuracy", 100)) >= _MNIST


def _model_text(row: Row) -> str:
    text = f"{row['model']}: {row['macs_on_hpu']:.4g} % of MACs, {row['same']:.1f} % the same"
    if "accuracy" not in row:
        return text
    file = f"the file itself in onnxruntime {row['accuracy_of_file']:.1f} %"
    return f"{text}, accuracy {row['accuracy']:.1f} % ({file})"


@figure(
    "functional_ratio_models",
    unit="times onnxruntime",
    bar="at most 10 times onnxruntime int8's own time, every model, batch 32",
    reached=lambda ratio: ratio <= 10,
)
def functional_ratio_models() -> Found:
    """Functional device over onnxruntime, the real models, side by side: the worst ratio."""
    rows = [_ratio_row(name) for name in MODELS]
    texts = [
        f"{row['model']} {row['ratio']:.1f} ({row['functional_ms']:.1f} ms against "
        f"{row['int8_ms']:.2f} ms)"
        for row in rows
    ]
    peers = [f"{row['model']} {row['float32_ms']:.2f}" for row in rows if "float32_ms" in row]
    return Found(
        max(float(row["ratio"]) for row in rows),
        f"the fastest of {_REPEATS} runs each, in turn, functional in processor time: "
        f"{'; '.join(texts)}",
        f"onnxruntime float32, ms: {', '.join(peers)}",
        rows,
    )


def _ratio_row(name: str) -> Row:
    """The least times: what else the computer does matters less than in a median.

    The functional device has one thread, and its time is that thread's own processor time.
    """
    x, arg = _batches(name)
    feeds = {arg: x[:_BATCH]}
    clocks = {_session(name): time.thread_time, _onnxruntime(name): time.perf_counter}
    if name.endswith("fp32"):
        clocks[_onnxruntime(name, quantised=False)] = time.perf_counter
    times = [[_milliseconds(*pair, feeds) for pair in clocks.items()] for _run in range(_REPEATS)]
    ours, theirs, *real = np.min(times, axis=0).tolist()
    row: Row = {"model": name, "ratio": ours / theirs, "functional_ms": ours, "int8_ms": theirs}
    return row | ({"float32_ms": real[0]} if real else {})


def _milliseconds(session: Any, clock: Callable[[], float], feeds: dict[str, np.ndarray]) -> float:
    started = clock()
    session.run(None, feeds)
    return 1e3 * (clock() - started)
