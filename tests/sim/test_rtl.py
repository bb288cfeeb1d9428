import dataclasses
import random

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.config import by_name
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.errors import DeviceError
from hpu.sim import rtl
from hpu.sim.functional import Machine
from hpu.sim.random_program import random_program
from hpu.sim.verilator import BuildError

LAB = by_name("lab-16")
#: Beats and bursts, and arrays that are not square.
SHAPES = {
    "lab-16": LAB,
    "wide": dataclasses.replace(LAB, name="wide", rows=8, cols=24, axi_bytes=4, queue_depth=3),
    "tall": dataclasses.replace(
        LAB, name="tall", rows=32, cols=8, axi_bytes=16, burst_beats=4, weight_tiles=2
    ),
}
SEED = random.SystemRandom().randrange(1 << 31)
#: Quick tests leave the others out.
QUICK = {"lab-16"}
PROGRAMS = 30


def compare(device, machine, seed, length):
    """Run one random program on RTL and functional machine; compare memory and counters."""
    config = machine.config
    program = random_program(config, seed, length)
    for memory in (device.memory, machine.dram):
        memory[:] = 0
        memory[: len(program.dram)] = program.dram
    outcome = machine.run(program.program_address, program.count)
    assert outcome.cause is csr.FaultCause.NONE, f"{config.name}, seed {seed}: {outcome}"
    before = counters(device)
    start(device, program.program_address, program.count)
    status = csr.bits("STATUS", device.read_register(csr.address("STATUS")))
    assert status["done"], f"{config.name}, seed {seed}: {status}"
    assert np.array_equal(device.memory, machine.dram), f"{config.name}, seed {seed}"
    gained = {name: value - before[name] for name, value in counters(device).items()}
    for name in csr.FUNCTIONAL_COUNTERS:
        assert gained[name] == outcome.counters[name], f"{name}, {config.name}, seed {seed}"
    assert sum(gained[cause.name] for cause in csr.MATRIX_CAUSES) == gained["CYCLES"]


def start(device, address, count):
    values = {"IRQ_ENABLE": 1, "PROGRAM_LOW": address, "PROGRAM_COUNT": count}
    values |= {"WATCHDOG": 1000, "CONTROL": csr.pack("CONTROL", start=1, clear_irq=1)}
    for name, value in values.items():
        device.write_register(csr.address(name), value)
    device.run(1 << 24)


def counters(device):
    device.write_register(csr.address("CONTROL"), csr.pack("CONTROL", snapshot=1))
    found = {}
    for counter in csr.COUNTERS:
        address = csr.counter_address(counter.name)
        high = device.read_register(address + 4)
        found[counter.name] = high << 32 | device.read_register(address)
    return found


def simulation(config, dram_bytes, *, bytes_per_cycle=None, latency=None):
    made = rtl.Simulation(
        rtl.build(config).library,
        dram_bytes=dram_bytes,
        bytes_per_cycle=bytes_per_cycle or config.dram_bytes_per_cycle,
        latency=latency or config.dram_latency,
    )
    made.dram_bytes = dram_bytes
    return made


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SHAPES]
)
@pytest.mark.parametrize("latency, share", [(None, 1.0), (1, 4.0), (150, 0.2)])
def test_random_programs_equal_functional(name, latency, share):
    config = SHAPES[name]
    rate = share * config.dram_bytes_per_cycle
    size = max(len(random_program(config, SEED, length).dram) for length in (10, 80)) + (1 << 16)
    device = simulation(config, size, bytes_per_cycle=rate, latency=latency)
    machine = Machine(config, size)
    for index in range(PROGRAMS):
        compare(device, machine, SEED + index, (10, 40, 80)[index % 3])
    device.close()


class TestMemoryModel:
    """Latency and bandwidth seen from a program that only loads."""

    @staticmethod
    def cycles(product, *, bytes_per_cycle, latency, rows=120):
        made = product(LAB, rows=rows, seed=SEED)
        config = dataclasses.replace(
            LAB,
            dram_bandwidth=int(bytes_per_cycle * LAB.clock_hz),
            dram_latency=latency,
        )
        device = RtlDevice(LAB, dram_bytes=1 << 20)
        device._simulation = rtl.Simulation(
            rtl.build(LAB).library,
            dram_bytes=1 << 20,
            bytes_per_cycle=config.dram_bytes_per_cycle,
            latency=config.dram_latency,
        )
        driver = Driver(device)
        driver.load(made.program)
        result = driver.run()
        assert np.array_equal(
            driver.read(made.address, made.result.nbytes), made.result.view(np.uint8).ravel()
        )
        device.close()
        beats = result.counters["READ_BEATS"] + result.counters["WRITE_BEATS"]
        return result.cycles, beats

    def test_bandwidth_bounds_the_time(self, product):
        slow, beats = self.cycles(product, bytes_per_cycle=2, latency=5)
        assert slow >= beats * LAB.axi_bytes / 2
        fast, beats = self.cycles(product, bytes_per_cycle=8, latency=5)
        assert beats <= fast < slow / 2

    def test_latency_is_paid_once_per_dependent_access(self, product):
        short, _ = self.cycles(product, bytes_per_cycle=8, latency=5, rows=1)
        long, _ = self.cycles(product, bytes_per_cycle=8, latency=205, rows=1)
        # Fetch, load and the response of the store follow each other; a part may be hidden.
        assert 2.5 * 200 <= long - short <= 4 * 200


def test_memory_takes_no_room_until_touched_and_may_be_large():
    device = simulation(LAB, 1 << 32)
    assert len(device.memory) == 1 << 32
    device.memory[-1] = 7
    assert device.memory[-1] == 7
    device.close()
    device.close()


def test_register_that_does_not_exist():
    device = simulation(LAB, 4096)
    with pytest.raises(DeviceError, match="the device answered register 0x3c with SLVERR"):
        device.read_register(0x3C)


def test_instances_are_independent(product):
    made = product(LAB, rows=5, seed=SEED)
    drivers = [Driver(RtlDevice(LAB, dram_bytes=1 << 20)) for _ in range(2)]
    for driver in drivers:
        driver.load(made.program)
    drivers[0].run()
    assert drivers[1].read(made.address, made.result.nbytes).any() == np.False_
    drivers[1].run()
    for driver in drivers:
        found = driver.read(made.address, made.result.nbytes).view(np.int8)
        assert np.array_equal(found, made.result.ravel()), f"seed {SEED}"


def test_waveforms_without_a_trace_build_are_refused(tmp_path):
    device = simulation(LAB, 4096)
    with pytest.raises(RuntimeError, match="no waveforms can be written"):
        device.start_trace(tmp_path / "x.fst")


def test_missing_trace_header_is_named_with_its_package(monkeypatch):
    def fail(command, *, cwd):
        raise BuildError("fatal error")

    monkeypatch.setattr(rtl.verilator, "run", fail)
    with pytest.raises(BuildError, match=r"lz4\.h must be installed .*apt-get install liblz4-dev"):
        rtl.build(LAB, trace=True)
