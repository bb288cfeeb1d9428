"""WEIGHTS against a loop over rows, with a weight FIFO that frees its places late."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from dma_common import Buffer, Bus, Driver, Memory, reset, setup

from hpu.hw.csr import FaultCause
from hpu.hw.isa import TileSource


def _tile(config, dram: bytes, words: np.ndarray, values: dict[str, int]) -> np.ndarray:
    """Rows of one tile as the weight FIFO should get them."""
    if values["source"] == TileSource.UB:
        rows = words[values["a_base"] : values["a_base"] + values["rows"], : config.cols].copy()
        rows[:, values["width"] * config.group :] = 0
        return rows
    pitch = config.pitch_chunks(values["width"]) * config.group
    tile = np.zeros((values["rows"], config.cols), np.uint8)
    for row in range(values["rows"]):
        start = values["dram"] + row * pitch
        size = values["width"] * config.group
        tile[row, :size] = list(dram[start : start + size])
    return tile


class Fifo:
    """The weight FIFO: collects tiles, frees places at random, and never has too many tiles."""

    def __init__(self, dut, config, rng, slow):
        self.tiles, self.rows, self.counted = [], [], 0
        self._bus, self._dut, self._config = Bus(dut, "weights__"), dut, config
        self._rng, self._slow, self.held = rng, slow, 0

    async def run(self):
        bus = self._bus
        bus.set("free", 0)
        while True:
            await RisingEdge(self._dut.clk)
            self.counted += int(self._dut.row.value)
            if bus.get("valid"):
                data = bus.get("data").to_bytes(self._config.cols, "little")
                self.rows.append(np.frombuffer(data, np.uint8))
                if bus.get("last"):
                    self.tiles.append(np.array(self.rows))
                    self.rows, self.held = [], self.held + 1
            assert self.held + bool(self.rows) <= self._config.weight_tiles
            free = self.held > 0 and self._rng.random() >= self._slow
            self.held -= free
            bus.set("free", int(free))
            if bus.get("flush"):
                self.tiles, self.rows, self.held = [], [], 0


def _random(config, rng, room: int, source: TileSource | None = None) -> dict[str, int]:
    values = {"rows": rng.randint(1, config.rows), "width": rng.randint(1, config.col_groups)}
    values["source"] = rng.choice(list(TileSource)) if source is None else source
    values["a_base"] = rng.randint(0, config.ub_depth - values["rows"])
    extent = values["rows"] * config.pitch_chunks(values["width"]) * config.group
    values["dram"] = config.axi_bytes * rng.randrange((room - extent) // config.axi_bytes)
    return values


async def _start(dut):
    config, rng, idle, backpressure = setup()
    memory = Memory(dut, config, rng, backpressure)
    driver = Driver(dut, "WEIGHTS", rng, idle)
    fifo = Fifo(dut, config, rng, 0.98 if backpressure else 0.0)
    buffer = Buffer(dut, config, rng, backpressure)
    await reset(dut)
    for task in (memory.serve_reads(), buffer.run(), fifo.run()):
        cocotb.start_soon(task)
    return config, rng, memory, buffer, driver, fifo


@cocotb.test()
async def random_tiles(dut):
    """Every row of every tile in order, and ``done`` not before a tile's last row."""
    config, rng, memory, buffer, driver, fifo = await _start(dut)
    program = [_random(config, rng, len(memory.bytes)) for _ in range(50)]

    def on_done(count):
        assert len(fifo.tiles) >= count, f"done {count} before its last row"

    cocotb.start_soon(driver.watch(on_done))
    await driver.give(program)
    await driver.until(lambda: driver.done == len(program))
    expected = [_tile(config, bytes(memory.bytes), buffer.words, v) for v in program]
    for index, (got, tile) in enumerate(zip(fifo.tiles, expected, strict=True)):
        np.testing.assert_array_equal(got, tile, err_msg=f"tile {index}: {program[index]}")
    assert fifo.counted == sum(len(tile) for tile in expected)


@cocotb.test()
async def faults_and_recovery(dut):
    """A bad response or word stops the unit with its index; then every place is free again."""
    config, rng, memory, _buffer, driver, fifo = await _start(dut)
    cocotb.start_soon(driver.watch())
    for response in (2, 3, None, "address"):
        good = [_random(config, rng, len(memory.bytes)) for _ in range(3)]
        source = TileSource.UB if response == "address" else TileSource.DRAM
        bad = _random(config, rng, len(memory.bytes), source)
        if response == "address":
            bad["a_base"] = config.ub_depth - rng.randint(0, bad["rows"] - 1)
        elif response is None:
            bad["rows"], bad["width"] = config.rows, config.col_groups
            bad["dram"] = (1 << config.addr_bits) - config.axi_bytes
        else:
            memory.response = response
            bad["dram"] = len(memory.bytes)
            memory.bad = range(bad["dram"], bad["dram"] + (1 << 20))
        task = cocotb.start_soon(driver.give([*good, bad, *good], first_pc=7))
        await driver.until(lambda: bool(driver.faults))
        cause = FaultCause.ADDRESS if response == "address" else FaultCause.AXI
        assert driver.faults[0] == (cause, 10)
        assert driver.done == 3
        task.cancel()
        await driver.stop()
        memory.bad = range(0)
        await driver.give(good)
        await driver.until(lambda: driver.done == 3)
        assert len(fifo.tiles) == 3 and not driver.faults
        await RisingEdge(dut.clk)
        await driver.stop()


@cocotb.test()
async def streams_at_full_rate(dut):
    """A beat every cycle across tiles while the weight FIFO has places."""
    config, _rng, memory, _buffer, driver, fifo = await _start(dut)
    cocotb.start_soon(driver.watch())
    fifo._slow = memory._pause = 0.0
    tile = config.rows * config.pitch_chunks(config.col_groups) * config.group
    values = {"rows": config.rows, "width": config.col_groups}
    cocotb.start_soon(driver.give([{**values, "dram": tile * k} for k in range(24)]))
    await driver.until(lambda: driver.done == 4)
    cycles = 0
    while driver.done < 24:
        await RisingEdge(dut.clk)
        cycles += 1
    beats = 20 * tile // config.axi_bytes
    cocotb.log.info("%d beats in %d cycles", beats, cycles)
    assert cycles <= beats * _slack(config) + 4, f"{beats} beats took {cycles} cycles"


@cocotb.test()
async def buffered_tiles_come_a_row_a_cycle(dut):
    """Tile after tile from the unified buffer, with few cycles between them."""
    config, _rng, _memory, buffer, driver, fifo = await _start(dut)
    cocotb.start_soon(driver.watch())
    fifo._slow = buffer._pause = driver._idle = 0.0
    values = {"rows": config.rows, "width": config.col_groups, "source": TileSource.UB}
    cocotb.start_soon(driver.give([{**values, "a_base": k} for k in range(24)]))
    await driver.until(lambda: driver.done == 4)
    cycles = 0
    while driver.done < 24:
        await RisingEdge(dut.clk)
        cycles += 1
    assert cycles <= 20 * (config.rows + 2) + 4, f"20 tiles took {cycles} cycles"


def _slack(config) -> float:
    """Tiles asked for ahead must cover the latency for full rate."""
    tile = config.rows * config.pitch_chunks(config.col_groups) // config.beat_chunks
    covered = min(config.weight_tiles, 4) * tile
    return 1.1 if covered >= config.dram_latency + 2 * tile else 2.5
