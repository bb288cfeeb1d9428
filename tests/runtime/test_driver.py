import random

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME, INSTRUCTION_BYTES, Unit
from hpu.runtime.devices import FunctionalDevice, RtlDevice
from hpu.runtime.driver import DeviceFault, Driver
from hpu.runtime.errors import DeviceError, ProgramError

CONFIG = by_name("lab-16")
SEED = random.SystemRandom().randrange(1 << 31)
DRAM_BYTES = 1 << 20


@pytest.fixture(params=[FunctionalDevice, RtlDevice])
def driver(request):
    device = request.param(CONFIG, dram_bytes=DRAM_BYTES)
    yield Driver(device)
    device.close()


def replaced(program, index, **values):
    """The program with fields of one instruction changed."""
    start = index * INSTRUCTION_BYTES
    data = program.instructions[start : start + INSTRUCTION_BYTES]
    entry = next(entry for entry in BY_NAME.values() if int(entry.opcode) == data[0])
    new = entry.encode({**entry.decode(data), **values})
    rest = program.instructions[start + INSTRUCTION_BYTES :]
    return _with(program, program.instructions[:start] + new + rest)


def _with(program, instructions):
    fields = {name: getattr(program, name) for name in program.__struct_fields__}
    return type(program)(**{**fields, "instructions": instructions})


def slow(program):
    """The program with its first LOAD done many times over."""
    quiet = replaced(program, 0, signal=0).instructions[:INSTRUCTION_BYTES]
    return _with(program, 20 * quiet + program.instructions)


def read(driver, made):
    found = driver.read(made.address, made.result.nbytes).view(np.int8)
    return found.reshape(made.result.shape)


@pytest.mark.parametrize("rows", [1, 5, 33])
def test_product(driver, product, rows):
    made = product(CONFIG, rows=rows, seed=SEED)
    driver.load(made.program)
    result = driver.run()
    np.testing.assert_array_equal(read(driver, made), made.result, err_msg=f"seed {SEED}")
    counters = result.counters
    assert counters["MATRIX_USEFUL"] == rows
    assert counters["VECTOR_WORDS"] == counters["LOAD_ROWS"] == counters["STORE_ROWS"] == rows
    assert counters["WEIGHTS_ROWS"] == CONFIG.rows
    assert {counters[f"{name}_COUNT"] for name in BY_NAME} == {1}


def test_runs_again_with_other_data_and_counts_only_its_own_run(driver, product):
    made = product(CONFIG, rows=5, seed=SEED)
    driver.load(made.program)
    first = driver.run().counters
    driver.device.write_memory(made.program.image[0].address, bytes(5 * CONFIG.rows))
    second = driver.run().counters
    assert not read(driver, made).any()
    assert all(first[name] == second[name] for name in csr.FUNCTIONAL_COUNTERS)


def test_illegal_instruction_is_named(driver, product):
    made = product(CONFIG, rows=3, seed=SEED)
    driver.load(replaced(made.program, 3, d_width=0))
    with pytest.raises(DeviceFault, match=r"ILLEGAL_INSTRUCTION at instruction 3: (?i:vector)"):
        driver.run()


def test_address_fault_is_named_and_the_next_program_runs(driver, product):
    made = product(CONFIG, rows=3, seed=SEED)
    driver.load(replaced(made.program, 4, a_base=CONFIG.ub_depth))
    with pytest.raises(DeviceFault, match="ADDRESS at instruction 4") as caught:
        driver.run()
    assert caught.value.cause is csr.FaultCause.ADDRESS
    driver.load(made.program)
    driver.run()
    np.testing.assert_array_equal(read(driver, made), made.result, err_msg=f"seed {SEED}")


def test_missing_token_is_a_deadlock(driver, product):
    made = product(CONFIG, rows=3, seed=SEED)
    driver.load(replaced(made.program, 2, signal=0))
    with pytest.raises(DeviceFault, match="DEADLOCK at instruction 3"):
        driver.run()


def test_memory_beyond_the_device_is_an_axi_fault(driver, product):
    made = product(CONFIG, rows=3, seed=SEED)
    driver.load(replaced(made.program, 0, dram=DRAM_BYTES))
    with pytest.raises(DeviceFault, match="AXI at instruction 0"):
        driver.run()


def test_token_overflow(driver, product):
    made = product(CONFIG, rows=1, seed=SEED)
    load = made.program.instructions[:INSTRUCTION_BYTES]
    driver.load(_with(made.program, 256 * load))
    with pytest.raises(DeviceFault, match="TOKEN_OVERFLOW at instruction 255"):
        driver.run()


