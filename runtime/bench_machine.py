"""Figures of the 256×256 machine in RTL: build, speed, attribution, utilisation."""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpu.hw.config import by_name
from hpu.hw.csr import MATRIX_CAUSES
from hpu.runtime.bench_figures import Found, figure
from hpu.runtime.execution import Executor, Run
from hpu.runtime.progress import Progress

__all__: list[str] = []

CONFIG = by_name("hai-v1")
_GIB = 1 << 30


@figure(
    "rtl256_build",
    unit="s",
    bar="at most 180 s and 8 GiB with 2 processes, from nothing",
    reached=lambda seconds: seconds <= 180,
)
def rtl256_build() -> Found:
    """Seconds to build the whole machine with an empty cache."""
    from hpu.sim import rtl

    before = os.environ.get("HPU_CACHE")
    with tempfile.TemporaryDirectory() as folder, Progress() as progress, _PeakMemory() as peak:
        os.environ["HPU_CACHE"] = folder
        try:
            started, worked = time.monotonic(), _processor_seconds()
            built = rtl.build(CONFIG, jobs=2, progress=progress)
            seconds, worked = time.monotonic() - started, _processor_seconds() - worked
        finally:
            _restore("HPU_CACHE", before)
    memory = peak.bytes / _GIB
    detail = (
        f"Verilog {built.verilog_seconds:.0f} s, Verilator {built.verilator_seconds:.0f} s, "
        f"{worked:.0f} s of processor time (a busy machine takes longer)"
    )
    assert memory <= 8, f"the build took {memory:.1f} GiB, more than 8 GiB"
    return Found(seconds, f"{detail}, at most {memory:.2f} GiB of memory in all processes together")


def _processor_seconds() -> float:
    """Processor time of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class _PeakMemory:
    """The most memory that this process and its descendants together had, sampled."""

    def __init__(self, seconds: float = 0.25):
        self._seconds, self._stop = seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            self.bytes = max(self.bytes, _family_memory(os.getpid()))


def _family_memory(root: int) -> int:
    """Resident bytes of a process and its descendants."""
    parents, resident = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            parents[int(entry.name)], resident[int(entry.name)] = int(stat[1]), int(stat[21])
    family = {root}
    while True:
        grown = family | {pid for pid, parent in parents.items() if parent in family}
        if grown == family:
            return sum(resident.get(pid, 0) for pid in family) * os.sysconf("SC_PAGE_SIZE")
        family = grown


@figure(
    "rtl256_speed",
    unit="cycles/s",
    bar="at least 2,500 in one thread",
    reached=lambda speed: speed >= 2500,
)
def rtl256_speed() -> Found:
    """Simulated cycles per second while the array is busy: over the product of ``busy_matmul``.

    Seconds are the thread's own processor time, so that what else the machine does matters less.
    """
    speeds = []
    with _Product() as product:
        for _repeat in range(3):
            started = time.thread_time()
            run = product.multiply()
            speeds.append((run.cycles or 0) / (time.thread_time() - started))
    return Found(
        statistics.median(speeds),
        f"processor time; median of {len(speeds)} runs of an 8192×512×512 product "
        f"({run.cycles:,} cycles each, "
        f"{run.counters['MATRIX_USEFUL'] / (run.cycles or 1):.0%} of them with the whole array at "
        f"work): {', '.join(f'{speed:,.0f}' for speed in speeds)}",
    )


@figure(
    "attributed",
    unit="%",
    bar="100 % of the matrix unit's cycles have a cause",
    reached=lambda share: share == 100,
)
def attributed() -> Found:
    """Share of the demo network's cycles that the causes account for."""
    from examples.digits.network import INPUT, held_out, quantised
    from hpu.runtime.measure import measure
    from hpu.runtime.session import InferenceSession

    with Progress() as progress:
        session = InferenceSession(quantised(), device="rtl", config=CONFIG, progress=progress)
        profile = measure(session, {INPUT: held_out()[0][:8]}).profile
    causes = _causes(profile.attribution or {})
    return Found(
        100 * profile.attributed, f"{profile.cycles:,} cycles of the demo network: {causes}"
    )


def _causes(cycles: Mapping[str, int]) -> str:
    """The matrix unit's cycles by cause, in words."""
    names = {cause.name: cause.name.removeprefix("MATRIX_").lower() for cause in MATRIX_CAUSES}
    return ", ".join(f"{names[name]} {cycles[name]:,}" for name in names if cycles.get(name))


@figure(
    "busy_matmul",
    unit="%",
    bar="at least 90 % of cycles do useful work",
    reached=lambda share: share >= 90,
)
def busy_matmul() -> Found:
    """Useful cycles of an 8192×512×512 product whose operands stand in the unified buffer."""
    with _Product() as product:
        run = product.multiply()
        wrong, results = product.wrong()
    assert wrong == 0, f"{wrong} of {results} results are wrong"
    cycles, useful = run.cycles or 1, run.counters["MATRIX_USEFUL"]
    return Found(
        100 * useful / cycles,
        f"{useful:,} of {cycles:,} cycles ({_causes(run.counters)}); all {results:,} results "
        f"equal numpy's",
    )


class _Product:
    """The 8192×512×512 product on the machine in RTL, its operand in the unified buffer."""

    def __enter__(self) -> "_Product":
        import numpy as np

        from hpu.compiler.kernels import build

        m, k, n = 8192, 512, 512
        self._product = build(CONFIG, m, k, n)
        self._x = np.random.default_rng(1).integers(-128, 128, (m, k)).astype(np.int8)
        self._progress = Progress()
        self._executor = Executor(CONFIG, "rtl", self._progress.__enter__())
        self._executor.run(self._product.prepare, {"x": self._x})
        return self

    def __exit__(self, *error: Any) -> None:
        self._executor.close()
        self._progress.__exit__(*error)

    def multiply(self) -> Run:
        """Run the product alone."""
        return self._executor.measure(self._product.multiply, {})[1]

    def wrong(self) -> tuple[int, int]:
        """Results that differ from numpy's, and all results."""
        found = self._executor.run(self._product.collect, {})["y"]
        return int((found != self._product.expected(self._x)).sum()), found.size
