"""The figure of a whole ResNet-50 on the 256×256 machine in RTL."""

import time

import numpy as np

from hpu.runtime.bench_figures import Found, figure
from hpu.runtime.bench_networks import CONFIG, predicted
from hpu.runtime.driver import Driver
from hpu.runtime.execution import open_device
from hpu.runtime.layout import pack, to_device
from hpu.runtime.program import Program
from hpu.runtime.progress import Progress

__all__: list[str] = []


@figure(
    "resnet50_rtl",
    unit="%",
    bar="runs whole; all bytes of its memory equal the functional device's",
    reached=lambda share: share == 100,
)
def resnet50_rtl() -> Found:
    """Bytes of memory that are equal after one image of ResNet-50 on both devices."""
    network = predicted("resnet50", 1)
    program = network.program
    (port,) = program.inputs
    image = np.random.default_rng(0).standard_normal(port.shape, np.float32)
    with Progress() as progress:
        functional, _cycles, _seconds = _memory(program, "functional", image, progress)
        rtl, cycles, seconds = _memory(program, "rtl", image, progress)
    equal = int((functional == rtl).sum())
    error = 100 * (network.cycles / cycles - 1)
    milliseconds = 1e3 * cycles / CONFIG.clock_hz
    return Found(
        100 * equal / len(rtl),
        f"{equal:,} of {len(rtl):,} bytes of memory equal; {cycles:,} cycles, {milliseconds:.3f} "
        f"ms at 700 MHz, in {seconds:,.0f} s of simulation ({cycles / seconds:,.0f} a second); "
        f"the cycle model said {network.cycles:,} ({error:+.2f} %)",
        rows=[{"cycles": cycles, "predicted": network.cycles, "seconds": seconds}],
    )


def _memory(
    program: Program, device: str, image: np.ndarray, progress: Progress
) -> tuple[np.ndarray, int, float]:
    """All memory of the program after it ran, its cycles (in RTL) and seconds."""
    driver = Driver(open_device(device, CONFIG, program.dram_bytes, progress))
    driver.load(program)
    (port,) = program.inputs
    driver.device.write_memory(port.address, pack(to_device(image, port), CONFIG))
    started = time.monotonic()
    cycles = driver.run().cycles
    seconds = time.monotonic() - started
    memory = driver.device.read_memory(0, program.dram_bytes)
    driver.device.close()
    return np.frombuffer(memory, np.uint8), cycles, seconds