def test_program_of_another_configuration_is_refused(driver, product):
    made = product(by_name("hai-v1"), rows=1, seed=SEED)
    with pytest.raises(ProgramError, match="is for configuration 'hai-v1'"):
        driver.load(made.program)


def test_program_too_large_is_refused(driver, product):
    made = product(CONFIG, rows=40000, seed=SEED)
    with pytest.raises(DeviceError, match=r"needs \d+ bytes of memory and the device has 1048576"):
        driver.load(made.program)


def test_nothing_loaded(driver):
    with pytest.raises(DeviceError, match="a program must be loaded before it can run"):
        driver.run()


def test_device_that_is_not_what_it_is_said_to_be():
    device = FunctionalDevice(CONFIG, dram_bytes=4096)
    device.config = by_name("hai-v1")
    with pytest.raises(DeviceError, match="is not of configuration 'hai-v1': DIGEST_LOW is 0x"):
        Driver(device)
    device.read_register = lambda address: 0
    with pytest.raises(DeviceError, match="is not an HPU: MAGIC is 0x0, not 0x48505531"):
        Driver(device)


class TestRtl:
    """What only the Verilated machine has: time, errors of its memory, and events."""

    @pytest.fixture
    def driver(self):
        device = RtlDevice(CONFIG, dram_bytes=DRAM_BYTES)
        yield Driver(device)
        device.close()

    def test_every_matrix_cycle_has_one_cause(self, driver, product):
        driver.load(product(CONFIG, rows=9, seed=SEED).program)
        counters = driver.run().counters
        causes = sum(counters[cause.name] for cause in csr.MATRIX_CAUSES)
        assert causes == counters["CYCLES"]
        assert counters["READ_BEATS"] >= (9 + 16) * 2 + 5 * 16
        assert counters["WRITE_BEATS"] == 9 * 2

    def test_watchdog(self, driver, product):
        made = product(CONFIG, rows=100, seed=SEED)
        driver.load(slow(made.program))
        with pytest.raises(DeviceFault, match="WATCHDOG"):
            driver.run(watchdog_cycles=1000)
        driver.run()
        np.testing.assert_array_equal(read(driver, made), made.result, err_msg=f"seed {SEED}")

    @pytest.mark.parametrize("place", ["program", "input", "output"])
    def test_slave_error(self, driver, product, place):
        made = product(CONFIG, rows=4, seed=SEED)
        start, pc = {
            "program": (2 * INSTRUCTION_BYTES, 2),
            "input": (made.program.image[0].address + 17, 0),
            "output": (made.address + 17, 4),
        }[place]
        driver.device.inject_errors(start, start + 1)
        driver.load(made.program)
        with pytest.raises(DeviceFault, match=f"AXI at instruction {pc}"):
            driver.run()
        driver.device.inject_errors(0, 0)
        driver.run()
        np.testing.assert_array_equal(read(driver, made), made.result, err_msg=f"seed {SEED}")

    def test_events_tell_start_and_end_of_every_instruction(self, driver, product):
        driver.load(product(CONFIG, rows=4, seed=SEED).program)
        driver.device.record_events(True)
        cycles = driver.run().cycles
        events = driver.device.take_events()
        units = [Unit.LOAD, Unit.WEIGHTS, Unit.MATRIX, Unit.VECTOR, Unit.STORE]
        found = {
            (int(event["unit"]), int(event["pc"]), int(event["end"])): int(event["cycle"])
            for event in events
        }
        expected = {(int(unit), pc, end) for pc, unit in enumerate(units) for end in (0, 1)}
        assert len(events) == 10 and set(found) == expected
        assert all(found[unit, pc, 0] < found[unit, pc, 1] for unit, pc, _ in expected)
        assert max(found.values()) <= cycles + 20
        assert not len(driver.device.take_events())

    def test_progress_reports_cycles(self, driver, product):
        driver.load(slow(product(CONFIG, rows=100, seed=SEED).program))
        reports = []
        driver.run(progress=reports.append)
        assert reports == sorted(reports) and reports[-1] > 2000

    def test_timeout(self, driver, product):
        driver.load(slow(product(CONFIG, rows=100, seed=SEED).program))
        with pytest.raises(DeviceError, match="did not end within 0 seconds"):
            driver.run(timeout=0)
