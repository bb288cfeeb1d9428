import random

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.config import by_name
from hpu.runtime.devices import FunctionalDevice, RtlDevice
from hpu.runtime.errors import DeviceError, HpuError

CONFIG = by_name("lab-16")
SEED = random.SystemRandom().randrange(1 << 31)
DRAM_BYTES = 1 << 20


@pytest.fixture(params=[FunctionalDevice, RtlDevice])
def device(request):
    made = request.param(CONFIG, dram_bytes=DRAM_BYTES)
    yield made
    made.close()


def test_identity(device):
    assert device.read_register(csr.address("MAGIC")) == csr.MAGIC
    assert device.read_register(csr.address("VERSION")) == csr.VERSION
    low = device.read_register(csr.address("DIGEST_LOW"))
    high = device.read_register(csr.address("DIGEST_HIGH"))
    assert (low | high << 32).to_bytes(8, "little") == CONFIG.digest()[:8]


@pytest.mark.parametrize("register", csr.REGISTERS, ids=lambda register: register.name)
def test_register_takes_what_its_table_says(device, register):
    value = random.Random(f"{SEED} {register.name}").randrange(1 << 32)
    if register.access is csr.Access.READ_WRITE:
        bits = csr.bits(register.name, value)
        device.write_register(register.address, value)
        expected = csr.pack(register.name, **bits) if bits else value
        assert device.read_register(register.address) == expected, f"seed {SEED}"
    elif register.access is csr.Access.READ:
        before = device.read_register(register.address)
        with pytest.raises(DeviceError, match=f"register {register.address:#x} with SLVERR"):
            device.write_register(register.address, value)
        assert device.read_register(register.address) == before, f"seed {SEED}"
    else:
        with pytest.raises(DeviceError, match=f"register {register.address:#x} with SLVERR"):
            device.read_register(register.address)


def test_address_without_a_register(device):
    with pytest.raises(DeviceError, match="the device answered register 0x3c with SLVERR"):
        device.read_register(0x3C)
    with pytest.raises(DeviceError, match="the device answered register 0x3c with SLVERR"):
        device.write_register(0x3C, 1)


def test_memory_round_trip(device):
    rng = np.random.default_rng(SEED)
    data = rng.integers(0, 256, 5000, dtype=np.uint8)
    device.write_memory(123, data)
    assert device.read_memory(123, 5000) == data.tobytes(), f"seed {SEED}"
    assert device.read_memory(5123, 10) == bytes(10)


@pytest.mark.parametrize("address, size", [(DRAM_BYTES - 3, 4), (-1, 1), (DRAM_BYTES, 1)])
def test_memory_beyond_is_refused(device, address, size):
    with pytest.raises(HpuError, match=r"must be inside the device's memory of 1048576 bytes"):
        device.read_memory(address, size)
    with pytest.raises(HpuError, match=r"must be inside the device's memory of 1048576 bytes"):
        device.write_memory(address, bytes(size))
