"""The register table: addresses do not overlap, names are unique, counters are attributed."""

import pytest

from hpu.hw import csr


def test_addresses_are_aligned_unique_and_inside():
    addresses = [register.address for register in csr.REGISTERS]
    for counter in csr.COUNTERS:
        low = csr.counter_address(counter.name)
        addresses += [low, low + 4]
    assert len(set(addresses)) == len(addresses)
    assert all(address % 4 == 0 and 0 <= address < csr.SPACE_BYTES for address in addresses)


def test_names_are_unique():
    names = [entry.name for entry in (*csr.REGISTERS, *csr.COUNTERS)]
    assert len(set(names)) == len(names)
    for register in csr.REGISTERS:
        assert csr.address(register.name) == register.address


@pytest.mark.parametrize("register", csr.REGISTERS, ids=lambda register: register.name)
def test_fields_of_a_register_do_not_overlap(register):
    taken = [place for bit in register.bits for place in range(bit.low, bit.low + bit.width)]
    assert len(set(taken)) == len(taken)
    assert all(place < 32 for place in taken)


def test_bits_and_pack_are_inverse():
    for value in range(16):
        fields = csr.bits("STATUS", value)
        assert csr.pack("STATUS", **fields) == value
    assert csr.bits("STATUS", 0b0110) == {"busy": 0, "done": 1, "fault": 1, "irq": 0}


def test_pack_refuses():
    with pytest.raises(ValueError, match=r"^CONTROL has no field 'stop' that holds 1$"):
        csr.pack("CONTROL", stop=1)
    with pytest.raises(ValueError, match=r"^CONTROL has no field 'start' that holds 2$"):
        csr.pack("CONTROL", start=2)


def test_functional_counters():
    assert csr.FUNCTIONAL_COUNTERS[:2] == ("MATRIX_USEFUL", "MATRIX_PADDING")
    assert set(csr.FUNCTIONAL_COUNTERS) < {counter.name for counter in csr.COUNTERS}
    assert "CYCLES" not in csr.FUNCTIONAL_COUNTERS
