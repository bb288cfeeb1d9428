"""STORE against a loop over rows and chunks."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from dma_common import Buffer, Driver, Memory, dram_rows, random_dram, reset, setup

from hpu.hw.csr import FaultCause

_MASK = (1 << 24) - 1


def _store(config, dram: bytearray, words: np.ndarray, v: dict[str, int]) -> int:
    """What STORE should do to ``dram``; gives the rows."""
    rows = 0
    for n, y, x, address in dram_rows(config, v):
        word = (v["a_base"] + n * v["a_n"] + y * v["a_y"] + x * v["a_x"]) & _MASK
        first, size = v["group"] * config.group, v["width"] * config.group
        dram[address : address + size] = words[word, first : first + size].tobytes()
        rows += 1
    return rows


def _stages(config, dram: bytes, words: np.ndarray, program: list[dict[str, int]]) -> list[bytes]:
    """DRAM before ``program`` and after each instruction; rows beyond either memory do nothing."""
    stages = [dram]
    padded = np.vstack([words, np.zeros((16, words.shape[1]), np.uint8)])
    for values in program:
        room = bytearray(stages[-1].ljust(1 << 18, b"\0"))
        if values["dram"] < len(dram):
            _store(config, room, padded, values)
        stages.append(bytes(room[: len(dram)]))
    return stages


def _random(config, rng, room: int) -> dict[str, int]:
    v = {"n_count": rng.randint(1, 3), "y_count": rng.randint(1, 3), "x_count": rng.randint(1, 9)}
    v["width"] = rng.randint(1, config.groups)
    v["group"] = rng.randint(0, config.groups - v["width"])
    random_dram(config, rng, v, room)
    steps = {axis: rng.randint(-4, 4) for axis in "nyx"}
    spans = [steps[axis] * (v[f"{axis}_count"] - 1) for axis in "nyx"]
    low, high = sum(min(0, s) for s in spans), sum(max(0, s) for s in spans)
    v["a_base"] = rng.randrange(-low, config.ub_depth - high)
    v.update({f"a_{axis}": step for axis, step in steps.items()})
    return v


async def _start(dut):
    config, rng, idle, backpressure = setup()
    memory = Memory(dut, config, rng, backpressure)
    driver = Driver(dut, "STORE", rng, idle)
    buffer = Buffer(dut, config, rng, backpressure)
    await reset(dut)
    for task in (memory.serve_writes(), buffer.run()):
        cocotb.start_soon(task)
    return config, rng, memory, driver, buffer


@cocotb.test()
async def random_instructions(dut):
    """Every byte of DRAM after every instruction that is done."""
    config, rng, memory, driver, buffer = await _start(dut)
    program = [_random(config, rng, len(memory.bytes)) for _ in range(60)]
    expected, rows, after = bytearray(memory.bytes), 0, []
    for values in program:
        rows += _store(config, expected, buffer.words, values)
        touched = [address for *_, address in dram_rows(config, values)]
        size = values["width"] * config.group
        after.append([(address, bytes(expected[address : address + size])) for address in touched])
    last = {address: k for k, places in enumerate(after) for address, _ in places}

    def on_done(count):
        for address, data in after[count - 1]:
            if last[address] == count - 1 and count == len(program):
                assert memory.bytes[address : address + len(data)] == data

    cocotb.start_soon(driver.watch(on_done))
    await driver.give(program)
    await driver.until(lambda: driver.done == len(program), 60_000)
    assert bytes(memory.bytes) == bytes(expected)
    assert buffer.rows == buffer.reads == rows
    await RisingEdge(dut.clk)
    assert not driver.faults and not int(dut.unit__busy.value)


@cocotb.test()
async def done_after_response(dut):
    """``done`` comes only after the last burst's response."""
    config, rng, memory, driver, _buffer = await _start(dut)
    memory.latency = 200
    cocotb.start_soon(driver.watch())
    await driver.give([_random(config, rng, len(memory.bytes))])
    await driver.until(lambda: memory.writes > 0)
    for _ in range(195):
        await RisingEdge(dut.clk)
        assert driver.done == 0 and int(dut.unit__busy.value)
    await driver.until(lambda: driver.done == 1)


@cocotb.test()
async def faults_and_recovery(dut):
    """Faults stop the unit; bursts asked for are ended without writing; then it works again."""
    config, rng, memory, driver, buffer = await _start(dut)
    cocotb.start_soon(driver.watch())
    for kind in ("address", "slverr", "overflow", "decerr", "address"):
        good = [_random(config, rng, len(memory.bytes)) for _ in range(3)]
        bad = _random(config, rng, len(memory.bytes))
        cause = FaultCause.AXI
        if kind == "address":
            bad.update(a_base=config.ub_depth - 1, a_n=1, a_y=1, a_x=1, x_count=9)
            random_dram(config, rng, bad, len(memory.bytes))
            cause = FaultCause.ADDRESS
        elif kind == "overflow":
            bad["dram"] = (1 << config.addr_bits) - config.axi_bytes
            bad.update(x_count=1, y_count=1, n_count=3, dram_n=4096)
            memory.bad = range(bad["dram"], 1 << config.addr_bits)
            if config.lanes > config.axi_bytes:
                bad["width"], bad["group"] = config.groups, 0
        else:
            memory.response = 2 if kind == "slverr" else 3
            bad["dram"] = len(memory.bytes)
            memory.bad = range(bad["dram"], bad["dram"] + (1 << 20))
        cocotb.log.info("%s: %s", kind, bad)
        stages = _stages(config, bytes(memory.bytes), buffer.words, [*good, bad])
        task = cocotb.start_soon(driver.give([*good, bad, *good], first_pc=30))
        await driver.until(lambda: bool(driver.faults))
        assert driver.faults[0] == (cause, 33), (kind, driver.faults[0])
        task.cancel()
        await driver.stop()
        for address, byte in enumerate(memory.bytes):
            assert byte in {stage[address] for stage in stages}, f"{kind}: wrote {address:#x}"
        memory.bad = range(0)
        expected = bytearray(memory.bytes)
        for values in good:
            _store(config, expected, buffer.words, values)
        await driver.give(good)
        await driver.until(lambda: driver.done == 3)
        assert not driver.faults
        assert bytes(memory.bytes) == bytes(expected), "bytes outside the good rows were written"
        driver.done = 0


@cocotb.test()
async def streams_at_full_rate(dut):
    """Whole words leave at a beat per cycle but for the bursts' ends."""
    config, _rng, memory, driver, buffer = await _start(dut)
    cocotb.start_soon(driver.watch())
    buffer._pause = memory._pause = 0.0
    memory.latency = 8
    word = config.pitch_chunks(config.groups) * config.group
    values = {
        **dict(n_count=1, y_count=1, x_count=32, dram=0, dram_n=0, dram_y=0),
        **dict(width=config.groups, group=0, a_base=0, a_n=0, a_y=0, a_x=1),
    }
    cocotb.start_soon(driver.give([{**values, "dram": 32 * word * k} for k in range(12)]))
    await driver.until(lambda: driver.done == 2)
    cycles = 0
    while driver.done < 12:
        await RisingEdge(dut.clk)
        cycles += 1
    beats = 10 * 32 * word // config.axi_bytes
    cocotb.log.info("%d beats in %d cycles", beats, cycles)
    assert cycles <= 1.2 * beats, f"{beats} beats took {cycles} cycles"
