"""The decoder against ``isa.violations`` and ``Instruction.decode``."""

import random

import cocotb
from cocotb.triggers import Timer

from hpu.hw.config import Config
from hpu.hw.decoder import entry_layout
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES, INSTRUCTIONS, violations
from hpu.sim.random_instruction import Drawer
from hpu.sim.testbench import parameters


async def _judge(dut, config, data: bytes) -> None:
    """One instruction: unit, legality, and every field of a legal one."""
    dut.word.value = int.from_bytes(data, "little")
    dut.pc.value = pc = random.Random(data).randrange(1 << 32)
    await Timer(1, "ns")
    reasons = list(violations(data, config))
    assert int(dut.legal.value) == (not reasons), (data.hex(), reasons)
    entry = BY_OPCODE.get(data[0])
    assert int(dut.unit.value) == (1 << entry.unit if entry else 0)
    if entry and not reasons:
        values = entry.decode(data)
        masks = {name: values.pop(name) for name in ("wait", "signal")}
        del values["opcode"]
        expected = entry_layout(entry).const({**masks, "instr": {"pc": pc, **values}})
        assert int(getattr(dut, f"entry_{entry.name}").value) == expected.as_bits()


def _legal(config, rng) -> list[bytes]:
    drawer = Drawer(config, rng)
    drawn = [drawer.draw() for _ in range(40)]
    return [BY_OPCODE[values["opcode"]].encode(values) for values in drawn]


@cocotb.test()
async def bounds(dut):
    """Every field of every instruction at its bounds and just beyond them."""
    config = Config(**parameters()["config"])
    base = {data[0]: data for data in _legal(config, random.Random(1))}
    assert set(base) == set(BY_OPCODE)
    for entry in INSTRUCTIONS:
        values = entry.decode(base[entry.opcode])
        for field in entry.fields:
            for value in (edge + k for edge in field.bounds(config) for k in (-1, 0, 1)):
                try:
                    word = field.encode(value)
                except ValueError:
                    continue
                whole = int.from_bytes(entry.encode(values), "little")
                clear = field.encode(-1 if field.signed else (1 << 8 * field.size) - 1)
                data = (whole & ~clear | word).to_bytes(INSTRUCTION_BYTES, "little")
                await _judge(dut, config, data)


@cocotb.test()
async def mutations(dut):
    """Legal instructions, and the same with one to three bits turned."""
    config = Config(**parameters()["config"])
    rng = random.Random(parameters()["seed"])
    cocotb.log.info("seed %s", parameters()["seed"])
    for _ in range(20):
        for data in _legal(config, rng):
            await _judge(dut, config, data)
            word = int.from_bytes(data, "little")
            for _ in range(rng.randint(1, 3)):
                word ^= 1 << rng.randrange(8 * INSTRUCTION_BYTES)
            await _judge(dut, config, word.to_bytes(INSTRUCTION_BYTES, "little"))


@cocotb.test()
async def alignment(dut):
    """DRAM fields that differ in their low bits, for every width."""
    config = Config(**parameters()["config"])
    for data in _legal(config, random.Random(2)):
        entry = BY_OPCODE[data[0]]
        if "dram" not in (names := [field.name for field in entry.own]):
            continue
        for width in range(1, config.groups + 1):
            for name in {"dram", "dram_n", "dram_y"} & set(names):
                for low in (1, config.group, 2 * config.group, config.axi_bytes):
                    values = {**entry.decode(data), "width": width, "group": 0, "copies": 1}
                    values = {k: v for k, v in values.items() if k in names or k in ("wait",)}
                    values[name] = 8 * config.axi_bytes + low
                    await _judge(dut, config, entry.encode(values))
