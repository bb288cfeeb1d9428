"""Figures of numbers: bytes that are equal, differences, and the functional device's time."""

import functools
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from hpu.hw.config import by_name
from hpu.runtime.bench_figures import Found, figure
from hpu.runtime.progress import Progress

if TYPE_CHECKING:
    from hpu.runtime.agreement import Bytes, Operators

__all__: list[str] = []

CONFIG = by_name("hai-v1")
#: Images of the demo network that run in RTL.
_IMAGES = 8
#: Random and tie-heavy cases of the requantiser.
_CASES = 10_000_000


@functools.cache
def _demo() -> tuple["Bytes", "Operators", "Operators"]:
    """RTL against functional, and operators: in RTL, and of all images on the functional device."""
    from examples.digits.network import INPUT, held_out, quantised
    from hpu.runtime.agreement import operators, same_bytes, tensors
    from hpu.runtime.execution import Executor
    from hpu.runtime.source import compile_model, import_graph

    def run(device: str, images: np.ndarray) -> tuple[dict[str, np.ndarray], "Operators"]:
        program = compile_model(quantised(), config=CONFIG, batch=len(images), keep=True)
        with Progress() as progress:
            executor = Executor(CONFIG, device, progress)
            executor.run(program, {INPUT: images})
            found = tensors(executor, program)
            executor.close()
        return found, operators(import_graph(quantised(), len(images)), found)

    images = held_out()[0]
    rtl, in_rtl = run("rtl", images[:_IMAGES])
    functional, _same = run("functional", images[:_IMAGES])
    _all, of_all = run("functional", images)
    return same_bytes(rtl, functional), in_rtl, of_all


@figure(
    "bytes_equal",
    unit="%",
    bar="all: RTL = functional; operators of the exact kind = onnxruntime",
    reached=lambda share: share == 100,
)
def bytes_equal() -> Found:
    """Bytes of the demo network's tensors that are equal."""
    devices, in_rtl, of_all = _demo()
    exact = [*in_rtl.exact, *of_all.exact]
    total = devices.total + sum(entry.elements for entry in exact)
    equal = devices.equal + sum(entry.elements - entry.different for entry in exact)
    return Found(
        100 * equal / total,
        f"RTL = functional: {devices} of {_IMAGES} digits; operators equal to onnxruntime: "
        f"{in_rtl.equal}/{len(in_rtl.exact)} in RTL, {of_all.equal}/{len(of_all.exact)} over "
        f"360 digits",
    )


@figure(
    "lsb_other",
    unit="LSB",
    bar="at most 1 LSB, and the same class on at least 359 of 360 images",
    reached=lambda largest: largest <= 1,
)
def lsb_other() -> Found:
    """Largest difference to onnxruntime of operators that are not of the exact kind."""
    from examples.digits.demo import scores

    _devices, in_rtl, of_all = _demo()
    score = scores()
    assert score.same_class >= 359, f"only {score.same_class} of 360 images have the same class"
    different = sum(entry.different for entry in of_all.others)
    elements = sum(entry.elements for entry in of_all.others)
    return Found(
        max(in_rtl.largest, of_all.largest),
        f"{different:,} of {elements:,} bytes of {len(of_all.others)} operators differ; the same "
        f"class as onnxruntime on {score.same_class}/{score.images} images (accuracy: float "
        f"{score.float_model:.2%}, onnxruntime int8 {score.quantised:.2%}, HPU {score.hpu:.2%})",
    )


@figure(
    "requant_exact",
    unit="mismatches",
    bar="0 in at least 10 million",
    reached=lambda mismatches: mismatches == 0,
)
def requant_exact() -> Found:
    """Requantisation in RTL against numpy float32."""
    from hpu.sim.requant_check import run

    cases, mismatches = run(_CASES, seed=1)
    assert cases >= _CASES, f"only {cases} cases were run"
    return Found(mismatches, f"{cases:,} random and tie-heavy cases, seed 1")


@figure(
    "functional_ratio",
    unit="times onnxruntime",
    bar="at most 30 times onnxruntime int8's own time",
    reached=lambda ratio: ratio <= 30,
)
def functional_ratio() -> Found:
    """Functional device over onnxruntime, demo network, batch 360, side by side."""
    import onnxruntime

    from examples.digits.network import INPUT, held_out, quantised
    from hpu.runtime.session import InferenceSession

    feeds = {INPUT: held_out()[0]}
    ours = InferenceSession(quantised(), config=CONFIG)
    theirs = onnxruntime.InferenceSession(
        quantised().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pairs = []
    for _repeat in range(12):
        times = []
        for session in (ours, theirs):
            started = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - started)
        pairs.append(times)
    hpu, ort = np.array(pairs[2:]).T  # the first runs compile and warm up
    return Found(
        statistics.median(hpu / ort),
        f"median of {len(hpu)} pairs: {1e3 * np.median(hpu):.1f} ms against "
        f"{1e3 * np.median(ort):.2f} ms of the same int8 network in onnxruntime, default settings",
    )
