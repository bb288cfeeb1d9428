"""The whole machine at 256×256, built as the demo builds it."""

import random

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.config import by_name
from hpu.runtime.devices import FunctionalDevice, RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.program import Program
from hpu.sim.random_program import random_program

CONFIG = by_name("hai-v1")
SEED = random.SystemRandom().randrange(1 << 31)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def drivers():
    """The functional and the Verilated machine, with memories of one size."""
    devices = [device(CONFIG, dram_bytes=1 << 27) for device in (FunctionalDevice, RtlDevice)]
    yield [Driver(device) for device in devices]
    for device in devices:
        device.close()


def test_product_of_full_tiles(drivers, product):
    made = product(CONFIG, rows=300, seed=SEED)
    for driver in drivers:
        driver.load(made.program)
        result = driver.run()
        found = driver.read(made.address, made.result.nbytes).view(np.int8)
        assert np.array_equal(found, made.result.ravel()), f"seed {SEED}"
        assert result.counters["MATRIX_USEFUL"] == 300
    causes = sum(result.counters[cause.name] for cause in csr.MATRIX_CAUSES)
    assert causes == result.counters["CYCLES"]


@pytest.mark.parametrize("index", range(3))
def test_random_program_equals_functional(drivers, index):
    drawn = random_program(CONFIG, SEED + index, 30)
    program = Program(
        config_name=CONFIG.name,
        config_digest=CONFIG.digest(),
        instructions=drawn.instructions,
        program_address=drawn.program_address,
        image=(),
        dram_bytes=len(drawn.dram),
        inputs=(),
        outputs=(),
        nodes=(),
    )
    results, memories = [], []
    for driver in drivers:
        driver.device.write_memory(0, drawn.dram)
        driver.load(program)
        results.append(driver.run().counters)
        memories.append(driver.device.read_memory(0, driver.device.dram_bytes))
    assert memories[0] == memories[1], f"seed {SEED + index}"
    for name in csr.FUNCTIONAL_COUNTERS:
        assert results[0][name] == results[1][name], f"{name}, seed {SEED + index}"
