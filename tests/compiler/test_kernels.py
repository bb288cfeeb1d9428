"""Products whose operands stay in the unified buffer."""

import numpy as np
import pytest

from hpu.compiler import kernels
from hpu.hw.config import by_name
from hpu.hw.csr import FaultCause
from hpu.runtime.layout import pack, unpack
from hpu.sim import races
from hpu.sim.functional import Machine


def multiply(product, config, x):
    """y by the three programs, and the counters of ``multiply``."""
    programs = (product.prepare, product.multiply, product.collect)
    machine = Machine(config, max(program.dram_bytes for program in programs))
    (port,) = product.prepare.inputs
    pieces = [(port.address, pack(x.reshape(port.shape4), config).tobytes())]
    counters = []
    for program in programs:
        races.check(program.instructions, config)
        pieces += [(segment.address, segment.data) for segment in program.image]
        pieces.append((program.program_address, program.instructions))
        for address, data in pieces:
            machine.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)
        outcome = machine.run(program.program_address, program.instruction_count)
        assert outcome.cause == FaultCause.NONE
        counters.append(outcome.counters)
        pieces = []
    (port,) = product.collect.outputs
    y = unpack(machine.dram[port.address :], port.shape4, config).reshape(port.shape)
    return y, counters[1]


@pytest.mark.parametrize(
    ("config", "m", "k", "n"), [("lab-16", 200, 40, 24), ("hai-v1", 8192, 512, 512)]
)
def test_product(config, m, k, n):
    config = by_name(config)
    x = np.random.default_rng(0).integers(-128, 128, (m, k)).astype(np.int8)
    product = kernels.build(config, m, k, n)
    y, counters = multiply(product, config, x)
    assert (y == product.expected(x)).all()
    tiles = -(-k // config.rows) * -(-n // config.cols)
    assert counters["MATRIX_USEFUL"] == m * tiles
    assert counters["LOAD_ROWS"] == 8 * -(-n // config.cols), "only parameters are loaded"
    assert counters["STORE_COUNT"] == 0


def test_refuses_operands_beyond_the_buffer():
    with pytest.raises(ValueError, match="must fit the unified buffer of 1024 words, not 900x"):
        kernels.build(by_name("lab-16"), 900, 16, 16)
